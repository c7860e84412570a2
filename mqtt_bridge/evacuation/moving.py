"""Where one guest goes, and its migration by the one entry for actions."""

import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mqtt_bridge.actions import ACTIONS, ActionError, ActionResult, Actions
from mqtt_bridge.approvals.types import Approval
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.evacuation.book import Record
from mqtt_bridge.evacuation.places import Guest, Look, fit, look
from mqtt_bridge.notifying.silences import Silence
from mqtt_bridge.policy import Principal, judge
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.targets import GuestRef, NodeTarget, Touched

LAG = 60.0  # seconds that a node's figures may not show yet what came to it
LONGEST = 4 * 3600.0  # seconds that one migration may take: local disks are copied
LONGEST_HA = 900.0  # the same where the HA manager does it, a while after the task


@dataclass(frozen=True)
class Around:
    """What it works with. `tell` publishes an event: kind, site, node, title, text, and what goes into its metadata.

    `shutting`: whether a site is being shut down.
    """

    clients: Mapping[str, Api]
    entry: Actions
    permission: PermissionSettings
    silences: Callable[[], Awaitable[Sequence[Silence]]]
    approvals: Callable[[], Awaitable[Sequence[Approval]]]
    tell: Callable[..., Awaitable[None]]
    folder: Path
    shutting: Callable[[str], bool] = lambda _site: False


@dataclass(frozen=True)
class Move:
    """A guest and the node that it is to go to; `others` fit too. `approval`: one that was asked for before."""

    guest: Guest
    target: str
    approval: str | None = None
    others: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Promise:
    """Bytes of a node that its figures do not show yet, until then (monotonic seconds)."""

    until: float
    site: str
    node: str
    memory: int


class Moves:
    """All that is read and sent for an evacuation."""

    def __init__(self, around: Around) -> None:
        self.who = Principal("mqtt", "mqtt", around.permission.mqtt_allow)
        self._around = around
        self._promised: list[_Promise] = []

    async def look(self, record: Record) -> Look:
        """Anew. Raises ProxmoxError, JournalError."""
        held = await self._around.silences()  # a node that restarts is no place to go to either
        closed = {one.target for one in held if one.scope == "node" and one.site == record.site}
        return await look(self._around.clients[record.site], record.node, closed)

    @contextmanager
    def on_its_way(self, site: str, move: Move) -> Iterator[None]:
        """Nobody else is given that memory meanwhile: several nodes may be evacuated at once."""
        one = _Promise(math.inf, site, move.target, move.guest.memory)
        self._promised.append(one)
        try:
            yield
        finally:
            self._promised.remove(one)

    def promise(self, site: str, move: Move) -> None:
        """It has gone there: the node's figures will say so in a while."""
        self._promised.append(_Promise(time.monotonic() + LAG, site, move.target, move.guest.memory))

    def _owed(self, site: str) -> Counter[str]:
        self._promised = [one for one in self._promised if one.until > time.monotonic()]
        owed = Counter[str]()
        for one in self._promised:
            if one.site == site:
                owed[one.node] += one.memory
        return owed

    async def choose(self, record: Record, guest: Guest, now: Look) -> Move | str:
        """Where it goes by storage, memory and allow-list, or why it stays."""
        path = ("nodes", record.node, guest.type, guest.vmid, "config")
        config = await self._around.clients[record.site].get(*path, purpose="poll")
        now = now.less(self._owed(record.site))  # here, since nothing is waited for from now until it is on its way
        found = fit(guest, config, now, local_disks=record.local_disks)
        if not found.places:
            return found.why
        asked = record.waiting.get(guest.vmid)
        if asked and asked.target in found.places:
            return Move(guest, asked.target, asked.approval)
        first, *others = sorted(found.places, key=lambda place: not self._listed(record.site, place))
        return Move(guest, first, others=tuple(others))

    def _listed(self, site: str, node: str) -> bool:
        """Whether the policy lets guests go there; what it says of the guest itself is heard when it is tried."""
        place = Touched(NodeTarget(site, node, online=True), "read")
        return judge(self._around.permission, self.who, ACTIONS["guest.migrate"], [place]) is None

    async def elsewhere(self, record: Record, move: Move) -> Move | None:
        """Another place, after Proxmox has said that the guest cannot go there: by dry runs, which nothing records."""
        for place in move.others:
            other = Move(move.guest, place)
            with suppress(ActionError, PolicyError):
                if (await self.migrate(record, other, dry_run=True)).ok:
                    return other
        return None

    async def would(self, record: Record, guest: Guest, now: Look) -> Move | str:
        """As `choose` and `elsewhere` would have it in the end; nothing is sent."""
        first = await self.choose(record, guest, now)
        if isinstance(first, str):
            return first
        try:
            said = await self.migrate(record, first, dry_run=True)
        except (ActionError, PolicyError) as error:
            return str(error)
        return first if said.ok else await self.elsewhere(record, first) or said.message

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
