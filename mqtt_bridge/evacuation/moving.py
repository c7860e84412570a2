"""Where one guest goes, and its migration by the one entry for actions."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mqtt_bridge.actions import ActionResult
from mqtt_bridge.approvals.types import Approval
from mqtt_bridge.errors import BridgeError, ProxmoxError
from mqtt_bridge.evacuation.book import Record
from mqtt_bridge.evacuation.places import Guest, Look, fit, look
from mqtt_bridge.policy import Principal
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.silences import Silence
from mqtt_bridge.targets import GuestRef, Ref

LAG = 60.0  # seconds that a node's figures may not show yet what came to it
LONGEST = 4 * 3600.0  # seconds that one migration may take: local disks are copied
LONGEST_HA = 900.0  # the same where the HA manager does it, a while after the task


class Entry(Protocol):
    """The one way to change something in Proxmox: `actions.Actions`."""

    async def perform(
        self,
        principal: Principal,
        action: str,
        target: Ref,
        *,
        args: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        timeout: float = 120.0,  # noqa: ASYNC109 -- its end is an answer
        approval: str | None = None,
        reason: str = "",
    ) -> ActionResult: ...


@dataclass(frozen=True)
class Around:
    """What it works with. `tell` publishes an event: kind, site, node, title, text, and what goes into its metadata."""

    clients: Mapping[str, Api]
    entry: Entry
    permission: PermissionSettings
    silences: Callable[[], Awaitable[Sequence[Silence]]]
    approvals: Callable[[], Awaitable[Sequence[Approval]]]
    tell: Callable[..., Awaitable[None]]
    folder: Path


@dataclass(frozen=True)
class Move:
    """A guest and the node that it is to go to; `approval` is one that a person was asked for before."""

    guest: Guest
    target: str
    approval: str | None = None


class Moves:
    """All that is read and sent for an evacuation."""

    def __init__(self, around: Around) -> None:
        self.who = Principal("mqtt", "mqtt", around.permission.mqtt_allow)
        self._around = around
        self._promised: list[tuple[float, str, str, int]] = []  # when, site, node, bytes

    async def look(self, record: Record, more: Mapping[str, int] | None = None) -> Look:
        """Anew; `more`: bytes that would be taken, by node. Raises ProxmoxError, JournalError."""
        held = await self._around.silences()  # a node that restarts is no place to go to either
        closed = {one.target for one in held if one.scope == "node" and one.site == record.site}
        owed = dict(more or {})
        now = time.monotonic()
        self._promised = [one for one in self._promised if now - one[0] < LAG]
        for _, site, node, memory in self._promised:
            if site == record.site:
                owed[node] = owed.get(node, 0) + memory
        return await look(self._around.clients[record.site], record.node, closed, owed)

    def promise(self, site: str, move: Move) -> None:
        """It has gone there: the node's figures will say so in a while."""
        self._promised.append((time.monotonic(), site, move.target, move.guest.memory))

    async def choose(self, record: Record, guest: Guest, now: Look) -> Move | str:
        """Where it goes, or why it stays. What the policy refuses is tried all the same: the audit file has it."""
        path = ("nodes", record.node, guest.type, guest.vmid, "config")
        config = await self._around.clients[record.site].get(*path, purpose="poll")
        found = fit(guest, config, now, local_disks=record.local_disks)
        if not found.places:
            return found.why
        asked = record.waiting.get(guest.vmid)
        if asked and asked.target in found.places:
            return Move(guest, asked.target, asked.approval)
        for place in found.places:
            if await self._would(record, Move(guest, place)):
                return Move(guest, place)
        return Move(guest, found.places[0])

    async def _would(self, record: Record, move: Move) -> bool:
        try:
            return (await self.migrate(record, move, dry_run=True)).ok
        except ProxmoxError:
            raise
        except BridgeError:
            return False

    async def migrate(self, record: Record, move: Move, *, dry_run: bool = False) -> ActionResult:
        """Raises what `perform` does."""
        why = f"evacuation of {record.node}"
        return await self._around.entry.perform(
            self.who,
            "guest.migrate",
            GuestRef(move.guest.vmid, record.site, record.node),
            args={"target": move.target},
            dry_run=dry_run,
            timeout=LONGEST_HA if move.guest.ha else LONGEST,
            approval=move.approval,
            reason=": ".join(part for part in (why, record.by, record.reason) if part),
        )
