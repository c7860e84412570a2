"""What changes a guest: configuration, disks, snapshots, clones, migration, creation, destruction."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import build, power, resources, sizes
from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError, TaskError, bad_parameters
from proxmox_mcp.lab.state import Guest, Load, Snapshot
from proxmox_mcp.lab.vzlog import stamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxmox_mcp.lab.state import GuestKind
    from proxmox_mcp.lab.tasks import Task
    from proxmox_mcp.lab.world import World

    Change = Callable[[World, Guest, Task], Awaitable[None]]

PREFIX = {"qemu": "qm", "lxc": "vz"}
TASK_NAMES = {("qemu", "migrate"): "qmigrate"}
_NOT_CONFIG = frozenset(
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
    given = {key: value for key, value in call.params.items() if key not in _NOT_CONFIG}
    removed = [key for key in re.split(r"[,;\s]+", str(call.params.get("delete", ""))) if key]
    _need_config(call, set(given) | set(removed))
    call.world.need_quorum()
    if guest.lock and not call.params.get("skiplock"):
        raise ApiError(500, power.locked(guest))
    if call.params.get("digest", guest.digest) != guest.digest:
        raise ApiError(500, "checksum mismatch (file change by other user?)")
    given = {key: _allocate(call, guest, key, value) for key, value in given.items()}
    _apply(call.world, guest, given, removed)
    return None


def set_config_task(call: Call) -> str:
    set_config(call)

    async def work(task: Task) -> None:
        given = (
            f"update VM {call.vmid}: -{key} {value}" for key, value in call.params.items() if key not in _NOT_CONFIG
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


def _allocate(call: Call, guest: Guest, key: str, value: Any) -> Any:
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
    volid = build.disk_volume(storage, guest.vmid, guest.kind, guest.node, size, call.world.now())
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


def create_snapshot(call: Call) -> str:
    name = call.params["snapname"]
    vmstate = bool(call.params.get("vmstate"))
    description = call.params.get("description", "")

    async def step(world: World, guest: Guest, task: Task) -> None:
        power.check_lock(guest)
        if "snapshot" in guest.breaks and guest.running:
            guest.lock = "snapshot"
            guest.snapshots.append(Snapshot(name, int(world.now()), description, prepared=True))
            power.broken(guest, "snapshot", task)
        if any(one.name == name for one in guest.snapshots):
            raise TaskError(f"snapshot name '{name}' already used")
        guest.lock = "snapshot"
        try:
            await task.sleep(1.0)
        finally:
            guest.lock = ""
        kept = {key: value for key, value in guest.config.items() if key not in ("parent", "lock")}
        parent = str(guest.config.get("parent", ""))
        guest.snapshots.append(Snapshot(name, int(world.now()), description, parent, vmstate, kept))
        guest.config["parent"] = name

    return _task(call, "snapshot", step)


def delete_snapshot(call: Call) -> str:
    name = call.params["snapname"]

    async def step(world: World, guest: Guest, task: Task) -> None:
        del world
        found = _snapshot(guest, name)
        power.check_lock(guest)
        await task.sleep(0.8)
        guest.snapshots.remove(found)
        for one in guest.snapshots:
            one.parent = found.parent if one.parent == name else one.parent
        if guest.config.get("parent") == name:
            guest.config.pop("parent")
            if found.parent:
                guest.config["parent"] = found.parent

    return _task(call, "delsnapshot", step)


def rollback(call: Call) -> str:
    """A running guest stops; it runs again afterwards only with a saved state or `start`."""
    name = call.params["snapname"]

    async def step(world: World, guest: Guest, task: Task) -> None:
        found = _snapshot(guest, name)
        if found.prepared:
            raise TaskError("unable to rollback to incomplete snapshot (snapstate = prepare)")
        power.check_lock(guest)
        guest.lock = "rollback"
        try:
            await task.sleep(1.2)
        finally:
            guest.lock = ""
        power.turn_off(world, guest)
        guest.config = dict(found.config) | {"parent": name}
        if found.vmstate or call.params.get("start"):
            power.turn_on(world, guest)
        resources.touch(world, guest)

    return _task(call, "rollback", step)


def _snapshot(guest: Guest, name: str) -> Snapshot:
    for one in guest.snapshots:
        if one.name == name:
            return one
    raise TaskError(f"snapshot '{name}' does not exist")


def update_snapshot(call: Call) -> None:
    try:
        found = _snapshot(call.guest, call.params["snapname"])
    except TaskError as error:
        raise ApiError(500, str(error)) from error
    found.description = call.params.get("description", found.description)


def _task(call: Call, verb: str, step: Change) -> str:
    kind = call.kind
    return call.start(
        TASK_NAMES.get((kind, verb), f"{PREFIX[kind]}{verb}"),
        call.vmid,
        power.work(call.world, call.vmid, call.node.name, kind, step),
    )


def create(call: Call) -> str:
    """Make a guest, or restore one from `archive` (a container: `ostemplate` with `restore`)."""
    world, params, kind = call.world, call.params, call.kind
    noun = power.NOUN[kind]
    pool = params.get("pool", "")
    call.need(
        f"/pool/{pool}" if pool and not call.may(f"/vms/{call.vmid}", "VM.Allocate") else f"/vms/{call.vmid}",
        "VM.Allocate",
    )
    world.need_quorum()
    old = world.guests.get(call.vmid)
    if old is not None and not params.get("force"):
        raise ApiError(
            500, f"unable to create {noun} {call.vmid} - {noun} {call.vmid} already exists on node '{old.node}'"
        )
    if pool and pool not in world.pools:
        raise ApiError(500, f"pool '{pool}' does not exist")
    restores = "archive" in params or bool(params.get("restore"))

    async def work(task: Task) -> None:
        await task.sleep(2.0 if restores else 0.8)
        if old is not None:
            world.remove_guest(old)
        guest = _new_guest(call, kind)
        if params.get("start"):
            power.turn_on(world, guest)

    return call.start(f"{PREFIX[kind]}{'restore' if restores else 'create'}", call.vmid, work)


def _new_guest(call: Call, kind: GuestKind) -> Guest:
    world, params = call.world, call.params
    config: dict[str, Any] = (
        {"cores": 1, "memory": "512", "numa": 0, "ostype": "other", "smbios1": f"uuid={build.uuid4(world.rng)}",
         "sockets": 1, "vmgenid": build.uuid4(world.rng), "boot": ""}
        if kind == "qemu"
        else {"arch": "amd64", "memory": 512, "swap": 512, "ostype": "debian"}
    )  # fmt: skip
    guest = Guest(
        call.vmid, kind, call.node.name, config, build.load(world.rng, 0.05),
        pool=params.get("pool", ""), created_at=world.now(),
    )  # fmt: skip
    resources.newborn(world, guest)
    world.add_guest(guest)
    given = {key: value for key, value in params.items() if key not in _NOT_CONFIG}
    for key, value in given.items():
        stored = _allocate(call, guest, key, value)
        config[key] = str(stored) if key == "memory" and kind == "qemu" else stored
    return guest


def clone(call: Call) -> str:
    world, params, source = call.world, call.params, call.guest
    newid = int(params["newid"])
    call.need(f"/vms/{newid}", "VM.Allocate")
    world.need_quorum()
    if newid in world.guests:
        raise ApiError(
            500, f"unable to create VM {newid} - VM {newid} already exists on node '{world.guests[newid].node}'"
        )
    target = world.node(params.get("target", source.node))
    full = bool(params.get("full", not source.template))

    async def work(task: Task) -> None:
        power.check_lock(source)
        task.say(
            f"creating a clone of VM {source.vmid} with ID {newid}" if source.kind == "qemu" else "create full clone"
        )
        for key in sizes.disks(source.config, source.kind):
            task.say(
                f"create {'full' if full else 'linked'} clone of drive {key} ({str(source.config[key]).partition(',')[0]})"
            )
        source.lock = "clone"
        try:
            await task.sleep(2.0 if full else 0.8)
        finally:
            source.lock = ""
        _copy(call, source, newid, target.name)

    return call.start(f"{PREFIX[source.kind]}clone", source.vmid, work)


def _copy(call: Call, source: Guest, newid: int, node: str) -> None:
    world, params = call.world, call.params
    config = {key: value for key, value in source.config.items() if key not in ("template", "lock", "parent")}
    for key, drive in sizes.disks(source.config, source.kind).items():
        storage = world.storage(params.get("storage", drive.partition(":")[0]))
        size = sizes.size_of(drive)
        volid = build.disk_volume(storage, newid, source.kind, node, size, world.now())
        config[key] = f"{volid},size={sizes.render(size)}"
    config["name" if source.kind == "qemu" else "hostname"] = (
        params.get("name") or params.get("hostname") or f"Copy-of-{power.NOUN[source.kind]}-{source.name}"
    )
    if "description" in params:
        config["description"] = params["description"]
    load = Load(source.load.cpu, source.load.memory, source.load.network, source.load.disk, source.load.phase + newid)
    guest = Guest(newid, source.kind, node, config, load, pool=params.get("pool", ""), created_at=world.now())
    resources.newborn(world, guest)
    world.add_guest(guest)


def delete(call: Call) -> str:
    guest = call.guest
    noun = power.NOUN[guest.kind]
    if guest.config.get("protection"):
        raise ApiError(500, f"can't remove {noun} {guest.vmid} - protection mode enabled")
    if power.ha_managed(call.world, guest.vmid) and not call.params.get("purge"):
        raise ApiError(500, f"unable to remove {noun} {guest.vmid} - used in HA resources and purge parameter not set.")
    if guest.running:
        text = f"VM {guest.vmid} is running - destroy failed" if guest.kind == "qemu" else (
            f"unable to destroy CT {guest.vmid} - container is running"
        )  # fmt: skip
        raise ApiError(500, text)
    if guest.lock:
        raise ApiError(500, power.locked(guest))

    async def step(world: World, found: Guest, task: Task) -> None:
        if call.params.get("purge"):
            task.say(f"purging {noun} {found.vmid} from related configurations..")
        await task.sleep(0.7)
        if found.running:
            raise TaskError(f"VM {found.vmid} is running - destroy failed")
        world.remove_guest(found)

    return _task(call, "destroy", step)


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
        said = lambda text: task.say(f"{stamp(world.now())} {text}")  # noqa: E731
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
    return _task(call, "migrate", step)


def _move(world: World, guest: Guest, node: str) -> None:
    """Local volumes go along."""
    for storage in world.storages.values():
        if not storage.shared:
            mine = [one for one in storage.on(guest.node) if one.vmid == guest.vmid and one.content != "backup"]
            storage.volumes[guest.node] = [one for one in storage.on(guest.node) if one not in mine]
            storage.on(node).extend(mine)
    guest.node, guest.report_tick = node, -1
    world.moved(guest)


def make_template(call: Call) -> str | None:
    guest = call.guest
    if guest.running:
        raise ApiError(
            500, f"you can't convert a {power.NOUN[guest.kind]} to template if {power.NOUN[guest.kind]} is running"
        )
    if guest.snapshots:
        raise ApiError(500, f"unable to create template, because {power.NOUN[guest.kind]} contains snapshots")

    async def step(world: World, found: Guest, task: Task) -> None:
        await task.sleep(0.5)
        resources.settle(world, found)
        found.config["template"] = 1
        resources.touch(world, found)

    return _task(call, "template", step) if guest.kind == "qemu" else _at_once(call, guest)


def _at_once(call: Call, guest: Guest) -> None:
    resources.settle(call.world, guest)
    guest.config["template"] = 1
    resources.touch(call.world, guest)


def _both(method: str, path: str, handler: Any) -> tuple[Route, ...]:
    return tuple((method, f"/nodes/{{node}}/{kind}{path}", handler) for kind in ("qemu", "lxc"))


ROUTES: tuple[Route, ...] = (
    *_both("POST", "", create),
    *_both("DELETE", "/{vmid}", delete),
    *_both("PUT", "/{vmid}/config", set_config),
    ("POST", "/nodes/{node}/qemu/{vmid}/config", set_config_task),
    *_both("PUT", "/{vmid}/resize", resize),
    *_both("POST", "/{vmid}/snapshot", create_snapshot),
    *_both("DELETE", "/{vmid}/snapshot/{snapname}", delete_snapshot),
    *_both("PUT", "/{vmid}/snapshot/{snapname}/config", update_snapshot),
    *_both("POST", "/{vmid}/snapshot/{snapname}/rollback", rollback),
    *_both("POST", "/{vmid}/clone", clone),
    ("GET", "/nodes/{node}/qemu/{vmid}/migrate", migrate_check),
    *_both("POST", "/{vmid}/migrate", migrate),
    *_both("POST", "/{vmid}/template", make_template),
)
