"""A guest's configuration: set, delete, what waits for a stop, disks that grow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import build, power, resources, sizes
from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError, TaskError
from proxmox_mcp.lab.state import Guest, Volume

from . import disks
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
        guest.pending.pop(key, None)
        if not disks.stays(guest, key):
            disks.take_off(world, guest, key)
    waits = guest.running and guest.kind == "qemu"
    for key, value in given.items():
        stored = str(value) if key == "memory" and guest.kind == "qemu" else value
        if waits and (key in _NEEDS_STOP or disks.stays(guest, key)) and guest.config.get(key) != stored:
            guest.pending[key] = stored
        else:
            guest.config[key] = stored
            guest.pending.pop(key, None)
    resources.touch(world, guest)


def allocate(call: Call, guest: Guest, key: str, value: Any) -> Any:
    """`scsi1=local-lvm:8` makes a disk of 8 GiB; `virtio,bridge=…` gets a hardware address."""
    if re.fullmatch(r"net\d+", key) and not re.search(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", str(value)):
        if guest.kind == "lxc":
            typed = "" if "type=veth" in str(value) else ",type=veth"
            return f"{value},hwaddr={build.mac(call.world.rng)}{typed}"
        return re.sub(r"^(model=)?(\w+)", lambda found: f"{found[2]}={build.mac(call.world.rng)}", str(value), count=1)
    if not re.fullmatch(_DRIVE, key):
        return value
    volume, _, rest = str(value).partition(",")
    storage, _, name = volume.partition(":")
    if name == "cloudinit":
        return _cloudinit(call, guest, storage)
    if not name.isdigit():
        return _with_size(call, guest, str(value))
    given = [part for part in rest.split(",") if part]
    return _new_disk(call, guest, key, f"{storage}:{name}", given)


_DRIVE = r"(scsi|virtio|sata|ide|mp|efidisk|tpmstate)\d+|rootfs"
MIB4 = 4 * 1024**2  # of a cloud-init drive, EFI variables and a TPM


def _new_disk(call: Call, guest: Guest, key: str, wanted: str, given: list[str]) -> str:
    """`wanted` is `storage:GiB`, `given` what else was said; an import has the size of its source."""
    name, _, gib = wanted.partition(":")
    storage = call.world.usable_storage(name, guest.node)
    call.need(f"/storage/{storage.name}", "Datastore.AllocateSpace")
    source = next((part.partition("=")[2] for part in given if part.startswith("import-from=")), None)
    size = int(gib) * 1024**3 if source is None else _volume(call, guest, source).size
    size = MIB4 if key.startswith(("efidisk", "tpmstate")) else size
    volid = build.disk_volume(storage, guest.vmid, guest.kind, guest.node, size=size, at=call.world.now())
    kept = [part for part in given if not part.startswith("import-from=")]
    return ",".join([volid, *kept, f"size={sizes.render(size)}"])


def _cloudinit(call: Call, guest: Guest, name: str) -> str:
    storage = call.world.usable_storage(name, guest.node)
    call.need(f"/storage/{storage.name}", "Datastore.AllocateSpace")
    volid = f"{storage.name}:vm-{guest.vmid}-cloudinit"
    storage.on(guest.node).append(Volume(volid, "images", "raw", MIB4, int(call.world.now()), guest.vmid))
    return f"{volid},media=cdrom,size=4M"


def _volume(call: Call, guest: Guest, volid: str) -> Volume:
    storage = call.world.usable_storage(volid.partition(":")[0], guest.node)
    found = next((one for one in storage.on(guest.node) if one.volid == volid), None)
    if found is None:
        raise ApiError(500, f"volume '{volid}' does not exist")
    if found.vmid:
        call.need(f"/vms/{found.vmid}", "VM.Config.Disk")
    return found


def _with_size(call: Call, guest: Guest, value: str) -> str:
    """An image in a CD drive is shown with its size."""
    volid = value.partition(",")[0]
    if "media=cdrom" not in value or "size=" in value or ":iso/" not in volid:
        return value
    return f"{value},size={sizes.render(_volume(call, guest, volid).size)}"


def check_given(call: Call, kind: str) -> None:
    """What Proxmox looks at before it makes a guest: storages and privileges; the pool's count where there is one."""
    given = {key: str(value) for key, value in call.params.items() if key not in NOT_CONFIG}
    if not call.params.get("pool") and kind == "qemu":
        _need_config(call, set(given))
    for key, value in given.items():
        storage, _, name = value.partition(",")[0].partition(":")
        if re.fullmatch(_DRIVE, key) and (name.isdigit() or name == "cloudinit"):
            call.world.usable_storage(storage, call.node.name)
            call.need(f"/storage/{storage}", "Datastore.AllocateSpace")


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


def regenerate(call: Call) -> None:
    """Write the cloud-init drive anew; without one Proxmox does nothing, and says nothing."""
    guest = call.guest
    if guest.lock:
        raise ApiError(500, power.locked(guest))


ROUTES: tuple[Route, ...] = (
    ("PUT", "/nodes/{node}/qemu/{vmid}/cloudinit", regenerate),
    *both("PUT", "/{vmid}/config", set_config),
    ("POST", "/nodes/{node}/qemu/{vmid}/config", set_config_task),
    *both("PUT", "/{vmid}/resize", resize),
)
