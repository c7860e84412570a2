"""When simulated hosts notify: after backups and Backup Server's jobs, when a node is fenced, and on demand."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from proxmox_mcp.lab import journal
from proxmox_mcp.lab.pbs.stores import gc
from proxmox_mcp.lab.world import ha_sid

from . import pbs_texts, pve_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxmox_mcp.lab.pbs.state import PbsHost
    from proxmox_mcp.lab.state import Guest, Node
    from proxmox_mcp.lab.tasks import Task
    from proxmox_mcp.lab.world import World

    from .model import Notification
    from .notifier import Tell
    from .outbox import Outbox

JOB_ERRORS = "job errors"
"""What vzdump's task says when guests failed, but not the job."""


def attach(world: World, outbox: Outbox) -> None:
    """Let a lab's hosts notify through this outbox."""
    world.notifier.outbox = outbox
    world.notifier.address_of = lambda user: world.access.users[user].email if user in world.access.users else ""
    world.tasks.on_end.append(partial(_vzdump, world))
    world.on_fence = partial(_fence, world)
    for host in world.pbs.values():
        host.notifier.outbox = outbox
        host.notifier.address_of = partial(_address, host)
        host.tasks.on_end.append(partial(_pbs_job, world, host))


def _address(host: PbsHost, user: str) -> str:
    return host.access.users[user].email if user in host.access.users else ""


def send(world: World, note: Notification, daemon: str) -> None:
    """Send what no task is about; how it went is in the journal of the host that sends. A dead node sends nothing."""
    if note.host in world.nodes and not world.nodes[note.host].online:
        return
    notifier = world.pbs[note.host].notifier if note.host in world.pbs else world.notifier
    notifier.notify(note, _to_journal(world, note.host, daemon))


def _to_journal(world: World, host: str, daemon: str) -> Tell:
    return lambda text, good: world.say(host, daemon, text, pri=6 if good else 3)


def to_task(task: Task) -> Tell:
    """Write before the task's last line, where a real host, which ends the task later, has it."""

    def tell(text: str, good: bool) -> None:
        place = len(task.log) - 1 if task.status else len(task.log)
        task.log.insert(place, f"{'INFO' if good else 'ERROR'}: {text}")

    return tell


def _vzdump(world: World, task: Task) -> None:
    if task.kind != "vzdump":
        return
    run = world.backup_runs.pop(task.upid, None) or pve_texts.BackupRun(f"vzdump {task.ident}")
    if not world.nodes[task.node].online:
        return
    good = task.status in ("OK", JOB_ERRORS) or task.status.startswith("WARNINGS")
    note = pve_texts.backup(task.node, task.endtime, run, error="" if good else task.status)
    world.notifier.notify(note, to_task(task))


def _fence(world: World, node: Node, done: bool) -> None:
    master = next(one.name for one in world.nodes.values() if one.online)
    gone = "unknown" if done else "fence"
    lost = world.fenced.setdefault(node.name, [ha_sid(one) for one in _managed(world) if one.node == node.name])
    fence = pve_texts.Fence(
        cluster=world.cluster_name,
        node=node.name,
        master=master,
        states={
            one.name: "online" if one.online else gone if one is node else "unknown" for one in world.nodes.values()
        },
        lost=lost,
        others=[
            (ha_sid(one), one.node, world.ha[ha_sid(one)].state) for one in _managed(world) if ha_sid(one) not in lost
        ],
        done=done,
    )
    journal.fence(world, node, master, done=done)
    send(world, pve_texts.fencing(fence, int(world.now())), "pve-ha-crm")


def _managed(world: World) -> list[Guest]:
    return [one for one in world.sorted_guests() if ha_sid(one) in world.ha]


def _collection(host: PbsHost, task: Task, run: pbs_texts.Run) -> Notification:
    return pbs_texts.collection(run, task.upid, gc(host.datastores[run.store]))


def _prune(_host: PbsHost, _task: Task, run: pbs_texts.Run) -> Notification:
    return pbs_texts.prune(run)


def _verify(host: PbsHost, _task: Task, run: pbs_texts.Run) -> Notification:
    """Blame the snapshots that are known to be bad, or else the last one."""
    rows = host.datastores[run.store].snapshots
    bad = [one for one in rows if one.verified == "failed"] or rows[-1:]
    return pbs_texts.verify(run, [one.label for one in bad])


def _sync(host: PbsHost, _task: Task, run: pbs_texts.Run) -> Notification:
    job = host.jobs[run.job].config
    return pbs_texts.sync(run, job.get("remote", ""), job["remote-store"])


_JOBS: dict[str, Callable[[PbsHost, Task, pbs_texts.Run], Notification]] = {
    "garbage_collection": _collection,
    "prunejob": _prune,
    "verificationjob": _verify,
    "syncjob": _sync,
}


def _pbs_job(world: World, host: PbsHost, task: Task) -> None:
    """Jobs notify; a prune or verification that somebody starts by hand does not."""
    make = _JOBS.get(task.kind)
    if make is None:
        return
    store, _, job = task.ident.partition(":")
    error = "" if task.status == "OK" or task.status.startswith("WARNINGS") else task.status
    note = make(host, task, pbs_texts.Run(host.name, task.endtime, store, error, job))
    host.notifier.notify(note, _to_journal(world, host.name, "proxmox-backup-proxy"))
