"""The recent tasks of a site: which are new, which have just ended, and what they explain about guests."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from mqtt_bridge.model import TaskInfo, TaskList, TaskStatus, utc
from mqtt_bridge.proxmox.rows import Row, guest_of_task
from mqtt_bridge.proxmox.sink import Sink

SHOWN = 50
KEPT = 500

STOPS = frozenset({"qmstop", "qmshutdown", "qmsuspend", "hastop", "hashutdown", "vzstop", "vzshutdown", "vzsuspend"})
RESTARTS = frozenset({"qmreboot", "qmreset", "vzreboot"})
STARTS = frozenset({"qmstart", "qmresume", "vzstart", "vzresume", "hastart"})
RESTARTING = 60.0  # seconds after its end in which a restart explains that a guest is down
DESTROYS = frozenset({"qmdestroy", "vzdestroy"})
MIGRATES = frozenset({"qmigrate", "vzmigrate", "hamigrate"})
CREATES = frozenset({"qmcreate", "vzcreate", "qmclone", "vzclone", "qmrestore", "vzrestore"})
ASKED_BEFORE = 120.0  # seconds before a stop in which the HA manager was asked for it
NODE = "root@pam"  # who the HA manager and a node that shuts down act as

Role = Literal["stop", "ha", "restart", "start", "migrate", "destroy", "create"]
_ROLES: tuple[tuple[Role, frozenset[str]], ...] = (
    ("ha", frozenset({"hastop", "hashutdown"})),
    ("stop", STOPS),
    ("restart", RESTARTS),
    ("start", STARTS),
    ("destroy", DESTROYS),
    ("migrate", MIGRATES),
    ("create", CREATES),
)
ROLE = {kind: role for role, kinds in reversed(_ROLES) for kind in kinds}
GUESTS_KEPT = 20_000


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
        self.listed: tuple[TaskInfo, ...] = ()  # as the last look brought it
        self._sink = sink
        self._baseline = False
        self._of_guest: dict[int, dict[Role, TaskInfo]] = {}

    @property
    def seen(self) -> bool:
        """Whether a list has been read."""
        return self._baseline

    def take(self, raw: Iterable[Any]) -> TaskChanges:
        """Merge a list; publish the newest 50; tell what started and what ended since the last look."""
        self.listed = tuple(task_info(row, self.site) for row in raw)
        changes = self._merge(self.listed)
        first, self._baseline = not self._baseline, True
        return TaskChanges() if first else changes

    def learn(self, tasks: Iterable[TaskInfo]) -> None:
        """Tasks read elsewhere (a node's archive), which explain as well as those of the list."""
        self._merge(tasks)

    def _merge(self, tasks: Iterable[TaskInfo]) -> TaskChanges:
        started, ended = [], []
        for task in tasks:
            known = self.tasks.get(task.upid)
            if known is not None and (known == task or known.status != "running"):
                continue
            self.tasks[task.upid] = task
            self._index(task)
            if known is None:
                started.append(task)
            if task.status != "running":
                ended.append(task)
        self._trim()
        self._sink.put("tasks", TaskList(tasks=tuple(self.newest(SHOWN))), site=self.site)
        return TaskChanges(tuple(started), tuple(ended))

    def _index(self, task: TaskInfo) -> None:
        role = ROLE.get(task.type)
        if role is None or task.guest is None:
            return
        mine = self._of_guest.setdefault(task.guest, {})
        known = mine.get(role)
        if task.status == "failed":
            if known is not None and known.upid == task.upid:
                del mine[role]
        elif known is None or not _after(known, task):
            mine[role] = task
        if len(self._of_guest) > GUESTS_KEPT:
            del self._of_guest[next(iter(self._of_guest))]

    def newest(self, limit: int) -> list[TaskInfo]:
        """Newest first, by start."""
        return sorted(self.tasks.values(), key=lambda t: (t.started_at or "", t.upid), reverse=True)[:limit]

    def last(self, vmid: int, role: Role) -> TaskInfo | None:
        """The newest task of this kind for a guest that has not failed."""
        return self._of_guest.get(vmid, {}).get(role)

    def explains_stop(self, vmid: int) -> TaskInfo | None:
        """The newest task that asked for this guest to stop, or to restart just now; none that a start has followed.

        Where the HA manager was asked, that is who asked: the stop itself it does as root.
        """
        recent = utc(time.time() - RESTARTING) or ""
        restart, stop, start = (self.last(vmid, role) for role in ("restart", "stop", "start"))
        if restart is not None and (restart.ended_at or "9") >= recent and not (stop and _after(stop, restart)):
            return restart
        asked = self.last(vmid, "ha")
        if asked is not None and (stop is None or (stop.user == NODE and _soon_after(asked, stop))):
            stop = asked
        if stop is None or (start is not None and _after(start, stop)):
            return None
        return stop

    def _trim(self) -> None:
        if len(self.tasks) > KEPT:
            for task in self.newest(len(self.tasks))[KEPT:]:
                del self.tasks[task.upid]

    def forget(self, vmid: int) -> None:
        """The guest is gone: another one may get its VMID. Who destroyed it can still be asked for."""
        gone = self._of_guest.pop(vmid, {}).get("destroy")
        if gone is not None:
            self._of_guest[vmid] = {"destroy": gone}


def _after(task: TaskInfo, other: TaskInfo) -> bool:
    """Started after it; within one second a node's own count of hundredths since its boot (in the UPID) tells."""
    if task.started_at != other.started_at or task.node != other.node:
        return (task.started_at or "") > (other.started_at or "")
    return _hundredths(task) > _hundredths(other)


def _hundredths(task: TaskInfo) -> int:
    try:
        return int(task.upid.split(":")[3], 16)
    except (IndexError, ValueError):
        return 0


def _soon_after(asked: TaskInfo, stop: TaskInfo) -> bool:
    before, after = asked.started_at or "", stop.started_at or ""
    return before <= after and (utc(seconds(before) + ASKED_BEFORE) or "") >= after


def seconds(stamp: str | None) -> float:
    """ISO 8601 as Unix seconds; 0 for none."""
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0
