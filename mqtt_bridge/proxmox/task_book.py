"""The recent tasks of a site: which are new, which have just ended, and what they explain about guests."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mqtt_bridge.model import TaskInfo, TaskList, TaskStatus, utc
from mqtt_bridge.proxmox.rows import Row, guest_of_task
from mqtt_bridge.proxmox.sink import Sink

SHOWN = 50
KEPT = 500

STOPS = frozenset({"qmstop", "qmshutdown", "qmsuspend", "hastop", "hashutdown", "vzstop", "vzshutdown", "vzsuspend"})
RESTARTS = frozenset({"qmreboot", "qmreset", "vzreboot"})
RESTARTING = 60.0  # seconds after its end in which a restart explains that a guest is down
DESTROYS = frozenset({"qmdestroy", "vzdestroy"})
MIGRATES = frozenset({"qmigrate", "vzmigrate", "hamigrate"})


def task_status(status: str | None, *, ended: bool) -> TaskStatus:
    """OK, `WARNINGS: n`, or an error text; a running task has none (or RUNNING, running) and no end."""
    if not ended and (status is None or status.lower() == "running"):
        return "running"
    if status == "OK":
        return "ok"
    return "warning" if status is not None and status.startswith("WARNINGS") else "failed"


def task_info(row: Row, site: str) -> TaskInfo:
    """A row of `/cluster/tasks` or of a node's list, of PVE or PBS."""
    ended = row.get("endtime") is not None
    status = task_status(row.get("status"), ended=ended)
    user = str(row.get("user", ""))
    if row.get("tokenid") and "!" not in user:
        user = f"{user}!{row['tokenid']}"
    return TaskInfo(
        upid=str(row["upid"]),
        site=site,
        node=str(row.get("node", "")),
        type=str(row.get("type") or row.get("worker_type") or "unknown"),
        id=str(row.get("id") or row.get("worker_id") or "") or None,
        guest=guest_of_task(row),
        user=user,
        status=status,
        exitstatus=None if status == "running" else row.get("status"),
        started_at=utc(row.get("starttime")),
        ended_at=utc(row.get("endtime")),
    )


@dataclass(frozen=True)
class TaskChanges:
    """What one look at the list brought."""

    started: tuple[TaskInfo, ...] = ()
    ended: tuple[TaskInfo, ...] = ()


class TaskBook:
    """The last tasks by UPID. The first look is the baseline: it brings no changes."""

    def __init__(self, site: str, sink: Sink) -> None:
        self.site = site
        self.tasks: dict[str, TaskInfo] = {}
        self._sink = sink
        self._baseline = False

    def take(self, raw: Iterable[Any]) -> TaskChanges:
        """Merge a list; publish the newest 50; tell what started and what ended since the last look."""
        started, ended = [], []
        for row in raw:
            task = task_info(row, self.site)
            known = self.tasks.get(task.upid)
            if known is not None and (known == task or known.status != "running"):
                continue
            self.tasks[task.upid] = task
            if known is None:
                started.append(task)
            if task.status != "running":
                ended.append(task)
        first, self._baseline = not self._baseline, True
        self._trim()
        self._sink.put("tasks", TaskList(tasks=tuple(self.newest(SHOWN))), site=self.site)
        return TaskChanges() if first else TaskChanges(tuple(started), tuple(ended))

    def newest(self, limit: int) -> list[TaskInfo]:
        """Newest first, by start."""
        return sorted(self.tasks.values(), key=lambda t: (t.started_at or "", t.upid), reverse=True)[:limit]

    def explains_stop(self, vmid: int) -> TaskInfo | None:
        """The newest task that asked for this guest to stop, or to restart just now."""
        recent = utc(time.time() - RESTARTING) or ""
        for task in self.newest(KEPT):
            explains = task.type in STOPS or (task.type in RESTARTS and (task.ended_at or "9") >= recent)
            if explains and task.guest == vmid and task.status != "failed":
                return task
        return None

    def _trim(self) -> None:
        for task in self.newest(len(self.tasks))[KEPT:]:
            del self.tasks[task.upid]
