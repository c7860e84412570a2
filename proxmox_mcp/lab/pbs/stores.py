"""Datastores, their usage, namespaces, groups and snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .call import Call
    from .state import Datastore, PbsSnapshot

DAY = 86_400


def store_rights(call: Call, store: str) -> frozenset[str]:
    return call.has(f"/datastore/{store}")


def visible(call: Call) -> Iterator[Datastore]:
    """Datastores that one may audit or back up to; others are left out."""
    for store in call.host.datastores.values():
        if not store_rights(call, store.name).isdisjoint(("Datastore.Audit", "Datastore.Backup")):
            yield store


def find(call: Call, privilege: str) -> Datastore:
    name = call.params["store"]
    if privilege not in store_rights(call, name):
        raise ApiError(403, "permission check failed")
    store = call.host.datastores.get(name)
    if store is None:
        raise ApiError(400, f"no such datastore '{name}'")
    return store


def datastores(call: Call) -> list[dict[str, Any]]:
    return [
        {"store": store.name, "mount-status": "nonremovable", "backend-type": "filesystem"}
        | ({"comment": store.comment} if store.comment else {})
        | ({"maintenance": store.maintenance} if store.maintenance else {})
        for store in visible(call)
    ]


def config_datastores(call: Call) -> list[dict[str, Any]]:
    return [
        {
            "name": store.name,
            "path": store.path,
            "gc-schedule": store.gc_schedule,
            "notification-mode": "notification-system",
        }
        | ({"comment": store.comment} if store.comment else {})
        for store in visible(call)
    ]


def used(store: Datastore, now: float) -> int:
    """Bytes; a fault's share wins."""
    if store.filled is not None:
        return int(store.total * store.filled)
    return min(store.total, int(store.total * store.used + store.growth * max(0.0, now - store.since)))


def _usage(store: Datastore, now: float) -> dict[str, int]:
    taken = used(store, now)
    return {"total": store.total, "used": taken, "avail": store.total - taken}


def usage(call: Call) -> list[dict[str, Any]]:
    now = call.host.clock.now()
    return [_usage_row(store, now) for store in visible(call)]


def _usage_row(store: Datastore, now: float) -> dict[str, Any]:
    numbers = _usage(store, now)
    share = numbers["used"] / store.total
    slope = store.growth * DAY / store.total
    history = [None if back % 9 == 4 else round(max(0.0, share - slope * back), 6) for back in range(30, -1, -1)]  # noqa: PLR2004
    return {
        "store": store.name,
        **numbers,
        "backend-type": "filesystem",
        "mount-status": "nonremovable",
        "history": history,
        "history-start": int(now) // DAY * DAY - 30 * DAY,
        "history-delta": DAY,
        "estimated-full-date": int(now + numbers["avail"] / max(1.0, store.growth)),
        "gc-status": gc(store),
    }


def gc(store: Datastore) -> dict[str, Any]:
    logical = sum(one.size for one in store.snapshots)
    row: dict[str, Any] = {
        "index-file-count": 2 * len(store.snapshots), "index-data-bytes": logical, "disk-bytes": logical // 7,
        "disk-chunks": logical // 7 // 2_000_000, "removed-bytes": 123_456_789, "removed-chunks": 61,
        "pending-bytes": 7_890_000, "pending-chunks": 3, "removed-bad": 0, "still-bad": 0,
        "cache-stats": {"hits": 10_000, "misses": 120},
    }  # fmt: skip
    return row | ({"upid": store.gc_upid} if store.gc_upid else {})


def gc_status(call: Call) -> dict[str, Any]:
    return gc_row(find(call, "Datastore.Audit"), call.host.clock.now())


