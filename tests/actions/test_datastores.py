"""Jobs of a Backup Server's datastore in the lab, and backups deleted there."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.actions import ActionError
from mqtt_bridge.actions.plan import Outcome
from mqtt_bridge.errors import ForbiddenError, PolicyError, UnknownTargetError
from mqtt_bridge.model import utc
from mqtt_bridge.targets import GuestRef
from proxmox_mcp.lab.pbs.state import Datastore, PbsJob, PbsSnapshot
from tests.actions.backup_bench import CT, OPEN, VM, Bench, opened

DAY = 86_400


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path / "state") as ready:
        yield ready


def store(bench: Bench, name: str = "main") -> Datastore:
    return bench.lab.world.pbs["pbs1"].datastores[name]


def of(bench: Bench, vmid: int, name: str = "main") -> list[PbsSnapshot]:
    """Newest first."""
    mine = [one for one in store(bench, name).snapshots if one.ident == str(vmid)]
    return sorted(mine, key=lambda one: one.time, reverse=True)


def label(one: PbsSnapshot) -> str:
    return f"{one.kind}/{one.ident}/{utc(one.time)}"


@pytest.mark.parametrize(
    ("args", "path", "sent"),
    [
        ({}, "datastore/main/verify", {}),
        ({"ignore_verified": False}, "datastore/main/verify", {"ignore-verified": False}),
        ({"recursive": False}, "datastore/main/verify", {"max-depth": 0}),
        ({"group": "vm/100"}, "datastore/main/verify", {"backup-type": "vm", "backup-id": "100"}),
        ({"job_id": "v-main"}, "verify/v-main/run", {}),
    ],
)  # fmt: skip
async def test_verification(bench: Bench, args: dict[str, Any], path: str, sent: dict[str, Any]) -> None:
    dry = await bench.on_store("datastore.verify", dry_run=True, **args)
    assert [(call.method, call.path, call.params) for call in dry.calls] == [("POST", f"/admin/{path}", sent)]
    done = await bench.on_store("datastore.verify", **args)
    assert (done.ok, done.status, done.exitstatus) == (True, "done", "OK"), done
    assert done.upid is not None
    assert done.upid.startswith("UPID:pbs1:")
    if not args:
        assert {one.verified for one in store(bench).snapshots} == {"ok"}
        assert done.details["none"] == 0


async def test_a_verification_that_fails(bench: Bench) -> None:
    bench.lab.world.pbs["pbs1"].tasks.fail_next["verify"] = "verification failed - please check the log for details"
    failed = await bench.on_store("datastore.verify")
    assert (failed.ok, failed.status) == (False, "failed")
    assert "verification failed" in failed.message


async def test_sync_by_its_id_or_the_only_one(bench: Bench) -> None:
    done = await bench.on_store("datastore.sync", "archive")
    assert (done.ok, done.details["job_id"], done.details["state"]) == (True, "s-offsite", "OK")
    assert done.notes == ("It fetches from offsite:main.",)
    assert bench.writes == ["POST /admin/sync/s-offsite/run"]
    with pytest.raises(ActionError, match="has no sync jobs"):
        await bench.on_store("datastore.sync", "main")
    with pytest.raises(UnknownTargetError, match="no sync job other") as caught:
        await bench.on_store("datastore.sync", "archive", job_id="other")
    assert caught.value.candidates == ("s-offsite",)


async def test_a_sync_that_removes_is_a_destruction(bench: Bench) -> None:
    bench.lab.world.pbs["pbs1"].jobs["s-offsite"].config["remove-vanished"] = True
    asking = replace(OPEN, approval_required=frozenset({"destroy"}))
    with pytest.raises(PolicyError, match="destroy"):
        await bench.on_store("datastore.sync", "archive", permission=asking)
    assert bench.writes == []


async def test_garbage(bench: Bench) -> None:
    done = await bench.on_store("datastore.gc")
    assert (done.ok, done.status) == (True, "done")
    assert store(bench).gc_upid == done.upid
    assert "removed-bytes" in done.details
    assert "no backup refers to" in done.notes[0]


# --- prune -----------------------------------------------------------------------------------------------------------


async def test_a_prune_says_what_goes_and_only_that_goes(bench: Bench) -> None:
    everything = {label(one) for one in store(bench).snapshots}
    stays = {label(of(bench, int(ident))[0]) for ident in {one.ident for one in store(bench).snapshots}}
    dry = await bench.on_store("datastore.prune", keep_last=1, dry_run=True)
    assert dry.calls[0].path == "/admin/datastore/main/prune-datastore"
    assert dry.calls[0].params == {"keep-last": 1}
    assert dry.notes[0] == (
        f"It removes {len(everything - stays)} backups of {len(stays)} groups and keeps {len(stays)}."
    )
    assert {label(one) for one in store(bench).snapshots} == everything
    done = await bench.on_store("datastore.prune", keep_last=1)
    assert (done.ok, done.details["removed"]) == (True, len(everything - stays)), done
    assert {label(one) for one in store(bench).snapshots} == stays
    again = await bench.on_store("datastore.prune", keep_last=1)
    assert (again.changed, "Nothing in datastore main would be removed" in again.message) == (False, True)


async def test_a_prune_of_a_group(bench: Bench) -> None:
    others = len([one for one in store(bench).snapshots if one.ident != str(VM)])
    mine = of(bench, VM)
    mine[-1].protected = True
    done = await bench.on_store("datastore.prune", group=f"vm/{VM}", keep_last=1)
    assert done.ok, done
    assert [label(one) for one in of(bench, VM)] == [label(mine[0]), label(mine[-1])]
    assert len(store(bench).snapshots) == others + 2


async def test_a_prune_job_keeps_what_its_job_says(bench: Bench) -> None:
    host = bench.lab.world.pbs["pbs1"]
    host.jobs["p-few"] = PbsJob("p-few", "prune", "main", "daily", {"keep-last": 2})
    dry = await bench.on_store("datastore.prune", job_id="p-few", dry_run=True)
    assert dry.calls[0].path == "/admin/prune/p-few/run"
    first = of(bench, VM)
    assert f"vm/{VM}: {', '.join(str(utc(one.time)) for one in sorted(first[2:], key=lambda x: x.time))}" in dry.notes
    done = await bench.on_store("datastore.prune", job_id="p-few")
    assert done.ok, done
    assert of(bench, VM) == first[:2]


async def test_a_prune_in_namespaces(bench: Bench) -> None:
    archive = store(bench, "archive")
    archive.snapshots.append(PbsSnapshot("host", "nas", int(bench.lab.world.now() - 400 * DAY), 1, "offsite/2025"))
    flat = await bench.on_store(
        "datastore.prune", "archive", namespace="offsite", recursive=False, keep_last=1, dry_run=True
    )
    assert "removes 1 backups of 1 groups and keeps 1" in flat.notes[0]
    assert flat.calls[0].params == {"ns": "offsite", "max-depth": 0, "keep-last": 1}
    deep = await bench.on_store("datastore.prune", "archive", namespace="offsite", keep_last=1)
    assert (deep.ok, deep.details["removed"]) == (True, 1)
    assert [one.namespace for one in archive.snapshots] == ["offsite", "offsite/2025"]


async def test_backups_of_protected_guests_stay(bench: Bench) -> None:
    spared = replace(OPEN, protected_tags=frozenset({"web"}))
    with pytest.raises(PolicyError, match=r"backup main: \w\w/\d+/.* is protected by the tag 'web'"):
        await bench.on_store("datastore.prune", permission=spared, keep_last=1)
    with pytest.raises(PolicyError, match="protected"):
        await bench.on_store("datastore.prune", permission=spared, group=f"vm/{VM}", keep_last=1)
    assert bench.writes == []


async def test_lists_of_guests_admit_no_whole_datastore(bench: Bench) -> None:
    only = replace(OPEN, vmid_allowlist=frozenset({VM}))
    rows: tuple[tuple[str, dict[str, Any]], ...] = (("verify", {}), ("prune", {"keep_last": 1}), ("gc", {}))
    for action, args in rows:
        with pytest.raises(PolicyError, match="PROXMOX_VMID_ALLOWLIST"):
            await bench.on_store(f"datastore.{action}", permission=only, **args)
    with pytest.raises(PolicyError, match="PROXMOX_VMID_ALLOWLIST"):
        await bench.on_store("datastore.verify", permission=only, group=f"ct/{CT}")
    assert (await bench.on_store("datastore.verify", permission=only, group=f"vm/{VM}")).ok
    assert (await bench.on_store("datastore.prune", permission=only, group=f"vm/{VM}", keep_last=1)).ok


@pytest.mark.parametrize(
    ("action", "args", "says"),
    [
        ("prune", {}, "has to say what it keeps"),
        ("prune", {"group": f"vm/{VM}"}, "has to say what it keeps"),
        ("prune", {"job_id": "p-main", "keep_last": 1}, "nothing else can be given"),
        ("prune", {"keep_last": 0}, "argument keep_last"),
        ("verify", {"job_id": "v-main", "namespace": "x"}, "nothing else can be given"),
        ("verify", {"group": "vm/../x"}, "must look like vm/100"),
        ("verify", {"namespace": "../x"}, "must look like"),
        ("verify", {"keep_last": 1}, "has no argument keep_last"),
        ("gc", {"namespace": "x"}, "has no argument namespace"),
    ],
)
async def test_what_makes_no_sense(bench: Bench, action: str, args: dict[str, Any], says: str) -> None:
    with pytest.raises(ActionError, match=says):
        await bench.on_store(f"datastore.{action}", **args)
    assert bench.writes == []


async def test_unknown_ones(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(UnknownTargetError) as caught:
        await bench.on_store("datastore.gc", "other")
    assert caught.value.candidates == ("main", "archive")
    with pytest.raises(UnknownTargetError, match="no prune job v-main"):
        await bench.on_store("datastore.prune", job_id="v-main")
    with pytest.raises(ActionError, match="is for a datastore"):
        await bench.perform("datastore.gc", GuestRef(VM))
    async with opened(tmp_path / "other", "root@pam!ro", bench.lab) as reader:
        for action in ("verify", "gc"):
            with pytest.raises(ForbiddenError):
                await reader.on_store(f"datastore.{action}")
        with pytest.raises(ForbiddenError):
            await reader.on_store("datastore.prune", keep_last=1)


async def test_a_job_that_names_no_task_is_started_and_no_more(bench: Bench) -> None:
    """The schema promises no UPID for a job's run."""
    client = bench.clients["pbs1"]
    post = client.post

    async def silent(*segments: Any, **params: Any) -> None:
        await post(*segments, **params)

    client.post = silent  # type: ignore[method-assign]
    done = await bench.on_store("datastore.verify", job_id="v-main")
    assert (done.ok, done.status, done.changed, done.upid) == (True, "started", None, None)
    assert Outcome(0).upid is None


