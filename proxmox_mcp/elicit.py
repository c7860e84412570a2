"""Asking the person at the client for consent, in both protocol eras.

Until 2025-11-25 the server asks in the middle of the call (`elicitation/create`), and `ask` brings the answer back.
Since 2026-07-28 nothing can be asked in the middle: `ask` only notes the question and says "cannot ask", so the action
ends as `approval_required`, and that answer becomes an input request. The client calls again with what the person said.
The nonce in its `requestState` (sealed by the SDK to tool, arguments and time) is taken out of a table of ours first of
all, so that an answer or a state that comes twice is refused; then `Approvals.consent` decides the very approval that
was asked for. The action runs with that approval's id, and reads its target again.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp_types.version import is_version_at_least
from pydantic import ValidationError

from mqtt_bridge.errors import PolicyError
from mqtt_bridge.wording.clean import one_line

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context

    from mqtt_bridge.approvals import ApprovalRequest, Ask
    from mqtt_bridge.policy import Principal

MODERN: Final = "2026-07-28"  # since when input requests are results
KEY: Final = "consent"  # of the one input request
MAX_OPEN: Final = 256  # questions without an answer; the oldest is forgotten
SHOWN: Final = 20  # calls and notes that a question shows
TEXT_LIMIT: Final = 300  # characters of one line of it
_AGAIN = "Call the tool again without it: a new question is asked."
SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"approve": {"type": "boolean", "title": "Yes, do it"}},
    "required": ["approve"],
}


class Decides(Protocol):
    """What of `Approvals` is needed."""

    def asks(self, principal: "Principal") -> bool:
        """Whether the word of the person at this principal's client counts."""

    async def consent(self, given: str, principal: "Principal", *, yes: bool) -> None:
        """That word; raises PolicyError where it does not count, and after a no."""


@dataclass(frozen=True)
class Question:
    """One that a client was sent away with. `until` is by the monotonic clock."""

    approval: str
    principal: "Principal"
    tool: str
    until: float


@dataclass
class Asking:
    """One call's part in it: `ask` for `Actions.perform`, and the `approval` that a repeated call goes on with."""

    ask: "Ask | None" = None
    approval: str | None = None
    noted: list["ApprovalRequest"] = field(default_factory=list)


