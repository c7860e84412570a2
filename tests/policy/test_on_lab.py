"""Policy, node actions, targets and audit on the lab."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mqtt_bridge.actions import ActionError
from mqtt_bridge.audit.trail import AuditError
from mqtt_bridge.errors import ForbiddenError, PolicyError, UnknownTargetError
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.targets import GuestRef, NodeRef
from mqtt_bridge.whoami import Identity
from proxmox_mcp.lab import Lab, LabOptions
from tests.policy.bench import CT, OPEN, ROOT, VM, Bench, client_of, opened


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path / "state") as ready:
        yield ready


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as entered:
        yield entered


@pytest.mark.parametrize(
    "permission",
    [
        replace(OPEN, vmid_allowlist=frozenset({101})),
        replace(OPEN, node_allowlist=frozenset({"pve2"})),
        replace(OPEN, pool_allowlist=frozenset({"dev"})),
        replace(OPEN, protected_tags=frozenset({"Web"})),
        replace(OPEN, protected_pools=frozenset({"prod"})),
        replace(OPEN, self_guests=frozenset({VM})),
    ],
)
async def test_the_policy_refuses_and_the_audit_says_so(bench: Bench, permission: PermissionSettings) -> None:
    with pytest.raises(PolicyError):
        await bench.actions(permission).perform(ROOT, "guest.stop", GuestRef(VM))
    assert bench.writes == []
    [record] = bench.records
    assert (record["event"], record["target"]) == ("action.refused", "VM 100 (web01)")
    assert record["reason"]


async def test_our_own_guest_is_found_by_its_uuid_and_kept_up(bench: Bench) -> None:
    uuid = bench.lab.guest(VM).config["smbios1"].removeprefix("uuid=")
    actions = bench.actions(me=Identity(frozenset({UUID(uuid)})))
    with pytest.raises(PolicyError, match="runs on"):
        await actions.perform(ROOT, "guest.reboot", GuestRef(VM))
    for command in ("node.reboot", "node.shutdown", "node.stopall"):
        with pytest.raises(PolicyError, match=r"VM 100 \(web01\), which this service"):
            await actions.perform(ROOT, command, NodeRef("pve1"))
    assert bench.writes == []
    assert (await actions.perform(ROOT, "node.stopall", NodeRef("pve1"), args={"vmids": [103]})).ok


async def test_a_node_is_not_taken_down_by_default(bench: Bench) -> None:
    with pytest.raises(PolicyError, match="approval") as caught:
        await bench.actions(PermissionSettings(mcp_allow="exec")).perform(ROOT, "node.reboot", NodeRef("pve1"))
    assert "APPROVAL_REQUIRED" in str(caught.value)
    assert bench.writes == []


async def test_all_guests_of_a_node_are_shut_down_and_started_by_name(bench: Bench) -> None:
    mine = [g.vmid for g in bench.lab.world.sorted_guests() if g.node == "pve1" and g.running]
    down = await bench.perform("node.stopall", "pve1")
    assert down.ok, down
    assert f"0 of its {len(mine)} guests are running" in down.message
    assert bench.records[0]["calls"][0]["params"] == {"vms": ",".join(map(str, mine))}
    assert not any(bench.lab.guest(vmid).running for vmid in mine)
    assert bench.records[0]["guests"] == mine
    up = await bench.perform("node.startall", "pve1", args={"force": True, "vmids": mine[:2]})
    assert up.ok
    assert [bench.lab.guest(vmid).running for vmid in mine[:3]] == [True, True, False]
    assert bench.told == [("lab", "pve1"), ("lab", "pve1")]


async def test_a_guest_that_stays_up_makes_stopall_a_failure(bench: Bench) -> None:
    bench.lab.fault("guest-lock", VM, "backup")
    result = await bench.perform("node.stopall", "pve1")
    assert (result.ok, result.status) == (False, "failed")
    assert "VM 100 (web01)" in result.message


async def test_one_forbidden_guest_stops_the_whole_of_a_bulk_action(bench: Bench) -> None:
    actions = bench.actions(replace(OPEN, protected_tags=frozenset({"web"})))
    with pytest.raises(PolicyError, match=r"VM 100 \(web01\)") as caught:
        await actions.perform(ROOT, "node.stopall", NodeRef("pve1"))
    assert "vmids" in caught.value.cure
    assert bench.writes == []
    assert (await actions.perform(ROOT, "node.stopall", NodeRef("pve1"), args={"vmids": [103, 106]})).ok
    with pytest.raises(ActionError, match="999"):
        await actions.perform(ROOT, "node.stopall", NodeRef("pve1"), args={"vmids": [103, 999]})


async def test_a_node_s_reboot_claims_no_more_than_its_acceptance(bench: Bench) -> None:
    result = await bench.perform("node.shutdown", "pve3")
    assert (result.ok, result.status, result.changed, result.upid) == (True, "started", None, None)
    assert "accepted" in result.message
    while bench.lab.world.nodes["pve3"].online:
        await asyncio.sleep(0.05)
    with pytest.raises(ActionError, match="offline"):
        await bench.perform("node.startall", "pve3")
    woken = await bench.perform("node.wakeonlan", "pve3")
    assert (woken.ok, woken.status, woken.changed) == (True, "started", None)
    assert "bc:24:11:ee:00:03" in woken.message
    awake = await bench.perform("node.wakeonlan", "pve1")
    assert (awake.ok, awake.changed) == (True, False)


async def test_an_unknown_vmid_lists_candidates(bench: Bench) -> None:
    with pytest.raises(UnknownTargetError) as caught:
        await bench.perform("guest.start", 150)
    assert any(candidate.startswith("122 ") for candidate in caught.value.candidates)
    with pytest.raises(UnknownTargetError) as caught:
        await bench.perform("node.startall", "pve9")
    assert "pve1 (lab)" in caught.value.candidates


async def test_an_ambiguous_vmid_lists_the_sites(bench: Bench, stack: AsyncExitStack) -> None:
    other = await stack.enter_async_context(Lab(LabOptions(nodes=1, guests=4, pbs=0, cluster_name="two")))
    second = await stack.enter_async_context(client_of(other, "two"))
    actions = bench.actions(clients={"lab": bench.client, "two": second})
    with pytest.raises(UnknownTargetError) as caught:
        await actions.perform(ROOT, "guest.stop", GuestRef(VM))
    assert caught.value.candidates == ("lab", "two")
    assert (await actions.perform(ROOT, "guest.stop", GuestRef(VM, site="two"), timeout=20)).ok
    assert not other.guest(VM).running
    assert bench.lab.guest(VM).running
    assert other.violations == []


async def test_a_token_without_the_privilege_is_an_error_that_is_audited(bench: Bench, stack: AsyncExitStack) -> None:
    reader = await stack.enter_async_context(client_of(bench.lab, account="audit@pve!ro"))
    actions = bench.actions(clients={"lab": reader})
    with pytest.raises(ForbiddenError, match=r"VM\.PowerMgmt"):
        await actions.perform(ROOT, "guest.stop", GuestRef(VM))
    assert bench.events == ["intent", "outcome"]
    assert bench.records[1]["result"] == "error"
    assert bench.lab.guest(VM).running


async def test_a_token_that_sees_one_guest_takes_no_node_down(bench: Bench, stack: AsyncExitStack) -> None:
    operator = await stack.enter_async_context(client_of(bench.lab, account="op@pve!vm"))
    with pytest.raises(PolicyError, match="may not see all"):
        await bench.actions(clients={"lab": operator}).perform(ROOT, "node.reboot", NodeRef("pve1"))
    assert bench.writes == []


async def test_without_an_audit_record_nothing_is_done(bench: Bench) -> None:
    (bench.folder / "audit.jsonl").mkdir(parents=True)
    with pytest.raises(AuditError):
        await bench.perform("guest.stop", VM)
    assert bench.writes == []
    assert bench.lab.guest(VM).running


async def test_the_record_is_there_before_the_call(bench: Bench) -> None:
    post = bench.client.post
    before: list[list[str]] = []

    async def noting(*segments: Any, **more: Any) -> Any:
        before.append(bench.events)
        return await post(*segments, **more)

    bench.client.post = noting  # type: ignore[method-assign]
    await bench.perform("guest.stop", VM)
    assert before == [["intent"]]


async def test_a_caller_that_goes_away_leaves_a_record(bench: Bench) -> None:
    bench.lab.world.tasks.speed = 0.1
    task = asyncio.create_task(bench.perform("guest.shutdown", VM))
    while not bench.writes:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.events == ["intent", "outcome"]
    assert "its task goes on" in bench.records[1]["answer"]
    assert bench.records[1]["result"] == "started"


async def test_two_at_once_share_one_audit_file(bench: Bench) -> None:
    results = await asyncio.gather(bench.perform("guest.stop", VM), bench.perform("guest.stop", CT))
    assert all(result.ok for result in results)
    assert len(bench.records) == 4
    assert len({record["id"] for record in bench.records}) == 2


async def test_the_state_is_not_the_one_that_the_cluster_last_heard(bench: Bench) -> None:
    """pvestatd reports every 10 s; a guest that was just stopped is still listed as running."""
    assert (await bench.perform("guest.stop", VM)).ok
    listed = await bench.client.get("cluster", "resources", type="vm")
    assert next(row["status"] for row in listed if row["vmid"] == VM) == "running"
    result = await bench.perform("guest.stop", VM)
    assert result.changed is False
