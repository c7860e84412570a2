"""One site for the live watcher: what its inventory finds different becomes reports, in order, and none is lost."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from mqtt_bridge.events.intake import Intake, Report
from mqtt_bridge.listeners import live_disks, live_facts, live_words
from mqtt_bridge.listeners.live_delivery import Delivery
from mqtt_bridge.listeners.live_log import LogWatch
from mqtt_bridge.listeners.live_memory import GuestKnown, Memory
from mqtt_bridge.listeners.live_tasks import TaskFollower
from mqtt_bridge.model import GuestState, GuestStatus
from mqtt_bridge.proxmox import guests as guest_book
from mqtt_bridge.proxmox.backup_server import BackupServerInventory
from mqtt_bridge.proxmox.changes import (
    BackupsRead,
    Change,
    DatastoreChanged,
    DiskRead,
    GuestChanged,
    GuestGone,
    NodeChanged,
    QuorumChanged,
    Snapshot,
    StorageChanged,
    TasksListed,
    Why,
    ZfsPoolRead,
)
from mqtt_bridge.proxmox.inventory import Inventory
from mqtt_bridge.proxmox.task_book import seconds
from mqtt_bridge.settings.listening import LiveSettings

log = logging.getLogger(__name__)

WAITING = 20_000  # changes that wait for the intake; beyond, states are compared once it works again
AT_ONCE = 200  # changes per delivery
BREATH = 500  # guests compared between two breaths of the event loop
TASKS_FIRST = 30.0  # seconds for which a comparison after a restart waits until the tasks are known
SITE_GRACE = 30.0  # seconds for which the API may be silent before that is an event
JUST = 60.0  # seconds after its end in which a task explains that a guest runs
LOOK = 1.0

AnyInventory = Inventory | BackupServerInventory


def _as_told(new: GuestState, known: GuestKnown | None) -> GuestState:
    """Until its details are read, after each start of ours, a paused VM looks like one that runs."""
    if known is None or (known.status, new.status, new.details_at) != ("paused", "running", None):
        return new
    return new.model_copy(update={"status": known.status})


class SiteWatch:
    """`run` it."""

    def __init__(self, inventory: AnyInventory, settings: LiveSettings) -> None:
        self.inventory = inventory
        self.site = inventory.site.slug
        self.memory = Memory(self.site)
        self.works = False  # once the first changes were told
        self._settings = settings
        self._waiting: deque[Change] = deque()
        self._wake = asyncio.Event()
        self._lost = 0
        self._unread: set[int] = set()  # guests of the very first start whose details had not been read
        self._follower: TaskFollower | None = None

    async def run(self, intake: Intake) -> None:
        """Until cancelled."""
        deliver = Delivery(intake, self._settings.reconnect_interval)
        await self.memory.load(intake)
        self._follower = TaskFollower(self.inventory, intake, deliver, self._settings.reconnect_interval)
        with self.inventory.changes.subscribe(self._take):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follower.run(), name=f"tasks {self.site}")
                group.create_task(self._work(deliver), name=f"changes {self.site}")
                if isinstance(self.inventory, Inventory) and self._settings.log_priority >= 0:
                    watch = LogWatch(self.inventory, intake, deliver, self._settings.log_priority)
                    group.create_task(watch.run(), name=f"cluster log {self.site}")

    def _take(self, change: Change) -> None:
        if isinstance(change, TasksListed):
            if self._follower is not None:
                self._follower.take(change)
            return
        if len(self._waiting) >= WAITING:
            self._lost += 1
            return
        self._waiting.append(change)
        self._wake.set()

    async def _work(self, deliver: Delivery) -> None:
        silent_since: float | None = None
        while True:
            try:
                async with asyncio.timeout(LOOK):
                    await self._wake.wait()
            except TimeoutError:
                silent_since = await self._api(deliver, silent_since)
                continue
            self._wake.clear()
            while self._waiting:
                await self._some(deliver)
            if self._lost:
                await self._after_loss(deliver)

    async def _some(self, deliver: Delivery) -> None:
        reports: list[Report] = []
        for _ in range(min(AT_ONCE, len(self._waiting))):
            change = self._waiting.popleft()
            if isinstance(change, Snapshot):
                reports += await self._start_with(change)
            else:
                reports += self.reports(change)
        await deliver(reports, self.memory.cursors())
        self.works = True

    async def _after_loss(self, deliver: Delivery) -> None:
        """More changed than could be kept while the intake took nothing: tell what is different in the end."""
        log.warning("%s changes of %s were too many to keep: states are compared instead", self._lost, self.site)
        self._lost = 0
        snapshot = self.inventory.changes.snapshot()
        if snapshot is not None:
            await deliver(await self._compared(snapshot, away=False), self.memory.cursors())

    async def _start_with(self, snapshot: Snapshot) -> list[Report]:
        if self.memory.first_start:
            return await self._baseline(snapshot)
        await self._tasks_known()
        return await self._compared(snapshot, away=True)

    async def _tasks_known(self) -> None:
        if self._follower is not None:
            try:
                async with asyncio.timeout(TASKS_FIRST):
                    await self._follower.caught_up.wait()
            except TimeoutError:
                log.warning("The tasks of %s are not known yet: some changes may lack their reason", self.site)

    async def _api(self, deliver: Delivery, silent_since: float | None) -> float | None:
        """An API that does not answer for a while is an event of its own."""
        pulse, now = self.inventory.pulse, time.monotonic()
        if pulse.status is None or self.memory.first_start:
            return None
        if pulse.status == "offline":
            since = now if silent_since is None else silent_since
            if now - since >= SITE_GRACE:
                reports = list(live_facts.site(self.memory, pulse.reason or "no answer", time.time()))
                await deliver(reports, self.memory.cursors())
            return since
        await deliver(list(live_facts.site(self.memory, None, time.time())), self.memory.cursors())
        return None

    # --- what changes mean ------------------------------------------------------------------------------------------

    def reports(self, change: Change) -> list[Report]:
        """What to tell of a change; notes in `memory` what is told."""
        return list(self._of(change))

    def _of(self, change: Change) -> Iterator[Report]:
        memory, settings = self.memory, self._settings
        match change:
            case GuestChanged():
                yield from self._guest(change)
            case GuestGone(last=last, why=why, at=at):
                known = memory.guest(last.vmid)
                memory.set_guest(last.vmid, None)
                if known is not None:
                    yield live_words.guest_destroyed(self.site, last.vmid, last.name, node=last.node, why=why, at=at)
            case NodeChanged(new=new, at=at):
                yield from live_facts.node(memory, new, at)
            case QuorumChanged(quorate=quorate, at=at):
                yield from live_facts.quorum(memory, quorate, at)
            case StorageChanged():
                yield from live_facts.storage(memory, change, settings)
            case DatastoreChanged(new=store, at=at):
                yield from live_facts.datastore(memory, store, self.inventory.site.name, at, settings)
            case DiskRead() | ZfsPoolRead():
                yield from live_disks.told(memory, change)
            case BackupsRead(guests=guests, covered=covered, at=at):
                max_age = settings.backup_max_age
                yield from live_facts.backups(memory, guests, at, covered=covered, max_age=max_age)
            case _:
                return

    def _guest(self, change: GuestChanged, *, away: bool = False, sure: bool = True) -> Iterator[Report]:
        known = self.memory.guest(change.new.vmid)
        new = change.new if change.was == "paused" else _as_told(change.new, known)
        status = new.status if new.status != "unknown" else known.status if known else "unknown"
        ha = new.ha_state or ""
        if known is None:
            self.memory.set_guest(new.vmid, GuestKnown(status, new.node, ha))
            if change.created:
                yield live_words.guest_created(self.site, new, change.why, change.at, away=away)
            return
        self.memory.set_guest(new.vmid, replace(known, status=status, node=new.node, ha=ha))
        if new.node != known.node:
            yield live_words.guest_moved(self.site, new, known.node, self._move(new), change.at, away=away)
        was, why = self._was(new, known), change.why
        if why is None and new.status == "running":
            why = self._start(new, change.at)
            was = "suspended" if why and why.detail == "qmresume" and was == "stopped" else was
        told = live_words.guest_status(self.site, new, was, why, change.at, away=away, sure=sure)
        if told is not None:
            yield told
        told = live_words.ha_service(self.site, new, known.ha, ha, change.at)
        if told is not None:
            yield told

    def _was(self, new: GuestState, known: GuestKnown) -> GuestStatus:
        """What it was before. A pause that the first reading of details finds is older than our very first start."""
        if new.details_at is None or new.vmid not in self._unread:
            return known.status
        self._unread.discard(new.vmid)
        return new.status if new.status == "paused" else known.status

    def _start(self, guest: GuestState, at: float) -> Why | None:
        """The task that has just started it, if one has."""
        task = self.inventory.tasks.last(guest.vmid, "start")
        if task is None or (task.ended_at and seconds(task.ended_at) < at - JUST):
            return None
        return Why("task", task.user, task.upid, None, task.type)

    def _move(self, guest: GuestState) -> Why | None:
        task = self.inventory.tasks.last(guest.vmid, "migrate")
        return Why("migration", task.user, task.upid, seconds(task.ended_at) or None, task.type) if task else None

    # --- after a start ----------------------------------------------------------------------------------------------

    async def _baseline(self, now: Snapshot) -> list[Report]:
        """The very first start: what is, is taken in silence; only what is full or broken at present is told."""
        for index, guest in enumerate(now.guests):
            self.memory.set_guest(guest.vmid, GuestKnown(guest.status, guest.node, guest.ha_state or ""))
            if guest.details_at is None:
                self._unread.add(guest.vmid)
            if index % BREATH == BREATH - 1:
                await asyncio.sleep(0)
        self.memory.set_fact("complete", "1" if now.complete else "")
        return list(self._facts(now))

    async def _compared(self, now: Snapshot, *, away: bool) -> list[Report]:
        """What is different from what was told last."""
        reports: list[Report] = []
        created = now.complete and bool(self.memory.fact("complete"))
        self.memory.set_fact("complete", "1" if now.complete else "")
        for index, guest in enumerate(now.guests):
            reports += self._compared_guest(guest, now.at, away=away, created=created)
            if index % BREATH == BREATH - 1:
                await asyncio.sleep(0)
        if now.complete:
            reports += self._gone({g.vmid for g in now.guests}, now.at, away=away)
        return [*reports, *self._facts(now)]

    def _facts(self, now: Snapshot) -> Iterator[Report]:
        for node in now.nodes:
            yield from live_facts.node(self.memory, node, now.at)
        yield from live_facts.quorum(self.memory, now.quorate, now.at)
        for storage in now.storages:
            if storage.new.available:  # one that is not may have been found so a moment ago: its change will come
                yield from live_facts.storage(self.memory, storage, self._settings)
        for store in now.datastores:
            host = self.inventory.site.name
            yield from live_facts.datastore(self.memory, store, host, now.at, self._settings)

    def _compared_guest(self, guest: GuestState, at: float, *, away: bool, created: bool) -> Iterator[Report]:
        known = self.memory.guest(guest.vmid)
        guest = _as_told(guest, known)
        if known is None:
            yield from self._guest(GuestChanged(None, guest, at, created=created), away=away)
            return
        if (guest.status, guest.node, guest.ha_state or "") == (known.status, known.node, known.ha):
            return
        why, sure = self._why(guest, known), self._follower is None or self._follower.known_all(guest.node)
        yield from self._guest(GuestChanged(None, guest, at, known.status, why), away=away, sure=sure)

    def _why(self, guest: GuestState, known: GuestKnown) -> Why | None:
        if guest.status != "stopped" or known.status == "stopped" or not isinstance(self.inventory, Inventory):
            return None
        why = self.inventory.stops.explain(guest_book.Change(None, guest, known.status))
        record = self.inventory.nodes.records.get(known.node)
        rebooted = record is not None and record.booted is not None and record.booted > self.memory.written_at > 0
        return why or (Why("node", detail=known.node) if rebooted else None)

    def _gone(self, there: set[int], at: float, *, away: bool) -> Iterator[Report]:
        for vmid in self.memory.vmids:
            known = self.memory.guest(vmid)
            if vmid in there:
                continue
            self.memory.set_guest(vmid, None)
            task = self.inventory.tasks.last(vmid, "destroy")
            why = Why("task", task.user, task.upid, seconds(task.ended_at) or None, task.type) if task else None
            node = known.node if known else ""
            yield live_words.guest_destroyed(self.site, vmid, f"Guest {vmid}", node=node, why=why, at=at, away=away)
