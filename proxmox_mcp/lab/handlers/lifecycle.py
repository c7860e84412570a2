"""Guests that begin and end: created, restored, cloned, made a template, destroyed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import build, power, resources, sizes
from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError, TaskError
from proxmox_mcp.lab.state import Guest, Load

from .config import NOT_CONFIG, allocate
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
        pool=params.get("pool", ""),
    )  # fmt: skip
    resources.newborn(world, guest)
    world.add_guest(guest)
    given = {key: value for key, value in params.items() if key not in NOT_CONFIG}
    for key, value in given.items():
        stored = allocate(call, guest, key, value)
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
            volume = str(source.config[key]).partition(",")[0]
            task.say(f"create {'full' if full else 'linked'} clone of drive {key} ({volume})")
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
        volid = build.disk_volume(storage, newid, source.kind, node, size=size, at=world.now())
        config[key] = f"{volid},size={sizes.render(size)}"
    config["name" if source.kind == "qemu" else "hostname"] = (
        params.get("name") or params.get("hostname") or f"Copy-of-{power.NOUN[source.kind]}-{source.name}"
    )
    if "description" in params:
        config["description"] = params["description"]
    load = Load(source.load.cpu, source.load.memory, source.load.network, source.load.disk, source.load.phase + newid)
    guest = Guest(newid, source.kind, node, config, load, pool=params.get("pool", ""))
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

    return guest_task(call, "destroy", step)


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
