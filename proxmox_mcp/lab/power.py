"""Turning guests on and off: the work inside the tasks, with Proxmox's refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import journal, resources
from .build import ROOT_SELF
from .errors import ApiError, TaskError
from .world import ha_sid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .state import Guest, GuestKind
    from .tasks import Task
    from .world import World

    Step = Callable[[World, Guest, Task], Awaitable[None]]

NOUN = {"qemu": "VM", "lxc": "CT"}


def locked(guest: Guest) -> str:
    return f"{NOUN[guest.kind]} is locked ({guest.lock})"


def check_lock(guest: Guest) -> None:
    if guest.lock:
        raise TaskError(locked(guest))


def broken(guest: Guest, what: str, task: Task) -> None:
    """End the task where this guest is known to fail."""
    if lines := guest.breaks.get(what):
        task.say(*lines[:-1])
        raise TaskError(lines[-1])


def turn_on(world: World, guest: Guest) -> None:
    resources.settle(world, guest)
    guest.config.update(guest.pending)
    guest.pending.clear()
    guest.running, guest.paused = True, False
    guest.started_at = world.now()
    node = world.nodes[guest.node]
    node.pids += 7
    guest.pid = node.pids
    resources.touch(world, guest)
    journal.power(world, guest, up=True)


def turn_off(world: World, guest: Guest) -> None:
    was_running = guest.running
    resources.settle(world, guest)
    guest.config.update(guest.pending)
    guest.pending.clear()
    guest.running, guest.paused, guest.pid = False, False, 0
    resources.touch(world, guest)
    if was_running:
        journal.power(world, guest, up=False)


async def start(world: World, guest: Guest, task: Task) -> None:
    suspended = guest.lock == "suspended"
    if not suspended:
        check_lock(guest)
    if guest.template:
        raise TaskError(
            f"you can't start a {NOUN[guest.kind].lower() if guest.kind == 'qemu' else 'CT'} if it's a template"
        )
    if guest.running:
        raise TaskError(f"{NOUN[guest.kind]} {guest.vmid} already running")
    if not world.quorate:
        raise TaskError("cluster not ready - no quorum?")
    await task.sleep(1.2)
    broken(guest, "start", task)
    if suspended:
        task.say("Resuming suspended VM")
        guest.lock = ""
    if guest.running:
        raise TaskError(f"{NOUN[guest.kind]} {guest.vmid} already running")
    turn_on(world, guest)


async def stop(world: World, guest: Guest, task: Task) -> None:
    check_lock(guest)
    if guest.running:
        await task.sleep(0.8)
        turn_off(world, guest)


async def shutdown(world: World, guest: Guest, task: Task) -> None:
    """Ask the guest's system; it takes a little longer than pulling the plug."""
    check_lock(guest)
    until = world.now() + guest.patience
    while guest.running and guest.deaf:
        if world.now() >= until:
            raise TaskError("VM quit/powerdown failed - got timeout")
        await task.sleep(0.2)
    if guest.running:
        await task.sleep(1.8)
        turn_off(world, guest)


async def reboot(world: World, guest: Guest, task: Task) -> None:
    check_lock(guest)
    await task.sleep(1.2)
    turn_off(world, guest)
    await task.sleep(0.6)
    turn_on(world, guest)


async def reset(world: World, guest: Guest, task: Task) -> None:
    """A reset keeps the process, so the uptime goes on."""
    del world
    check_lock(guest)
    await task.sleep(0.3)


async def suspend(world: World, guest: Guest, task: Task) -> None:
    check_lock(guest)
    await task.sleep(0.3)
    resources.settle(world, guest)
    guest.paused = True
    resources.touch(world, guest)


async def resume(world: World, guest: Guest, task: Task) -> None:
    """What was suspended to disk is started, as qemu-server does."""
    if guest.lock == "suspended":
        await start(world, guest, task)
        return
    check_lock(guest)
    await task.sleep(0.3)
    resources.settle(world, guest)
    guest.paused = False
    resources.touch(world, guest)


async def hibernate(world: World, guest: Guest, task: Task) -> None:
    """Suspend to disk: the state is saved, the process ends, the lock `suspended` stays."""
    check_lock(guest)
    guest.lock = "suspending"
    task.say(f"State is going to be saved on storage '{_state_storage(guest)}'", "suspending...")
    try:
        await task.sleep(1.8)
    except TaskError:
        guest.lock = ""
        raise
    turn_off(world, guest)
    guest.lock = "suspended"
    task.say("completed saving the VM state")


def _state_storage(guest: Guest) -> str:
    return str(guest.config.get("scsi0", "local:")).partition(":")[0]


def work(world: World, vmid: int, node: str, kind: GuestKind, step: Step) -> Callable[[Task], Awaitable[None]]:
    """Look the guest up inside the task: a start of an unknown one gets a UPID and fails there."""

    async def run(task: Task) -> None:
        try:
            guest = world.guest(vmid, node, kind)
        except ApiError as error:
            raise TaskError(error.reason) from error
        await step(world, guest, task)

    return run


def restart(world: World, guest: Guest) -> None:
    """Start a guest on behalf of the HA manager."""
    if world.ha[ha_sid(guest)].state == "started":
        kind = "qmstart" if guest.kind == "qemu" else "vzstart"
        world.tasks.start(
            guest.node, kind, str(guest.vmid), ROOT_SELF, work(world, guest.vmid, guest.node, guest.kind, start)
        )


def ha_managed(world: World, vmid: int) -> bool:
    guest = world.guests.get(vmid)
    return guest is not None and ha_sid(guest) in world.ha
