"""A guest's configuration: set, delete, what waits for a stop, disks that grow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import build, power, resources, sizes
from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError, TaskError
from proxmox_mcp.lab.state import Guest

from .kinds import both

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxmox_mcp.lab.tasks import Task
    from proxmox_mcp.lab.world import World

    Change = Callable[[World, Guest, Task], Awaitable[None]]

NOT_CONFIG = frozenset(
    [
        "node",
        "vmid",
        "delete",
        "digest",
        "revert",
        "skiplock",
        "force",
        "background_delay",
        "archive",
        "storage",
        "pool",
        "start",
        "unique",
        "restore",
        "ostemplate",
        "password",
        "bwlimit",
        "ssh-public-keys",
        "live-restore",
        "import-working-storage",
        "ignore-unpack-errors",
        "ha-managed",
    ]
)


_NEEDS_STOP = frozenset({"cores", "sockets", "memory", "cpu", "machine", "bios", "scsihw", "balloon", "numa"})


_PRIVILEGE = (
    (r"cores|sockets|cpu|vcpus|cpulimit|cpuunits|numa|affinity", "VM.Config.CPU"),
    (r"memory|balloon|shares|swap|hugepages", "VM.Config.Memory"),
    (r"net\d+|nameserver|searchdomain|hostname|ipconfig\d+", "VM.Config.Network"),
    (r"(scsi|virtio|sata|ide|efidisk|tpmstate|unused|mp)\d+|rootfs", "VM.Config.Disk"),
    (r"ci\w+|sshkeys", "VM.Config.Cloudinit"),
    (r"bios|machine|scsihw|vga|serial\d+|rng0|watchdog|audio0", "VM.Config.HWType"),
)


_ROOT_ONLY = ("args", "hookscript", "lock")


def _need_config(call: Call, keys: set[str]) -> None:
    for key in sorted(keys):
        if key in _ROOT_ONLY:
            raise ApiError(500, f"only root can set '{key}' config")
        privilege = next((name for pattern, name in _PRIVILEGE if re.fullmatch(pattern, key)), "VM.Config.Options")
        call.need(f"/vms/{call.vmid}", privilege)


def set_config(call: Call) -> str | None:
    """PUT changes at once; POST of a VM does it in a task. What needs a stop waits in `pending`."""
    guest = call.guest
    given = {key: value for key, value in call.params.items() if key not in NOT_CONFIG}
    removed = [key for key in re.split(r"[,;\s]+", str(call.params.get("delete", ""))) if key]
    _need_config(call, set(given) | set(removed))
    call.world.need_quorum()
    if guest.lock and not call.params.get("skiplock"):
        raise ApiError(500, power.locked(guest))
    if call.params.get("digest", guest.digest) != guest.digest:
        raise ApiError(500, "checksum mismatch (file change by other user?)")
    given = {key: allocate(call, guest, key, value) for key, value in given.items()}
    _apply(call.world, guest, given, removed)
    return None


def set_config_task(call: Call) -> str:
    set_config(call)

    async def work(task: Task) -> None:
        given = (
            f"update VM {call.vmid}: -{key} {value}" for key, value in call.params.items() if key not in NOT_CONFIG
        )
        task.say(*given)

    return call.start("qmconfig", call.vmid, work)


def _apply(world: World, guest: Guest, given: dict[str, Any], removed: list[str]) -> None:
    resources.settle(world, guest)
    for key in removed:
        guest.config.pop(key, None)
        guest.pending.pop(key, None)
    waits = guest.running and guest.kind == "qemu"
    for key, value in given.items():
        stored = str(value) if key == "memory" and guest.kind == "qemu" else value
        if waits and key in _NEEDS_STOP and guest.config.get(key) != stored:
            guest.pending[key] = stored
        else:
            guest.config[key] = stored
            guest.pending.pop(key, None)
    resources.touch(world, guest)


def allocate(call: Call, guest: Guest, key: str, value: Any) -> Any:
    """`scsi1=local-lvm:8` makes a disk of 8 GiB; `virtio,bridge=…` gets a hardware address."""
    if re.fullmatch(r"net\d+", key) and not re.search(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", str(value)):
        if guest.kind == "lxc":
            return f"{value},hwaddr={build.mac(call.world.rng)},type=veth"
        return re.sub(r"^(model=)?(\w+)", lambda found: f"{found[2]}={build.mac(call.world.rng)}", str(value), count=1)
    new = re.match(r"([A-Za-z][\w\-.]*):(\d+)(?=,|$)", str(value))
    if new is None or not re.fullmatch(r"(scsi|virtio|sata|ide|mp)\d+|rootfs", key):
        return value
    storage = call.world.usable_storage(new[1], guest.node)
    call.need(f"/storage/{storage.name}", "Datastore.AllocateSpace")
    size = int(new[2]) * 1024**3
    volid = build.disk_volume(storage, guest.vmid, guest.kind, guest.node, size=size, at=call.world.now())
    return f"{volid}{str(value)[new.end() :]},size={new[2]}G"


def resize(call: Call) -> str:
    guest, disk, size = call.guest, call.params["disk"], str(call.params["size"])
    world = call.world

    async def work(task: Task) -> None:
        power.check_lock(guest)
        drive = str(guest.config.get(disk, ""))
        if not drive:
            raise TaskError(f"disk '{disk}' does not exist")
        old = sizes.size_of(drive)
        new = old + sizes.parse(size) if size.startswith("+") else sizes.parse(size)
        if new < old:
            raise TaskError("shrinking disks is not supported")
        await task.sleep(0.5)
        guest.config[disk] = re.sub(r"size=[^,]+", f"size={sizes.render(new)}", drive)
        resources.touch(world, guest)

    return call.start("resize", guest.vmid, work)


ROUTES: tuple[Route, ...] = (
    *both("PUT", "/{vmid}/config", set_config),
    ("POST", "/nodes/{node}/qemu/{vmid}/config", set_config_task),
    *both("PUT", "/{vmid}/resize", resize),
)
