"""The tools for backups and a Backup Server's datastores, on a lab."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from proxmox_mcp.lab import Lab
from tests.mcp.kept_bench import ALLOWED, OPERATE, connected
from tests.support.asking import ask, refused
from tests.support.lab_client import QUICK

VM, CT, STOPPED = 100, 102, 121


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(QUICK) as running:
        yield running
        assert running.violations == []


@pytest.fixture
async def client(lab: Lab, tmp_path: Path) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        yield await connected(stack, lab, tmp_path, ALLOWED)


async def listed(client: Client, **filters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await ask(client, "list_backups", **filters))["backups"]
    return found


@pytest.mark.parametrize("vmid", [VM, CT])
@pytest.mark.parametrize("storage", ["nas", "pbs1"])
async def test_a_backup_s_life(client: Client, lab: Lab, vmid: int, storage: str) -> None:
    made = await ask(client, "create_backup", vmid=str(vmid), storage=storage, notes="by {{guestname}}")
    assert (made["ok"], made["details"]["storage"]) == (True, storage)
    volume = made["details"]["volume"]
    assert volume in {row["volume"] for row in await listed(client, vmid=vmid)}
    back = await ask(client, "restore_backup", volume=volume, name="copy")
    assert back["ok"]
    assert lab.guest(back["details"]["vmid"]).name == "copy"
    gone = await ask(client, "delete_backup", volume=volume)
    assert gone["ok"]
    assert volume not in {row["volume"] for row in await listed(client, vmid=vmid)}


async def test_over_a_guest(client: Client, lab: Lab) -> None:
    made = await ask(client, "create_backup", vmid=STOPPED, storage="nas")
    volume = made["details"]["volume"]
    assert "overwrite=true" in await refused(client, "restore_backup", volume=volume, vmid=STOPPED)
    dry = await ask(client, "restore_backup", volume=volume, vmid=STOPPED, overwrite=True, dry_run=True)
    assert [call["method"] for call in dry["calls"]] == ["DELETE", "POST"]
    before = lab.guest(STOPPED)
    done = await ask(client, "restore_backup", volume=volume, vmid=str(STOPPED), overwrite=True)
    assert (done["ok"], lab.guest(STOPPED) is before) == (True, False)
    assert "needs it stopped" in await refused(
        client, "restore_backup", volume=(await listed(client, vmid=VM))[0]["volume"], vmid=VM, overwrite=True
    )


async def test_one_in_a_datastore_is_deleted_as_it_is_listed(client: Client, lab: Lab) -> None:
    archive = lab.world.pbs["pbs1"].datastores["archive"]
    row = (await listed(client, datastore="archive"))[0]
    where = {"volume": row["volume"], "datastore": "archive", "namespace": row["namespace"]}
    before = len(archive.snapshots)
    assert (await ask(client, "delete_backup", **where))["ok"]
    assert len(archive.snapshots) == before - 1
    assert "There is no backup" in await refused(client, "delete_backup", **where)


@pytest.mark.parametrize(
    ("arguments", "action"),
    [
        ({"job": "verify"}, "datastore.verify"),
        ({"job": "verify", "job_id": "v-main"}, "datastore.verify"),
        ({"job": "prune", "keep": {"last": 1}}, "datastore.prune"),
        ({"job": "prune", "group": f"vm/{VM}", "keep": {"last": 1}}, "datastore.prune"),
        ({"job": "gc"}, "datastore.gc"),
        ({"job": "sync", "datastore": "archive"}, "datastore.sync"),
    ],
)
async def test_jobs_of_a_datastore(client: Client, arguments: dict[str, Any], action: str) -> None:
    done = await ask(client, "run_datastore_job", **{"datastore": "main", **arguments})
    assert (done["action"], done["ok"], done["status"], done["site"]) == (action, True, "done", "pbs1"), done


async def test_a_prune_is_shown_before(client: Client, lab: Lab) -> None:
    before = list(lab.world.pbs["pbs1"].datastores["main"].snapshots)
    dry = await ask(client, "run_datastore_job", datastore="main", job="prune", keep={"last": 1}, dry_run=True)
    assert "It removes" in dry["before"][0]
    assert lab.world.pbs["pbs1"].datastores["main"].snapshots == before


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("create_backup", {"vmid": VM, "storage": "ceph-vm"}, "There are: pbs1, nas, local"),
        ("create_backup", {"vmid": VM, "script": "/x"}, "script"),
        ("restore_backup", {"volume": "/var/lib/vz/dump/x.vma"}, "never a path"),
        ("delete_backup", {"volume": "nas:iso/debian-13.1.0-amd64-netinst.iso"}, "never a path"),
        ("run_datastore_job", {"datastore": "main", "job": "prune"}, "has to say what it keeps"),
        ("run_datastore_job", {"datastore": "main", "job": "gc", "keep": {"last": 1}}, "has no argument keep_last"),
        ("run_datastore_job", {"datastore": "other", "job": "gc"}, "There are: main, archive"),
    ],
)
async def test_refusals_say_what_to_do(
    client: Client, lab: Lab, tool: str, arguments: dict[str, Any], says: str
) -> None:
    assert says in await refused(client, tool, **arguments)
    assert (lab.requests.count("POST"), lab.requests.count("DELETE")) == (0, 0)


async def test_the_policy(lab: Lab, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        client = await connected(stack, lab, tmp_path, replace(OPERATE, protected_tags=frozenset({"web"})))
        assert (await ask(client, "create_backup", vmid=VM))["ok"]
        assert "protected" in await refused(client, "create_backup", vmid=VM, mode="stop")
        assert (await ask(client, "run_datastore_job", datastore="main", job="verify"))["ok"]
        for job, more in (("gc", {}), ("prune", {"keep": {"last": 1}})):
            said = await refused(client, "run_datastore_job", datastore="main", job=job, **more)
            assert "MCP_ALLOW=destroy" in said
