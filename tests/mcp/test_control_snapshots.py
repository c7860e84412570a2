"""The tools for snapshots, on a lab."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from mcp import Client

from proxmox_mcp.lab import Lab
from tests.mcp.kept_bench import ALLOWED, OPERATE, connected
from tests.support.asking import ask, refused
from tests.support.lab_client import QUICK

VM, CT = 100, 102


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(QUICK) as running:
        yield running
        assert running.violations == []


@pytest.fixture
async def client(lab: Lab, tmp_path: Path) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        yield await connected(stack, lab, tmp_path, ALLOWED)


@pytest.mark.parametrize("vmid", [str(VM), CT])
async def test_a_snapshot_s_life(client: Client, lab: Lab, vmid: str | int) -> None:
    made = await ask(client, "create_snapshot", vmid=vmid, name="fresh", description="before the update")
    assert (made["ok"], made["status"], made["details"]) == (True, "done", {"snapshot": "fresh"})
    listed = await ask(client, "list_snapshots", vmid=vmid)
    assert [s["name"] for s in listed["snapshots"] if s["current"]] == ["fresh"]
    back = await ask(client, "rollback_snapshot", vmid=vmid, name="fresh", start=True, node=lab.guest(int(vmid)).node)
    assert (back["ok"], back["state_after"]) == (True, "running")
    gone = await ask(client, "delete_snapshot", vmid=vmid, name="fresh")
    assert gone["ok"]
    assert "fresh" not in {one.name for one in lab.guest(int(vmid)).snapshots}


async def test_a_dry_run_shows_what_a_rollback_loses(client: Client, lab: Lab) -> None:
    dry = await ask(client, "rollback_snapshot", vmid=VM, name="before-upgrade", dry_run=True)
    assert dry["calls"][0]["path"].endswith("/snapshot/before-upgrade/rollback")
    assert any("is lost" in note for note in dry["before"])
    assert lab.requests.count("POST") == 0


async def test_refusals_say_what_to_do(client: Client, lab: Lab) -> None:
    assert "There are: before-upgrade, clean" in await refused(client, "rollback_snapshot", vmid=VM, name="nope")
    assert "There are: before-upgrade, clean" in await refused(client, "delete_snapshot", vmid=VM, name="nope")
    assert "container" in await refused(client, "create_snapshot", vmid=CT, vmstate=True)
    assert "must begin with a letter" in await refused(client, "create_snapshot", vmid=VM, name="1 2")
    lab.guest(CT).config["rootfs"] = f"nas:{CT}/vm-{CT}-disk-0.raw,size=8G"
    assert "rootfs on nas (nfs)" in await refused(client, "create_snapshot", vmid=CT)
    assert lab.requests.count("POST") == 0


async def test_a_level_shows_what_it_admits(lab: Lab, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        client = await connected(stack, lab, tmp_path, OPERATE)
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"create_snapshot", "list_snapshots", "create_backup", "run_datastore_job"} <= names
        assert names.isdisjoint({"rollback_snapshot", "delete_snapshot", "restore_backup", "delete_backup"})
        assert (await ask(client, "create_snapshot", vmid=VM))["ok"]
