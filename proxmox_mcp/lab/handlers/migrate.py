"""Guests that move to another node."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import power, sizes
from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError, TaskError, bad_parameters
from proxmox_mcp.lab.state import Guest
from proxmox_mcp.lab.vzlog import stamp
from proxmox_mcp.lab.world import ha_sid

from .kinds import both, guest_task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxmox_mcp.lab.state import Node
    from proxmox_mcp.lab.tasks import Task
    from proxmox_mcp.lab.world import World

    Change = Callable[[World, Guest, Task], Awaitable[None]]


def migrate_check(call: Call) -> dict[str, Any]:
    guest = call.guest
    others = [node.name for node in call.world.nodes.values() if node.name != guest.node]
    return {
        "allowed_nodes": others,
        "has-dbus-vmstate": 1,
        "local_disks": _local_disks(call.world, guest),
        "local_resources": sorted(key for key in guest.config if re.fullmatch(r"(hostpci|usb)\d+", key)),
        "mapped-resource-info": {},
        "mapped-resources": [],
        "not_allowed_nodes": {name: {} for name in others},
        "running": int(guest.running),
    }


def _local_disks(world: World, guest: Guest) -> list[dict[str, Any]]:
    """Disks and CD images that only this node has."""
    rows = []
    for key, drive in sorted(guest.config.items()):
        volid = str(drive).partition(",")[0]
        if not re.fullmatch(r"(scsi|virtio|sata|ide)\d+", key) or world.storages.get(volid.partition(":")[0]) is None:
            continue
        if world.storage(volid.partition(":")[0]).shared:
            continue
        rows.append(
            {
                "cdrom": int("media=cdrom" in str(drive)), "drivename": key, "is_attached": 1,
                "is_cloudinit": int("cloudinit" in volid), "is_tpmstate": 0, "is_unused": 0, "is_vmstate": 0,
                "replicate": 1, "shared": 0, "size": sizes.size_of(str(drive)), "volid": volid,
            }
        )  # fmt: skip
    return rows


def container_check(call: Call) -> dict[str, Any]:
    guest = call.guest
    others = [node.name for node in call.world.nodes.values() if node.name != guest.node]
    return {"allowed-nodes": others, "running": int(guest.running)}


def migrate(call: Call) -> str:
    world, guest, target = call.world, call.guest, call.world.node(call.params["target"])
    if target.name == guest.node:
        raise bad_parameters({"target": "target is local node."})
    if guest.running and guest.kind == "qemu" and not call.params.get("online"):
        raise ApiError(500, "can't migrate running VM without --online")
    if guest.running and guest.kind == "lxc" and not call.params.get("restart"):
        raise ApiError(500, "lxc live migration is currently not implemented")

    if power.ha_managed(world, guest.vmid):
        return _ask_manager(call, guest, target)

    async def step(world: World, found: Guest, task: Task) -> None:
        power.check_lock(found)
        started = world.now()

        def said(text: str) -> None:
            task.say(f"{stamp(world.now())} {text}")

        if not target.online:
            said(
                f"# /usr/bin/ssh -e none -o 'BatchMode=yes' -o 'HostKeyAlias={target.name}' root@{target.ip} /bin/true"
            )
            await task.sleep(3.0)
            said(f"ssh: connect to host {target.ip} port 22: No route to host")
            said("ERROR: migration aborted (duration 00:00:03): Can't connect to destination address using public key")
            raise TaskError("migration aborted")
        if text := _obstacle(call, found):
            said(f"ERROR: migration aborted (duration 00:00:00): {text}")
            raise TaskError("migration aborted")
        noun = power.NOUN[found.kind]
        said(f"starting migration of {noun} {found.vmid} to node '{target.name}' ({target.ip})")
        found.lock = "migrate"
        try:
            await task.sleep(1.5)
        finally:
            found.lock = ""
        _move(world, found, target.name)
        if found.kind == "lxc" and found.running:
            found.started_at = world.now()
        said(f"migration finished successfully (duration 00:00:{int(world.now() - started):02d})")

    return guest_task(call, "migrate", step)


def _obstacle(call: Call, guest: Guest) -> str:
    """What Proxmox finds out in the task."""
    local = _local_disks(call.world, guest) if guest.kind == "qemu" else []
    if discs := [row["volid"] for row in local if row["cdrom"] and not row["is_cloudinit"]]:
        return f"Problem found while scanning volumes - can't migrate local cdrom '{discs[0]}'"
    if devices := sorted(key for key in guest.config if re.fullmatch(r"(hostpci|usb)\d+", key)):
        return f"can't migrate VM which uses local devices: {', '.join(devices)}"
    if guest.running and any(not row["cdrom"] for row in local) and not call.params.get("with-local-disks"):
        return "can't live migrate attached local disks without with-local-disks option"
    return ""


def _ask_manager(call: Call, guest: Guest, target: Node) -> str:
    """What HA manages is moved by its manager, a while after the task that asked for it."""
    world = call.world

    async def work(task: Task) -> None:
        task.say(f"requesting HA migration for service {ha_sid(guest)} to node {target.name}")
        await task.sleep(0.3)
        later = asyncio.get_running_loop().call_later(5 / task.speed, _move, world, guest, target.name)
        world.timers.append(later)

    return call.start("hamigrate", guest.vmid, work)


def _move(world: World, guest: Guest, node: str) -> None:
    """Local volumes go along."""
    for storage in world.storages.values():
        if not storage.shared:
            mine = [one for one in storage.on(guest.node) if one.vmid == guest.vmid and one.content != "backup"]
            storage.volumes[guest.node] = [one for one in storage.on(guest.node) if one not in mine]
            storage.on(node).extend(mine)
    guest.node, guest.report_tick = node, -1
    world.moved(guest)


ROUTES: tuple[Route, ...] = (
    ("GET", "/nodes/{node}/qemu/{vmid}/migrate", migrate_check),
    ("GET", "/nodes/{node}/lxc/{vmid}/migrate", container_check),
    *both("POST", "/{vmid}/migrate", migrate),
)
