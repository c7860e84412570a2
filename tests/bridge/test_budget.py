"""Details cost no more calls than the budget allows."""

import asyncio
import time

from mqtt_bridge.proxmox.details import Budget
from tests.support.watched import Watched

DETAIL_CALLS = ("*/config", "*/status/current", "*/interfaces", "*/network-get-interfaces", "*/nodes/*/status")


async def test_no_window_holds_more_calls_than_the_budget() -> None:
    budget = Budget(10, window=0.4)
    before: list[float] = []
    after: list[float] = []
    while len(after) < 35:
        before.append(time.monotonic())
        await budget.spend()
        after.append(time.monotonic())
    assert after[9] - before[0] < 0.4, "what was saved up is there at once"
    assert all(later - earlier >= 0.39 for earlier, later in zip(before, after[10:], strict=False))


async def test_waiting_callers_share_the_budget() -> None:
    budget = Budget(4, window=0.3)
    began = time.monotonic()
    await asyncio.gather(*(budget.spend() for _ in range(12)))
    assert time.monotonic() - began >= 0.6


async def test_a_settled_inventory_asks_for_no_details(watched: Watched) -> None:
    await watched.until(lambda: all(g.details.at for g in watched.inventory.guests), 10)
    await asyncio.sleep(1.0)
    watched.lab.requests.clear()
    await watched.polls(5)
    assert sum(watched.lab.requests.count("GET", path) for path in DETAIL_CALLS) == 0
