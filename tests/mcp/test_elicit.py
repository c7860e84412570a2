"""A person at the client is asked in both eras; an answer counts once, for what was asked, where the settings say."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.shared.exceptions import MCPError

from mqtt_bridge.approvals import ApprovalRequest
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.policy import Principal
from mqtt_bridge.settings import Settings
from proxmox_mcp.elicit import KEY, MAX_OPEN, Asking, Elicitation, question
from proxmox_mcp.server import ProxmoxServer, build_server
from proxmox_mcp.state import State
from proxmox_mcp.tools.base import Arguments, Call, Tool
from proxmox_mcp.view import Answer
from tests.support.held import held

STDIO = Principal("stdio", "stdio", "exec")
REQUEST = ApprovalRequest(
    STDIO,
    "guest.delete",
    "Delete",
    "destroy",
    "lab",
    "VM 100 (web01)",
    "digest",
    calls=("DELETE /nodes/pve1/qemu/100",),
)
MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])


class Order(Arguments):
    vmid: int
    approval: str | None = None


class Outcome(Answer):
    ok: bool
    status: str
    approval: dict[str, Any] | None = None

    @property
    def is_failure(self) -> bool:
        return not self.ok


@dataclass
class Desk:
    """Stands for Approvals and Actions: what `obtain` and `perform` do around `ask`."""

    channels: frozenset[str] = frozenset({"stdio"})
    states: dict[str, str] = field(default_factory=dict)
    done: list[int] = field(default_factory=list)
    request: ApprovalRequest = REQUEST

    def asks(self, principal: Principal) -> bool:
        return principal.channel in self.channels

    async def consent(self, given: str, principal: Principal, *, yes: bool) -> None:
        if self.states.get(given) != "pending":
            raise PolicyError("It was decided already.")
        self.states[given] = "approved" if yes else "rejected"
        if not yes:
            raise PolicyError("It was declined at the client.", cure="Nothing was done.")

    async def delete(self, call: Call, args: Order) -> Outcome:
        given = args.approval or call.approval
        if given is None:
            given = f"id{len(self.states)}"
            self.states[given] = "pending"
            word = await call.ask(replace(self.request, principal=call.principal)) if call.ask else None
            if word is not None:
                await self.consent(given, call.principal, yes=word)
        if self.states.get(given) == "approved":
            self.states[given] = "used"
            self.done.append(args.vmid)
            return Outcome(ok=True, status="done")
        if self.states.get(given) != "pending":
            raise PolicyError("The approval was used already.")
        return Outcome(ok=False, status="approval_required", approval={"id": given})


class Person:
    """Sits at the client: what is done with the form, and the tick in it."""

    def __init__(self, action: str, tick: object) -> None:
        self.action, self.tick = action, tick
        self.read: list[str] = []

    async def answer(
        self, context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        self.read.append(params.message)
        content = {"approve": self.tick} if self.action == "accept" and self.tick is not None else None
        return types.ElicitResult.model_validate({"action": self.action, "content": content})


@pytest.fixture
def channels() -> frozenset[str]:
    return frozenset({"stdio"})


@pytest.fixture
def desk(channels: frozenset[str]) -> Desk:
    return Desk(channels)


@pytest.fixture
def server(desk: Desk, state: State, monkeypatch: pytest.MonkeyPatch) -> ProxmoxServer:
    made = build_server(Settings(), state, elicitation=Elicitation(desk))
    tool = Tool("get_vms", "Delete", "Deletes.", "core", Order, Outcome, desk.delete)
    monkeypatch.setattr(made, "offered", lambda _: {"get_vms": tool})
    return made


@pytest.fixture
def says() -> tuple[str, object]:
    return ("accept", True)


@pytest.fixture
def person(says: tuple[str, object]) -> Person:
    return Person(*says)


@pytest.fixture
async def client(server: ProxmoxServer, person: Person, mode: str) -> AsyncIterator[Client]:
    async with held(Client(server, mode=mode, elicitation_callback=person.answer, cache=None)) as opened:
        yield opened


async def order(client: Client, **more: Any) -> types.CallToolResult:
    return await client.call_tool("get_vms", {"vmid": 100, **more})


def text(result: types.CallToolResult) -> str:
    return "".join(block.text for block in result.content if isinstance(block, types.TextContent))


@MODES
async def test_a_yes_does_it_once(client: Client, person: Person, desk: Desk) -> None:
    result = await order(client)
    assert result.structured_content
    assert result.structured_content["status"] == "done"
    assert desk.done == [100]
    assert len(person.read) == 1
    assert "DELETE /nodes/pve1/qemu/100" in person.read[0]
    assert "VM 100 (web01)" in person.read[0]


@MODES
@pytest.mark.parametrize("says", [("decline", None), ("accept", False), ("accept", None)])
async def test_a_no_or_an_empty_form_does_nothing(client: Client, desk: Desk) -> None:
    result = await order(client)
    assert result.is_error
    assert desk.done == []
    assert "approved" not in desk.states.values()
    assert "used" not in desk.states.values()


@MODES
@pytest.mark.parametrize("says", [("cancel", None)])
async def test_a_form_that_is_closed_leaves_it_to_others(client: Client, desk: Desk, person: Person) -> None:
    result = await order(client)
    assert result.structured_content
    assert result.structured_content["status"] == "approval_required"
    assert desk.states == {"id0": "pending"}
    desk.states["id0"] = "approved"
    assert not (await order(client, approval="id0")).is_error
    assert len(person.read) == 1
    assert desk.done == [100]


@MODES
@pytest.mark.parametrize("channels", [frozenset()])
async def test_where_the_setting_does_not_admit_it_nobody_is_asked(client: Client, desk: Desk, person: Person) -> None:
    result = await order(client)
    assert result.structured_content
    assert result.structured_content["approval"] == {"id": "id0"}
    assert person.read == []
    assert desk.done == []


@MODES
async def test_a_client_that_cannot_ask_gets_the_id(server: ProxmoxServer, desk: Desk, mode: str) -> None:
    async with held(Client(server, mode=mode, cache=None)) as client:
        result = await order(client)
    assert result.structured_content
    assert result.structured_content["approval"] == {"id": "id0"}
    assert desk.done == []


# --- what a client that answers by itself can send in the 2026 era ---------------------------------------------------

YES: dict[str, Any] = {KEY: types.ElicitResult(action="accept", content={"approve": True})}


async def by_hand(client: Client, vmid: int = 100, **more: Any) -> types.CallToolResult | types.InputRequiredResult:
    result: types.CallToolResult | types.InputRequiredResult = await client.session.call_tool(
        "get_vms", {"vmid": vmid}, allow_input_required=True, **more
    )
    return result


async def asked(client: Client) -> str:
    first = await by_hand(client)
    assert isinstance(first, types.InputRequiredResult)
    assert first.input_requests
    assert set(first.input_requests) == {KEY}
    assert first.request_state
    return first.request_state


@pytest.mark.parametrize("mode", ["auto"])
async def test_an_answer_with_its_state_counts_once(client: Client, desk: Desk) -> None:
    state = await asked(client)
    first = await by_hand(client, input_responses=YES, request_state=state)
    again = await by_hand(client, input_responses=YES, request_state=state)
    assert isinstance(first, types.CallToolResult)
    assert isinstance(again, types.CallToolResult)
    assert (first.is_error, again.is_error) == (False, True)
    assert "counts once" in text(again)
    assert desk.done == [100]


@pytest.mark.parametrize("mode", ["auto"])
async def test_two_at_once_do_it_once(client: Client, desk: Desk) -> None:
    state = await asked(client)
    both = await asyncio.gather(*(by_hand(client, input_responses=YES, request_state=state) for _ in range(2)))
    assert sorted(isinstance(one, types.CallToolResult) and bool(one.is_error) for one in both) == [False, True]
    assert desk.done == [100]


@pytest.mark.parametrize("mode", ["auto"])
async def test_an_answer_without_its_state_is_a_first_call(client: Client, desk: Desk) -> None:
    await asked(client)
    result = await by_hand(client, input_responses=YES)
    assert isinstance(result, types.InputRequiredResult)
    assert desk.done == []


@pytest.mark.parametrize("mode", ["auto"])
async def test_a_state_serves_no_other_arguments(client: Client, desk: Desk) -> None:
    state = await asked(client)
    with pytest.raises(MCPError, match="requestState"):
        await by_hand(client, vmid=101, input_responses=YES, request_state=state)
    assert desk.done == []


@pytest.mark.parametrize("mode", ["auto"])
async def test_a_state_that_was_altered_is_refused(client: Client, desk: Desk) -> None:
    state = await asked(client)
    with pytest.raises(MCPError, match="requestState"):
        await by_hand(client, input_responses=YES, request_state=state[:-2] + "AA")
    assert desk.done == []


@pytest.mark.parametrize("mode", ["auto"])
async def test_a_state_without_an_answer_uses_the_nonce_up(client: Client, desk: Desk) -> None:
    state = await asked(client)
    await by_hand(client, request_state=state)
    late = await by_hand(client, input_responses=YES, request_state=state)
    assert isinstance(late, types.CallToolResult)
    assert late.is_error
    assert desk.done == []


@pytest.mark.parametrize("mode", ["auto"])
async def test_what_an_approver_rejected_meanwhile_stays_rejected(client: Client, desk: Desk) -> None:
    state = await asked(client)
    desk.states["id0"] = "rejected"
    result = await by_hand(client, input_responses=YES, request_state=state)
    assert isinstance(result, types.CallToolResult)
    assert result.is_error
    assert desk.done == []


# --- the table of questions ------------------------------------------------------------------------------------------


@dataclass
class Repeated:
    """What of a Context a repeated call has."""

    request_state: str | None
    input_responses: Mapping[str, Any] | None = field(default_factory=lambda: YES)
    client_capabilities: None = None


def sent_away(questions: Elicitation, principal: Principal = STDIO, tool: str = "delete_guest") -> str:
    made = questions.end(Asking(noted=[REQUEST]), {"approval": {"id": "id0"}}, principal, tool)
    assert made
    assert made.request_state
    return made.request_state


@pytest.mark.parametrize(
    ("principal", "tool"),
    [(replace(STDIO, name="other"), "delete_guest"), (replace(STDIO, channel="http"), "delete_guest"), (STDIO, "x")],
)
async def test_an_answer_is_bound_to_who_was_asked_and_for_what(desk: Desk, principal: Principal, tool: str) -> None:
    desk.states["id0"] = "pending"
    questions = Elicitation(desk)
    again: Any = Repeated(sent_away(questions))
    with pytest.raises(PolicyError):
        await questions.begin(again, principal, tool)
    assert desk.states == {"id0": "pending"}


async def test_an_answer_that_comes_too_late(desk: Desk) -> None:
    now = [0.0]
    questions = Elicitation(desk, 900, clock=lambda: now[0])
    desk.states["id0"] = "pending"
    again: Any = Repeated(sent_away(questions))
    now[0] = 901
    with pytest.raises(PolicyError, match="too late"):
        await questions.begin(again, STDIO, "delete_guest")
    assert desk.states == {"id0": "pending"}


async def test_questions_are_bounded(desk: Desk) -> None:
    questions = Elicitation(desk)
    first: Any = Repeated(sent_away(questions))
    for _ in range(MAX_OPEN):
        sent_away(questions)
    assert len(questions._open) == MAX_OPEN
    with pytest.raises(PolicyError):
        await questions.begin(first, STDIO, "delete_guest")


@pytest.mark.parametrize("state", ["", "{", "[]", '{"nonce": 1}', '{"nonce": "x"}', "null"])
async def test_a_state_that_is_not_ours_is_refused(desk: Desk, state: str) -> None:
    again: Any = Repeated(state)
    with pytest.raises(PolicyError, match="counts once"):
        await Elicitation(desk).begin(again, STDIO, "delete_guest")


# --- what the person reads -------------------------------------------------------------------------------------------


def test_what_others_wrote_stays_in_its_quotes() -> None:
    hostile = "web» Approved by the operator.\n\nSite lab, target: «nothing\u202e\U000e0041\x1b[2J"
    read = question(replace(REQUEST, target_label=hostile, reason=hostile, notes=(hostile,) * 50, title="De\nlete"))
    lines = read.splitlines()
    assert lines[0].startswith("De lete: risk: destroy, asked for by stdio")
    assert lines[1] == "Site lab, target: «web> Approved by the operator. Site lab, target: <nothing»"
    assert sum(line.startswith("Site lab") for line in lines) == 1
    assert not set("\u202e\U000e0041\x1b") & set(read)
    assert "  - and 30 more" in lines
    assert lines[-1].startswith("Texts in «»")
