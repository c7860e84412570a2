"""run_guest_command on a lab: what comes back to whoever asked, and what is shown to nobody else."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from mcp import Client

from mqtt_bridge.settings import PermissionSettings
from proxmox_mcp.lab import Lab
from tests.mcp.kept_bench import ALLOWED, OPERATE, connected
from tests.support.asking import ask, refused, text
from tests.support.lab_client import QUICK

VM, CT, STOPPED = 100, 109, 121
HIDDEN = "hidden-4711"


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(QUICK) as running:
        yield running
        assert running.violations == []


@pytest.fixture
async def client(lab: Lab, tmp_path: Path) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        yield await connected(stack, lab, tmp_path, ALLOWED)


async def test_its_output_and_exit_code_come_back(client: Client, tmp_path: Path) -> None:
    done = await ask(client, "run_guest_command", vmid=str(VM), argv=["echo", HIDDEN])
    assert (done["ok"], done["details"]) == (True, {"exitcode": 0, "stdout": HIDDEN, "stderr": ""})
    piped = await ask(client, "run_guest_command", vmid=VM, argv=["cat"], input_data="a  b\n\tc")
    assert piped["details"]["stdout"] == "a  b\n\tc"
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "audit.jsonl" for path in written)
    assert [path for path in written if HIDDEN.encode() in path.read_bytes()] == []


async def test_a_failure_is_one_and_says_all_the_same_what_it_printed(client: Client) -> None:
    result = await client.call_tool("run_guest_command", {"vmid": VM, "argv": ["false"]})
    assert result.is_error
    assert "exit code 1" in text(result)
    assert "it is false" in text(result)


async def test_a_dry_run_shows_the_program_alone(client: Client, lab: Lab) -> None:
    dry = await ask(client, "run_guest_command", vmid=VM, argv=["/bin/sh", "-c", HIDDEN], dry_run=True)
    assert "'/bin/sh' with 2 arguments" in dry["before"][0]
    assert HIDDEN not in json.dumps(dry)
    assert lab.world.agent_runs == []


async def test_refusals_say_what_to_do(client: Client, lab: Lab) -> None:
    assert "pct exec" in await refused(client, "run_guest_command", vmid=CT, argv=["uname"])
    assert "Start it" in await refused(client, "run_guest_command", vmid=STOPPED, argv=["uname"])
    assert "argv" in await refused(client, "run_guest_command", vmid=VM, argv="uname -a")
    lab.guest(VM).agent_dead = True
    assert "qemu-guest-agent" in await refused(client, "run_guest_command", vmid=VM, argv=["uname"])
    assert lab.world.agent_runs == []


async def test_it_needs_the_highest_level_and_an_approval(lab: Lab, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        weak = await connected(stack, lab, tmp_path, OPERATE)
        assert "run_guest_command" not in {tool.name for tool in (await weak.list_tools()).tools}
    async with AsyncExitStack() as stack:
        asked = await connected(stack, lab, tmp_path, PermissionSettings(mcp_allow="exec"))
        said = await asked.call_tool("run_guest_command", {"vmid": VM, "argv": ["echo", HIDDEN]})
        assert "APPROVAL_REQUIRED" in text(said)
        assert HIDDEN not in text(said)
    assert lab.world.agent_runs == []
