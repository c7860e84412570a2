"""What asks Proxmox itself, on the lab: control, tasks, connectivity, configuration, reading without a bridge."""

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from mqtt_bridge.actions import Actions
from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.settings import PermissionSettings, Settings, load
from proxmox_mcp.lab import Lab, LabOptions
from proxmox_mcp.server import build_server
from proxmox_mcp.serving import private_poller
from proxmox_mcp.state import State
from tests.support.asking import ask, refused, text
from tests.support.held import held
from tests.support.watched import fast

ALLOWED = PermissionSettings(mcp_allow="exec", approval_required=frozenset())
STEADY = dataclasses.replace(ALLOWED, mcp_allow="operate")


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    options = LabOptions(speed=20, pvestatd_interval=0, auth_delay=0.05, dead_node_delay=0.05)
    async with Lab(options) as running:
        yield running
        assert running.violations == [], "a request that is not in Proxmox's schema"


@pytest.fixture
def permission() -> PermissionSettings:
    return ALLOWED


@pytest.fixture
def settings(lab: Lab, tmp_path: Path, permission: PermissionSettings) -> Settings:
    loaded = fast(load({**lab.env, "STATE_DIR": str(tmp_path / "state"), "MCP_TOOLSETS": "all"}, search=False))
    return dataclasses.replace(loaded, permission=permission)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        clients = {s.slug: await stack.enter_async_context(ProxmoxClient(s, settings.api)) for s in settings.sites}
        state = await stack.enter_async_context(
            State(None, lambda: private_poller(settings), sites=[s.slug for s in settings.sites], wait=10)
        )
        actions = Actions(clients, settings.permission, Audit(settings.general.state_dir))
        yield await stack.enter_async_context(held(Client(build_server(settings, state, actions, clients))))


def pick(lab: Lab, kind: str, *, running: bool) -> int:
    guests = lab.world.sorted_guests()
    return next(g.vmid for g in guests if g.kind == kind and g.running == running and not g.template and not g.lock)


async def test_without_a_bridge_reads_come_from_the_api(client: Client, lab: Lab) -> None:
    async with asyncio.timeout(30):
        while (vms := await ask(client, "get_vms"))["stale"]:
            await asyncio.sleep(0.1)  # on a busy machine the polls, which are frequent here, fall behind
    lxcs = await ask(client, "get_lxcs")
    assert vms["total"] + lxcs["total"] == len(lab.world.sorted_guests())
    assert (vms["source"], vms["stale"], vms["complete"]) == ("api", False, True)
    sites = (await ask(client, "get_cluster_status"))["sites"]
    assert {s["cluster"]["kind"] for s in sites} == {"cluster", "pbs"}
    assert (await ask(client, "get_storage"))["datastores"]


async def test_a_vm_is_stopped_and_started(client: Client, lab: Lab) -> None:
    vmid = pick(lab, "qemu", running=True)
    stopped = await ask(client, "execute_vm_command", vmid=str(vmid), command="stop")
    assert (stopped["ok"], stopped["status"], stopped["state_after"]) == (True, "done", "stopped")
    assert stopped["upid"].startswith("UPID:")
    assert not lab.guest(vmid).running
    started = await ask(client, "execute_vm_command", vmid=vmid, command="start")
    assert started["state_after"] == "running"
    assert lab.guest(vmid).running


async def test_a_container_is_shut_down(client: Client, lab: Lab) -> None:
    vmid = pick(lab, "lxc", running=True)
    answer = await ask(client, "execute_lxc_command", vmid=vmid, command="shutdown", shutdown_timeout=5)
    assert answer["state_after"] == "stopped"


async def test_progress_is_told(client: Client, lab: Lab) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    vmid = pick(lab, "qemu", running=True)
    await client.call_tool("execute_vm_command", {"vmid": vmid, "command": "reboot"}, progress_callback=tell)
    assert told
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert {total for _, total, _ in told} == {120}


async def test_a_task_that_fails_is_a_failure_with_its_log(client: Client, lab: Lab) -> None:
    vmid = pick(lab, "qemu", running=False)
    lab.fault("task-fail", "qmstart", "no space left on device")
    result = await client.call_tool("execute_vm_command", {"vmid": vmid, "command": "start"})
    assert result.is_error
    assert "no space left on device" in text(result)
    assert result.structured_content is not None
    assert result.structured_content["status"] == "failed"
    assert result.structured_content["log_tail"]
    assert result.structured_content["state_after"] == "stopped"


