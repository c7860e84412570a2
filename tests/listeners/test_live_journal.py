"""The live watcher with the real pipeline and a journal on disk: one event per happening, through restarts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from mqtt_bridge.events.pipeline import Pipeline
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.listeners.live import Live
from mqtt_bridge.model import Event
from mqtt_bridge.settings.listening import EventSettings, Filters
from mqtt_bridge.world import InventoryWorld
from proxmox_mcp.lab import Lab, LabOptions
from tests.listeners.live_support import Bench, bench


@asynccontextmanager
async def bridge(made: Bench, path: Path) -> AsyncIterator[Journal]:
    """What a bridge has between its pollers and its broker."""
    world = InventoryWorld(list(made.inventories), made.inventories)
    settings = EventSettings(filters=Filters(kinds=("!noise",)))
    async with Journal(path) as journal, Pipeline(journal, world, settings) as pipeline:
        live = Live(made.settings, made.inventories)
        running = asyncio.create_task(live.run(pipeline.intake(live.name)))
        try:
            await made.until(lambda: len(live.sites) == 2)
            await made.until(lambda: all(not w.memory.first_start for w in live.sites.values()))
            await made.until(lambda: all(w._follower.caught_up.is_set() for w in live.sites.values() if w._follower))
            yield journal
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def stored(journal: Journal) -> list[Event]:
    return (await journal.recent(0, 1000))[::-1]


async def wait_for(journal: Journal, number: int) -> list[Event]:
    async with asyncio.timeout(30):
        while len(events := await stored(journal)) < number:
            await asyncio.sleep(0.05)
    return events


async def test_one_event_per_happening_through_restarts(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(Lab(LabOptions(speed=20, pvestatd_interval=0)))
        lab.world.nodes["pve2"].ip = "10.0.0.2"
        made = await stack.enter_async_context(bench(lab))
        async with bridge(made, path) as journal:
            await made.polls(3)
            assert await stored(journal) == [], "the very first start tells nothing"
            world = InventoryWorld(list(made.inventories), made.inventories)
            assert world.node_at("10.0.0.2") == ("lab", "pve2")
            assert world.node_at("127.0.0.1") is None, "several nodes have it"
            tasks = made.past("pve1", "qmsnapshot", 3)
            running = made.start("pve2", "imgcopy")
            await wait_for(journal, 4)
        tasks += made.past("pve1", "qmsnapshot", 40)
        victim = made.guest()
        lab.fault("guest-crash", victim.vmid)
        await made.polls(6)
        async with bridge(made, path) as journal:
            await wait_for(journal, 45)
            made.finish(running, "job errors")
            events = await wait_for(journal, 46)
        async with bridge(made, path) as journal:
            await made.polls(4)
            events = await stored(journal)
    kinds = [e.kind for e in events]
    assert kinds.count("task.qmsnapshot.finished") == 43
    assert kinds.count("task.imgcopy.started") == kinds.count("task.imgcopy.failed") == 1
    assert kinds.count("guest.stopped.unexpected") == 1
    assert len(events) == 46
    died = next(e for e in events if e.guest == victim.vmid)
    assert (died.source, died.site, died.trust, died.severity) == ("WEBSOCKET", "lab", "api", "error")
    assert {t.upid for t in tasks} <= {str(e.metadata.get("upid")) for e in events}
