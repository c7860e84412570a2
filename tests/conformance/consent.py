"""A tool of our own kind that needs consent, with stand-ins for actions and approvals: everything between is real."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from mqtt_bridge.approvals import ApprovalRequest
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.policy import Principal
from proxmox_mcp.tools.base import Arguments, Call, Tool
from proxmox_mcp.view import Answer


class Nothing(Arguments):
    """No arguments."""


class Said(Answer):
    """What came of it."""

    status: str
    approval: dict[str, Any] | None = None

    def text(self) -> str:
        return self.status


@dataclass
class Consent:
    """Approvals that live as long as this, and the tools `test_consent` and `test_change_guest`."""

    change: Callable[[], Awaitable[None]]
    states: dict[str, bool | None] = field(default_factory=dict)

    def asks(self, principal: Principal) -> bool:
        """Everybody's word counts here."""
        return bool(principal)

    async def consent(self, given: str, principal: Principal, *, yes: bool) -> None:
        """Note it, once."""
        del principal
        if self.states.get(given) is not None:
            raise PolicyError("It was decided already.")
        self.states[given] = yes

    async def act(self, call: Call, args: Nothing) -> Said:
        """What `Actions.perform` does around `ask`."""
        del args
        given = call.approval or str(len(self.states))
        if call.approval is None:
            self.states[given] = None
            calls = ("POST /nothing",)
            request = ApprovalRequest(
                call.principal, "test", "Test", "destroy", "lab", "VM 100", digest="", calls=calls
            )
            word = await call.ask(request) if call.ask else None
            if word is not None:
                await self.consent(given, call.principal, yes=word)
        words = {None: "approval_required", True: "done", False: "declined"}
        pending = self.states[given] is None
        return Said(status=words[self.states[given]], approval={"id": given} if pending else None)

    async def changed(self, call: Call, args: Nothing) -> Said:
        """Make guest 100 change."""
        del call, args
        await self.change()
        return Said(status="done")

    def tools(self) -> tuple[Tool, ...]:
        """Both."""
        return (
            Tool("test_consent", "Consent", "Needs consent.", "core", Nothing, Said, self.act),
            Tool("test_change_guest", "Change", "Changes guest 100.", "core", Nothing, Said, self.changed),
        )
