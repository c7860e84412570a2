"""Calls of tools, with what a test expects of every answer and of every refusal."""

from typing import Any

import mcp_types as types
from mcp import Client


def text(result: types.CallToolResult) -> str:
    block = result.content[0]
    assert isinstance(block, types.TextContent)
    return block.text


async def ask(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, text(result)
    answer: dict[str, Any] | None = result.structured_content
    assert answer is not None
    return answer


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert "Traceback" not in text(result)
    return text(result)
