"""Power actions on the lab: what is done, what Proxmox refuses in the task, what makes no sense."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.actions import ActionError
from mqtt_bridge.proxmox.client import TaskProgress
from mqtt_bridge.targets import GuestRef
from tests.policy.bench import CT, HA_VM, OPEN, ROOT, STOPPED_CT, STOPPED_VM, TEMPLATE, VM, Bench, opened


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path / "state") as ready:
        yield ready


def state(bench: Bench, vmid: int) -> str:
    guest = bench.lab.guest(vmid)
    return "paused" if guest.paused else "running" if guest.running else guest.lock or "stopped"


@pytest.mark.parametrize(
    ("action", "vmid", "before", "after"),
    [
        ("guest.stop", VM, "running", "stopped"),
        ("guest.stop", CT, "running", "stopped"),
        ("guest.shutdown", VM, "running", "stopped"),
        ("guest.shutdown", CT, "running", "stopped"),
        ("guest.start", STOPPED_VM, "stopped", "running"),
        ("guest.start", STOPPED_CT, "stopped", "running"),
        ("guest.reboot", VM, "running", "running"),
        ("guest.restart", CT, "running", "running"),
        ("guest.reset", VM, "running", "running"),
        ("guest.suspend", VM, "running", "paused"),
        ("guest.hibernate", VM, "running", "suspended"),
        ("guest.stop", HA_VM, "running", "stopped"),
    ],
)
async def test_an_action_is_done_and_the_state_is_seen(
    bench: Bench, action: str, vmid: int, before: str, after: str
) -> None:
    result = await bench.perform(action, vmid)
    assert (result.ok, result.status, result.state_before, result.state_after) == (True, "done", before, after), result
    assert result.changed is (before != after or action in ("guest.reboot", "guest.restart"))
    assert result.exitstatus == "OK"
    assert state(bench, vmid) == after
    assert bench.told == [("lab", vmid)]
    assert bench.events == ["intent", "outcome"]
    assert bench.records[1]["upid"] == result.upid
    assert (bench.records[1]["principal"], bench.records[1]["channel"]) == ("tester", "stdio")


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("guest.suspend", "guest.resume"),
        ("guest.hibernate", "guest.resume"),
        ("guest.hibernate", "guest.start"),
        ("guest.stop", "guest.start"),
    ],
)
async def test_there_and_back(bench: Bench, down: str, up: str) -> None:
    assert (await bench.perform(down, VM)).ok
    result = await bench.perform(up, VM)
    assert result.ok, result
    assert result.state_after == "running"
    assert state(bench, VM) == "running"


async def test_a_guest_that_is_managed_by_ha_is_awaited_beyond_its_task(bench: Bench) -> None:
    assert (await bench.perform("guest.stop", HA_VM)).ok
    result = await bench.perform("guest.start", HA_VM)
    assert result.ok
    assert result.upid is not None
    assert ":hastart:" in result.upid
    assert state(bench, HA_VM) == "running"


@pytest.mark.parametrize(
    ("action", "vmid"),
    [("guest.start", VM), ("guest.start", CT), ("guest.stop", STOPPED_VM), ("guest.shutdown", STOPPED_CT)],
)
async def test_what_is_already_so_is_no_error_and_not_sent(bench: Bench, action: str, vmid: int) -> None:
    result = await bench.perform(action, vmid)
    assert (result.ok, result.changed, result.status) == (True, False, "done")
    assert "already" in result.message
    assert bench.writes == []
    assert bench.events == ["unchanged"]


@pytest.mark.parametrize(
    ("action", "vmid", "text"),
    [
        ("guest.start", TEMPLATE, "template"),
        ("guest.reboot", STOPPED_VM, "is stopped; reboot needs it running. Start it"),
        ("guest.reset", CT, "does not exist for containers"),
        ("guest.hibernate", CT, "does not exist for containers"),
        ("guest.suspend", STOPPED_CT, "is stopped"),
    ],
)
async def test_what_makes_no_sense_is_refused_before_it_is_sent(
    bench: Bench, action: str, vmid: int, text: str
) -> None:
    with pytest.raises(ActionError, match=text):
        await bench.perform(action, vmid)
    assert bench.writes == []


async def test_a_locked_guest_is_refused_with_the_likely_cause(bench: Bench) -> None:
    bench.lab.fault("guest-lock", VM, "backup")
    with pytest.raises(ActionError, match=r"locked \(backup\): a backup of it runs") as caught:
        await bench.perform("guest.stop", VM)
    assert "qm unlock 100" in caught.value.cure
    assert bench.writes == []
    assert bench.events == ["refused"]


async def test_a_lock_that_comes_between_fails_in_the_task(bench: Bench) -> None:
    """Proxmox answers 200 and a UPID; only the task says no."""
    post = bench.client.post

    async def locked_just_now(*segments: Any, **more: Any) -> Any:
        bench.lab.fault("guest-lock", VM, "snapshot")
        return await post(*segments, **more)

    bench.client.post = locked_just_now  # type: ignore[method-assign]
    result = await bench.perform("guest.stop", VM)
    assert (result.ok, result.status, result.changed) == (False, "failed", False)
    assert result.exitstatus == "VM is locked (snapshot)"
    assert result.log_tail[-1] == "TASK ERROR: VM is locked (snapshot)"
    assert "snapshot of it is being made" in result.hint
    assert result.state_after == "running"
    assert bench.records[1]["ok"] is False


async def test_a_task_that_fails_is_reported_as_failed_with_its_log(bench: Bench) -> None:
    bench.lab.fault("task-fail", "qmstart", "start failed: QEMU exited with code 1")
    result = await bench.perform("guest.start", STOPPED_VM)
    assert (result.ok, result.status, result.state_after) == (False, "failed", "stopped")
    assert "QEMU exited with code 1" in result.message
    assert result.log_tail == ("TASK ERROR: start failed: QEMU exited with code 1",)
    assert [record.get("result") for record in bench.records] == [None, "failed"]


async def test_a_task_that_ends_well_while_the_guest_dies_is_not_a_success(bench: Bench) -> None:
    wait = bench.client.wait_task

    async def dies_at_once(*args: Any, **more: Any) -> Any:
        outcome = await wait(*args, **more)
        bench.lab.fault("guest-crash", STOPPED_VM)
        return outcome

    bench.client.wait_task = dies_at_once  # type: ignore[method-assign]
    result = await bench.actions().perform(ROOT, "guest.start", GuestRef(STOPPED_VM), timeout=2)
    assert (result.ok, result.status, result.exitstatus, result.state_after) == (False, "failed", "OK", "stopped")
    assert "ended well, but it is stopped" in result.message


async def test_not_waiting_gives_the_task(bench: Bench) -> None:
    result = await bench.perform("guest.stop", VM, wait=False)
    assert (result.ok, result.status, result.changed, result.state_after) == (True, "started", None, None)
    assert result.upid is not None
    assert ":qmstop:100:" in result.upid
    outcome = await bench.client.wait_task(result.upid, timeout=10)
    assert outcome.ok
    assert bench.events == ["intent", "outcome"]


async def test_at_the_time_limit_the_task_is_said_to_run_on(bench: Bench) -> None:
    bench.lab.world.tasks.speed = 0.1
    result = await bench.perform("guest.shutdown", VM, timeout=0.4)
    assert (result.ok, result.status, result.changed) == (False, "started", None)
    assert "still running" in result.message
    assert result.upid is not None
    assert state(bench, VM) == "running"


async def test_progress_is_passed_on(bench: Bench) -> None:
    seen: list[TaskProgress] = []
    bench.lab.world.tasks.speed = 1
    assert (await bench.perform("guest.stop", VM, on_progress=seen.append)).ok
    assert seen
    assert ":qmstop:" in seen[0].upid


async def test_a_dry_run_shows_the_call_and_sends_nothing(bench: Bench) -> None:
    result = await bench.perform("guest.shutdown", VM, args={"timeout": 30}, dry_run=True)
    assert (result.ok, result.status, result.allowed) == (True, "dry_run", True)
    assert [call.model_dump() for call in result.calls] == [
        {"method": "POST", "path": "/nodes/pve1/qemu/100/status/shutdown", "params": {"timeout": 30}}
    ]
    assert bench.writes == []
    assert not (bench.folder / "audit.jsonl").exists()
    assert (await bench.perform("guest.shutdown", VM, args={"timeout": 30})).ok
    assert bench.writes == ["POST /nodes/pve1/qemu/100/status/shutdown"]


async def test_a_dry_run_tells_the_policy_s_verdict_and_what_makes_no_sense(bench: Bench) -> None:
    closed = replace(OPEN, vmid_allowlist=frozenset({1000}))
    refused = await bench.actions(closed).perform(ROOT, "guest.stop", GuestRef(VM), dry_run=True)
    assert (refused.ok, refused.allowed) == (False, False)
    assert "PROXMOX_VMID_ALLOWLIST" in refused.message
    senseless = await bench.perform("guest.start", TEMPLATE, dry_run=True)
    assert (senseless.ok, senseless.allowed, senseless.calls) == (False, True, ())
    nothing = await bench.perform("guest.start", VM, dry_run=True)
    assert (nothing.ok, nothing.calls) == (True, ())
    assert bench.writes == []
