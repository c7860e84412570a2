"""Follows the tasks of one site, so that each start and each end is told once, whatever was away meanwhile.

The normal look is the site's list of recent tasks, which the inventory reads anyway. It holds only the newest ones, so
a node's own list is read as well: after a restart of ours, when a node was away, and when nothing in a look joins on
to the look before (a burst). The cursor of a node says up to which start time all tasks were told, and which of them
still run: their end is told however long ago they started.
"""

import asyncio
import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mqtt_bridge import errors
from mqtt_bridge.events.intake import Intake, Report
from mqtt_bridge.listeners import live_words
from mqtt_bridge.listeners.live_delivery import Delivery
from mqtt_bridge.model import TaskInfo
from mqtt_bridge.proxmox import task_archive
from mqtt_bridge.proxmox.backup_server import BackupServerInventory
from mqtt_bridge.proxmox.changes import TasksListed
from mqtt_bridge.proxmox.inventory import Inventory
from mqtt_bridge.proxmox.task_book import seconds
from mqtt_bridge.proxmox.upid import Upid

log = logging.getLogger(__name__)

OVERLAP = 60  # seconds before the newest known start from which on tasks are looked at again
UNLISTED = 300  # seconds before the first look from which on a node's tasks are new, if it has listed none
LOGS = 4  # logs of failed tasks read at once
LOGS_MOST = 200  # of one look or one catching up; the newest
ASK_EVERY = 10.0  # seconds between two looks for tasks that are listed no more
VANISHED_MOST = 10  # open tasks that are asked for one by one
DONE_KEPT = 200  # in a cursor; of more than that in one minute, the identity sees to it that none is told twice


@dataclass(slots=True)
class NodeTasks:
    """What was told of one node's tasks. `seen`: the newest start; `open`: UPIDs of those that still ran.

    `finished`: UPIDs of those that had ended at the last look, and of all that started within the overlap.
    """

    seen: int = 0
    open: set[str] = field(default_factory=set)
    finished: set[str] = field(default_factory=set)
    gap: bool = False
    filling: asyncio.Task[None] | None = None
    asked_at: float = 0.0  # when those that are listed no more were asked for
    retry_at: float = 0.0

    def text(self) -> str:
        done = sorted(self.recent())[-DONE_KEPT:]
        return json.dumps({"seen": self.seen, "open": sorted(self.open), "done": done}, separators=(",", ":"))

    def recent(self) -> set[str]:
        """Of the finished, those that a look into the node's own list brings again."""
        return {upid for upid in self.finished if started(upid) >= self.seen - OVERLAP}

    def read(self, text: str) -> None:
        """Raises ValueError for what is not such a text."""
        known = json.loads(text)
        if not isinstance(known, dict):
            raise ValueError("no object")  # noqa: TRY004 -- a damaged text, whatever is in it
        self.seen, self.open, self.gap = int(known["seen"]), {u for u in known["open"] if started(u)}, True
        self.finished = {str(u) for u in known["done"]}


