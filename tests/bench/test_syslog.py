"""Syslog from a sender's socket to an independent MQTT subscriber, with an account of every message."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mqtt_bridge.events.intakes import EventIntake
from mqtt_bridge.events.outbox import Outbox
from mqtt_bridge.events.pipeline import Pipeline
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.listeners.syslog import SyslogListener
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.retained import Retained
from mqtt_bridge.settings.listening import EventSettings, Filters, SyslogSettings
from mqtt_bridge.topics import Topics
from tests.bench.report import Report
from tests.listeners.syslog_support import OneSite
from tests.support.mosquitto import Mosquitto

RATE, SECONDS = 5_000, 20
FLOOD = 100_000
ALL = EventSettings(filters=Filters(kinds=(), rate_limit=0))  # everything becomes an event and is published
SENDER = Path(__file__).parent / "syslog_sender.py"
QUIET = 15.0  # seconds without progress after which nothing more is expected
OURS, OTHERS = {0}, {1}  # cores: the bridge has one to itself


@dataclass
class Bridge:
    listener: SyslogListener
    intake: EventIntake
    journal: Journal
    received: Path

    def ids(self) -> list[str]:
        return [json.loads(line)["id"] for line in self.received.read_bytes().splitlines()]

    @property
    def dropped(self) -> int:
        return self.intake.rejected["dropped by the kernel"]

    @property
    def through(self) -> int:
        """What was read and came to an end: stored, filtered, held back, or refused."""
        intake = self.intake
        return intake.accepted + intake.filtered + intake.held + intake.rejected.total() - self.dropped


@asynccontextmanager
async def bridge(folder: Path, events: EventSettings) -> AsyncIterator[Bridge]:
    """The real parts."""
    received = folder / "received"
    config = ("max_queued_messages 0", "max_inflight_messages 1000")
    async with Mosquitto(folder / "mosquitto", config=config) as mosquitto, Journal(folder / "journal") as journal:
        assert mosquitto.process
        os.sched_setaffinity(mosquitto.process.pid, OTHERS)
        with received.open("wb") as file:
            subscriber = await asyncio.create_subprocess_exec(
                "mosquitto_sub", "-p", str(mosquitto.port), "-t", "proxmox/+/event/#", "-q", "1", stdout=file
            )
        os.sched_setaffinity(subscriber.pid, OTHERS)
        retained = Retained(Topics("proxmox"))
        listener = SyslogListener(SyslogSettings(port=0))
        try:
            async with (
                Outbox(journal, retained) as outbox,
                Broker(mosquitto.options) as bus,
                Pipeline(journal, OneSite(), events) as pipeline,
                asyncio.TaskGroup() as group,
            ):
                await bus.wait_connected()
                intake = pipeline.intake("SYSLOG")
                tasks = [group.create_task(outbox.feed(bus)), group.create_task(listener.run(intake))]
                await asyncio.sleep(0.5)
                yield Bridge(listener, intake, journal, received)
                for task in tasks:
                    task.cancel()
        finally:
            subscriber.terminate()
            await subscriber.wait()


async def send(how: str, port: int, count: int, rate: float) -> tuple[int, float]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SENDER), how, str(port), str(count), str(rate), stdout=asyncio.subprocess.PIPE
    )
    os.sched_setaffinity(process.pid, OTHERS)
    assert process.stdout
    sent, seconds = (await process.stdout.read()).split()
    await process.wait()
    return int(sent), float(seconds)


async def settled(under: Bridge, sent: int) -> None:
    """Until all of it is published and received, or nothing moves any more."""
    lines, since = 0, time.monotonic()
    with under.received.open("rb") as file:
        while time.monotonic() - since < QUIET:
            if new := file.read().count(b"\n"):
                lines, since = lines + new, time.monotonic()
            listener = under.listener
            if (
                listener.read + under.dropped >= sent
                and under.through >= listener.read
                and lines >= under.intake.accepted
            ):
                return
            await asyncio.sleep(0.1)


async def measured(
    folder: Path, how: str, count: int, rate: float, events: EventSettings = ALL
) -> tuple[str, dict[str, float]]:
    """The account, as text and as figures."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, OURS)
    try:
        async with bridge(folder, events) as under:
            began, cpu = time.perf_counter(), time.process_time()
            sent, sending = await send(how, under.listener.port, count, rate)
            await settled(under, sent)
            took, used = time.perf_counter() - began, time.process_time() - cpu
            read, dropped, stored = under.listener.read, under.dropped, under.intake.accepted
            through = under.through
            received = under.ids()
    finally:
        os.sched_setaffinity(0, cores)
    assert sent == read + dropped, "each was read, or dropped by the kernel and counted"
    assert read == through, "what was read is accounted for"
    assert stored == len(set(received)), "and what was accepted is on MQTT"
    figures = {
        "sent": sent, "dropped by the kernel": dropped, "read": read, "stored": stored, "received": len(set(received)),
        "per second": round(read / took), "sending per second": round(sent / sending), "cpu": round(used / took, 2),
        "cpu us per message": round(used / read * 1e6),
    }  # fmt: skip
    told = (
        f"{read / took:.0f}/s to the end ({sent} sent at {sent / sending:.0f}/s, {dropped} dropped by the kernel, "
        f"{read} read, {stored} stored, {len(set(received))} received), {used / read * 1e6:.0f} us of CPU each, "
        f"{100 * used / took:.0f} % of the core"
    )
    return told, figures


async def test_a_steady_rate_over_udp(tmp_path: Path, report: Report) -> None:
    told, figures = await measured(tmp_path, "udp", RATE * SECONDS, RATE)
    report.figures["syslog, udp"] = figures
    kept_up = figures["per second"] >= 0.95 * RATE and not figures["dropped by the kernel"]
    report.add(f"syslog over UDP, {RATE}/s for {SECONDS} s", f">= {RATE}/s, none unaccounted", told, met=kept_up)


async def test_as_fast_as_it_goes_over_tcp(tmp_path: Path, report: Report) -> None:
    told, figures = await measured(tmp_path, "tcp", FLOOD, 0)
    report.figures["syslog, tcp"] = figures
    assert not figures["dropped by the kernel"]
    report.add("syslog over TCP, held back by us", f">= {RATE}/s, none lost", told, met=figures["per second"] >= RATE)


async def test_a_steady_rate_with_the_filters_that_are_set_by_default(tmp_path: Path, report: Report) -> None:
    """Noise, a quarter of what is sent, makes no event."""
    told, figures = await measured(tmp_path, "udp", RATE * SECONDS, RATE, EventSettings())
    report.figures["syslog, udp, default filters"] = figures
    kept_up = figures["per second"] >= 0.95 * RATE and not figures["dropped by the kernel"]
    report.add(f"the same with the default filters, {RATE}/s for {SECONDS} s", f">= {RATE}/s", told, met=kept_up)
