"""vzdump: backups of named guests, of a pool or of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import power, vzlog
from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError, TaskError, bad_parameters
from proxmox_mcp.lab.history import FAILED_VZDUMP, keep_backup
from proxmox_mcp.lab.push.pve_texts import BackupRun

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxmox_mcp.lab.state import Guest, Storage
    from proxmox_mcp.lab.tasks import Task
    from proxmox_mcp.lab.world import World

ROOT_ONLY = ("tmpdir", "dumpdir", "script")
BROKEN = "job failed with err -5 - Input/output error"


def vzdump(call: Call) -> str:
    """Back up in one task; its id is the guest's when there is one only."""
    world, params = call.world, call.params
    for name in ROOT_ONLY:
        if name in params:
            raise ApiError(403, f"Permission check failed (Only root may set this option ({name}))")
    named = [int(part) for part in str(params.get("vmid", "")).split(",") if part]
    if not (named or params.get("all") or params.get("pool")):
        raise bad_parameters({"vmid": "property is missing and it is not optional"})
    for vmid in named:
        call.need(f"/vms/{vmid}", "VM.Backup")
    storage = world.usable_storage(params.get("storage", "local"), call.node.name)
    call.need(f"/storage/{storage.name}", "Datastore.AllocateSpace")
    if "backup" not in storage.content.split(","):
        raise ApiError(500, f"storage '{storage.name}' does not support backups")
    guests = _guests(call, named)
    ident = str(named[0]) if len(named) == 1 else ""
    return call.start("vzdump", ident, work(world, guests, storage, params))


def _guests(call: Call, named: list[int]) -> list[Guest | int]:
    """A number stands for a guest that is not here."""
    world, pool, node = call.world, call.params.get("pool"), call.node.name
    if named:
        found = [world.guests.get(vmid) for vmid in named]
        return [guest if guest and guest.node == node else vmid for guest, vmid in zip(found, named, strict=True)]
    return [
        guest
        for guest in world.sorted_guests()
        if guest.node == node and pool in (None, guest.pool) and call.may(f"/vms/{guest.vmid}", "VM.Backup")
    ]


def work(
    world: World, guests: list[Guest | int], storage: Storage, params: dict[str, Any]
) -> Callable[[Task], Awaitable[None]]:
    async def run(task: Task) -> None:
        failed = 0
        command = vzlog.command(guests, storage.name, params, task.node)
        world.backup_runs[task.upid] = told = BackupRun(command, str(params.get("job-id", "")))
        world.say(task.node, "pvedaemon", f"INFO: starting new backup job: {command}")
        for guest in guests:
            if isinstance(guest, int):
                line = f"ERROR: Backup of VM {guest} failed - unable to find VM '{guest}'"
                task.say(line)
                told.results.append(vzlog.missing(guest, line, world.now()))
                failed += 1
            else:
                failed += not await one(world, guest, storage, params, task)
        if failed:
            raise TaskError(FAILED_VZDUMP)
        world.say(task.node, "pvedaemon", "INFO: Backup job finished successfully")

    return run


async def one(world: World, guest: Guest, storage: Storage, params: dict[str, Any], task: Task) -> bool:
    """Back up one guest; false when that failed. It is locked meanwhile."""
    at = world.now()
    size = max(1024**2, world.maxdisk(guest) // 3)
    mode = params.get("mode", "snapshot")
    error = _obstacle(world, guest, storage)
    lines = vzlog.lines(guest, storage.name, mode, at, size, error=error)
    task.say(*lines[:8])
    world.say(guest.node, "pvedaemon", lines[1])
    if not error:
        guest.lock = "backup"
        stops = mode == "stop" and guest.running
        if stops:
            power.turn_off(world, guest)
        try:
            await task.sleep(2.0)
        finally:
            if guest.lock == "backup":
                guest.lock = ""
        if stops:
            power.turn_on(world, guest)
        kept = keep_backup(world, guest, storage.name, at=int(at), size=size, notes=_notes(guest, params))
        kept.protected = bool(params.get("protected"))
    task.say(*lines[8:])
    result = vzlog.result(guest, storage, at, 0 if error else size, lines)
    if run := world.backup_runs.get(task.upid):
        run.results.append(result)
    ending = next(line for line in lines if "Finished Backup" in line or line.startswith("ERROR"))
    world.say(guest.node, "pvedaemon", ending, pri=3 if error else 6)
    return not error


def _obstacle(world: World, guest: Guest, storage: Storage) -> str:
    if guest.vmid in world.backup_fails:
        world.backup_fails.discard(guest.vmid)
        return BROKEN
    if guest.lock:
        return power.locked(guest)
    if guest.kind in world.backup_breaks:
        return world.backup_breaks[guest.kind]
    if not storage.active(guest.node):
        return f"storage '{storage.name}' is not online"
    return ""


def _notes(guest: Guest, params: dict[str, Any]) -> str:
    template = str(params.get("notes-template", "{{guestname}}"))
    return (
        template.replace("{{guestname}}", guest.name)
        .replace("{{vmid}}", str(guest.vmid))
        .replace("{{node}}", guest.node)
    )


ROUTES: tuple[Route, ...] = (("POST", "/nodes/{node}/vzdump", vzdump),)
