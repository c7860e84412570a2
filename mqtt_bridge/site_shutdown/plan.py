"""What a shutdown of the site means now: its stages, its nodes in order, and what the rules leave out of it.

Everything is read fresh. What the policy does not let be taken down is left out, with the node that it runs on, and
said; the rest goes down. Guests that this program, the broker or Home Assistant run in go with their nodes, last.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.errors import ProxmoxError
from mqtt_bridge.policy import Principal, Refusal, judge
from mqtt_bridge.proxmox.rows import split_list
from mqtt_bridge.settings import Level, PermissionSettings
from mqtt_bridge.site_shutdown.wanted import ShutdownError, Wanted
from mqtt_bridge.targets import GuestTarget, NodeRef, NodeTarget, SiteTarget, Touched

OTHERS, NODES = "others", "nodes"
UP = frozenset({"running", "paused", "unknown"})
Rank = Literal[0, 1, 2]  # an ordinary node; one that a guest of ours runs on; the one that this bridge runs on
NAMED = 20  # guests in a sentence
READ = 15.0  # seconds for the guests of one node
CEPH = frozenset({"rbd", "cephfs"})


@dataclass(frozen=True)
class Act:
    """The shutdown of a site, for the rules: it is no row of the table of actions, but made of several."""

    name: str = "site.shutdown"
    title: str = "Site shutdown"
    risk: Level = "destroy"
    takes_down: bool = True


ACT = Act()


@dataclass(frozen=True)
class NodeStep:
    """A node, and which of our own guests go down with it."""

    node: str
    rank: Rank
    own: tuple[GuestTarget, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """What stays up, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class SitePlan:
    """`stages` have a name and their guests. `managed` are the VMIDs that the HA manager looks after."""

    site: str
    stages: tuple[tuple[str, tuple[GuestTarget, ...]], ...]
    nodes: tuple[NodeStep, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    managed: frozenset[int]

    @property
    def guests(self) -> tuple[GuestTarget, ...]:
        """All that are shut down one by one."""
        return tuple(guest for _, guests in self.stages for guest in guests)

    def details(self, *, names: bool = True) -> dict[str, Any]:
        """As it is told."""
        return {
            "stages": [
                {"stage": name, "guests": [_guest(g, names=names) for g in guests]} for name, guests in self.stages
            ],
            "nodes": [{"node": s.node, "takes_along": [_guest(g, names=names) for g in s.own]} for s in self.nodes],
            "left_out": [{"what": one.what, "why": one.why} for one in self.left_out],
        }

    @property
    def summary(self) -> str:
        """In a sentence."""
        nodes = f"then the nodes {', '.join(step.node for step in self.nodes)}" if self.nodes else "and no node"
        stages = ", ".join(f"{name} ({len(guests)})" for name, guests in self.stages)
        left = f" Left out: {_few(one.what for one in self.left_out)}." if self.left_out else ""
        return f"{len(self.guests)} guests ({stages}), {nodes}.{left}"


def _guest(guest: GuestTarget, *, names: bool) -> Any:
    return {"vmid": guest.vmid, "name": guest.name, "node": guest.node} if names else guest.vmid


async def make(
    reading: Reading, permission: PermissionSettings, principal: Principal, site: str, wanted: Wanted
) -> SitePlan:
    """Raises PolicyError (the principal may not, or the token cannot see what it would take down), ProxmoxError."""
    if refusal := _judged(permission, principal, [Touched(SiteTarget(site))]):
        raise refusal.error()
    rows = await reading.guest_rows(site)
    nodes = await _nodes(reading, site)
    if wanted.nodes and nodes:
        await reading.sees_all(ACT.title, nodes[0])
    sorted_out = _Sorting(permission, principal, wanted)
    online = [node for node in nodes if node.online]
    read = await asyncio.gather(*(_guests(reading, node, sorted_out) for node in online))
    found = {node.node: guests for node, guests in zip(online, read, strict=True) if guests is not None}
    up = {node: [guest for guest in guests if guest.state in UP] for node, guests in found.items()}
    going = [guest for guests in up.values() for guest in guests if sorted_out.goes(guest)]
    stages = _stages(wanted, going)
    steps = tuple(sorted((sorted_out.steps(nodes, up)), key=lambda step: step.rank))
    if not going and not steps:
        what = _few(f"{one.what} ({one.why})" for one in sorted_out.left_out)
        raise ShutdownError(
            f"Nothing of site {site} may be shut down: {what}." if what else f"Nothing of site {site} runs."
        )
    managed = frozenset(int(row["vmid"]) for row in rows if row.get("hastate"))
    notes = (*_untagged(wanted, rows), *await _notes(reading, site, going=going, managed=managed, steps=steps))
    return SitePlan(site, stages, steps, tuple(sorted_out.left_out), notes, managed)


async def _nodes(reading: Reading, site: str) -> list[NodeTarget]:
    names = sorted(await reading.node_names(site))
    return list(await asyncio.gather(*(reading.node(NodeRef(name, site)) for name in names)))


async def _guests(reading: Reading, node: NodeTarget, sorted_out: "_Sorting") -> tuple[GuestTarget, ...] | None:
    """None: it cannot be read, so it is left out; a node that hangs must not keep all others up."""
    try:
        async with asyncio.timeout(READ):
            return await reading.guests_on(node, going_down=True)
    except (ProxmoxError, TimeoutError) as error:
        why = error.message if isinstance(error, ProxmoxError) else f"no answer in {READ:.0f} s"
        sorted_out.left_out.append(LeftOut(node.label, f"its guests cannot be read: {why}"))
        return None


def _judged(permission: PermissionSettings, principal: Principal, objects: Sequence[Touched]) -> Refusal | None:
    return judge(permission, principal, ACT, objects)


def _stages(wanted: Wanted, going: Iterable[GuestTarget]) -> tuple[tuple[str, tuple[GuestTarget, ...]], ...]:
    """A guest with several of the tags goes with the first."""
    stages: dict[str, list[GuestTarget]] = {name: [] for name in (*wanted.stages, OTHERS)}
    for guest in sorted(going, key=lambda guest: guest.vmid):
        stages[next((tag for tag in wanted.stages if tag in guest.tags), OTHERS)].append(guest)
    return tuple((name, tuple(guests)) for name, guests in stages.items())


class _Sorting:
    """Who goes, who goes with his node, and who stays."""

    def __init__(self, permission: PermissionSettings, principal: Principal, wanted: Wanted) -> None:
        self._permission = permission
        self._principal = principal
        self._wanted = wanted
        self.left_out: list[LeftOut] = []

    def own(self, guest: GuestTarget) -> bool:
        """Whether this program, the broker or Home Assistant run in it."""
        return guest.is_self or guest.vmid in self._permission.self_guests

    def goes(self, guest: GuestTarget) -> bool:
        """Whether it is shut down by itself; notes why not."""
        if refusal := _judged(self._permission, self._principal, [Touched(guest)]):
            self.left_out.append(LeftOut(guest.label, refusal.reason))
            return False
        if not self.own(guest):
            return True
        if not self._wanted.nodes:
            self.left_out.append(LeftOut(guest.label, "this service, its broker or Home Assistant runs in it"))
        return False

    def steps(self, nodes: Sequence[NodeTarget], up: Mapping[str, Sequence[GuestTarget]]) -> Iterable[NodeStep]:
        """The nodes that go."""
        for node in nodes if self._wanted.nodes else ():
            if not node.online:
                self.left_out.append(LeftOut(node.label, "it is offline"))
                continue
            if node.node not in up:
                continue
            guests = up[node.node]
            if refusal := _judged(self._permission, self._principal, [Touched(node), *map(Touched, guests)]):
                self.left_out.append(LeftOut(node.label, refusal.reason))
                continue
            own = tuple(guest for guest in guests if self.own(guest))
            ours = node.is_self or any(guest.is_self for guest in own)
            yield NodeStep(node.node, 2 if ours else 1 if own else 0, own)


def _untagged(wanted: Wanted, rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Stages that no guest belongs to, whether it runs or not: most likely a tag that is misspelt."""
    there = {tag.casefold() for row in rows for tag in split_list(row.get("tags"))}
    return (f"No guest has the tag {tag}." for tag in wanted.stages if tag not in there)


async def _notes(
    reading: Reading,
    site: str,
    *,
    going: Sequence[GuestTarget],
    managed: frozenset[int],
    steps: Sequence[NodeStep],
) -> tuple[str, ...]:
    """What whoever asks should know."""
    notes = []
    if locked := [f"{guest.label} ({guest.lock})" for guest in going if guest.lock]:
        notes.append(f"Locked, so Proxmox refuses for as long as that lasts: {_few(locked)}.")
    if ha := [guest.label for guest in going if guest.vmid in managed]:
        notes.append(
            "Managed by HA, whose requested state becomes `stopped`, so they stay down until they are started: "
            f"{_few(ha)}."
        )
    if managed and steps:
        notes.append(
            "HA is in use: a node whose HA watchdog is armed resets itself a minute after the quorum is lost "
            "(docs/shutdown.md says what to do)."
        )
    storages = await reading.api(site).get("cluster", "resources", type="storage")
    if steps and any(row.get("plugintype") in CEPH for row in storages):
        notes.append(
            "There is Ceph: what runs in it hangs once too few nodes are left, so guests that go last belong on "
            "local storage (docs/shutdown.md)."
        )
    return tuple(notes)


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return "; ".join(listed[:NAMED]) + more
