"""From a POST, or a message on a Gotify server, to the commit on disk; and fuzzing the webhook for longer."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from pathlib import Path

import pytest

from mqtt_bridge.listeners.gotify import GotifyListener
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.listening import GotifyInSettings
from tests.bench.report import Report, milliseconds
from tests.listeners.test_push_journal import note, run, webhook
from tests.listeners.test_webhook_limits import fuzz
from tests.support.behind import behind
from tests.support.gotify import CLIENT, gotify

TARGET = 0.025  # seconds, p99, of the whole way to MQTT


def row(report: Report, what: str, times: list[float]) -> None:
    cuts = statistics.quantiles(times, n=100)
    measured = f"p50 {milliseconds(cuts[49])}, p99 {milliseconds(cuts[98])}"
    report.add(what, f"p99 ≤ {milliseconds(TARGET)} to MQTT", measured, cuts[98] <= TARGET)


async def test_webhook_to_commit(report: Report, tmp_path: Path) -> None:
    times = []
    async with webhook(tmp_path / "journal.db") as (real, url, session):
        for number in range(500):
            body = note(number, message="100: 2026-11-21 02:00:00 INFO: status = running\n" * 50)
            started = time.perf_counter()
            async with session.post(f"{url}/webhook", data=body) as answer:
                assert answer.status == 200
            times.append(time.perf_counter() - started)
        assert len(await real.events()) == 500
    row(report, "webhook, POST to 200 after the commit", times)


async def test_a_thousand_webhooks_at_once(report: Report, tmp_path: Path) -> None:
    async with webhook(tmp_path / "journal.db") as (real, url, session):

        async def one(number: int) -> int:
            async with session.post(f"{url}/webhook", data=note(number)) as answer:
                return answer.status

        started = time.perf_counter()
        assert set(await asyncio.gather(*map(one, range(1000)))) == {200}
        taken = time.perf_counter() - started
        assert len(await real.events()) == 1000
    report.add("1000 webhooks, 100 at a time", "none lost", f"{1000 / taken:.0f}/s, none lost", met=True)


async def test_gotify_to_commit(report: Report, tmp_path: Path) -> None:
    times = []
    async with gotify() as server, behind("GOTIFY_IN", tmp_path / "journal.db") as real:
        stored = asyncio.Event()
        real.journal.watch(lambda *_: stored.set())
        listener = GotifyListener(GotifyInSettings(server_url=server.url, client_token=Secret(CLIENT)))
        async with run(listener, real.intake):
            while not server.streams:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            for number in range(300):
                stored.clear()
                started = time.perf_counter()
                server.post(title=f"Replication Job: '{number + 100}-0' failed ", message="x")
                async with asyncio.timeout(5):
                    await stored.wait()
                times.append(time.perf_counter() - started)
    row(report, "Gotify, message to commit", times)


@pytest.mark.timeout(900)
def test_fuzz_the_webhook(report: Report) -> None:
    examples = int(os.environ.get("FUZZ_EXAMPLES", "3000"))
    fuzz(examples)
    report.add("webhook fuzzed with random requests", "each answered or cut off", f"{examples} requests", met=True)
