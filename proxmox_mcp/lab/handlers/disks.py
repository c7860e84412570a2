"""Disks of guests: taken off and kept as unused, deleted, moved to another storage or to another guest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from proxmox_mcp.lab import build, power, resources, sizes
from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError, TaskError

if TYPE_CHECKING:
    from proxmox_mcp.lab.state import Guest, Storage, Volume
    from proxmox_mcp.lab.tasks import Task
    from proxmox_mcp.lab.world import World

_DISK = re.compile(r"(scsi|virtio|sata|ide|mp)\d+|rootfs")
_UNUSED = re.compile(r"unused\d+")
_PLUGGED = "network,disk,usb"


def _volid(text: str) -> str:
    return text.partition(",")[0]


def _find(world: World, volid: str, node: str) -> tuple[Storage, Volume]:
    storage = world.storage(volid.partition(":")[0])
    for volume in storage.on(node):
        if volume.volid == volid:
            return storage, volume
    raise ApiError(500, f"volume '{volid}' does not exist")


def stays(guest: Guest, key: str) -> bool:
    """Whether a deleted setting is only marked, since a running guest cannot be without it."""
    if not guest.running or not re.fullmatch(r"(scsi|virtio|sata|ide|mp|net)\d+", key):
        return False
    if guest.kind == "lxc":
        return key.startswith("mp")
    plugs = str(guest.config.get("hotplug", _PLUGGED)).split(",")
    return key.startswith(("sata", "ide")) or ("network" if key.startswith("net") else "disk") not in plugs


def take_off(world: World, guest: Guest, key: str) -> None:
    """A disk that is taken off stays as the first free unused one; an unused one is deleted with its data."""
    text = str(guest.config.get(key, ""))
    volid = _volid(text)
    if _UNUSED.fullmatch(key) and text:
        if any(_volid(str(value)) == volid for one in guest.snapshots for value in one.config.values()):
            raise ApiError(500, f"unable to remove '{volid}' directly - volume is used in a snapshot")
        storage, volume = _find(world, volid, guest.node)
        storage.on(guest.node).remove(volume)
    guest.config.pop(key, None)
    if _DISK.fullmatch(key) and ":" in volid and "media=cdrom" not in text:
        keep(guest, volid)


def keep(guest: Guest, volid: str) -> None:
    free = next(f"unused{number}" for number in range(256) if f"unused{number}" not in guest.config)
    guest.config[free] = volid


def move(call: Call) -> str:
    """`move_disk` of a VM, `move_volume` of a container."""
    guest, params = call.guest, call.params
    key = str(params.get("disk") or params.get("volume"))
    call.need(f"/vms/{guest.vmid}", "VM.Config.Disk")
    if ("storage" in params) == ("target-vmid" in params):
        raise ApiError(400, "Parameter verification failed.", {"storage": "either target storage or target VMID"})
    if params.get("digest", guest.digest) != guest.digest:
        raise ApiError(500, "checksum mismatch (file change by other user?)")
    if "target-vmid" in params:
        return _to_guest(call, guest, key)
    storage = call.world.usable_storage(params["storage"], guest.node)
    call.need(f"/storage/{storage.name}", "Datastore.AllocateSpace")
    if guest.kind == "lxc" and guest.running:
        raise ApiError(500, "cannot move volumes of a running container")

    async def work(task: Task) -> None:
        await _to_storage(call, guest, key, storage, task)

    return call.start("qmmove" if guest.kind == "qemu" else "move_volume", guest.vmid, work)


async def _to_storage(call: Call, guest: Guest, key: str, storage: Storage, task: Task) -> None:
    world, text = call.world, str(guest.config.get(key, ""))
    power.check_lock(guest)
    if not text:
        raise TaskError(f"disk '{key}' does not exist")
    if _volid(text).partition(":")[0] == storage.name:
        raise TaskError("you can't move to the same storage with same format")
    if call.params.get("delete") and any(
        _volid(str(value)) == _volid(text) for one in guest.snapshots for value in one.config.values()
    ):
        raise TaskError("you can't move a disk with snapshots and delete the source")
    guest.lock = "disk"
    try:
        task.say(f"create full clone of drive {key} ({_volid(text)})")
        await task.sleep(1.0)
    finally:
        guest.lock = ""
    volid = build.disk_volume(
        storage, guest.vmid, guest.kind, guest.node, size=sizes.size_of(text), at=world.now()
    )  # fmt: skip
    guest.config[key] = volid + text[len(_volid(text)) :]
    if call.params.get("delete"):
        old, volume = _find(world, _volid(text), guest.node)
        old.on(guest.node).remove(volume)
    else:
        keep(guest, _volid(text))
    resources.touch(world, guest)


def _to_guest(call: Call, guest: Guest, key: str) -> str:
    """The volume gets the other guest's name; both must be on one node."""
    world, params = call.world, call.params
    other = world.guests.get(int(params["target-vmid"]))
    if other is None or other.kind != guest.kind:
        raise ApiError(500, f"can't find configuration file for '{params['target-vmid']}'")
    call.need(f"/vms/{other.vmid}", "VM.Config.Disk")
    place = str(params.get("target-disk") or params.get("target-volume") or key)
    if other.node != guest.node:
        raise ApiError(500, "Both VMs need to be on the same node")
    if params.get("target-digest", other.digest) != other.digest:
        raise ApiError(500, "checksum mismatch (file change by other user?)")
    if guest.running and not _UNUSED.fullmatch(key):
        raise ApiError(500, "cannot move disk of a running VM to another one")
    if place in other.config:
        raise ApiError(500, f"Target disk key '{place}' is already in use for target VM '{other.vmid}'")

    async def work(task: Task) -> None:
        power.check_lock(guest)
        power.check_lock(other)
        text = str(guest.config.pop(key, ""))
        storage, volume = _find(world, _volid(text), guest.node)
        await task.sleep(0.4)
        volid = build.disk_volume(storage, other.vmid, other.kind, other.node, size=volume.size, at=world.now())
        storage.on(guest.node).remove(volume)
        other.config[place] = volid + text[len(_volid(text)) :]
        for one in (guest, other):
            resources.touch(world, one)

    return call.start("qmmove" if guest.kind == "qemu" else "move_volume", guest.vmid, work)


ROUTES: tuple[Route, ...] = (
    ("POST", "/nodes/{node}/qemu/{vmid}/move_disk", move),
    ("POST", "/nodes/{node}/lxc/{vmid}/move_volume", move),
)
