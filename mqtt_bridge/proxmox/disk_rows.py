"""Raw rows of `/nodes/N/disks/list` and `/nodes/N/disks/zfs` to states: pure functions."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from mqtt_bridge.model import DiskState, ZfsPoolState, percent
from mqtt_bridge.proxmox.smart import Smart

DISKS = 256  # of one node; what is beyond is left out
POOLS = 64
WORDS = 300  # characters of a text from outside
_DEVICE = re.compile(r"/dev/[a-zA-Z0-9/]{1,60}")  # as the API takes it
_NOT_ID = re.compile(r"[^A-Za-z0-9-]+")
_NOTHING = frozenset({"", "unknown", "none"})
_NO_ERRORS = "No known data errors"
Row = Mapping[str, Any]
Type = Literal["nvme", "ssd", "hdd", "unknown"]
_TYPES: Mapping[str, Type] = {"nvme": "nvme", "ssd": "ssd", "hdd": "hdd"}


def listed(answer: object) -> dict[str, Row] | None:
    """The disks by their ids; None for what is no list of them."""
    if not isinstance(answer, list):
        return None
    rows = [row for row in answer if isinstance(row, Mapping) and _DEVICE.fullmatch(str(row.get("devpath", "")))]
    rows = [row for row in rows if row.get("type") != "partition"][:DISKS]
    serials, wwns = (Counter(_id(row, name) for row in rows) for name in ("serial", "wwn"))
    found: dict[str, Row] = {}
    for row in rows:
        serial, wwn, dev = _id(row, "serial"), _id(row, "wwn"), _NOT_ID.sub("-", device(row))
        if serial and serials[serial] == 1:
            identity = serial
        elif wwn and wwns[wwn] == 1:
            identity = wwn
        else:  # two paths to one disk, namespaces of one NVMe, adapters that give all disks one number
            identity = f"{serial}-{dev}" if serial else dev
        found[identity] = row
    return found


def _id(row: Row, name: str) -> str:
    text = str(row.get(name) or "").strip()
    return "" if text.casefold() in _NOTHING else _NOT_ID.sub("-", text).strip("-")[:64]


def device(row: Row) -> str:
    """Without `/dev/`."""
    return str(row["devpath"]).removeprefix("/dev/")


def kind(row: Row) -> Type:
    """USB, SAS without a speed and virtual disks say that they spin, whether they do or not: not known."""
    return _TYPES.get(str(row.get("type")), "unknown")


def disk_state(
    site: str, node: str, identity: str, row: Row, smart: Smart, *, unread: Literal["asleep", "privilege"] | None,
    at: str | None,
) -> DiskState:  # fmt: skip
    """One disk as it is published."""
    size = row.get("size")
    return DiskState(
        site=site,
        node=node,
        disk=identity,
        available=True,
        dev=device(row),
        model=_words(row.get("model")),
        serial=_words(row.get("serial")),
        type=kind(row),
        size_bytes=int(size) if isinstance(size, int | float) else None,
        health=smart.health,
        wear_pct=smart.wear,
        temperature_c=smart.temperature,
        power_on_hours=smart.hours,
        used_by=_used(row),
        unread=unread,
        updated_at=at,
    )


def _used(row: Row) -> str | None:
    osd = row.get("osdid")
    if isinstance(osd, int) and osd >= 0:
        return f"Ceph OSD {osd}"
    return _words(row.get("used"))


def _words(text: object) -> str | None:
    plain = " ".join(str(text or "").replace("\0", " ").split())[:WORDS]
    return None if plain.casefold() in _NOTHING else plain


def pools(answer: object) -> dict[str, Row] | None:
    """The pools by name; None for what is no list of them."""
    if not isinstance(answer, list):
        return None
    rows = [
        row for row in answer if isinstance(row, Mapping) and re.fullmatch(r"[\w.:-]{1,80}", str(row.get("name", "")))
    ]
    return {str(row["name"]): row for row in rows[:POOLS]}


def pool_state(site: str, node: str, row: Row, detail: object, *, at: str | None) -> ZfsPoolState:
    """`detail` is the answer of `…/zfs/<pool>`, where there was one: `zpool list` does not tell of data errors."""
    more = detail if isinstance(detail, Mapping) else {}
    errors = _words(more.get("errors"))
    frag = row.get("frag")
    return ZfsPoolState(
        site=site,
        node=node,
        pool=str(row["name"]),
        available=True,
        health=(_words(more.get("state")) or _words(row.get("health")) or "UNKNOWN").upper(),
        size_bytes=row.get("size"),
        used_bytes=row.get("alloc"),
        used_pct=percent(row.get("alloc"), row.get("size")),
        fragmentation_pct=float(frag) if isinstance(frag, int | float) else None,
        errors=None if errors is None or errors.startswith(_NO_ERRORS) else errors,
        status=_words(more.get("status")),
        scan=_words(more.get("scan")),
        updated_at=at,
    )