class TaskFollower:
    """`run` it; `take` is given the looks. `caught_up` is set once every node within reach was caught up with."""

    def __init__(
        self, inventory: Inventory | BackupServerInventory, intake: Intake, deliver: Delivery, retry: float
    ) -> None:
        self.caught_up = asyncio.Event()
        self.nodes: dict[str, NodeTasks] = {}
        self._inventory = inventory
        self._intake = intake
        self._deliver = deliver
        self._retry = retry  # seconds between two attempts at a node's own list
        self._began = time.time()  # at the very first start, what began later is news and no history
        self._look: TasksListed | None = None
        self._wake = asyncio.Event()

    def take(self, look: TasksListed) -> None:
        """Only the newest look counts: what an older one had and this one has not is in the nodes' own lists."""
        self._look = look
        self._wake.set()

    def known_all(self, node: str) -> bool:
        """Whether all tasks of a node are known up to now."""
        state = self.nodes.get(node)
        return state is not None and not state.gap

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._look is not None:
                    await self._take_look(self._look, group)
                    await self._first(group)

    async def _first(self, group: asyncio.TaskGroup) -> None:
        if not self.caught_up.is_set():
            filling = [s.filling for s in self.nodes.values() if s.filling is not None]
            group.create_task(self._say_caught_up(filling), name="caught up")

    async def _say_caught_up(self, filling: Sequence[asyncio.Task[None]]) -> None:
        if filling:
            await asyncio.wait(filling)
        self.caught_up.set()

    async def _take_look(self, look: TasksListed, group: asyncio.TaskGroup) -> None:
        by_node: dict[str, list[TaskInfo]] = defaultdict(list)
        for task in look.tasks:
            by_node[task.node].append(task)
        for node in sorted({*by_node, *look.online}):
            online = look.online.get(node, True)
            state = self.nodes.get(node)
            if state is None and not (online or by_node[node]):
                continue
            if state is None:
                state = await self._begin(node, by_node[node], look.at)
            if not online:
                state.gap = True
            elif state.filling is None:
                await self._follow(node, state, by_node[node], group)

    async def _begin(self, node: str, tasks: Sequence[TaskInfo], at: float) -> NodeTasks:
        """Go on where an earlier run ended; at the very first start, what was before is taken in silence."""
        state = self.nodes[node] = NodeTasks()
        text = await self._intake.cursor(self._cursor(node))
        if text is not None:
            try:
                state.read(text)
            except (ValueError, KeyError, TypeError):
                log.warning("The cursor of tasks of %s cannot be read: its history is taken as told", node)
                text = None
        if text is None:
            before = [t for t in tasks if seconds(t.started_at) <= self._began]
            state.seen = int(max((seconds(t.started_at) for t in before), default=at - UNLISTED))
            state.open = {t.upid for t in before if t.status == "running"}
            state.finished = {t.upid for t in before if t.status != "running"}
            await self._deliver((), {self._cursor(node): state.text()})
        return state

    def _cursor(self, node: str) -> str:
        return f"tasks/{self._inventory.site.slug}/{node}"

    # --- the normal look --------------------------------------------------------------------------------------------

    async def _follow(self, node: str, state: NodeTasks, tasks: Sequence[TaskInfo], group: asyncio.TaskGroup) -> None:
        old = {t.upid for t in tasks if t.status != "running" and _before(t, state)}
        unknown = [t for t in tasks if t.upid not in state.finished | state.open | old]
        joins = not unknown or any(t.upid in state.finished | old for t in tasks)
        vanished = state.open - {t.upid for t in tasks}
        if state.gap or not joins or (len(vanished) > VANISHED_MOST and self._may_ask(state, vanished)):
            state.gap = True
            self._fill_soon(node, state, group)
            return
        vanished = self._may_ask(state, vanished)
        news = [t for t in tasks if t.upid in state.open and t.status != "running"]
        news += [t for t in unknown if seconds(t.started_at) >= state.seen - OVERLAP]
        try:
            news += await self._ends_of(node, vanished)
        except errors.ProxmoxError as error:
            log.debug("Tasks of %s that are no longer listed cannot be read: %s", node, error)
            news = [t for t in news if t.upid not in vanished]
            vanished = set()
        await self._tell(node, state, news, tasks, dropped=vanished)

    @staticmethod
    def _may_ask(state: NodeTasks, vanished: set[str]) -> set[str]:
        """Not at every look: one may run on for hours without being listed."""
        now = asyncio.get_running_loop().time()
        if not vanished or now - state.asked_at < ASK_EVERY:
            return set()
        state.asked_at = now
        return vanished

    async def _ends_of(self, node: str, upids: Iterable[str]) -> list[TaskInfo]:
        """Tasks that ran and are listed no more: they ended, and younger ones have displaced them."""
        found = []
        for upid in sorted(upids):
            start = started(upid)
            tasks, _ = await task_archive.read(self._inventory.client, node, since=start, until=start, pages=1)
            found += [t for t in tasks if t.upid == upid]
        return found

    # --- catching up ------------------------------------------------------------------------------------------------

    def _fill_soon(self, node: str, state: NodeTasks, group: asyncio.TaskGroup) -> None:
        if asyncio.get_running_loop().time() >= state.retry_at:
            state.filling = group.create_task(self._fill(node, state), name=f"tasks of {node}")

    async def _fill(self, node: str, state: NodeTasks) -> None:
        try:
            await self._catch_up(node, state)
        except errors.ProxmoxError as error:
            log.info("The tasks of %s cannot be caught up with now: %s", node, error)
            state.retry_at = asyncio.get_running_loop().time() + self._retry
        else:
            state.gap, state.retry_at = False, 0.0
        finally:
            state.filling = None
            self._wake.set()

    async def _catch_up(self, node: str, state: NodeTasks) -> None:
        begun = [state.seen, *(started(upid) for upid in state.open)]
        found, complete = await task_archive.read(self._inventory.client, node, since=min(begun) - OVERLAP)
        if not complete:
            log.error("More than %s tasks of %s were missed; older ones are not told", len(found), node)
            self._intake.reject("task history too long")
        self._inventory.tasks.learn(found)
        recent = state.seen - OVERLAP
        news = [
            t
            for t in found
            if (t.upid in state.open or (seconds(t.started_at) >= recent and t.upid not in state.finished))
        ]
        there = {t.upid for t in found}
        await self._tell(node, state, news, found, dropped=state.open - there if complete else set())
        log.debug("Caught up with %s tasks of %s", len(news), node)

    # --- telling ----------------------------------------------------------------------------------------------------

    async def _tell(
        self, node: str, state: NodeTasks, news: Sequence[TaskInfo], look: Sequence[TaskInfo], *, dropped: set[str]
    ) -> None:
        """Reports and cursor in one; only then they count as told. `look`: all that was seen, the news among them."""
        running = {t.upid for t in news if t.status == "running"}
        ended = {t.upid for t in news} - running
        seen = max([state.seen, *(int(seconds(t.started_at)) for t in news)])
        after = NodeTasks(seen, (state.open | running) - ended - (dropped - running), state.recent())
        after.finished = after.recent() | ended | {t.upid for t in look if t.status != "running"}
        fresh = [t for t in news if not (t.status == "running" and t.upid in state.open)]
        if fresh or after.open != state.open:
            reports = await self._reports([t for t in fresh if not live_words.task_is_noise(t)])
            await self._deliver(reports, {self._cursor(node): after.text()})
        state.seen, state.open, state.finished = after.seen, after.open, after.finished

    async def _reports(self, tasks: Sequence[TaskInfo]) -> list[Report]:
        failed = [t for t in tasks if t.status == "failed"][-LOGS_MOST:]
        gate = asyncio.Semaphore(LOGS)

        async def tail(upid: str) -> tuple[str, ...]:
            async with gate:
                return await task_archive.log_tail(self._inventory.client, upid)

        tails = dict(zip([t.upid for t in failed], await asyncio.gather(*(tail(t.upid) for t in failed)), strict=True))
        return [live_words.task(t, tails.get(t.upid, ())) for t in tasks]


def started(upid: str) -> float:
    """When a task started, in Unix seconds; 0 for what is no UPID."""
    try:
        return Upid.parse(upid).starttime
    except ValueError:
        return 0


def _before(task: TaskInfo, state: NodeTasks) -> bool:
    """Ended before anything that is still to be told: a list with it reaches back far enough, however it is sorted."""
    return seconds(task.ended_at) < state.seen - OVERLAP
