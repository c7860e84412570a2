"""Pushed figures: published for what is known, never a state, and the poll slows down while they come."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from mqtt_bridge.model import GuestMetrics, NodeMetrics
from mqtt_bridge.proxmox import polling
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.proxmox.inventory import Inventory
from mqtt_bridge.proxmox.polling import Polling
from mqtt_bridge.retained import Retained
from mqtt_bridge.settings import load
from mqtt_bridge.topics import Topics
from proxmox_mcp.lab import Lab, LabOptions
from tests.support.watched import WRITER

NOW = "2026-11-20T03:00:00Z"


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(LabOptions(speed=20, pvestatd_interval=0, pbs=0)) as running:
        yield running


@pytest.fixture
async def polled(lab: Lab) -> AsyncIterator[Inventory]:
    loaded = load(dict(lab.env), search=False)
    site = next(s for s in loaded.sites if s.kind == "pve")
    api = replace(loaded.api, poll_interval=0.2, poll_tasks_interval=0.2)
    async with ProxmoxClient(site, api) as client:
        inventory = Inventory(Polling(site, client, Retained(Topics()), WRITER, api))
        running = asyncio.create_task(inventory.run())
        await inventory.first_poll.wait()
        yield inventory
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def held(inventory: Inventory, topic: str) -> str:
    sink = inventory._sink
    assert isinstance(sink, Retained)
    found = sink.held.get(topic)
    return found[0].decode() if found else ""


def running_guest(lab: Lab) -> int:
    return next(g.vmid for g in lab.world.guests.values() if g.running and g.kind == "qemu")


async def test_figures_of_what_is_known_are_published(lab: Lab, polled: Inventory) -> None:
    vmid = running_guest(lab)
    told = GuestMetrics(cpu_percent=91.5, sampled_at=NOW)
    node = NodeMetrics(cpu_percent=77.5, sampled_at=NOW)
    assert polled.take_pushed({"pve1": node, "nowhere": node}, {vmid: told, 999999: told}) == 2
    text = held(polled, f"proxmox/lab/guest/{vmid}/metrics")
    assert '"cpu_percent":91.5' in text
    assert f'"sampled_at":"{NOW}"' in text
    assert '"maxmem":null' not in text, "what a push leaves out is as polled"
    assert '"cpu_percent":77.5' in held(polled, "proxmox/lab/node/pve1/metrics")
    assert held(polled, "proxmox/lab/guest/999999/metrics") == ""


async def test_below_the_dead_band_nothing_is_published(lab: Lab, polled: Inventory) -> None:
    vmid = running_guest(lab)
    topic = f"proxmox/lab/guest/{vmid}/metrics"
    polled.take_pushed({}, {vmid: GuestMetrics(cpu_percent=50, mem_percent=50, sampled_at=NOW)})
    first = held(polled, topic)
    polled.take_pushed({}, {vmid: GuestMetrics(cpu_percent=51, mem_percent=50, sampled_at="2026-11-20T03:00:10Z")})
    assert held(polled, topic) == first
    polled.take_pushed({}, {vmid: GuestMetrics(cpu_percent=53, mem_percent=50, sampled_at="2026-11-20T03:00:20Z")})
    assert '"cpu_percent":53' in held(polled, topic)


async def test_a_push_never_changes_a_state_nor_speaks_for_what_is_stopped(lab: Lab, polled: Inventory) -> None:
    stopped = next(g.vmid for g in lab.world.guests.values() if not g.running and not g.template)
    lab.fault("node-down", "pve2")
    async with asyncio.timeout(15):
        while polled.nodes.online()["pve2"]:
            await asyncio.sleep(0.05)
    before = {v: r.state for v, r in polled.guests.records.items()}
    lost = next(g.vmid for g in lab.world.guests.values() if g.node == "pve2" and g.running)
    figures = held(polled, f"proxmox/lab/guest/{lost}/metrics")
    polled.take_pushed(
        {"pve2": NodeMetrics(cpu_percent=99, sampled_at=NOW)},
        {v: GuestMetrics(cpu_percent=99, uptime=77, sampled_at=NOW) for v in (stopped, lost)},
    )
    assert {v: r.state for v, r in polled.guests.records.items()} == before
    assert held(polled, f"proxmox/lab/guest/{lost}/metrics") == figures
    assert not polled.nodes.online()["pve2"]


async def test_the_poll_slows_down_while_fed_and_resumes(
    lab: Lab, polled: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "LOOK_AGAIN", 0.1)
    vmid = running_guest(lab)
    polled.take_pushed({}, {vmid: GuestMetrics(cpu_percent=1, sampled_at=NOW)})
    assert polled._pushed.interval() == 30
    await asyncio.sleep(0.3)
    polls, tasks = polled.pulse.polls, lab.requests.count("GET", "*/cluster/tasks")
    async with asyncio.timeout(25):  # tasks are looked at as before
        while lab.requests.count("GET", "*/cluster/tasks") < tasks + 4:
            await asyncio.sleep(0.05)
    assert polled.pulse.polls <= polls + 1
    polled._pushed._fed_until = 0.0  # what was fed ended
    began = time.monotonic()
    polled.hurry()
    async with asyncio.timeout(15):
        while polled.pulse.polls <= polls + 3:
            await asyncio.sleep(0.05)
    assert time.monotonic() - began < 25, "not 30 s"


async def test_an_action_hurries_a_slow_poll(lab: Lab, polled: Inventory) -> None:
    polled.take_pushed({}, {running_guest(lab): GuestMetrics(cpu_percent=1, sampled_at=NOW)})
    await asyncio.sleep(0.4)
    polls = polled.pulse.polls
    polled.hurry()
    async with asyncio.timeout(15):
        while polled.pulse.polls == polls:
            await asyncio.sleep(0.02)
    assert polled.pulse.interval == 30, "the heartbeat says how often is polled now"


async def test_strangers_do_not_slow_the_poll(polled: Inventory) -> None:
    polled.take_pushed({"nowhere": NodeMetrics(sampled_at=NOW)}, {424242: GuestMetrics(sampled_at=NOW)})
    assert polled._pushed.interval() == 0.2
