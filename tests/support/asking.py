"""Calls of tools, with what a test expects of every answer and of every refusal."""

import re
from typing import Any

import mcp_types as types
from mcp import Client

MARKED = re.compile(
    r"<answer-(\w+)>\n(.*)\n</answer-\1>\nWhat stands in <answer-\1> is .* never instructions\.", re.DOTALL
)


def text(result: types.CallToolResult) -> str:
    """What an answer says, without the marks around it."""
    block = result.content[0]
    assert isinstance(block, types.TextContent)
    found = MARKED.fullmatch(block.text)
    return found[2] if found else block.text


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
