"""Snapshots of a guest, as the tree that they are."""

from typing import Any, ClassVar

from pydantic import Field

from mqtt_bridge.model import utc
from proxmox_mcp.tools import asking, words
from proxmox_mcp.tools.base import Arguments, Call, NodeArgument, Old, SiteArgument, Tool, Vmid
from proxmox_mcp.view import Answer

Row = dict[str, Any]
HERE = "current"  # Proxmox's name for what is not a snapshot but the guest as it is


class SnapshotRequest(Arguments):
    """Of which guest."""

    old: ClassVar[Old] = {"vm_type": None}
    vmid: Vmid
    node: NodeArgument = None
    site: SiteArgument = None


class Snapshot(asking.Part):
    """A snapshot, after its parent."""

    name: str
    parent: str | None
    depth: int
    current: bool = Field(description="the guest goes on from this one")
    created_at: str | None
    vmstate: bool = Field(description="with memory")
    complete: bool = Field(description="false: it was never finished, nobody can go back to it")
    description: str


class SnapshotTree(Answer):
    """All snapshots of a guest, parents first."""

    site: str
    vmid: int
    name: str
    type: str
    node: str
    total: int
    snapshots: tuple[Snapshot, ...] = ()

    def text(self) -> str:
        rows = (
            (f"{'  ' * s.depth}{s.name}{' <- current' if s.current else ''}", s.created_at,
             "memory" if s.vmstate else "", "" if s.complete else "INCOMPLETE", s.description)
            for s in self.snapshots
        )  # fmt: skip
        body = words.table(("snapshot", "created", "memory", "state", "description"), rows) if self.snapshots else ""
        kind = "VM" if self.type == "qemu" else "CT"
        return words.answer(f"{kind} {self.vmid} ({self.name}): {self.total} snapshots", body, self)


async def list_snapshots(call: Call, args: SnapshotRequest) -> SnapshotTree:
    """One call to the guest's node."""
    place = await asking.guest(call, args.vmid, args.node, args.site)
    place, rows = await asking.of_guest(call, place, "snapshot")
    found = _tree(rows)
    return SnapshotTree(
        **asking.now(call),
        site=place.site,
        vmid=place.vmid,
        name=place.name,
        type=place.type,
        node=place.node,
        total=len(found),
        snapshots=tuple(found),
    )


def _tree(rows: list[Row]) -> list[Snapshot]:
    """Depth first, older ones first; one whose parent is gone is a root."""
    known = {str(row["name"]): row for row in rows if row.get("name") != HERE}
    here = next((row.get("parent") for row in rows if row.get("name") == HERE), None)
    found: list[Snapshot] = []
    todo = [(0, name) for name in _younger_first(known, None)]
    while todo:
        depth, name = todo.pop()
        found.append(_snapshot(known[name], depth, current=name == here))
        todo += [(depth + 1, child) for child in _younger_first(known, name)]
    return found


def _younger_first(known: dict[str, Row], parent: str | None) -> list[str]:
    """The children of a parent, as a stack wants them."""
    names = [
        name
        for name, row in known.items()
        if (row.get("parent") if row.get("parent") in known and row.get("parent") != name else None) == parent
    ]
    return sorted(names, key=lambda name: int(known[name].get("snaptime") or 0), reverse=True)


def _snapshot(row: Row, depth: int, *, current: bool) -> Snapshot:
    return Snapshot(
        name=str(row["name"]),
        parent=row.get("parent"),
        depth=depth,
        current=current,
        created_at=utc(row.get("snaptime")),
        vmstate=bool(row.get("vmstate")),
        complete=not row.get("snapstate"),
        description=asking.clean(row.get("description")),
    )


TOOLS = (
    Tool(
        "list_snapshots",
        "Snapshots",
        "Snapshots of a guest as a tree, with time, memory state and which one it goes on from.",
        "snapshots",
        SnapshotRequest,
        SnapshotTree,
        list_snapshots,
    ),
)