def gc_row(store: Datastore, now: float) -> dict[str, Any]:
    row = gc(store) | {"store": store.name, "schedule": store.gc_schedule, "next-run": (int(now) // DAY + 1) * DAY}
    if store.gc_end:
        row |= {"last-run-endtime": store.gc_end, "last-run-state": store.gc_state, "duration": 260}
    return row


def gc_all(call: Call) -> list[dict[str, Any]]:
    now = call.host.clock.now()
    return [gc_row(store, now) for store in visible(call) if call.params.get("store", store.name) == store.name]


def status(call: Call) -> dict[str, Any]:
    store = find(call, "Datastore.Audit")
    row: dict[str, Any] = _usage(store, call.host.clock.now()) | {"backend-type": "filesystem"}
    if call.params.get("verbose"):
        kinds = {kind: [one for one in store.snapshots if one.kind == kind] for kind in ("ct", "host", "vm")}
        counts = {
            kind: {"groups": len({one.ident for one in rows}), "snapshots": len(rows)} for kind, rows in kinds.items()
        }
        row |= {"counts": counts, "gc-status": gc(store)}
    return row


def chosen(call: Call, store: Datastore) -> list[PbsSnapshot]:
    params = call.params
    return [
        one
        for one in store.snapshots
        if one.namespace == params.get("ns", "")
        and params.get("backup-type", one.kind) == one.kind
        and params.get("backup-id", one.ident) == one.ident
    ]


_FILES = {
    "vm": ("drive-scsi0.img.fidx", "qemu-server.conf.blob"),
    "ct": ("root.pxar.didx", "pct.conf.blob"),
    "host": ("root.pxar.didx",),
}


def _files(one: PbsSnapshot) -> list[dict[str, Any]]:
    names = _FILES[one.kind]
    rows: list[dict[str, Any]] = [
        {"filename": name, "size": one.size if "idx" in name else 420, "crypt-mode": "none"} for name in names
    ]
    return [*rows, {"filename": "index.json.blob", "size": 520, "crypt-mode": "none"}]


def snapshots(call: Call) -> list[dict[str, Any]]:
    rows = []
    for one in chosen(call, find(call, "Datastore.Audit")):
        row: dict[str, Any] = {
            "backup-type": one.kind,
            "backup-id": one.ident,
            "backup-time": one.time,
            "files": _files(one),
            "owner": one.owner,
            "protected": one.protected,
            "size": one.size,
        }
        if one.comment:
            row["comment"] = one.comment
        if one.verified:
            upid = (
                one.verify_upid
                or "UPID:pbs1:000003E9:00000001:00000001:00000001:verificationjob:main\\x3av\\x2dmain:root@pam:"
            )
            row["verification"] = {"state": one.verified, "upid": upid}
        rows.append(row)
    return rows


def groups(call: Call) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], list[PbsSnapshot]] = {}
    for one in chosen(call, find(call, "Datastore.Audit")):
        found.setdefault((one.kind, one.ident), []).append(one)
    return [
        {
            "backup-type": kind, "backup-id": ident, "backup-count": len(rows), "owner": rows[-1].owner,
            "last-backup": max(one.time for one in rows), "files": [row["filename"] for row in _files(rows[-1])],
        }
        for (kind, ident), rows in found.items()
    ]  # fmt: skip


def namespaces(call: Call) -> list[dict[str, str]]:
    store = find(call, "Datastore.Audit")
    parent = call.params.get("parent", "")
    depth = call.params.get("max-depth", 7) + (parent.count("/") + 1 if parent else 0)
    below = [name for name in store.namespaces if not parent or name.startswith(f"{parent}/")]
    names = [name for name in below if name.count("/") < depth]
    return [{"ns": parent}, *({"ns": name} for name in names)]


def delete_snapshot(call: Call) -> None:
    store = find(call, "Datastore.Modify")
    for one in chosen(call, store):
        if one.time == call.params["backup-time"]:
            if one.protected:
                raise ApiError(400, f"cannot remove protected snapshot '{one.kind}/{one.ident}'")
            store.snapshots.remove(one)
            return
    raise ApiError(400, "backup snapshot does not exist")