async def test_not_waiting_returns_the_upid_and_get_task_waits(client: Client, lab: Lab) -> None:
    vmid = pick(lab, "qemu", running=True)
    answer = await ask(client, "execute_vm_command", vmid=vmid, command="stop", wait=False)
    assert answer["status"] == "started"
    task = await ask(client, "get_task", upid=answer["upid"], wait=True, timeout=10)
    assert (task["status"], task["exitstatus"], task["guest"], task["type"]) == ("ok", "OK", vmid, "qmstop")
    assert task["source"] == "api"


async def test_a_dry_run_sends_nothing(client: Client, lab: Lab) -> None:
    vmid = pick(lab, "qemu", running=True)
    answer = await ask(client, "execute_vm_command", vmid=vmid, command="stop", dry_run=True)
    assert answer["calls"][0]["path"].endswith(f"/qemu/{vmid}/status/stop")
    assert answer["allowed"] is True
    assert lab.guest(vmid).running


async def test_status_and_config_are_read_from_proxmox(client: Client, lab: Lab) -> None:
    vmid = pick(lab, "qemu", running=True)
    status = await ask(client, "execute_vm_command", vmid=vmid, command="status")
    assert status["details"]["status"] == "running"
    config = await ask(client, "execute_vm_command", vmid=vmid, command="config")
    assert config["details"]["cores"]
    assert (await ask(client, "get_guest", vmid=vmid, config=True))["config"] == config["details"]
    assert lab.requests.count("POST") == 0


async def test_guests_of_a_node_are_shut_down_by_name(client: Client, lab: Lab) -> None:
    vmid = pick(lab, "qemu", running=True)
    node = lab.guest(vmid).node
    answer = await ask(client, "execute_node_command", node=node, command="stopall", vmids=[vmid])
    assert answer["ok"]
    assert not lab.guest(vmid).running


@pytest.mark.parametrize("permission", [STEADY])
@pytest.mark.parametrize("command", ["stop", "reset"])
async def test_a_level_that_is_too_low_names_the_setting(client: Client, lab: Lab, command: str) -> None:
    vmid = pick(lab, "qemu", running=True)
    said = await refused(client, "execute_vm_command", vmid=vmid, command=command)
    assert "MCP_ALLOW=change" in said
    assert lab.guest(vmid).running


@pytest.mark.parametrize("permission", [PermissionSettings(mcp_allow="exec")])
async def test_a_node_needs_an_approval(client: Client, lab: Lab) -> None:
    said = await refused(client, "execute_node_command", node="pve1", command="reboot")
    assert "APPROVAL_REQUIRED" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"vmid": 99_999, "command": "start"}, "no guest 99999"),
        ({"vmid": "x", "command": "start"}, "'vmid' of execute_vm_command is not right"),
        ({"vmid": 100, "command": "explode"}, "'command' of execute_vm_command is not right"),
        ({"vmid": 100}, "needs the argument 'command'"),
    ],
)
async def test_wrong_orders_are_refused(client: Client, arguments: dict[str, Any], says: str) -> None:
    assert re.search(says, await refused(client, "execute_vm_command", **arguments))


async def test_connectivity_asks_every_host(client: Client, lab: Lab) -> None:
    good = await ask(client, "test_connectivity")
    assert good["ok"]
    assert len(good["hosts"]) == len(lab.hosts) + len(lab.pbs_hosts)
    assert all(h["latency_ms"] > 0 and h["version"] for h in good["hosts"])
    down = next(iter(lab.hosts))
    lab.fault("host-down", down)
    bad = await ask(client, "test_connectivity")
    assert not bad["ok"]
    failed = [h for h in bad["hosts"] if not h["ok"]]
    assert len(failed) == 1
    assert failed[0]["error"]


async def test_what_is_broken_in_the_lab_is_diagnosed(client: Client, lab: Lab, settings: Settings) -> None:
    await ask(client, "get_cluster_status")
    lab.fault("storage-fill", next(iter(lab.world.storages)), 96)
    lab.fault("guest-lock", pick(lab, "qemu", running=True), "backup")
    found: set[str] = set()
    for _ in range(100):
        found = {f["check"] for f in (await ask(client, "run_diagnostic"))["findings"]}
        if {"storage", "locks"} <= found:
            return
    raise AssertionError(found)


async def test_no_secret_is_ever_said(client: Client, lab: Lab) -> None:
    lab.fault("token-revoke")
    said = str((await client.call_tool("test_connectivity", {})).structured_content)
    said += await refused(client, "execute_vm_command", vmid=100, command="start")
    assert lab.token_value not in said
    assert "Traceback" not in said
