"""What a client of the 1.x SDK does with our server. Run by the Python of a venv that has `mcp==1.30.*`.

python old_client.py URL
"""

# ruff: noqa: T201
# mypy: ignore-errors
# the types that mypy sees are those of the 2.x SDK
import asyncio
import sys
from typing import Any

from mcp import ClientSession, types
from mcp.client.streamable_http import streamablehttp_client
from pydantic import AnyUrl

GUEST = AnyUrl("proxmox://lab/guest/100")


async def main(url: str) -> None:
    """All of it; a failed assertion ends it with a traceback."""
    told: asyncio.Queue[str] = asyncio.Queue()
    asked: list[str] = []

    async def elicited(_: Any, params: Any) -> Any:
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"approve": True})

    async def heard(message: Any) -> None:
        note = getattr(message, "root", message)
        if note.__class__.__name__ == "ResourceUpdatedNotification":
            await told.put(str(note.params.uri))

    async with (
        streamablehttp_client(url) as (read, write, _),
        ClientSession(read, write, elicitation_callback=elicited, message_handler=heard) as session,
    ):
        began = await session.initialize()
        print("protocol", began.protocolVersion)
        tools = (await session.list_tools()).tools
        assert {"get_vms", "execute_vm_command", "test_consent"} <= {tool.name for tool in tools}
        print("tools", len(tools))

        # the client itself checks this against the tool's output schema
        result = await session.call_tool("get_vms", {"limit": 3})
        assert len(result.structuredContent["guests"]) == 3
        for name in ("get_cluster_status", "get_nodes", "get_storage", "get_recent_tasks", "get_events"):
            answer = await session.call_tool(name, {})
            assert answer.structuredContent is not None, name
        print("structured output")

        await session.subscribe_resource(GUEST)
        began_at = asyncio.get_running_loop().time()
        await session.call_tool("test_change_guest", {})
        async with asyncio.timeout(10):
            assert await told.get() == str(GUEST)
        print(f"subscription: told after {asyncio.get_running_loop().time() - began_at:.3f} s")

        steps: list[float] = []

        async def progressed(done: float, total: float | None, message: str | None) -> None:
            del total, message
            steps.append(done)

        await session.call_tool("test_tool_with_progress", {}, progress_callback=progressed)
        assert steps == [0, 50, 100], steps
        print("progress", steps)

        consent = await session.call_tool("test_consent", {})
        assert consent.structuredContent["status"] == "done", consent
        assert len(asked) == 1
        assert "POST /nothing" in asked[0]
        print("elicitation")

        assert len((await session.list_prompts()).prompts) >= 6
        await session.get_prompt("health_check", {"site": "lab"})
        ref = types.PromptReference(type="ref/prompt", name="incident_response")
        found = await session.complete(ref, {"name": "vmid", "value": "10"})
        assert "100" in found.completion.values
        print("prompts and completion")


asyncio.run(main(sys.argv[1]))
