"""No flood of requests buries people or fills the disk; and what else the store keeps."""

from dataclasses import replace
from pathlib import Path

import pytest

from mqtt_bridge.approvals import Decider, Grant, store
from mqtt_bridge.approvals.store import PENDING_EACH, VAIN_EACH
from mqtt_bridge.errors import PolicyError
from tests.approvals.making import AGENT, AT_DESK, SETTINGS, Clock, Desk, pending, request

ALICE = Decider("alice", "secret")


async def test_a_flood_of_requests_is_held(tmp_path: Path) -> None:
    async with Desk(tmp_path).approvals() as approvals:
        for vmid in range(PENDING_EACH):
            await pending(approvals, vmid=vmid)
        with pytest.raises(PolicyError, match=f"{PENDING_EACH} requests of agent"):
            await pending(approvals, vmid=1000)
        assert (await pending(approvals, vmid=0)).id in {one.id for one in await approvals.pending()}  # shared
        await pending(approvals, AT_DESK)  # others are not held for it
        assert len(await approvals.pending()) == PENDING_EACH + 1


async def test_asking_again_and_again_is_held_too(tmp_path: Path) -> None:
    clock = Clock()
    async with Desk(tmp_path, clock=clock).approvals() as approvals:
        for _ in range(VAIN_EACH):
            waits = await pending(approvals)
            await approvals.decide(waits.id, "reject", Decider("bob", "claimed"))
        with pytest.raises(PolicyError, match="were not approved"):
            await pending(approvals)
        await pending(approvals, AT_DESK)
        clock.now += SETTINGS.timeout + 1
        await pending(approvals)


async def test_what_is_approved_does_not_count_against_its_requester(tmp_path: Path) -> None:
    async with Desk(tmp_path).approvals() as approvals:
        for _ in range(VAIN_EACH + 1):
            waits = await pending(approvals)
            await approvals.decide(waits.id, "approve", ALICE)
            assert isinstance(await approvals.obtain(request(approvals), given=waits.id), Grant)


async def test_the_store_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST", 5)
    clock = Clock()
    async with Desk(tmp_path, clock=clock).approvals() as approvals:
        for vmid in range(12):
            waits = await pending(approvals, vmid=vmid)
            await approvals.decide(waits.id, "reject", Decider("bob", "claimed"))
            clock.now += 1
        last = await pending(approvals)
        clock.now += SETTINGS.timeout + 1
        assert (await approvals.recent())[0].id == last.id
        assert len(await approvals.recent()) == 5


async def test_the_same_request_shares_one(tmp_path: Path) -> None:
    async with Desk(tmp_path).approvals() as approvals:
        first, second = await pending(approvals), await pending(approvals)
        assert first.id == second.id
        other = await pending(approvals, replace(AGENT, name="other"))
        assert other.id != first.id
        await approvals.decide(first.id, "approve", ALICE)
        assert (await pending(approvals)).id != first.id  # a new request, not the approved one


async def test_what_is_over_is_forgotten_after_a_week(tmp_path: Path) -> None:
    clock = Clock()
    async with Desk(tmp_path, clock=clock).approvals() as approvals:
        old = await pending(approvals)
        clock.now += 6 * 86400
        assert (await approvals.recent())[0].state == "expired"
        clock.now += 2 * 86400
        await pending(approvals, vmid=5)
        assert await approvals.get(old.id) is None
        assert len(await approvals.recent()) == 1


async def test_a_command_id_is_used_once_a_day(tmp_path: Path) -> None:
    async with Desk(tmp_path).approvals() as one, Desk(tmp_path).approvals() as other:
        assert await one.use_command_id("lab", "a", 1000.0)
        assert not await other.use_command_id("lab", "a", 1001.0)
        assert await other.use_command_id("lab2", "a", 1001.0)
        assert await other.use_command_id("lab", "b", 1001.0)
        assert not await one.use_command_id("lab", "a", 1000.0 + 86399)
        assert await one.use_command_id("lab", "a", 1000.0 + 86401)


async def test_another_process_s_change_is_noticed(tmp_path: Path) -> None:
    async with Desk(tmp_path).approvals() as one, Desk(tmp_path).approvals() as other:
        watch = one.watch()
        assert await watch.changed(0)
        assert not await watch.changed(0)
        await pending(other)
        assert await watch.changed(0)
        assert not await watch.changed(0)
        await pending(one, vmid=7)
        assert await watch.changed(10)