# --- one backup ------------------------------------------------------------------------------------------------------


async def test_a_backup_in_a_datastore_is_deleted(bench: Bench) -> None:
    old = of(bench, VM)[-1]
    dry = await bench.on_store("datastore.forget", snapshot=label(old), dry_run=True)
    assert dry.calls[0].params == {"backup-type": "vm", "backup-id": str(VM), "backup-time": old.time}
    done = await bench.on_store("datastore.forget", snapshot=label(old))
    assert (done.ok, done.status) == (True, "done"), done
    assert old not in store(bench).snapshots
    with pytest.raises(UnknownTargetError, match="There is no backup"):
        await bench.on_store("datastore.forget", snapshot=label(old))


async def test_one_in_a_namespace_is_another_one(bench: Bench) -> None:
    one = next(each for each in store(bench, "archive").snapshots if each.verified == "failed")
    with pytest.raises(UnknownTargetError):
        await bench.on_store("datastore.forget", "archive", snapshot=label(one))
    assert (await bench.on_store("datastore.forget", "archive", snapshot=label(one), namespace="offsite")).ok
    assert one not in store(bench, "archive").snapshots


async def test_a_protected_one_and_one_of_a_protected_guest(bench: Bench) -> None:
    one = of(bench, VM)[0]
    with pytest.raises(PolicyError, match="protected by the tag"):
        await bench.on_store(
            "datastore.forget", snapshot=label(one), permission=replace(OPEN, protected_tags=frozenset({"web"}))
        )
    one.protected = True
    with pytest.raises(PolicyError, match="protection flag"):
        await bench.on_store("datastore.forget", snapshot=label(one))
    assert one in store(bench).snapshots
