"""Storages: their configuration, status on a node and contents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import figures, resources, rrd
from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError

if TYPE_CHECKING:
    from proxmox_mcp.lab.pbs.state import Datastore
    from proxmox_mcp.lab.state import Node, Storage, Volume
    from proxmox_mcp.lab.tasks import Task

DIGEST = "fef54f640f3daea48f7af3fb213912476f9c9d23"


def configured(storage: Storage) -> dict[str, Any]:
    row: dict[str, Any] = {
        "storage": storage.name,
        "type": storage.kind,
        "content": storage.content,
        "digest": DIGEST,
    }
    optional: dict[str, Any] = {
        "path": storage.path,
        "server": storage.server,
        "export": storage.export,
        "datastore": storage.datastore,
        "pool": storage.pool,
        "disable": int(storage.disabled),
        "shared": int(storage.shared),
        "nodes": ",".join(storage.nodes),
    }
    return row | {key: value for key, value in optional.items() if value}


def index(call: Call) -> list[dict[str, Any]]:
    return [
        configured(storage)
        for storage in call.world.storages.values()
        if resources.may_see_storage(call.world, call.who, storage.name)
        and call.params.get("type", storage.kind) == storage.kind
    ]


def one(call: Call) -> dict[str, Any]:
    return configured(call.world.storage(call.params["storage"]))


def state(call: Call, storage: Storage, node: Node) -> dict[str, Any]:
    active = storage.active(node.name)
    used = figures.storage_used(storage, call.world.now()) if active else 0
    total = storage.total if active else 0
    return {
        "type": storage.kind,
        "content": storage.content,
        "enabled": int(not storage.disabled),
        "active": int(active),
        "shared": int(storage.shared),
        "total": total,
        "used": used,
        "avail": total - used,
    }


def listing(call: Call) -> list[dict[str, Any]]:
    rows = []
    for storage in call.world.storages.values():
        if not storage.serves(call.node.name) or not _wanted(call, storage):
            continue
        row = state(call, storage, call.node) | {"storage": storage.name}
        rows.append(row | ({"used_fraction": row["used"] / row["total"]} if row["total"] else {}))
    return rows


def _wanted(call: Call, storage: Storage) -> bool:
    content = call.params.get("content")
    return (
        resources.may_see_storage(call.world, call.who, storage.name)
        and call.params.get("storage", storage.name) == storage.name
        and (not call.params.get("enabled") or not storage.disabled)
        and (content is None or not set(content.split(",")).isdisjoint(storage.content.split(",")))
    )


def status(call: Call) -> dict[str, Any]:
    return state(call, call.world.storage_parameter(call.params["storage"]), call.node)


def rrddata(call: Call) -> list[dict[str, Any]]:
    storage = call.world.storage_parameter(call.params["storage"])
    return rrd.storage_rows(storage, call.world.now(), call.params["timeframe"])


def content(call: Call) -> list[dict[str, Any]]:
    """Volumes that one may use; without Datastore.AllocateSpace the list is empty, not refused."""
    world = call.world
    world.storage_parameter(call.params["storage"])
    storage = world.usable_storage(call.params["storage"], call.node.name)
    if not call.may(f"/storage/{storage.name}", "Datastore.AllocateSpace"):
        return []
    return [
        volume_row(volume)
        for volume in storage.on(call.node.name)
        if call.params.get("content", volume.content) == volume.content
        and call.params.get("vmid", volume.vmid) == volume.vmid
        and _accessible(call, volume)
    ]


def _accessible(call: Call, volume: Volume) -> bool:
    """Someone's backup or disk needs a right on the guest, too."""
    if not volume.vmid:
        return True
    privilege = "VM.Backup" if volume.content == "backup" else "VM.Config.Disk"
    return call.may(f"/vms/{volume.vmid}", privilege)


def volume_row(volume: Volume) -> dict[str, Any]:
    row: dict[str, Any] = {
        "volid": volume.volid,
        "content": volume.content,
        "format": volume.format,
        "size": volume.size,
        "ctime": volume.ctime,
    }
    if volume.content in ("images", "rootdir"):
        row |= {"parent": None, "used": volume.used}
    optional: dict[str, Any] = {
        "vmid": volume.vmid,
        "notes": volume.notes,
        "protected": int(volume.protected),
        "subtype": volume.subtype,
    }
    return row | {key: value for key, value in optional.items() if value}


def find_volume(call: Call) -> tuple[Storage, Volume]:
    storage = call.world.storage_parameter(call.params["storage"])
    name = str(call.params["volume"])
    volid = name if ":" in name and name.startswith(f"{storage.name}:") else f"{storage.name}:{name}"
    for volume in storage.on(call.node.name):
        if volume.volid == volid:
            return storage, volume
    raise ApiError(500, f"volume '{volid}' does not exist")


def volume_info(call: Call) -> dict[str, Any]:
    _, volume = find_volume(call)
    row = volume_row(volume)
    return {"path": f"/var/lib/vz/{volume.volid}", "used": volume.size, **row}


def change_volume(call: Call) -> None:
    _, volume = find_volume(call)
    if "notes" in call.params:
        volume.notes = call.params["notes"]
    if "protected" in call.params:
        volume.protected = bool(call.params["protected"])


def delete_volume(call: Call) -> str:
    storage, volume = find_volume(call)
    call.need(f"/storage/{storage.name}", "Datastore.AllocateSpace")
    if volume.protected:
        raise ApiError(500, f"volume '{volume.volid}' is protected - cannot remove it")

    async def work(task: Task) -> None:
        await task.sleep(0.6)
        storage.on(task.node).remove(volume)
        for server in call.world.pbs.values() if storage.kind == "pbs" else ():
            forget(server.datastores[storage.datastore], volume)
        task.say(f"Removed volume '{volume.volid}'")

    owner = f"{volume.vmid}@" if volume.vmid else ""
    return call.start("imgdel", f"{owner}{storage.name}", work)


def forget(store: Datastore, volume: Volume) -> None:
    """A Backup Server's snapshot goes with the volume that it is on a storage."""
    kind, ident, at = volume.volid.partition(":backup/")[2].split("/")
    label = f"{kind}/{ident}/{at}"
    store.snapshots[:] = [one for one in store.snapshots if one.namespace or one.label != label]


def prune_preview(call: Call) -> list[dict[str, Any]]:
    storage = call.world.storage_parameter(call.params["storage"])
    rows = [volume for volume in storage.on(call.node.name) if volume.content == "backup"]
    return [
        {
            "volid": volume.volid,
            "ctime": volume.ctime,
            "mark": "protected" if volume.protected else "keep",
            "type": volume.subtype or "unknown",
            "vmid": volume.vmid,
        }
        for volume in rows
        if call.params.get("vmid", volume.vmid) == volume.vmid
    ]


ROUTES: tuple[Route, ...] = (
    ("GET", "/storage", index),
    ("GET", "/storage/{storage}", one),
    ("GET", "/nodes/{node}/storage", listing),
    ("GET", "/nodes/{node}/storage/{storage}/status", status),
    ("GET", "/nodes/{node}/storage/{storage}/rrddata", rrddata),
    ("GET", "/nodes/{node}/storage/{storage}/content", content),
    ("GET", "/nodes/{node}/storage/{storage}/content/{volume}", volume_info),
    ("PUT", "/nodes/{node}/storage/{storage}/content/{volume}", change_volume),
    ("DELETE", "/nodes/{node}/storage/{storage}/content/{volume}", delete_volume),
    ("GET", "/nodes/{node}/storage/{storage}/prunebackups", prune_preview),
)
