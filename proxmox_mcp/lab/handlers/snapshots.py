"""Snapshots: made, deleted, gone back to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxmox_mcp.lab import power, resources
from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError, TaskError
from proxmox_mcp.lab.state import Guest, Snapshot

from .guests import can_snapshot
from .kinds import both, guest_task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxmox_mcp.lab.tasks import Task
    from proxmox_mcp.lab.world import World

    Change = Callable[[World, Guest, Task], Awaitable[None]]


def create_snapshot(call: Call) -> str:
    name = call.params["snapname"]
    vmstate = bool(call.params.get("vmstate"))
    description = call.params.get("description", "")

    if name in ("current", "pending"):
        raise ApiError(500, f"unable to use snapshot name '{name}' (reserved name)")

    async def step(world: World, guest: Guest, task: Task) -> None:
        if guest.template:
            raise TaskError("you can't take a snapshot if it's a template")
        power.check_lock(guest)
        if not can_snapshot(world, guest):
            raise TaskError("snapshot feature is not available")
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
        saved = vmstate and guest.running
        guest.snapshots.append(Snapshot(name, int(world.now()), description, parent, saved, kept))
        guest.config["parent"] = name

    return guest_task(call, "snapshot", step)


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

    return guest_task(call, "delsnapshot", step)


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

    return guest_task(call, "rollback", step)


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


ROUTES: tuple[Route, ...] = (
    *both("POST", "/{vmid}/snapshot", create_snapshot),
    *both("DELETE", "/{vmid}/snapshot/{snapname}", delete_snapshot),
    *both("PUT", "/{vmid}/snapshot/{snapname}/config", update_snapshot),
    *both("POST", "/{vmid}/snapshot/{snapname}/rollback", rollback),
)
