"""What a bridge asks of Proxmox: one list per poll whatever the number of guests, details within their budget."""

import asyncio
import dataclasses
import time
from pathlib import Path

from mqtt_bridge.pollers import Pollers
from mqtt_bridge.proxmox.pulse import Writer
from mqtt_bridge.settings import Settings, load
from proxmox_mcp.lab import Lab, LabOptions
from tests.bench.report import Report

SIZES = (24, 400, 10_000)
POLLS = 5
BUDGET = 120  # calls per minute, the default
MINUTES = 2
SLACK = 5  # calls in the moments by which a minute is measured too long
OF_A_POLL = ("/cluster/resources", "/cluster/status", "/access/permissions", "/cluster/tasks")
WRITER = Writer("bench", "instance", "2026-01-01T00:00:00Z")


async def test_calls_per_poll(tmp_path: Path, report: Report) -> None:
    counts = {guests: await _per_poll(guests, tmp_path) for guests in SIZES}
    assert set(counts.values()) == {POLLS}, "one for all guests"
    told = ", ".join(f"{count / POLLS:g} with {guests}" for guests, count in counts.items())
    report.figures["calls per poll"] = {str(g): c / POLLS for g, c in counts.items()}
    report.add("calls of /cluster/resources per poll", "1, whatever the guests", told, met=True)


async def _per_poll(guests: int, folder: Path) -> int:
    """How often all guests are listed in so many polls; no other call lists guests."""
    async with Lab(LabOptions(guests=guests)) as lab, Pollers(_settings(lab, folder, 3600), WRITER) as pollers:
        pollers.poll()
        await pollers.polled_once()
        inventory = pollers.inventories["lab"]
        lab.requests.clear()
        for _ in range(POLLS):
            await inventory.poll()
        assert len(_vmids(pollers)) == guests
        assert lab.requests.count("GET", "/nodes/*/qemu") + lab.requests.count("GET", "/nodes/*/lxc") == 0
        return lab.requests.count("GET", "/cluster/resources")


async def test_details_within_their_budget(tmp_path: Path, report: Report) -> None:
    every = await asyncio.gather(*(_details(guests, tmp_path) for guests in SIZES))
    told = "; ".join(f"{guests}: {' and '.join(map(str, counts))}" for guests, counts in zip(SIZES, every, strict=True))
    assert all(max(counts) <= BUDGET + SLACK for counts in every), told
    report.figures["details per minute"] = dict(zip(map(str, SIZES), every, strict=True))
    report.add(f"calls for details, minute by minute (budget {BUDGET})", f"<= {BUDGET}", told, met=True)


async def _details(guests: int, folder: Path) -> list[int]:
    async with Lab(LabOptions(guests=guests)) as lab, Pollers(_settings(lab, folder, 10), WRITER) as pollers:
        pollers.poll()
        await pollers.polled_once()
        counts = []
        for _ in range(MINUTES):
            lab.requests.clear()
            end = time.monotonic() + 60
            while time.monotonic() < end:
                await asyncio.sleep(0.5)
            hosts = list(lab.hosts)
            polls = sum(lab.requests.count("GET", path, host) for path in OF_A_POLL for host in hosts)
            counts.append(sum(lab.requests.count(host=host) for host in hosts) - polls)
        return counts


def _settings(lab: Lab, folder: Path, interval: float) -> Settings:
    settings = load({**lab.env, "STATE_DIR": str(folder)}, search=False)
    api = dataclasses.replace(
        settings.api, poll_interval=interval, poll_tasks_interval=interval, poll_details_budget=BUDGET
    )
    return dataclasses.replace(settings, api=api)


def _vmids(pollers: Pollers) -> set[str]:
    prefix = pollers.retained.names.build("guest", site="lab", vmid=0).removesuffix("0")
    return {topic for topic in pollers.retained.held if topic.startswith(prefix) and not topic.endswith("/metrics")}
