"""The client against the simulated datacentre: real paths, privileges, tasks and faults."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from mqtt_bridge import settings
from mqtt_bridge.errors import (
    ForbiddenError,
    NotFoundError,
    RejectedError,
    TlsError,
    UnauthorizedError,
    UnreachableError,
)
from mqtt_bridge.proxmox import client as module
from mqtt_bridge.proxmox.client import ProxmoxClient, TaskProgress, Volume
from mqtt_bridge.secret import Secret
from proxmox_mcp.lab import Account, Lab, LabOptions

FAST = LabOptions(speed=20, auth_delay=0.05, dead_node_delay=0.05, proxy_timeout=0.5, pvestatd_interval=0)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(FAST) as running:
        yield running
        assert running.violations == []


def site(lab: Lab, kind: str = "pve") -> settings.SiteSettings:
    return next(each for each in settings.load(lab.env, search=False).sites if each.kind == kind)


def connect(lab: Lab, kind: str = "pve", account: Account | None = None, **api: float) -> ProxmoxClient:
    chosen = site(lab, kind)
    if account:
        given = {"user": account.user, "token_name": account.name, "token_value": Secret(account.value)}
        endpoints = tuple(replace(each, **given) for each in chosen.endpoints)  # type: ignore[arg-type]
        chosen = replace(chosen, endpoints=endpoints)
    return ProxmoxClient(chosen, replace(settings.ApiSettings(timeout=5, retry_delay=0.02), **api))  # type: ignore[arg-type]


def guest(lab: Lab, fits: Callable[..., bool]) -> tuple[str, str, int]:
    found = next(each for each in lab.world.guests.values() if fits(each))
    return found.node, found.kind, found.vmid


async def test_reads(lab: Lab) -> None:
    async with connect(lab) as api:
        version, resources, status = await asyncio.gather(
            api.get("version"), api.get("cluster", "resources", type="vm"), api.get("cluster", "status")
        )
    assert version["version"].startswith("9.")
    assert len(resources) == 24
    assert status[0]["type"] == "cluster"


async def test_32_reads_at_once(lab: Lab) -> None:
    async with connect(lab) as api:
        answers = await asyncio.gather(*(api.get("nodes", f"pve{i % 3 + 1}", "status") for i in range(32)))
        assert {each.failures for each in api.hosts} == {0}
    assert len(answers) == 32
    assert all("memory" in each for each in answers)


async def test_start_waits_for_the_task_and_tells_progress(lab: Lab) -> None:
    node, kind, vmid = guest(lab, lambda g: not g.running and not g.template and g.kind == "qemu")
    told: list[TaskProgress] = []
    async with connect(lab) as api:
        upid = await api.post("nodes", node, kind, vmid, "status", "start")
        outcome = await api.wait_task(upid, timeout=10, on_progress=told.append)
        now = await api.get("nodes", node, kind, vmid, "status", "current")
    assert (outcome.finished, outcome.ok, outcome.exitstatus) == (True, True, "OK")
    assert now["status"] == "running"


async def test_a_200_proves_nothing(lab: Lab) -> None:
    node, kind, vmid = guest(lab, lambda g: g.running and g.kind == "qemu")
    async with connect(lab) as api:
        outcome = await api.wait_task(await api.post("nodes", node, kind, vmid, "status", "start"), timeout=10)
    assert (outcome.finished, outcome.ok) == (True, False)
    assert "already running" in (outcome.exitstatus or "")
    assert any("already running" in line for line in outcome.log_tail)


async def test_backup_server_task(lab: Lab) -> None:
    async with connect(lab, "pbs") as api:
        store = (await api.get("admin", "datastore"))[0]["store"]
        upid = await api.post("admin", "datastore", store, "gc")
        outcome = await api.wait_task(upid, timeout=10)
        lines, total = await api.task_log(upid)
    assert outcome.ok
    assert 0 < len(lines) <= total


async def test_what_does_not_exist(lab: Lab) -> None:
    async with connect(lab) as api:
        with pytest.raises(NotFoundError, match=r"9999\.conf"):
            await api.get("nodes", "pve1", "qemu", 9999, "status", "current")
        with pytest.raises(NotFoundError, match="nosuch"):
            await api.get("nodes", "nosuch", "status")
        with pytest.raises(NotFoundError, match="no such task"):
            await api.task_status("UPID:pve1:00000001:00000001:68D88F00:qmstart:100:root@pam:")
        with pytest.raises(RejectedError, match="verification failed") as caught:
            await api.get("cluster", "resources", type="nonsense")
        assert "type" in caught.value.fields
    async with connect(lab, "pbs") as api:
        with pytest.raises(NotFoundError, match="nosuch"):
            await api.get("admin", "datastore", "nosuch", "status")
    lab.ledger.violations.clear()  # the nonsense was sent on purpose


async def test_a_missing_privilege_comes_with_its_cure(lab: Lab) -> None:
    node, kind, vmid = guest(lab, lambda g: g.running and g.kind == "qemu")
    async with connect(lab, account=lab.account("audit@pve!ro")) as api:
        with pytest.raises(ForbiddenError) as caught:
            await api.post("nodes", node, kind, vmid, "status", "stop")
    assert (caught.value.path, caught.value.privilege) == (f"/vms/{vmid}", "VM.PowerMgmt")
    assert (
        f"pveum acl modify /vms/{vmid} --users audit@pve --tokens 'audit@pve!ro' --roles PVEAuditor,PVEVMUser"
        in caught.value.cure
    )


async def test_a_revoked_token(lab: Lab) -> None:
    async with connect(lab) as api:
        await api.get("version")
        lab.fault("token-revoke")
        with pytest.raises(UnauthorizedError, match=r"root@pam!full.*Authentication failed"):
            await api.get("version")
        assert {each.state for each in api.hosts} == {"closed"}
        lab.fault("token-restore")
        await api.get("version")


async def test_a_wrong_pin(lab: Lab) -> None:
    chosen = site(lab)
    wrong = replace(chosen, endpoints=tuple(replace(each, fingerprint="AA" + ":AA" * 31) for each in chosen.endpoints))
    async with ProxmoxClient(wrong, settings.ApiSettings()) as api:
        with pytest.raises(TlsError) as caught:
            await api.request("GET", "version", host="pve2")
    assert caught.value.fingerprint == lab.fingerprint


async def test_a_host_that_goes_away(lab: Lab) -> None:
    async with connect(lab) as api:
        await api.get("version", purpose="poll")
        first = api.endpoint
        lab.fault("host-down", "pve1")
        await asyncio.sleep(0.05)
        started = time.monotonic()
        await api.get("cluster", "resources", purpose="poll")
        assert time.monotonic() - started < 4
        assert api.endpoint != first


async def test_a_node_that_is_dead(lab: Lab) -> None:
    lab.fault("node-down", "pve3")
    async with connect(lab) as api:
        for _ in range(4):
            with pytest.raises(UnreachableError, match=r"Node pve3 does not answer.*595 No route to host"):
                await api.get("nodes", "pve3", "status")
        assert len(await api.get("cluster", "resources", type="node")) == 3
        assert api.hosts[0].state == "closed"


async def test_a_node_that_hangs(lab: Lab) -> None:
    lab.fault("node-hang", "pve2")
    async with connect(lab) as api:
        with pytest.raises(UnreachableError, match=r"Node pve2 does not answer.*596"):
            await api.get("nodes", "pve2", "status")
        started = time.monotonic()
        await api.get("cluster", "resources")
        assert time.monotonic() - started < 4


async def test_the_whole_api_hangs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_READ", 0.2)
    async with connect(lab) as api:
        await api.get("version", purpose="poll")
        lab.fault("api-hang")
        for _ in range(3):
            with pytest.raises(UnreachableError, match="None of the 3 hosts"):
                await api.get("version", purpose="poll")
        assert {each.state for each in api.hosts} <= {"open", "half-open"}
        before = [each.calls for each in api.hosts]
        with pytest.raises(UnreachableError, match="left alone"):
            await api.get("version", purpose="poll")
        assert [each.calls for each in api.hosts] == before
        lab.fault("api-hang", "off")


async def test_a_task_outlives_its_hosts_bad_moments(lab: Lab) -> None:
    node, kind, vmid = guest(lab, lambda g: g.running and g.kind == "qemu")
    async with connect(lab) as api:
        upid = await api.post("nodes", node, kind, vmid, "status", "stop")
        lab.fault("api-error", "503")
        waiting = asyncio.create_task(api.wait_task(upid, timeout=10))
        await asyncio.sleep(0.6)
        assert not waiting.done()
        lab.fault("api-error", "0")
        assert (await waiting).ok


async def test_volumes_in_a_path(lab: Lab) -> None:
    async with connect(lab) as api:
        rows = await api.get("nodes", "pve1", "storage", "local", "content")
        assert rows, "the lab has something on local"
        volid = rows[0]["volid"]
        assert "/" in volid
        found = await api.get("nodes", "pve1", "storage", "local", "content", Volume(volid))
    assert found["path"]
