"""What is on storages: asked once for a shared one, on every node that is online for the others, all at once."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mqtt_bridge.proxmox.rows import split_list
from proxmox_mcp.tools import asking
from proxmox_mcp.tools.base import named_like

if TYPE_CHECKING:
    from mqtt_bridge.proxmox.client import ProxmoxClient

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Wanted:
    """Which volumes. `kinds` are Proxmox's words: backup, iso, vztmpl, import; `storage` is a glob."""

    kinds: tuple[str, ...]
    node: str | None = None
    storage: str | None = None
    datastore: str | None = None
    vmid: int | None = None


@dataclass(frozen=True)
class Volume:
    """A volume. `node` is None on a shared storage; `datastore` and `namespace` where a Backup Server has it."""

    site: str
    storage: str
    node: str | None
    datastore: str | None
    namespace: str
    row: Row


@dataclass
class Listed:
    """What was found, and why it may not be all."""

    volumes: list[Volume] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    asked: int = 0


async def volumes(clients: "Mapping[str, ProxmoxClient]", wanted: Wanted) -> Listed:
    """Of several sites; raises the first error if no site answers."""
    heard = await asking.together({site: _site(site, client, wanted) for site, client in clients.items()})
    heard.require()
    whole = Listed(notes=heard.notes)
    for found in heard.answers.values():
        whole.volumes += found.volumes
        whole.notes += found.notes
        whole.asked += found.asked
    return whole


async def _site(site: str, client: "ProxmoxClient", wanted: Wanted) -> Listed:
    nodes, storages = await asyncio.gather(asking.members(client), _configured(client))
    places = _places([row for row in storages if _may_hold(row, wanted)], nodes, wanted)
    heard = await asking.together(
        {
            (place, kind): _content(client, place, kind, wanted)
            for place in places
            for kind in wanted.kinds
            if kind in split_list(place.row.get("content"))
        }
    )
    found = [_volume(site, place, row) for (place, _), rows in heard.answers.items() for row in rows]
    return Listed(found, [*heard.notes, *_away(nodes, wanted)], len(places))


async def _configured(client: "ProxmoxClient") -> list[Row]:
    rows: list[Row] = await client.get("storage", deadline=asking.DEADLINE)
    return rows


def _may_hold(row: Row, wanted: Wanted) -> bool:
    return (
        not row.get("disable")
        and named_like(wanted.storage, str(row["storage"]))
        and (wanted.datastore is None or named_like(wanted.datastore, str(row.get("datastore") or "")))
        and bool(set(split_list(row.get("content"))) & set(wanted.kinds))
    )


@dataclass(frozen=True)
class _Place:
    name: str
    node: str
    shared: bool
    row: Row = field(compare=False, hash=False)


def _places(storages: Sequence[Row], nodes: Mapping[str, bool], wanted: Wanted) -> list[_Place]:
    places = []
    for row in storages:
        on = split_list(row.get("nodes")) or tuple(nodes)
        online = [node for node in nodes if nodes[node] and node in on and wanted.node in {None, node}]
        shared = bool(row.get("shared"))
        places += [_Place(str(row["storage"]), node, shared, row) for node in (online[:1] if shared else online)]
    return places


async def _content(client: "ProxmoxClient", place: _Place, kind: str, wanted: Wanted) -> list[Row]:
    rows: list[Row] = await client.get(
        "nodes", place.node, "storage", place.name, "content",
        content=kind, vmid=wanted.vmid, deadline=asking.DEADLINE,
    )  # fmt: skip
    return rows


def _volume(site: str, place: _Place, row: Row) -> Volume:
    on = place.row
    namespace = str(on.get("namespace") or "")
    return Volume(site, place.name, None if place.shared else place.node, on.get("datastore"), namespace, row)


def _away(nodes: Mapping[str, bool], wanted: Wanted) -> list[str]:
    away = [node for node, online in nodes.items() if not online and wanted.node in {None, node}]
    return [f"Offline, so their own storages are not listed: {', '.join(away)}."] if away else []
