"""Workers: every action is a task with a UPID, a log and an exit status."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import ApiError, TaskError
from .upid import Upid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from .access import Identity
    from .clock import Clock

KEPT_PER_NODE = 2000
BROADCAST = 25
"""How many tasks a node tells the cluster about (`/cluster/tasks`); more only if more are running."""


@dataclass(slots=True, eq=False)
class Task:
    upid: str
    node: str
    pid: int
    pstart: int
    starttime: int
    kind: str
    ident: str
    user: str
    token: str
    log: list[str] = field(default_factory=list)
    status: str = ""
    endtime: int = 0
    warnings: int = 0
    speed: float = 1.0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    stop_text: str = "received interrupt"

    @property
    def running(self) -> bool:
        return not self.status

    @property
    def full_user(self) -> str:
        return f"{self.user}!{self.token}" if self.token else self.user

    def say(self, *lines: str) -> None:
        self.log.extend(lines)

    def warn(self, line: str) -> None:
        self.warnings += 1
        self.log.append(f"WARN: {line}")

    async def sleep(self, seconds: float) -> None:
        """Let the work take its time; a cancelled task ends here with Proxmox's text."""
        try:
            async with asyncio.timeout(seconds / self.speed):
                await self.stop.wait()
        except TimeoutError:
            return
        raise TaskError(self.stop_text)


@dataclass(slots=True)
class Tasks:
    """All tasks of one cluster or backup server, per node, newest first."""

    clock: Clock
    speed: float
    pbs: bool = False
    by_upid: dict[str, Task] = field(default_factory=dict)
    by_node: dict[str, deque[Task]] = field(default_factory=dict)
    running: set[asyncio.Task[None]] = field(default_factory=set)
    fail_next: dict[str, str] = field(default_factory=dict)
    """Task type → error text, for the next task of that type."""
    warn_next: set[str] = field(default_factory=set)
    """Types whose next task ends with a warning."""
    on_start: list[Callable[[Task], None]] = field(default_factory=list)
    on_end: list[Callable[[Task], None]] = field(default_factory=list)
    counter: int = 0
    boot: dict[str, float] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)

    def create(self, node: str, kind: str, ident: str, who: Identity, *, at: float | None = None) -> Task:
        """Note a task; history is made with `at` in the past, then `finish`."""
        start = self.clock.now() if at is None else at
        self.counter += 1
        pid = self.pids[node] = self.pids.get(node, 1000) + 1 + self.counter % 7
        pstart = max(1, int((start - self.boot.get(node, start - 1)) * 100)) & 0xFFFFFFFFF
        upid = Upid(node, pid, pstart, int(start), kind, ident, who.full, self.counter if self.pbs else None)
        task = Task(str(upid), node, pid, pstart, int(start), kind, ident, who.user, who.token, speed=self.speed)
        self.by_upid[task.upid] = task
        queue = self.by_node.setdefault(node, deque())
        queue.appendleft(task)
        while len(queue) > KEPT_PER_NODE:
            self.by_upid.pop(queue.pop().upid, None)
        return task

    def start(self, node: str, kind: str, ident: str, who: Identity, work: Callable[[Task], Awaitable[None]]) -> str:
        """Fork a worker; returns its UPID at once, as the API does."""
        task = self.create(node, kind, ident, who)
        for told in self.on_start:
            told(task)
        runner = asyncio.get_running_loop().create_task(self._run(task, work), name=f"lab {kind}")
        self.running.add(runner)
        runner.add_done_callback(self.running.discard)
        return task.upid

    async def _run(self, task: Task, work: Callable[[Task], Awaitable[None]]) -> None:
        text = self.fail_next.pop(task.kind, "")
        try:
            await (_fail(task, text) if text else work(task))
            if task.kind in self.warn_next:
                self.warn_next.discard(task.kind)
                task.warn("something is not as it should be")
        except (TaskError, ApiError) as error:
            self.finish(task, str(error))
        except asyncio.CancelledError:
            self.finish(task, "unexpected status")
            raise
        else:
            self.finish(task, f"WARNINGS: {task.warnings}" if task.warnings else "OK")

    def finish(self, task: Task, status: str, *, at: float | None = None) -> None:
        task.status = status
        task.endtime = int(self.clock.now() if at is None else at)
        if status == "OK":
            task.log.append("TASK OK")
        elif status.startswith("WARNINGS"):
            task.log.append(f"TASK {status}")
        else:
            task.log.append(f"TASK ERROR: {status}")
        if at is None:
            for told in self.on_end:
                told(task)

    def find(self, upid: str) -> Task | None:
        return self.by_upid.get(upid)

    async def close(self) -> None:
        for runner in list(self.running):
            runner.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)


async def _fail(task: Task, text: str) -> None:
    await task.sleep(0.5)
    raise TaskError(text)


def recent(tasks: Tasks) -> list[dict[str, Any]]:
    """Give what `/cluster/tasks` lists: the last of every node, newest first.

    `saved` of the one that ended last on its node is a number, of those read from a file a string.
    """
    rows = [task for queue in tasks.by_node.values() for task in _told_by(queue)]
    rows.sort(key=lambda task: (task.running, task.starttime, task.pid), reverse=True)
    fresh = {max((one for one in queue if one.status), key=_ended, default=None) for queue in tasks.by_node.values()}
    return [_broadcast(task, fresh=task in fresh) for task in rows]


def _told_by(queue: Iterable[Task]) -> list[Task]:
    """All that run on a node, and of the others the newest, up to 25 in all."""
    running = [task for task in queue if task.running]
    return running + [task for task in queue if not task.running][: max(0, BROADCAST - len(running))]


def _ended(task: Task) -> tuple[int, int]:
    return task.endtime, task.pid


def _broadcast(task: Task, *, fresh: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "upid": task.upid,
        "node": task.node,
        "type": task.kind,
        "id": task.ident,
        "user": task.user,
        "starttime": task.starttime,
    }
    if task.token:
        row["tokenid"] = task.token
    if task.running:
        row["pid"] = task.pid
    else:
        row |= {"endtime": task.endtime, "status": task.status, "saved": 1 if fresh else "1"}
    return row
