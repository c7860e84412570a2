"""Where the guests of a node can go, as Proxmox says at this moment.

Proxmox checks storages and devices, never memory: a guest that is migrated to a full node makes its kernel kill
something. So a node is a place for a guest only if the guest fits beside what runs there and a reserve is left.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mqtt_bridge.actions.guest_disks import disks
from mqtt_bridge.actions.provision_args import GIB
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.targets import guest_label

RESERVE, SHARE = 1 * GIB, 0.05  # what stays free at the target: the larger of these bytes and this share of its memory

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Guest:
    """A running guest. `memory`: bytes that it needs elsewhere. `lock`: Proxmox's, empty: none."""

    vmid: int
    type: str
    name: str
    memory: int
    ha: bool = False
    lock: str = ""

    @property
    def label(self) -> str:
        """`VM 100 (web01)`."""
        return guest_label("lxc" if self.type == "lxc" else "qemu", self.vmid, self.name)

    @classmethod
    def of(cls, row: Row) -> "Guest":
        """A machine may use all that it was given; a container's limit is none, so what it uses counts."""
        most, used = int(row.get("maxmem") or 0), int(row.get("mem") or 0)
        return cls(
            int(row["vmid"]),
            str(row["type"]),
            str(row.get("name") or ""),
            used or most if row["type"] == "lxc" else most,
            ha=bool(row.get("hastate")),
            lock=str(row.get("lock") or ""),
        )


@dataclass(frozen=True)
class Place:
    """A node that guests may go to. `free` is null where the token may not read it."""

    name: str
    free: int | None
    total: int = 0

    @property
    def room(self) -> int:
        """Bytes that may be taken."""
        return (self.free or 0) - max(RESERVE, int(SHARE * self.total))


@dataclass(frozen=True)
class Look:
    """`here`: the running guests of the node, largest first; `elsewhere`: VMIDs that run on other nodes.

    `untold`: those of the node that Proxmox knows no state of, as while the node is away; `listed`: all that it shows.
    """

    here: Sequence[Guest] = ()
    elsewhere: frozenset[int] = frozenset()
    places: Sequence[Place] = ()
    shared: frozenset[str] = frozenset()
    storages: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by node, those that work
    untold: Sequence[int] = ()
    listed: frozenset[int] = frozenset()

    def less(self, owed: Mapping[str, int]) -> "Look":
        """With that many bytes less at each place: what is on its way there, or came since its figures were told."""
        places = (replace(p, free=p.free - owed.get(p.name, 0)) if p.free is not None else p for p in self.places)
        return replace(self, places=_roomiest(places))


async def look(api: Api, node: str, closed: Collection[str]) -> Look:
    """Ask Proxmox. `closed` are nodes that nothing goes to."""
    rows = [row for row in await api.get("cluster", "resources", purpose="poll") if isinstance(row, Mapping)]
    guests = [row for row in rows if row.get("type") in {"qemu", "lxc"}]
    running = [row for row in guests if row.get("status") == "running"]
    here = [Guest.of(row) for row in running if row.get("node") == node]
    shut = {node.casefold(), *(name.casefold() for name in closed)}
    nodes = [r for r in rows if r.get("type") == "node" and _open(r) and str(r.get("node")).casefold() not in shut]
    places = [_place(row) for row in nodes]
    working = [r for r in rows if r.get("type") == "storage" and r.get("status") == "available"]
    return Look(
        sorted(here, key=lambda guest: (-guest.memory, guest.vmid)),
        frozenset(int(row["vmid"]) for row in running if row.get("node") != node),
        _roomiest(places),
        frozenset(str(row["storage"]) for row in working if row.get("shared")),
        {one.name: frozenset(str(r["storage"]) for r in working if r.get("node") == one.name) for one in places},
        sorted(
            int(r["vmid"]) for r in guests if r.get("node") == node and r.get("status") not in {"running", "stopped"}
        ),
        frozenset(int(row["vmid"]) for row in guests),
    )


def _roomiest(places: Iterable[Place]) -> list[Place]:
    return sorted(places, key=lambda place: (-(place.free or 0), place.name))


def _open(row: Row) -> bool:
    return row.get("status") == "online" and row.get("hastate") not in {"maintenance", "fence"}


def _place(row: Row) -> Place:
    used, total = row.get("mem"), row.get("maxmem")
    free = int(total) - int(used) if used is not None and total else None
    return Place(str(row["node"]), free, int(total or 0))


@dataclass(frozen=True)
class Fit:
    """The places that a guest fits into, the roomiest first; empty: `why` says what is in the way everywhere."""

    places: tuple[str, ...] = ()
    why: str = ""


def fit(guest: Guest, config: Row, now: Look, *, local_disks: bool) -> Fit:
    """Pure. With `local_disks` they are copied; else they keep a guest where it is."""
    volumes = [disk for disk in disks(config, guest.type) if ":" in disk.volume and not disk.volume.startswith("/")]
    bound = [disk for disk in volumes if disk.storage not in now.shared]
    if bound and not local_disks:
        return Fit(why=f"Its disk {bound[0]} is on this node alone. Send `args.local_disks: true` to have it copied.")
    if not now.places:
        return Fit(why="There is no other node that is online and not in maintenance.")
    needs = {disk.storage for disk in volumes}
    against = {place.name: _against(guest, place, needs - now.storages.get(place.name, frozenset()))
               for place in now.places}  # fmt: skip
    open_to = tuple(name for name, why in against.items() if not why)
    return Fit(open_to, "" if open_to else f"It fits nowhere: {'; '.join(against.values())}.")


def _against(guest: Guest, place: Place, lacking: Collection[str]) -> str:
    if lacking:
        return f"{place.name} has not the storage {', '.join(sorted(lacking))}"
    if place.free is None:
        return f"the memory of {place.name} is not known (the token needs Sys.Audit)"
    if place.room < guest.memory:
        return f"{place.name} has {size(place.room)} to give, it needs {size(guest.memory)}"
    return ""


def size(count: int) -> str:
    """Bytes for people."""
    return f"{max(count, 0) / GIB:.1f} GiB"
