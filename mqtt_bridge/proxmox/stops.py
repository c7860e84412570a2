"""Why a guest is not running: asked for by a task, a lock, a migration, its node; or nobody asked.

A stop may be seen before the task that asked for it. So one that nothing explains waits for the next looks at the
task list, then its node's own list is read, and only then it counts as unexpected.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from mqtt_bridge import errors
from mqtt_bridge.model import GuestState
from mqtt_bridge.proxmox import task_archive
from mqtt_bridge.proxmox.changes import Feed, GuestChanged, Reason, Why
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.proxmox.guests import BOOT_JITTER, Change, GuestBook
from mqtt_bridge.proxmox.nodes import NodeBook
from mqtt_bridge.proxmox.task_book import RESTARTS, TaskBook, seconds

log = logging.getLogger(__name__)

LOOKS = 2  # at the task list, before a node's own list is asked
PATIENCE = 60.0  # seconds after which a stop is judged although the task list cannot be read
SETTLED = 60.0  # seconds after its end in which a migration explains that a guest is down
ASKING = 5.0  # seconds for a node's own list: a node that hangs must not hold up the others' tasks
BEFORE = 900.0  # seconds before a stop from which on its node's tasks are read


@dataclass
class Doubt:
    """A stop that nothing explains yet, and what happened to that guest since."""

    change: Change
    at: float
    looks: int = LOOKS
    later: list[tuple[Change, float]] = field(default_factory=list)


class Stops:
    """Passes guests' changes on to the feed; holds those back that are not understood yet."""

    def __init__(self, client: ProxmoxClient, guests: GuestBook, nodes: NodeBook, tasks: TaskBook, feed: Feed) -> None:
        self._client = client
        self._guests = guests
        self._nodes = nodes
        self._tasks = tasks
        self._feed = feed
        self._doubts: dict[int, Doubt] = {}

    def take(self, change: Change, now: float) -> None:
        """A guest's change, told at once unless it is a stop without a reason."""
        doubt = self._doubts.get(change.new.vmid)
        if doubt is not None:
            doubt.later.append((change, now))
            return
        if not _stopped(change):
            self._tell(change, now, self._asked(change) if change.new.status == "suspended" else None)
            return
        why = self.explain(change)
        if why is None:
            self._doubts[change.new.vmid] = Doubt(change, now)
        else:
            self._tell(change, now, why)

    def forget(self, vmid: int) -> None:
        """It is gone: a stop in doubt was part of that."""
        self._doubts.pop(vmid, None)

    async def settle(self, *, looked: bool) -> None:
        """After a look at the task list (`looked`), or a failed one."""
        judged = []
        for doubt in list(self._doubts.values()):
            doubt.looks -= looked
            if self.explain(doubt.change) is not None or doubt.looks <= 0 or time.time() - doubt.at > PATIENCE:
                judged.append(doubt)
        riddles = {d.change.new.node: d.at for d in reversed(judged) if self.explain(d.change) is None}
        await asyncio.gather(*(self._ask(node, at) for node, at in riddles.items()))
        for doubt in judged:
            self._judge(doubt)

    async def _ask(self, node: str, at: float) -> None:
        """The cluster's list holds only the newest tasks: in a burst, the one that explains may be in none."""
        try:
            async with asyncio.timeout(ASKING):
                tasks, _ = await task_archive.read(self._client, node, since=at - BEFORE, pages=4)
        except (errors.ProxmoxError, TimeoutError) as error:
            log.debug("Tasks of %s cannot be read: %s", node, error)
        else:
            self._tasks.learn(tasks)

    def _judge(self, doubt: Doubt) -> None:
        if self._doubts.pop(doubt.change.new.vmid, None) is None:
            return
        why = self.explain(doubt.change)
        back = any(later.new.status == "running" for later, _ in doubt.later)
        if not (why is not None and why.reason == "migration" and back):
            self._tell(doubt.change, doubt.at, why)
        for later, at in doubt.later:
            self.take(later, at)

    def _tell(self, change: Change, at: float, why: Why | None) -> None:
        new = change.new
        record = self._guests.records.get(new.vmid)
        if why is not None and why.by and record is not None and not new.stopped_by:
            new = new.model_copy(update={"stopped_by": why.by})
            record.stop = (why.by, at)
            self._guests.touch(record, self._nodes.online())
        self._feed.tell(GuestChanged(change.old, new, at, change.was, why))

    # --- reasons ----------------------------------------------------------------------------------------------------

    def explain(self, change: Change) -> Why | None:
        """What is known now; None: nothing explains it."""
        return self._asked(change) or self._locked(change) or self._moved(change.new) or self._node_went(change)

    def _asked(self, change: Change) -> Why | None:
        """A task of before its last start explains nothing."""
        task = self._tasks.explains_stop(change.new.vmid)
        began = change.old.started_at if change.old else None
        if task is None or (began is not None and (task.ended_at or "9") < began):
            return None
        reason: Reason = "restart" if task.type in RESTARTS else "task"
        return Why(reason, task.user, task.upid, seconds(task.ended_at) or None, task.type)

    @staticmethod
    def _locked(change: Change) -> Why | None:
        lock = change.new.lock or (change.old.lock if change.old else None)
        return Why("lock", detail=lock) if lock else None

    def _moved(self, guest: GuestState) -> Why | None:
        task = self._tasks.last(guest.vmid, "migrate")
        if task is None or (task.ended_at and seconds(task.ended_at) < time.time() - SETTLED):
            return None
        return Why("migration", task.user, task.upid, seconds(task.ended_at) or None, task.type)

    def _node_went(self, change: Change) -> Why | None:
        """It ran on a node that was lost meanwhile, or that was started after it."""
        began = seconds(change.old.started_at) if change.old and change.old.started_at else None
        names = {change.new.node, change.old.node if change.old else change.new.node}
        for name in sorted(names):
            node = self._nodes.records.get(name)
            if node is None:
                continue
            lost = node.lost_at is not None and change.old is not None and change.old.status == "unknown"
            if lost or (began is not None and node.booted is not None and began < node.booted - BOOT_JITTER):
                return Why("node", detail=name)
        return None


def _stopped(change: Change) -> bool:
    return change.new.status == "stopped" and change.was in ("running", "paused")
