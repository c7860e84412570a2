"""Guests that begin and end: created, restored, cloned, made a template, destroyed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import build, power, resources, sizes
from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError, TaskError, bad_parameters
from proxmox_mcp.lab.state import Guest, Load

from . import restore
from .config import NOT_CONFIG, allocate, check_given
from .kinds import PREFIX, both, guest_task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxmox_mcp.lab.state import GuestKind
    from proxmox_mcp.lab.tasks import Task
    from proxmox_mcp.lab.world import World

    Change = Callable[[World, Guest, Task], Awaitable[None]]


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
    if "archive" in params or params.get("restore"):
        return restore.restore(call)
    old = world.guests.get(call.vmid)
    if old is not None and not params.get("force"):
        raise ApiError(
            500, f"unable to create {noun} {call.vmid} - {noun} {call.vmid} already exists on node '{old.node}'"
        )
    if pool and pool not in world.pools:
        raise ApiError(500, f"pool '{pool}' does not exist")
    check_given(call, kind)
    reserved = _reserved(call, kind, call.vmid, call.node.name, "create") if old is None else None

    async def work(task: Task) -> None:
        try:
            await task.sleep(0.8)
            if old is not None:
                world.remove_guest(old)
            guest = reserved or _reserved(call, kind, call.vmid, call.node.name, "create")
            _fill(call, guest)
        except TaskError:
            if reserved is not None:
                world.remove_guest(reserved)
            raise
        if params.get("start"):
            power.turn_on(world, guest)

    return call.start(f"{PREFIX[kind]}create", call.vmid, work)


def _reserved(call: Call, kind: GuestKind, vmid: int, node: str, lock: str) -> Guest:
    """The configuration file that keeps an id from anybody else: written before the answer, as Proxmox does."""
    world = call.world
    guest = Guest(
        vmid, kind, node, {"lock": lock}, build.load(world.rng, 0.05), pool=call.params.get("pool", "")
    )  # fmt: skip
    resources.newborn(world, guest)
    world.add_guest(guest)
    return guest


def _fill(call: Call, guest: Guest) -> None:
    world, params, kind = call.world, call.params, guest.kind
    config: dict[str, Any] = (
        {"cores": 1, "memory": "512", "numa": 0, "ostype": "other", "smbios1": f"uuid={build.uuid4(world.rng)}",
         "sockets": 1, "vmgenid": build.uuid4(world.rng), "boot": ""}
        if kind == "qemu"
        else {"arch": "amd64", "memory": 512, "swap": 512, "ostype": "debian"}
    )  # fmt: skip
    for key, value in params.items():
        if key not in NOT_CONFIG:
            stored = allocate(call, guest, key, value)
            config[key] = str(stored) if key == "memory" and kind == "qemu" else stored
    guest.config = config
    resources.touch(world, guest)


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

    _check_clone(call, source, full=full)
    clone = _reserved(call, source.kind, newid, target.name, "clone")

    async def work(task: Task) -> None:
        try:
            await _cloned(call, source, clone, task, full=full)
        except TaskError:
            world.remove_guest(clone)
            raise

    return call.start(f"{PREFIX[source.kind]}clone", source.vmid, work)


def _check_clone(call: Call, source: Guest, *, full: bool) -> None:
    params = call.params
    if "storage" in params and not full:
        raise bad_parameters({"storage": "parameter 'storage' not allowed for linked clones"})
    if source.kind == "lxc" and source.running and full and "snapname" not in params:
        raise ApiError(500, "Cannot do full clones on a running container without snapshots")
    drives = sizes.disks(source.config, source.kind).values()
    for name in dict.fromkeys(params.get("storage", drive.partition(":")[0]) for drive in drives):
        call.need(f"/storage/{name}", "Datastore.AllocateSpace")
    local = [drive for drive in drives if not call.world.storage(drive.partition(":")[0]).shared]
    if local and params.get("target", source.node) != source.node:
        raise ApiError(
            500,
            f"can't clone VM to node '{params['target']}' (VM uses local storage - volume '{local[0].split(',')[0]}')",
        )


async def _cloned(call: Call, source: Guest, clone: Guest, task: Task, *, full: bool) -> None:
    power.check_lock(source)
    if source.kind == "qemu":
        task.say(f"creating a clone of VM {source.vmid} with ID {clone.vmid}")
    elif full:
        task.say("create full clone")
    for key in sizes.disks(source.config, source.kind):
        volume = str(source.config[key]).partition(",")[0]
        task.say(f"create {'full' if full else 'linked'} clone of drive {key} ({volume})")
    await task.sleep(2.0 if full else 0.8)
    _copy(call, source, clone)


def _copy(call: Call, source: Guest, clone: Guest) -> None:
    world, params = call.world, call.params
    kept = next((one.config for one in source.snapshots if one.name == params.get("snapname")), source.config)
    config = {key: value for key, value in kept.items() if key not in ("template", "lock", "parent")}
    for key, drive in sizes.disks(kept, source.kind).items():
        storage = world.storage(params.get("storage", drive.partition(":")[0]))
        size = sizes.size_of(drive)
        volid = build.disk_volume(storage, clone.vmid, source.kind, clone.node, size=size, at=world.now())
        config[key] = f"{volid},size={sizes.render(size)}"
    config["name" if source.kind == "qemu" else "hostname"] = (
        params.get("name") or params.get("hostname") or f"Copy-of-{power.NOUN[source.kind]}-{source.name}"
    )
    if "description" in params:
        config["description"] = params["description"]
    old = source.load
    clone.config, clone.load = config, Load(old.cpu, old.memory, old.network, old.disk, old.phase + clone.vmid)
    resources.touch(world, clone)


def delete(call: Call) -> str:
    guest = call.guest
    noun = power.NOUN[guest.kind]
    if guest.config.get("protection"):
        raise ApiError(500, f"can't remove {noun} {guest.vmid} - protection mode enabled")
    if power.ha_managed(call.world, guest.vmid) and not call.params.get("purge"):
        raise ApiError(500, f"unable to remove {noun} {guest.vmid} - used in HA resources and purge parameter not set.")
    if not call.params.get("purge"):
        _not_replicated(call.world, guest)
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
            _purge(world, found)
        await task.sleep(0.7)
        if found.running:
            raise TaskError(f"VM {found.vmid} is running - destroy failed")
        world.remove_guest(found)

    return guest_task(call, "destroy", step)


def _not_replicated(world: World, guest: Guest) -> None:
    for job in world.replication.values():
        if job.vmid == guest.vmid:
            raise ApiError(
                500, f"There is a replication job '{job.ident}' for guest '{job.vmid}' - Please remove that first."
            )


def _purge(world: World, guest: Guest) -> None:
    for ident in [job.ident for job in world.replication.values() if job.vmid == guest.vmid]:
        del world.replication[ident]
    for job in world.backup_jobs.values():
        job.vmids = tuple(vmid for vmid in job.vmids if vmid != guest.vmid)


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

    if guest.kind == "qemu":
        return guest_task(call, "template", step)
    resources.settle(call.world, guest)
    guest.config["template"] = 1
    resources.touch(call.world, guest)
    return None


ROUTES: tuple[Route, ...] = (
    *both("POST", "", create),
    *both("DELETE", "/{vmid}", delete),
    *both("POST", "/{vmid}/clone", clone),
    *both("POST", "/{vmid}/template", make_template),
)
