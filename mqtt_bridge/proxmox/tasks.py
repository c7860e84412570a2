"""Waiting for tasks: a 200 on an action proves nothing, only the task's exit status does."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mqtt_bridge.errors import ProtocolError, RateLimitedError, UnknownTargetError, UnreachableError
from mqtt_bridge.proxmox.translate import clean
from mqtt_bridge.proxmox.upid import Upid

if TYPE_CHECKING:
    from mqtt_bridge.proxmox.client import ProxmoxClient

FIRST_INTERVAL = 0.2  # seconds between two looks at a task, growing to MAX_INTERVAL
MAX_INTERVAL = 2.0
TAIL = 20  # lines of a failed task's log
_EMPTY_LOG = "no content"  # what PVE says instead of no line
_TROUBLE = (UnreachableError, ProtocolError, RateLimitedError)  # the task goes on without us


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """A look at a running task. `line` is the newest line of its log, if there is one."""

    upid: str
    elapsed: float
    line: str | None


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """How a task ended, or that it had not when time was up. `ok` includes a task that ended with warnings."""

    upid: str
    finished: bool
    ok: bool
    warnings: int
    exitstatus: str | None
    log_tail: tuple[str, ...] = ()


OnProgress = Callable[[TaskProgress], Awaitable[None] | None]


def parsed(upid: str) -> Upid:
    """Raises UnknownTargetError for what is no UPID."""
    try:
        return Upid.parse(upid)
    except ValueError as error:
        raise UnknownTargetError(f"{error}.", cure="Copy it from a list of tasks.") from error


def task_path(upid: str) -> tuple[str, str, str, Upid]:
    """A Backup Server knows only itself: its node is `localhost`."""
    task = parsed(upid)
    return ("nodes", task.node if task.kind == "pve" else "localhost", "tasks", task)


def warnings_of(exitstatus: str | None) -> int:
    """`WARNINGS: 3` → 3."""
    head, _, count = (exitstatus or "").partition(":")
    return int(count) if head == "WARNINGS" and count.strip().isdigit() else 0


def is_ok(exitstatus: str | None) -> bool:
    """OK, or done with warnings."""
    return exitstatus == "OK" or warnings_of(exitstatus) > 0


@dataclass
class TaskWatch:
    """Waits for one task, through whatever happens to the hosts meanwhile."""

    client: "ProxmoxClient"
    upid: str
    timeout: float
    on_progress: OnProgress | None = None
    _started: float = field(default_factory=time.monotonic)
    _lines_seen: int = 0
    _line: str | None = None

    async def outcome(self) -> TaskOutcome:
        """Ends with the task, or unfinished after `timeout` seconds."""
        interval = FIRST_INTERVAL
        while (status := await self._look()) is None:
            if self._left <= 0:
                return TaskOutcome(self.upid, finished=False, ok=False, warnings=0, exitstatus=None)
            await self._tell()
            await asyncio.sleep(min(interval, max(0.0, self._left)))
            interval = min(MAX_INTERVAL, interval * 1.5)
        exitstatus = clean(str(status["exitstatus"])) if status.get("exitstatus") is not None else None
        ok = is_ok(exitstatus)
        tail = () if ok else await self._tail()
        return TaskOutcome(
            self.upid, finished=True, ok=ok, warnings=warnings_of(exitstatus), exitstatus=exitstatus, log_tail=tail
        )

    @property
    def _left(self) -> float:
        return self._started + self.timeout - time.monotonic()

    async def _look(self) -> dict[str, Any] | None:
        """The task's status once it has stopped."""
        try:
            status = await self.client.task_status(self.upid)
        except _TROUBLE:
            return None
        return status if status.get("status") == "stopped" else None

    async def _tell(self) -> None:
        if self.on_progress is None:
            return
        try:
            lines, total = await self.client.task_log(self.upid, start=self._lines_seen, limit=500)
        except _TROUBLE:
            lines, total = (), self._lines_seen
        if lines:
            self._lines_seen, self._line = max(total, self._lines_seen), lines[-1]
        told = self.on_progress(TaskProgress(self.upid, time.monotonic() - self._started, self._line))
        if inspect.isawaitable(told):
            await told

    async def _tail(self) -> tuple[str, ...]:
        try:
            lines, total = await self.client.task_log(self.upid, limit=500)
            if total > len(lines):
                lines, _ = await self.client.task_log(self.upid, start=max(0, total - TAIL), limit=TAIL)
        except _TROUBLE:
            return ()
        return lines[-TAIL:]


def log_lines(data: Any) -> tuple[str, ...]:
    """The texts of `[{n, t}, …]`."""
    lines = tuple(str(row.get("t", "")) for row in data if isinstance(row, dict)) if isinstance(data, list) else ()
    return () if lines == (_EMPTY_LOG,) else lines
