"""One request to a backup server on its way to a handler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxmox_mcp.lab.access import Identity
    from proxmox_mcp.lab.push.notifier import Notifier

    from .state import PbsHost


@dataclass(slots=True)
class Call:
    """One request; parameters are checked and typed."""

    host: PbsHost
    params: dict[str, Any]
    who: Identity

    @property
    def user(self) -> str:
        return self.who.user

    @property
    def token(self) -> str:
        return self.who.token

    @property
    def notifier(self) -> Notifier:
        return self.host.notifier

    @property
    def sender(self) -> str:
        return self.host.name

    @property
    def now(self) -> int:
        return int(self.host.clock.now())

    def has(self, path: str) -> frozenset[str]:
        return self.host.access.privileges(self.who, path)
