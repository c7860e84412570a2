"""Power actions on the lab: what is done, what Proxmox refuses in the task, what is never sent."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mqtt_bridge.audit import Audit, AuditError
from mqtt_bridge.audit_verify import verify
from mqtt_bridge.errors import ForbiddenError, PolicyError, UnknownTargetError
from mqtt_bridge.policy import Principal
from mqtt_bridge.proxmox.actions import ActionError, ActionResult, Actions
from mqtt_bridge.proxmox.client import ProxmoxClient, TaskProgress
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import ApiSettings, Endpoint, PermissionSettings, SiteSettings
from mqtt_bridge.targets import GuestRef, NodeRef
from mqtt_bridge.whoami import Identity
from proxmox_mcp.lab import Lab, LabOptions

ROOT = Principal("tester", "stdio", "exec")
OPEN = PermissionSettings(mcp_allow="exec", approval_required=frozenset())
VM, STOPPED_VM, HA_VM, CT, STOPPED_CT, TEMPLATE = 100, 121, 116, 109, 117, 9000


@dataclass
class Bench:
    """A lab, a client of it, and actions on it."""

    lab: Lab
    client: ProxmoxClient
    folder: Path
    told: list[tuple[str, int | str]]

    def actions(self, permission: PermissionSettings = OPEN, *, me: Identity | None = None, **more: Any) -> Actions:
        async def after(site: str, what: int | str) -> None:
            self.told.append((site, what))

        return Actions(
            more.pop("clients", {"lab": self.client}), permission, Audit(self.folder),
            after=after, me=me or Identity(), pace=0.05, **more,
        )  # fmt: skip

    async def perform(self, action: str, target: int | str, **more: Any) -> ActionResult:
        ref = NodeRef(target) if isinstance(target, str) else GuestRef(target)
        return await self.actions().perform(ROOT, action, ref, **({"timeout": 20} | more))

    @property
    def writes(self) -> list[str]:
        return [f"{r.method} {r.path}" for r in self.lab.requests if r.method != "GET"]

    @property
    def records(self) -> list[dict[str, Any]]:
        assert verify(self.folder / "audit.jsonl").ok
        return [json.loads(line) for line in (self.folder / "audit.jsonl").read_bytes().splitlines()]

    @property
    def events(self) -> list[str]:
        return [record["event"].removeprefix("action.") for record in self.records]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
async def bench(stack: AsyncExitStack, tmp_path: Path) -> AsyncIterator[Bench]:
    lab = await stack.enter_async_context(Lab(LabOptions(speed=10)))
    client = await stack.enter_async_context(client_of(lab))
    yield Bench(lab, client, tmp_path / "state", [])
    assert lab.violations == []
    assert lab.unsimulated == []


def client_of(lab: Lab, slug: str = "lab", account: str = "root@pam!full", timeout: float = 5) -> ProxmoxClient:
    token = lab.account(account)
    endpoints = tuple(
        Endpoint(name, "127.0.0.1", host.port, "pve", token.user, token.name, Secret(token.value),
                 fingerprint=lab.fingerprint)
        for name, host in lab.hosts.items()
    )  # fmt: skip
    return ProxmoxClient(SiteSettings(slug, slug, "pve", endpoints, clustered=True), ApiSettings(timeout=timeout))


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
    assert caught.value.setting == "APPROVAL_REQUIRED"
    assert bench.writes == []


async def test_all_guests_of_a_node_are_shut_down_and_started_by_name(bench: Bench) -> None:
    mine = [g.vmid for g in bench.lab.world.sorted_guests() if g.node == "pve1" and g.running]
    down = await bench.perform("node.stopall", "pve1")
    assert down.ok, down
    assert f"0 of its {len(mine)} guests are running" in down.message
    assert bench.records[0]["call"]["params"] == {"vms": ",".join(map(str, mine))}
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
    assert bench.records[1]["answer"] == "CancelledError"


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
