"""Backups opened again: the configuration in them, and guests made of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import build, power, resources, sizes
from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError, TaskError
from proxmox_mcp.lab.state import Guest

from .kinds import PREFIX

if TYPE_CHECKING:
    from proxmox_mcp.lab.state import Storage, Volume
    from proxmox_mcp.lab.tasks import Task

_MAC = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")
CONTENT = {"qemu": "images", "lxc": "rootdir"}
OWN = ("name", "hostname", "description", "memory", "cores", "onboot", "tags")


def backup(call: Call, volid: str) -> Volume:
    """Find a backup that the node reaches and the caller may read."""
    storage = call.world.usable_storage(volid.partition(":")[0], call.node.name)
    found = next((one for one in storage.on(call.node.name) if one.volid == volid), None)
    if found is None or found.content != "backup":
        raise ApiError(500, f"volume '{volid}' does not exist")
    call.need(f"/storage/{storage.name}", "Datastore.AllocateSpace")
    if found.vmid:
        call.need(f"/vms/{found.vmid}", "VM.Backup")
    return found


def extract_config(call: Call) -> str:
    """What a backup says of its guest, as text."""
    found = backup(call, str(call.params["volume"]))
    kept = {key: value for key, value in found.config.items() if key not in ("lock", "parent", "digest")}
    return "".join(f"{key}: {value}\n" for key, value in sorted(kept.items()))


def restore(call: Call) -> str:
    """Without `force` only under an id that is free."""
    world, params, kind = call.world, call.params, call.kind
    noun = power.NOUN[kind]
    found = backup(call, str(params.get("archive") or params.get("ostemplate")))
    old = world.guests.get(call.vmid)
    if old is not None and not params.get("force"):
        raise ApiError(
            500, f"unable to restore {noun} {call.vmid} - {noun} {call.vmid} already exists on node '{old.node}'"
        )
    if found.subtype and found.subtype != kind:
        raise ApiError(500, f"unable to restore {noun} {call.vmid} - archive is of another type")
    targets = _targets(call, found)

    async def work(task: Task) -> None:
        task.say(f"restore {found.volid}", f"progress 100% (read {found.size} bytes)")
        await task.sleep(2.0)
        if old is not None:
            world.remove_guest(old)
        if call.vmid in world.guests:
            raise TaskError(f"{noun} {call.vmid} already exists")
        guest = _make(call, found, targets)
        if params.get("start"):
            power.turn_on(world, guest)

    return call.start(f"{PREFIX[kind]}restore", call.vmid, work)


def _targets(call: Call, found: Volume) -> dict[str, Storage]:
    """Where each disk goes. A container's go to `local` unless something else was said."""
    kind, said = call.kind, call.params.get("storage")
    targets = {}
    for key, drive in sizes.disks(found.config, kind).items():
        name = said or ("local" if kind == "lxc" else drive.partition(":")[0])
        storage = call.world.usable_storage(name, call.node.name)
        call.need(f"/storage/{storage.name}", "Datastore.AllocateSpace")
        if CONTENT[kind] not in storage.content.split(","):
            what = "container directories" if kind == "lxc" else "vm images"
            raise ApiError(500, f"storage '{storage.name}' does not support {what}")
        targets[key] = storage
    return targets


def _make(call: Call, found: Volume, targets: dict[str, Storage]) -> Guest:
    world, params, kind = call.world, call.params, call.kind
    config: dict[str, Any] = {k: v for k, v in found.config.items() if k not in ("lock", "parent")}
    for key, storage in targets.items():
        size = sizes.size_of(str(config[key]))
        volid = build.disk_volume(storage, call.vmid, kind, call.node.name, size=size, at=world.now())
        config[key] = f"{volid},size={sizes.render(size)}"
    if params.get("unique"):
        nets = [key for key in config if re.fullmatch(r"net\d+", key)]
        config |= {key: _MAC.sub(build.mac(world.rng), str(config[key]), count=1) for key in nets}
    config |= {key: params[key] for key in OWN if key in params}
    guest = Guest(call.vmid, kind, call.node.name, config, build.load(world.rng, 0.05), pool=params.get("pool", ""))
    resources.newborn(world, guest)
    world.add_guest(guest)
    return guest


ROUTES: tuple[Route, ...] = (("GET", "/nodes/{node}/vzdump/extractconfig", extract_config),)
