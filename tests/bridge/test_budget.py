"""Details cost no more calls than the budget allows."""

import asyncio
import time

from mqtt_bridge.proxmox.details import Budget
from tests.support.watched import Watched

DETAIL_CALLS = ("*/config", "*/status/current", "*/interfaces", "*/network-get-interfaces", "*/nodes/*/status")


async def test_a_quiet_minute_is_saved_up_and_then_the_pace_holds() -> None:
    budget = Budget(600)  # ten per second
    began = time.monotonic()
    for _ in range(600):
        await budget.spend()
    assert time.monotonic() - began < 0.5
    for _ in range(5):
        await budget.spend()
    assert time.monotonic() - began >= 0.4


async def test_waiting_callers_are_paced_together() -> None:
    budget = Budget(600)
    for _ in range(600):
        await budget.spend()
    began = time.monotonic()
    await asyncio.gather(*(budget.spend() for _ in range(6)))
    assert time.monotonic() - began >= 0.45


async def test_a_settled_inventory_asks_for_no_details(watched: Watched) -> None:
    await watched.until(lambda: all(g.details.at for g in watched.inventory.guests), 10)
    await asyncio.sleep(1.0)
    watched.lab.requests.clear()
    await watched.polls(5)
    assert sum(watched.lab.requests.count("GET", path) for path in DETAIL_CALLS) == 0
