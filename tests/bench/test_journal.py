"""The journal and the outbox: what they take in, and what they put out to a broker on the same machine."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from mqtt_bridge.events.outbox import Outbox
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.model import Event, Query
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.retained import Retained
from mqtt_bridge.topics import Topics
from tests.bench.parts import p50, p99
from tests.bench.report import Report, milliseconds
from tests.support.mosquitto import Mosquitto
from tests.support.processes import until

MANY, BATCH, SINGLE = 60_000, 500, 300


def made(count: int) -> list[Event]:
    """Events of about 800 bytes, with ids as random as real ones."""
    return [
        Event(
            id=str(uuid.uuid4()),
            kind="backup.job.failed",
            title="Backup of 100 failed",
            message="ERROR: Backup of VM 100 failed - command failed " * 6,
            source="webhook",
            timestamp="2026-11-20T03:00:12Z",
            site="lab",
            node="pve1",
            guest=100,
            severity="error",
            ok=False,
            metadata={"job": "backup-1"},
            context={"guest": {"name": "web", "status": "running"}},
            correlation_id=str(uuid.uuid4()),
        )
        for _ in range(count)
    ]


async def commit_all(journal: Journal, events: Sequence[Event]) -> float:
    """Events a second, in batches."""
    began = time.perf_counter()
    for start in range(0, len(events), BATCH):
        await journal.commit(events[start : start + BATCH], {"BENCH:cursor": str(start)})
    return len(events) / (time.perf_counter() - began)


async def test_commits(report: Report, tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal.db") as journal:
        rate = await commit_all(journal, made(MANY))
        report.add(f"journal: commits of {BATCH}", "30 000/s", f"{rate:.0f}/s", rate >= 30_000)
        await journal.published(range(1, MANY + 1))
        times = []
        for event in made(SINGLE):
            began = time.perf_counter()
            await journal.commit([event], {"BENCH:cursor": "1"})
            times.append(time.perf_counter() - began)
        report.add("journal: commit of one, p50 and p99", "", f"{milliseconds(p50(times))}, {milliseconds(p99(times))}")
        rate = await commit_all(journal, made(MANY))
        assert journal.stats.stored == 100_000
        report.add("journal: the same when it is full (retention)", "", f"{rate:.0f}/s")
        began = time.perf_counter()
        await journal.history(Query(kind="*nothing*", guest=7))
        report.add("journal: search of 100 000 that finds nothing", "", milliseconds(time.perf_counter() - began))


async def test_publishing(report: Report, tmp_path: Path) -> None:
    async with Mosquitto(tmp_path / "m") as mosquitto, Journal(tmp_path / "journal.db") as journal:
        await commit_all(journal, made(MANY // 2))
        got: list[Message] = []
        async with (
            Outbox(journal, Retained(Topics())) as outbox,
            Broker(mosquitto.options) as bus,
            Broker(mosquitto.options, got.extend) as subscriber,
        ):
            await bus.wait_connected()
            await subscriber.wait_connected()
            began = time.perf_counter()
            feeding = asyncio.create_task(outbox.feed(bus))
            await until(lambda: outbox.stats["published"] == MANY // 2, seconds=60)
            rate = MANY // 2 / (time.perf_counter() - began)
            report.add("outbox: acknowledged by Mosquitto", "8 000/s", f"{rate:.0f}/s", rate >= 8_000)
            await subscriber.subscribe(["proxmox/+/event/#"], qos=1)
            times = []
            for number, event in enumerate(made(SINGLE), 1):
                began = time.perf_counter()
                await journal.commit([event], {})
                while len(got) < number:
                    await asyncio.sleep(0)
                times.append(time.perf_counter() - began)
            report.add(
                "commit → subscriber, p50 and p99", "25 ms", f"{milliseconds(p50(times))}, {milliseconds(p99(times))}",
                p99(times) <= 0.025,
            )  # fmt: skip
            feeding.cancel()
            await asyncio.wait([feeding])
