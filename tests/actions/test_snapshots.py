"""Snapshots of guests in the lab: what is sent, what is there afterwards, what is refused and why."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from mqtt_bridge.actions import ActionError
from mqtt_bridge.approvals import Approvals
from mqtt_bridge.approvals.types import Decider
from mqtt_bridge.errors import ForbiddenError, PolicyError, UnknownTargetError
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.targets import GuestRef
from proxmox_mcp.lab.state import Snapshot
from tests.actions.backup_bench import CT, OPEN, ROOT, STOPPED_VM, TEMPLATE, VM, Bench, opened
from tests.approvals.making import SETTINGS


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path / "state") as ready:
        yield ready


def names(bench: Bench, vmid: int) -> list[str]:
    return [one.name for one in bench.lab.guest(vmid).snapshots]


@pytest.mark.parametrize("vmid", [VM, CT])
async def test_one_is_made_gone_back_to_and_deleted(bench: Bench, vmid: int) -> None:
    guest = bench.lab.guest(vmid)
    kind = guest.kind
    made = await bench.perform("snapshot.create", vmid, name="before-update", description="two\nlines")
    assert (made.ok, made.status, made.details) == (True, "done", {"snapshot": "before-update"})
    assert names(bench, vmid)[-1] == "before-update"
    assert guest.snapshots[-1].description == "two\nlines"
    guest.config["cores"] = 7
    back = await bench.perform("snapshot.rollback", vmid, name="before-update", start=True)
    assert (back.ok, back.state_before, back.state_after) == (True, "running", "running"), back
    assert bench.lab.guest(vmid).config["cores"] != 7
    gone = await bench.perform("snapshot.delete", vmid, name="before-update")
    assert gone.ok, gone
    assert "before-update" not in names(bench, vmid)
    base = f"/nodes/{guest.node}/{kind}/{vmid}/snapshot"
    assert bench.writes == [
        f"POST {base}", f"POST {base}/before-update/rollback", f"DELETE {base}/before-update",
    ]  # fmt: skip


async def test_a_name_comes_from_the_time(bench: Bench) -> None:
    before = names(bench, VM)
    made = await bench.perform("snapshot.create", VM)
    [new] = set(names(bench, VM)) - set(before)
    assert made.details == {"snapshot": new}
    assert new.startswith("at-20")


async def test_memory_is_kept_of_a_running_vm_only(bench: Bench) -> None:
    assert (await bench.perform("snapshot.create", VM, name="warm", vmstate=True)).ok
    assert bench.lab.guest(VM).snapshots[-1].vmstate
    back = await bench.perform("snapshot.rollback", VM, name="warm")
    assert (back.ok, back.state_after) == (True, "running")
    writes = len(bench.writes)
    with pytest.raises(ActionError, match="container"):
        await bench.perform("snapshot.create", CT, name="warm", vmstate=True)
    with pytest.raises(ActionError, match="stopped: it has no memory"):
        await bench.perform("snapshot.create", STOPPED_VM, name="warm", vmstate=True)
    assert len(bench.writes) == writes
    assert (await bench.perform("snapshot.create", CT, name="cold", vmstate=False)).ok


@pytest.mark.parametrize("name", ["1st", "a b", "x", "current", "Pending", "a" * 41, "a/../b", "ä1"])
async def test_names_that_proxmox_would_not_take(bench: Bench, name: str) -> None:
    for action in ("snapshot.create", "snapshot.rollback", "snapshot.delete"):
        with pytest.raises(ActionError, match="The argument name"):
            await bench.perform(action, VM, name=name)
    assert bench.writes == []


async def test_a_disk_that_cannot_is_named(bench: Bench) -> None:
    bench.lab.guest(CT).config["mp0"] = f"nas:{CT}/vm-{CT}-disk-1.raw,mp=/data,size=8G"
    with pytest.raises(ActionError, match=r"mp0 on nas \(nfs\)\.") as caught:
        await bench.perform("snapshot.create", CT, name="one")
    assert "make a backup instead" in caught.value.cure
    assert bench.writes == []


async def test_zfs_goes_back_to_the_newest_only(bench: Bench) -> None:
    bench.lab.world.storages["local-lvm"].kind = "zfspool"
    vmid = VM if "local-lvm" in str(bench.lab.guest(VM).config["scsi0"]) else CT
    guest = bench.lab.guest(vmid)
    guest.snapshots = [Snapshot("early", 100), Snapshot("late", 200, parent="early", config=dict(guest.config))]
    with pytest.raises(ActionError, match=r"\(zfspool\) goes back to the newest only") as caught:
        await bench.perform("snapshot.rollback", vmid, name="early")
    assert "late" in caught.value.cure
    assert (await bench.perform("snapshot.rollback", vmid, name="late")).ok


async def test_what_a_rollback_loses_is_said_before(bench: Bench) -> None:
    dry = await bench.perform("snapshot.rollback", VM, name="before-upgrade", dry_run=True)
    assert dry.calls[0].path.endswith(f"/{VM}/snapshot/before-upgrade/rollback")
    said = " ".join(dry.notes)
    assert "All that was written since 20" in said
    assert "Newer snapshots, which stay: clean." in said
    assert "it is stopped for this, and stays stopped afterwards" in said
    assert bench.writes == []
    down = await bench.perform("snapshot.rollback", VM, name="before-upgrade")
    assert (down.ok, down.state_after) == (True, "stopped")


async def test_a_rollback_that_should_start_and_does_not_is_a_failure(bench: Bench) -> None:
    bench.lab.fault("task-fail", "qmrollback", "no space left on device")
    result = await bench.perform("snapshot.rollback", VM, name="clean", start=True)
    assert (result.ok, result.status) == (False, "failed")
    assert "no space left on device" in result.message
    assert bench.lab.guest(VM).running


async def test_states_and_names_that_make_no_sense(bench: Bench) -> None:
    for action in ("snapshot.rollback", "snapshot.delete"):
        with pytest.raises(ActionError, match="has no snapshot nope") as caught:
            await bench.perform(action, VM, name="nope")
        assert "before-upgrade, clean" in caught.value.cure
    with pytest.raises(ActionError, match="has a snapshot clean already"):
        await bench.perform("snapshot.create", VM, name="clean")
    with pytest.raises(ActionError, match="is a template"):
        await bench.perform("snapshot.create", TEMPLATE, name="one")
    bench.lab.guest(VM).snapshots.append(Snapshot("half", 300, prepared=True))
    with pytest.raises(ActionError, match="never finished"):
        await bench.perform("snapshot.rollback", VM, name="half")
    bench.lab.fault("guest-lock", VM, "backup")
    with pytest.raises(ActionError, match=r"locked \(backup\)"):
        await bench.perform("snapshot.create", VM, name="one")
    with pytest.raises(UnknownTargetError):
        await bench.perform("snapshot.create", 99_999, name="one")
    assert bench.writes == []


@pytest.mark.parametrize(
    ("action", "permission", "refused"),
    [
        ("snapshot.create", replace(OPEN, protected_tags=frozenset({"web"})), False),
        ("snapshot.rollback", replace(OPEN, protected_tags=frozenset({"web"})), True),
        ("snapshot.delete", replace(OPEN, protected_tags=frozenset({"web"})), True),
        ("snapshot.create", replace(OPEN, vmid_allowlist=frozenset({CT})), True),
        ("snapshot.rollback", replace(OPEN, pool_allowlist=frozenset({"dev"})), True),
        ("snapshot.delete", replace(OPEN, node_allowlist=frozenset({"pve9"})), True),
    ],
)
async def test_the_policy(bench: Bench, action: str, permission: PermissionSettings, *, refused: bool) -> None:
    dry = await bench.perform(action, VM, name="one" if action.endswith("create") else "clean", permission=permission,
                              dry_run=True)  # fmt: skip
    assert dry.allowed is not refused, dry
    if refused:
        with pytest.raises(PolicyError):
            await bench.perform(action, VM, name="clean", permission=permission)
        assert bench.writes == []


async def test_proxmox_protection_is_no_way_around_a_rollback(bench: Bench) -> None:
    bench.lab.guest(VM).config["protection"] = 1
    with pytest.raises(PolicyError, match="protection flag"):
        await bench.perform("snapshot.rollback", VM, name="clean")
    assert (await bench.perform("snapshot.delete", VM, name="clean")).ok


async def test_without_the_privilege(bench: Bench, tmp_path: Path) -> None:
    async with opened(tmp_path / "other", "audit@pve!ro", bench.lab) as auditor:
        with pytest.raises(ForbiddenError, match=r"VM\.Snapshot"):
            await auditor.perform("snapshot.create", VM, name="one")
        assert auditor.events == ["intent", "outcome"]
    assert "one" not in names(bench, VM)


async def test_an_approval_is_for_one_snapshot_of_one_guest(bench: Bench, tmp_path: Path) -> None:
    asking = PermissionSettings(mcp_allow="exec", approval_required=frozenset({"destroy"}))
    async with Approvals(tmp_path / "approvals", SETTINGS) as approvals:
        actions = bench.actions(asking, approvals=approvals)
        first = await actions.perform(ROOT, "snapshot.delete", GuestRef(VM), args={"name": "clean"})
        assert (first.status, first.approval is not None) == ("approval_required", True)
        assert first.approval is not None
        given = first.approval.id
        await approvals.decide(given, "approve", Decider("alice", "secret"))
        for vmid, name in ((VM, "before-upgrade"), (CT, "clean")):
            with pytest.raises(PolicyError):
                await actions.perform(ROOT, "snapshot.delete", GuestRef(vmid), args={"name": name}, approval=given)
        assert bench.writes == []
        assert "clean" in names(bench, VM)
