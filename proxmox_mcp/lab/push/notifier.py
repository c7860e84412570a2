"""The notification system of one cluster or backup server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxmox_mcp.lab.errors import ApiError

from . import matching
from .config import MATCHER, NotifyConfig
from .model import Emitted, PushError
from .outbox import Outbox
from .pve_texts import test
from .senders import SENDERS, Sending

if TYPE_CHECKING:
    from collections.abc import Callable

    from .config import Entry
    from .model import Notification

    Tell = Callable[[str, bool], None]
    """Told a log line, and whether it is good news."""

AUTHORS = {"pve": "Proxmox VE", "pbs": "Proxmox Backup Server - {}"}


def _nobody(_user: str) -> str:
    return ""


@dataclass(slots=True)
class Notifier:
    product: str
    address_of: Callable[[str], str] = _nobody
    config: NotifyConfig = field(default_factory=NotifyConfig)
    outbox: Outbox = field(default_factory=Outbox)

    def notify(self, note: Notification, tell: Tell) -> None:
        """Send to every target that the matchers name, in the background; `tell` hears how each went."""
        for name in matching.targets(self.config, note):
            target = self.config.entries.get(name)
            if target is None:
                tell(f"could not notify via target '{name}', it does not exist", False)
            elif target.disabled:
                tell(f"skipping disabled target '{name}'", True)
            else:
                self.outbox.submit(self._deliver(target, note, tell))

    async def _deliver(self, target: Entry, note: Notification, tell: Tell) -> None:
        try:
            await self._send(target, note)
        except PushError as error:
            tell(f"could not notify via target `{target.name}`: {error}", False)
        else:
            tell(f"notified via target `{target.name}`", True)

    async def _send(self, target: Entry, note: Notification) -> None:
        """Try once; remember it, and pass a failure on in Proxmox's words."""
        author = AUTHORS[self.product].format(note.host)
        error = ""
        try:
            await SENDERS[target.kind](Sending(target, note, self.outbox, author, self.address_of))
        except PushError as failure:
            error = str(failure)
            raise PushError(_reason(target, error)) from None
        finally:
            self.outbox.emitted.append(Emitted(target.kind, target.name, note.host, note.title, error))

    async def test(self, host: str, name: str, now: int) -> None:
        """Send a test to one target, also a disabled one; a failure is the answer."""
        target = self.config.entries.get(name)
        if target is None or target.kind == MATCHER:
            raise ApiError(404, f"endpoint '{name}' does not exist")
        try:
            await self._send(target, test(host, now, name))
        except PushError as error:
            raise ApiError(500, f"Could not test target: {error}") from error


def _reason(target: Entry, error: str) -> str:
    return error if target.kind == "webhook" else f"could not notify via endpoint(s): {target.name}: {error}"
