"""The same with the real approvals: a yes at the client is a decision in the store, used once and written down."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import mcp_types as types
import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext

from mqtt_bridge.approvals import ApprovalRequest, Approvals, Pending
from mqtt_bridge.settings import Settings
from mqtt_bridge.settings.approving import ApprovalSettings
from proxmox_mcp.elicit import Elicitation
from proxmox_mcp.server import build_server
from proxmox_mcp.state import State
from proxmox_mcp.tools.base import Call, Tool
from tests.mcp.test_elicit import REQUEST, Order, Outcome, Person
from tests.support.held import held

MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])


@pytest.fixture
async def approvals(tmp_path: Path) -> AsyncIterator[Approvals]:
    async with Approvals(tmp_path, ApprovalSettings()) as opened:
        yield opened


@pytest.fixture
def target() -> list[str]:
    """What the digest is made of; a test changes it."""
    return ["web01"]


@pytest.fixture
def tool(approvals: Approvals, target: list[str]) -> Tool:
    async def run(call: Call, args: Order) -> Outcome:
        digest = approvals.digest({"target": target[0]})
        request: ApprovalRequest = dataclasses.replace(REQUEST, principal=call.principal, digest=digest)
        got = await approvals.obtain(request, given=args.approval or call.approval, ask=call.ask)
        if isinstance(got, Pending):
            return Outcome(ok=False, status="approval_required", approval={"id": got.id})
        return Outcome(ok=True, status=f"done: {got.how}")

    return Tool("get_vms", "Delete", "Deletes.", "core", Order, Outcome, run)


@MODES
@pytest.mark.parametrize(("action", "tick", "became"), [("accept", True, "used"), ("decline", None, "rejected")])
async def test_the_word_of_the_person_is_in_the_store(
    approvals: Approvals,
    tool: Tool,
    state: State,
    monkeypatch: pytest.MonkeyPatch,
    *,
    mode: str,
    action: str,
    tick: object,
    became: str,
) -> None:
    server = build_server(Settings(), state, elicitation=Elicitation(approvals, approvals.settings.timeout))
    monkeypatch.setattr(server, "offered", lambda _: {"get_vms": tool})
    async with held(Client(server, mode=mode, elicitation_callback=Person(action, tick).answer)) as client:
        result = await client.call_tool("get_vms", {"vmid": 100})
    assert bool(result.is_error) == (became == "rejected")
    assert [row.state for row in await approvals.recent()] == [became]
    assert (await approvals.recent())[0].decided_how == "elicitation"


@pytest.mark.parametrize("mode", ["auto"])
async def test_a_target_that_changed_while_the_person_read_makes_it_stale(
    approvals: Approvals, tool: Tool, state: State, monkeypatch: pytest.MonkeyPatch, *, mode: str, target: list[str]
) -> None:
    class Slow(Person):
        async def answer(
            self, context: ClientRequestContext, params: types.ElicitRequestParams
        ) -> types.ElicitResult | types.ErrorData:
            target[0] = "another"
            return await super().answer(context, params)

    server = build_server(Settings(), state, elicitation=Elicitation(approvals))
    monkeypatch.setattr(server, "offered", lambda _: {"get_vms": tool})
    async with held(Client(server, mode=mode, elicitation_callback=Slow("accept", True).answer)) as client:
        result = await client.call_tool("get_vms", {"vmid": 100})
    assert result.is_error
    assert "stale" in str(result.content)
    assert [row.state for row in await approvals.recent()] == ["stale"]
