"""The past of a lab: backups with their archives, tasks that went well, with warnings, or wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import build, vzlog
from .state import Volume

if TYPE_CHECKING:
    from .state import Guest
    from .world import World

DAY = 86_400
FAILED_VZDUMP = "job errors"
APT = ("starting apt-get update", "Reading package lists...")
MOST = 60
"""Guests with a backup history, so that 10 000 guests start in time."""


def history(world: World) -> None:
    """Write some days of tasks, oldest first."""
    covered = [guest for guest in world.sorted_guests() if guest.pool in ("prod", "infra") and not guest.template][
        :MOST
    ]
    last = world.now() % DAY + 0.2 * DAY
    for age in (3, 2, 1, 0):
        for place, guest in enumerate(covered):
            _backup(world, guest, last + age * DAY - place * 95, fails=age == 0 and place == 1)
    for node in world.nodes:
        build.past_task(world, node, "aptupdate", "", age=last + 0.3 * DAY, duration=12, log=APT)
    running = [guest for guest in world.sorted_guests() if guest.running][:20]
    for place, guest in enumerate(running):
        kind = "qmstart" if guest.kind == "qemu" else "vzstart"
        build.past_task(
            world, guest.node, kind, str(guest.vmid), age=world.now() - guest.started_at + place, duration=3
        )
    if len(running) > 1:
        warned = running[1]
        log = ("WARN: no efidisk configured! Using temporary efivars disk.",)
        build.past_task(
            world, warned.node, "qmstart", str(warned.vmid), age=5 * DAY, duration=2, status="WARNINGS: 1", log=log
        )
        build.past_task(
            world,
            warned.node,
            "qmreboot",
            str(warned.vmid),
            age=0.4 * DAY,
            duration=30,
            status="VM quit/powerdown failed",
        )
    _sort(world)


def _sort(world: World) -> None:
    for queue in world.tasks.by_node.values():
        rows = sorted(queue, key=lambda task: task.starttime, reverse=True)
        queue.clear()
        queue.extend(rows)


def _backup(world: World, guest: Guest, age: float, *, fails: bool) -> None:
    job = next(iter(world.pbs), "nas")
    at = int(world.now() - age)
    size = world.maxdisk(guest) // 3
    log = vzlog.lines(
        guest, job, "snapshot", at, size, error="job failed with err -5 - Input/output error" if fails else ""
    )
    build.past_task(
        world,
        guest.node,
        "vzdump",
        str(guest.vmid),
        age=age,
        duration=60,
        status=FAILED_VZDUMP if fails else "OK",
        log=tuple(log),
    )
    if not fails:
        keep_backup(world, guest, job, at=at, size=size)


def keep_backup(world: World, guest: Guest, storage: str, *, at: int, size: int, notes: str = "") -> Volume:
    """Put an archive on a storage; on PBS it is a snapshot of its datastore too."""
    target = world.storages[storage]
    volume = vzlog.volume(guest, target, at, size, notes or guest.name)
    volume.config = dict(guest.config)
    target.on(guest.node).append(volume)
    if target.kind == "pbs" and storage in world.pbs:
        vzlog.snapshot(world.pbs[storage], target.datastore, guest, at=at, size=size, notes=notes or guest.name)
    return volume
