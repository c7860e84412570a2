"""Guests that move to another node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import power, sizes
from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError, TaskError, bad_parameters
from proxmox_mcp.lab.state import Guest
from proxmox_mcp.lab.vzlog import stamp

from .kinds import both, guest_task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxmox_mcp.lab.tasks import Task
    from proxmox_mcp.lab.world import World

    Change = Callable[[World, Guest, Task], Awaitable[None]]


def migrate_check(call: Call) -> dict[str, Any]:
    guest = call.guest
    others = [node.name for node in call.world.nodes.values() if node.name != guest.node]
    disks = []
    for key, drive in sizes.disks(guest.config, "qemu").items():
        volid = drive.partition(",")[0]
        if call.world.storage(volid.partition(":")[0]).shared:
            continue
        disks.append(
            {
                "cdrom": 0, "drivename": key, "is_attached": 1, "is_cloudinit": 0, "is_tpmstate": 0, "is_unused": 0,
                "is_vmstate": 0, "replicate": 1, "shared": 0, "size": sizes.size_of(drive), "volid": volid,
            }
        )  # fmt: skip
    return {
        "allowed_nodes": others,
        "has-dbus-vmstate": 1,
        "local_disks": disks,
        "local_resources": [],
        "mapped-resource-info": {},
        "mapped-resources": [],
        "not_allowed_nodes": {name: {} for name in others},
        "running": int(guest.running),
    }


def migrate(call: Call) -> str:
    world, guest, target = call.world, call.guest, call.world.node(call.params["target"])
    if target.name == guest.node:
        raise bad_parameters({"target": "target is local node."})
    if guest.running and guest.kind == "qemu" and not call.params.get("online"):
        raise ApiError(500, "can't migrate running VM without --online")
    if guest.running and guest.kind == "lxc" and not call.params.get("restart"):
        raise ApiError(500, "lxc live migration is currently not implemented")

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
        noun = power.NOUN[found.kind]
        said(f"starting migration of {noun} {found.vmid} to node '{target.name}' ({target.ip})")
        found.lock = "migrate"
        try:
            await task.sleep(1.5)
        finally:
            found.lock = ""
        _move(world, found, target.name)
        said(f"migration finished successfully (duration 00:00:{int(world.now() - started):02d})")

    del world
    return guest_task(call, "migrate", step)


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
    *both("POST", "/{vmid}/migrate", migrate),
)
