"""A site's pollers without a bridge, an intake that keeps what it takes, and the live watcher between them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from mqtt_bridge.events.intake import IntakeFullError, JournalError, Report
from mqtt_bridge.listeners.live import Live
from mqtt_bridge.listeners.live_site import AnyInventory
from mqtt_bridge.proxmox.backup_server import BackupServerInventory
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.proxmox.details import Details
from mqtt_bridge.proxmox.inventory import Inventory
from mqtt_bridge.proxmox.polling import Polling
from mqtt_bridge.retained import Retained
from mqtt_bridge.settings import load
from mqtt_bridge.settings.listening import LiveSettings
from mqtt_bridge.topics import Topics
from proxmox_mcp.lab import Lab
from proxmox_mcp.lab.build import ROOT_SELF
from proxmox_mcp.lab.state import Guest
from proxmox_mcp.lab.tasks import Task
from tests.support.watched import POLL, WRITER

NEVER = 3600.0


@dataclass
class Taken:
    """An intake whose store outlives the watcher, as a journal does. `refuse` is raised while it is set."""

    reports: list[Report] = field(default_factory=list)
    cursors: dict[str, str] = field(default_factory=dict)
    refuse: IntakeFullError | JournalError | None = None
    refused: int = 0
    most: int = 1000
    health: list[str] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)
    repeated: int = 0

    async def __call__(self, reports: Sequence[Report], *, cursors: Mapping[str, str] | None = None) -> None:
        await asyncio.sleep(0)
        if self.refuse is not None or len(reports) > self.most:
            self.refused += 1
            raise self.refuse or IntakeFullError("full")
        known = {r.identity for r in self.reports}
        for report in reports:
            if report.identity in known:
                self.repeated += 1
            else:
                known.add(report.identity)
                self.reports.append(report)
        self.cursors |= cursors or {}

    async def cursor(self, name: str) -> str | None:
        return self.cursors.get(name)

    def reject(self, reason: str, count: int = 1) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + count

    def healthy(self, detail: str = "") -> None:
        self.health.append(f"+{detail}")

    def unhealthy(self, reason: str) -> None:
        self.health.append(f"-{reason}")

    @property
    def kinds(self) -> list[str]:
        return [r.verdict.kind for r in self.reports]

    def of(self, kind: str, guest: int | None = None) -> list[Report]:
        return [r for r in self.reports if r.verdict.kind == kind and guest in (None, r.verdict.guest)]

    def one(self, kind: str, guest: int | None = None) -> Report:
        found = self.of(kind, guest)
        assert len(found) == 1, (kind, [r.verdict.title for r in self.reports])
        return found[0]


class Bench:
    """Pollers of every site of a lab, and a watcher that can be stopped and started again."""

    def __init__(self, lab: Lab, inventories: dict[str, AnyInventory], settings: LiveSettings) -> None:
        self.lab = lab
        self.inventories = inventories
        self.settings = settings
        self.taken = Taken()

    @property
    def inventory(self) -> Inventory:
        found = self.inventories["lab"]
        assert isinstance(found, Inventory)
        return found

    def guest(self, kind: str = "qemu", *, running: bool = True, ha: bool = False) -> Guest:
        sids = set(self.lab.world.ha)
        return next(
            g
            for g in self.lab.world.guests.values()
            if g.kind == kind
            and g.running is running
            and not g.lock
            and not g.template
            and (f"{'vm' if kind == 'qemu' else 'ct'}:{g.vmid}" in sids) is ha
        )

    async def act(self, guest: Guest, command: str, **more: Any) -> str:
        path = ("nodes", guest.node, guest.kind, guest.vmid)
        words = ("status", command) if command != "migrate" else ("migrate",)
        return str(await self.inventory.client.post(*path, *words, **more))

    def past(self, node: str, kind: str, number: int, status: str = "OK", ident: str = "") -> list[Task]:
        """Tasks that ran within this second and are over, as a script leaves them."""
        tasks, made = self.lab.world.tasks, []
        for _ in range(number):
            task = tasks.create(node, kind, ident, ROOT_SELF)
            tasks.finish(task, status)
            made.append(task)
        return made

    def start(self, node: str, kind: str, ident: str = "") -> Task:
        """A task that runs until `finish`."""
        return self.lab.world.tasks.create(node, kind, ident, ROOT_SELF)

    def finish(self, task: Task, status: str = "OK") -> None:
        self.lab.world.tasks.finish(task, status)

    @asynccontextmanager
    async def watching(self, taken: Taken | None = None) -> AsyncIterator[Live]:
        """While it is open, the watcher runs; it has begun when the block is entered."""
        live = Live(self.settings, self.inventories)
        self.taken = taken or self.taken
        running = asyncio.create_task(live.run(self.taken))
        try:
            await self.until(lambda: running.done() or len(live.sites) == len(self.inventories))
            await self.until(lambda: all(not w.memory.first_start and not w._waiting for w in live.sites.values()), 20)
            await self.until(lambda: all(w._follower.caught_up.is_set() for w in live.sites.values() if w._follower))
            yield live
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def until(self, what: Callable[[], object], seconds: float = 30.0) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not what():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            titles = [f"{r.verdict.kind}: {r.verdict.title}" for r in self.taken.reports]
            raise AssertionError(f"did not come: {titles}") from None

    async def told(self, kind: str, guest: int | None = None, seconds: float = 30.0) -> Report:
        await self.until(lambda: self.taken.of(kind, guest), seconds)
        return self.taken.one(kind, guest)

    async def polls(self, number: int, site: str = "lab") -> None:
        pulse = self.inventories[site].pulse
        end = pulse.polls + number
        await self.until(lambda: pulse.polls >= end)


@asynccontextmanager
async def bench(
    lab: Lab, settings: LiveSettings | None = None, *, details: bool = False, tasks: float = POLL
) -> AsyncIterator[Bench]:
    """Pollers run; no watcher does yet."""
    loaded = load(dict(lab.env), search=False)
    api = replace(loaded.api, poll_interval=POLL, poll_tasks_interval=tasks, poll_details_budget=6000)
    inventories: dict[str, AnyInventory] = {}
    async with AsyncExitStack() as stack:
        sink = Retained(Topics())
        running = []
        for site in loaded.sites:
            client = await stack.enter_async_context(ProxmoxClient(site, api))
            polling = Polling(site, client, sink, WRITER, api)
            kind = Inventory if site.kind == "pve" else BackupServerInventory
            inventory = inventories[site.slug] = kind(polling)
            running.append(asyncio.create_task(inventory.run()))
            if details and isinstance(inventory, Inventory):
                running.append(asyncio.create_task(Details(inventory, 6000, 3600).run()))
        try:
            await asyncio.gather(*(i.first_poll.wait() for i in inventories.values()))
            yield Bench(lab, inventories, settings or LiveSettings(reconnect_interval=0.2))
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
