"""Backups found by asking Proxmox: on a storage by their volume id, and whose they are."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictStr

from mqtt_bridge.actions.guest_disks import storage_rows, storage_target
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import ActionError
from mqtt_bridge.errors import UnknownTargetError
from mqtt_bridge.model import GuestType
from mqtt_bridge.proxmox.lookup import guest_rows
from mqtt_bridge.proxmox.rows import split_list
from mqtt_bridge.targets import BackupTarget, SiteRef, StorageRef, StorageTarget

SHOWN = 5
Row = Mapping[str, Any]
_ARCHIVE = r"vzdump-(?P<archive>qemu|lxc)-(?P<archive_id>[1-9]\d{2,8})-[\w.-]+"
_SNAPSHOT = r"(?P<kind>vm|ct|host)/(?P<id>[A-Za-z0-9_][A-Za-z0-9._-]*)/(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)"
_VOLID = re.compile(rf"(?P<storage>[A-Za-z][A-Za-z0-9._-]*):backup/(?:{_ARCHIVE}|{_SNAPSHOT})")
_TYPES: Mapping[str, GuestType] = {"qemu": "qemu", "vm": "qemu", "lxc": "lxc", "ct": "lxc"}


def _volid(text: str) -> str:
    if not _VOLID.fullmatch(text):
        raise ValueError("it must be a backup's volume id as list_backups shows it (storage:backup/...), never a path")
    return text


BackupVolume = Annotated[StrictStr, Field(max_length=255), AfterValidator(_volid)]


@dataclass(frozen=True)
class Owners:
    """What is known of guests by their VMIDs, over all sites: a backup's guest may have moved, or be gone."""

    tags: Mapping[int, frozenset[str]] = field(default_factory=dict)
    pools: Mapping[int, str | None] = field(default_factory=dict)
    nodes: Mapping[int, str] = field(default_factory=dict)

    def target(self, site: str, volume: str, vmid: int | None, *, protected: bool, node: str = "") -> BackupTarget:
        """A backup with the tags and the pool of its guest."""
        known = -1 if vmid is None else vmid
        tags, pool = self.tags.get(known, frozenset()), self.pools.get(known)
        return BackupTarget(site, volume, vmid, node, pool, tags, protected=protected)


async def owners(reading: Reading, *sites: str) -> Owners:
    """Of these sites, or of all. Where several have the same VMID, the tags of all count, and no pool is sure."""
    asked = sites or tuple(s for s, api in reading.clients.items() if api.site.kind == "pve")
    tags: dict[int, frozenset[str]] = {}
    pools: dict[int, str | None] = {}
    nodes: dict[int, str] = {}
    for rows in await asyncio.gather(*(guest_rows(reading.api(site)) for site in asked)):
        for row in rows:
            vmid, pool = int(row["vmid"]), row.get("pool") or None
            mine = frozenset(tag.casefold() for tag in split_list(row.get("tags")))
            tags[vmid] = tags.get(vmid, frozenset()) | mine
            pools[vmid] = pool if pools.get(vmid, pool) == pool else None
            nodes[vmid] = str(row["node"])
    return Owners(tags, pools, nodes)


@dataclass(frozen=True)
class Found:
    """A backup on a storage. `type` is None for a physical host's; `nodes` are those that reach the storage now."""

    storage: StorageTarget
    target: BackupTarget
    row: Row
    type: GuestType | None
    nodes: tuple[str, ...]
    owners: Owners


async def find_backup(reading: Reading, ref: StorageRef, volume: str) -> Found:
    """The backup, read fresh; UnknownTargetError names other ones of its guest."""
    parts = _VOLID.fullmatch(volume)
    if parts is None or parts["storage"] != ref.storage:
        raise ActionError(f"{volume[:120]} is no backup on storage {ref.storage}.", cure="Copy it from list_backups.")
    ident = parts["archive_id"] or parts["id"]
    vmid = int(ident) if ident.isdigit() and parts["kind"] != "host" else None
    site = reading.site(SiteRef(ref.site))
    places = await _places(reading, site, ref)
    found, others = [], set[str]()
    for place in places[:1] if places[0].shared else places:
        rows = await content(reading, place, vmid)
        found += [(place, row) for row in rows if row["volid"] == volume]
        others |= {str(row["volid"]) for row in rows}
    place, row = _one(volume, found, others)
    known = await owners(reading, site)
    backup = known.target(site, volume, vmid, protected=bool(row.get("protected")), node=place.node)
    nodes = tuple(each.node for each in places) if place.shared else (place.node,)
    return Found(place, backup, row, _TYPES.get(parts["archive"] or parts["kind"]), nodes, known)


async def content(reading: Reading, place: StorageTarget, vmid: int | None) -> list[Row]:
    """The backups on a storage, of one guest if it is known."""
    path = ("nodes", place.node, "storage", place.storage, "content")
    answer = await reading.api(place.site).get(*path, content="backup", vmid=vmid)
    return [row for row in answer if row.get("volid")]


async def _places(reading: Reading, site: str, ref: StorageRef) -> list[StorageTarget]:
    rows = [row for row in await storage_rows(reading.api(site)) if row["storage"] == ref.storage]
    here = [row for row in rows if ref.node in {None, row.get("node")} or row.get("shared")]
    if not here:
        await reading.storage(ref)  # says what there is
    up = [row for row in here if row.get("status") == "available"]
    if not up:
        raise ActionError(f"The storage {ref.storage} is not available on any node.", cure="See get_storage.")
    return [storage_target(site, row) for row in up]


def _one(volume: str, found: list[tuple[StorageTarget, Row]], others: set[str]) -> tuple[StorageTarget, Row]:
    if len(found) == 1:
        return found[0]
    if found:
        nodes = tuple(place.node for place, _ in found)
        raise UnknownTargetError(f"{volume} is on each of {', '.join(nodes)}.", cure="Name the node.", candidates=nodes)
    near = tuple(sorted(others, reverse=True)[:SHOWN])
    cure = f"Others: {', '.join(near)}." if near else "See list_backups; the token needs Datastore.AllocateSpace there."
    raise UnknownTargetError(f"There is no backup {volume}.", cure=cure, candidates=near)
