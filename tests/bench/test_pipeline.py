"""The pipeline with the real journal: reports that are already read, through to what is on disk."""

import asyncio
import time
from pathlib import Path

from mqtt_bridge.events.intake import Report as Told
from mqtt_bridge.events.pipeline import Pipeline
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.settings.listening import EventSettings
from tests.bench.parts import p50, p99
from tests.bench.report import Report, milliseconds
from tests.pipeline.world import FixedWorld
from tests.pipeline.world import report as told

MANY, BATCH, AT_ONCE, SINGLE = 40_000, 100, 40, 300
KINDS = (
    "guest.agent.timeout",
    "syslog.message",
    "task.qmstart.finished",
    "backup.guest.failed",
    "auth.failed",
    "storage.offline",
)


def reports(number: int) -> list[Told]:
    """Of six kinds, for 500 guests."""
    return [
        told(
            f"{number}-{n}",
            KINDS[n % len(KINDS)],
            severity="warning",
            title=f"message number {number} {n % 97}",
            message="x" * 150,
            guest=100 + n % 500,
            trust="unauthenticated",
            fields={"rhost": f"192.0.2.{n % 200}", "storage": f"s{n % 9}", "program": "pvedaemon", "pid": n},
        )
        for n in range(BATCH)
    ]


async def test_throughput(report: Report, tmp_path: Path) -> None:
    async with (
        Journal(tmp_path / "journal.db") as journal,
        Pipeline(journal, FixedWorld("lab"), EventSettings()) as pipeline,
    ):
        intake, room = pipeline.intake("SYSLOG"), asyncio.Semaphore(AT_ONCE)

        async def hand_over(batch: list[Told]) -> None:
            async with room:
                await intake(batch)

        batches = [reports(number) for number in range(MANY // BATCH)]
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*map(hand_over, batches))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert intake.accepted == MANY
        each = f"{MANY / wall:.0f}/s, {1e6 * cpu / MANY:.0f} µs of CPU each"
        report.add("pipeline: report to journal", "10 000 a CPU second", each, cpu * 10_000 <= MANY)
        times = []
        for number in range(SINGLE):
            began = time.perf_counter()
            await intake([told(f"single {number}")])
            times.append(time.perf_counter() - began)
        report.add("pipeline: one report, p50 and p99", "", f"{milliseconds(p50(times))}, {milliseconds(p99(times))}")