class Elicitation:
    """The questions of one server. `timeout`: seconds that a person gets, those of an approval."""

    def __init__(
        self, decides: Decides | None, timeout: float = 900, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._decides = decides
        self.timeout = timeout
        self._clock = clock
        self._open: dict[str, Question] = {}

    async def begin(self, context: "Context[Any, Any] | None", principal: "Principal", tool: str) -> Asking:
        """Before a tool runs. Raises PolicyError where the call repeats one with an answer that does not count."""
        if context is None or self._decides is None:
            return Asking()
        approval = None
        if context.request_state is not None:
            approval = await self._answered(context, principal, tool)
        return self._asking(context, principal, approval)

    def end(
        self, asking: Asking, answer: Mapping[str, Any] | None, principal: "Principal", tool: str
    ) -> types.InputRequiredResult | None:
        """After it ran: what the client is sent away with, if a question was noted and its approval still waits."""
        given = (answer or {}).get("approval")
        approval = given.get("id") if isinstance(given, Mapping) else None
        if not asking.noted or not isinstance(approval, str):
            return None
        nonce = secrets.token_urlsafe(24)
        self._forget()
        self._open[nonce] = Question(approval, principal, tool, self._clock() + self.timeout)
        return types.InputRequiredResult(
            input_requests={KEY: types.ElicitRequest(params=_form(asking.noted[-1]))},
            request_state=json.dumps({"nonce": nonce}),
        )

    def _asking(self, context: "Context[Any, Any]", principal: "Principal", approval: str | None) -> Asking:
        asking = Asking(approval=approval)
        if self._decides is None or not self._decides.asks(principal) or not _can_show_forms(context):
            return asking
        if is_version_at_least(context.protocol_version or "", MODERN):
            asking.ask = _noting(asking.noted)
        elif context.session.can_send_request:
            asking.ask = _asking_now(context, self.timeout)
        return asking

    async def _answered(self, context: "Context[Any, Any]", principal: "Principal", tool: str) -> str:
        """The approval that a repeated call is about, decided as the person said. The nonce is used up first of all."""
        question = self._open.pop(_nonce(context.request_state), None)
        if question is None or (question.principal.name, question.principal.channel, question.tool) != (
            principal.name,
            principal.channel,
            tool,
        ):
            raise PolicyError("This answer was given already, or nobody asked for it; it counts once.", cure=_AGAIN)
        if question.until < self._clock():
            raise PolicyError("This answer came too late.", cure=_AGAIN)
        said = _said((context.input_responses or {}).get(KEY))
        if said is not None and self._decides is not None:
            await self._decides.consent(question.approval, principal, yes=said)
        return question.approval

    def _forget(self) -> None:
        """What is over its time, and the oldest of too many."""
        now = self._clock()
        for nonce in [nonce for nonce, question in self._open.items() if question.until < now]:
            del self._open[nonce]
        while len(self._open) >= MAX_OPEN:
            del self._open[next(iter(self._open))]


def _can_show_forms(context: "Context[Any, Any]") -> bool:
    """Whether the client can ask a person; an empty capability means forms, as before there was another mode."""
    capabilities = context.client_capabilities
    elicitation = capabilities.elicitation if capabilities else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


def _noting(noted: list["ApprovalRequest"]) -> "Ask":
    async def ask(request: "ApprovalRequest") -> bool | None:
        noted.append(request)
        return None

    return ask


def _asking_now(context: "Context[Any, Any]", timeout: float) -> Callable[["ApprovalRequest"], Awaitable[bool | None]]:
    async def ask(request: "ApprovalRequest") -> bool | None:
        form = _form(request)
        try:
            async with asyncio.timeout(timeout):
                result = await context.session.elicit_form(
                    form.message, form.requested_schema, related_request_id=context.request_id
                )
        except (MCPError, ValidationError, TimeoutError):
            return None  # a client that cannot, against its own word, or a person who is not there
        return _said(result)

    return ask


def _said(response: object) -> bool | None:
    """True only for a form that was sent off with the box ticked; closing it says nothing."""
    if not isinstance(response, types.ElicitResult) or response.action == "cancel":
        return None
    return response.action == "accept" and (response.content or {}).get("approve") is True


def _nonce(state: str | None) -> str:
    """What the SDK has unsealed: ours, unless it was made for something else."""
    try:
        found = json.loads(state or "")
    except ValueError:
        return ""
    nonce = found.get("nonce") if isinstance(found, dict) else None
    return nonce if isinstance(nonce, str) else ""


def _form(request: "ApprovalRequest") -> types.ElicitRequestFormParams:
    return types.ElicitRequestFormParams(message=question(request), requested_schema=dict(SCHEMA))


def question(request: "ApprovalRequest") -> str:
    """What the person reads. Everything from outside is one line, quoted or under a heading that says what it is."""
    lines = [
        f"{_line(request.title)}: risk: {request.risk}, asked for by {_line(request.principal.name)}",
        f"Site {_line(request.site)}, target: «{_quoted(request.target_label)}»",
        *_listed("Would be sent to Proxmox:", request.calls),
        *_listed("To know:", request.notes),
    ]
    if request.reason:
        lines.append(f"Reason given by the one who asks: «{_quoted(request.reason)}»")
    lines.append("Texts in «» were written by others; nothing in them speaks for this server.")
    return "\n".join(lines)


def _listed(head: str, rows: Sequence[str]) -> list[str]:
    shown = [f"  - {_line(row)}" for row in rows[:SHOWN]]
    more = [f"  - and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
    return [head, *shown, *more] if rows else []


def _line(text: str) -> str:
    return one_line(text, TEXT_LIMIT)


def _quoted(text: str) -> str:
    return _line(text).replace("«", "<").replace("»", ">")
