"""Backups and restores in the lab: on directories and through a Backup Server, of VMs and containers."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.actions import ActionError
from mqtt_bridge.errors import ForbiddenError, PolicyError, UnknownTargetError
from mqtt_bridge.targets import StorageRef
from proxmox_mcp.lab.access import Acl
from proxmox_mcp.lab.rules import Replication
from proxmox_mcp.lab.state import HaResource
from tests.actions.backup_bench import CT, OPEN, STOPPED_CT, STOPPED_VM, VM, Bench, opened

KINDS = {VM: "qemu", CT: "lxc", STOPPED_VM: "qemu", STOPPED_CT: "lxc"}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path / "state") as ready:
        yield ready


async def backed_up(bench: Bench, vmid: int, storage: str = "nas") -> str:
    made = await bench.perform("backup.create", vmid, storage=storage)
    assert made.ok, made
    return str(made.details["volume"])


# --- made ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vmid", [VM, CT])
@pytest.mark.parametrize("storage", ["local", "nas", "pbs1"])
async def test_one_is_made_and_seen(bench: Bench, vmid: int, storage: str) -> None:
    before = {volume.volid for volume in bench.backups(storage, vmid)}
    made = await bench.perform("backup.create", vmid, storage=storage, notes="a\\b\nof {{guestname}}", protected=True)
    assert (made.ok, made.status) == (True, "done"), made
    [new] = [volume for volume in bench.backups(storage, vmid) if volume.volid not in before]
    assert made.details["volume"] == new.volid
    assert new.protected
    assert new.notes == f"a\\\\b\\nof {bench.lab.guest(vmid).name}"
    assert bench.lab.guest(vmid).running


async def test_nothing_is_pruned_and_nothing_else_is_sent(bench: Bench) -> None:
    node = bench.lab.guest(VM).node
    dry = await bench.perform("backup.create", VM, dry_run=True)
    [call] = dry.calls
    assert call.path == f"/nodes/{node}/vzdump"
    assert call.params == {"vmid": "100", "storage": "pbs1", "mode": "snapshot", "remove": 0}
    assert dry.notes == ("It goes to pbs1; there are also nas, local.",)
    nas = await bench.perform("backup.create", VM, dry_run=True, storage="nas", mode="stop")
    assert nas.calls[0].params == {"vmid": "100", "storage": "nas", "mode": "stop", "remove": 0, "compress": "zstd"}
    assert bench.writes == []


@pytest.mark.parametrize(
    "given",
    [{"script": "/x"}, {"dumpdir": "/x"}, {"remove": True}, {"tmpdir": "/x"}, {"prune_backups": "keep-last=1"},
     {"mode": "fast"}, {"compress": "9"}, {"storage": "a,b"}, {"protected": "yes"}, {"notes": "x" * 901}],
)  # fmt: skip
async def test_what_it_does_not_take(bench: Bench, given: dict[str, Any]) -> None:
    with pytest.raises(ActionError):
        await bench.perform("backup.create", VM, **given)
    assert bench.writes == []


async def test_a_stop_takes_the_guest_down_so_the_policy_looks_at_it(bench: Bench) -> None:
    spared = replace(OPEN, protected_tags=frozenset({"web"}))
    for mode in ("stop", "suspend"):
        with pytest.raises(PolicyError, match="protected"):
            await bench.perform("backup.create", VM, permission=spared, mode=mode)
    assert bench.writes == []
    assert (await bench.perform("backup.create", VM, permission=spared)).ok
    stopped = await bench.perform("backup.create", VM, mode="stop", storage="nas")
    assert stopped.ok
    assert "shut down and started again" in " ".join(stopped.notes)


async def test_a_container_that_cannot_be_snapshotted_is_suspended_and_that_is_said(bench: Bench) -> None:
    guest = bench.lab.guest(CT)
    guest.config["rootfs"] = f"nas:{CT}/vm-{CT}-disk-0.raw,size=8G"
    guest.config["tags"] = "keep"
    dry = await bench.perform("backup.create", CT, dry_run=True)
    assert "it would be suspended" in " ".join(dry.notes)
    with pytest.raises(PolicyError) as caught:
        await bench.perform("backup.create", CT, permission=replace(OPEN, protected_tags=frozenset({"keep"})))
    assert "cannot be snapshotted" in str(caught.value)


async def test_a_backup_that_fails_is_a_failure(bench: Bench) -> None:
    bench.lab.world.backup_fails.add(VM)
    result = await bench.perform("backup.create", VM)
    assert (result.ok, result.status, result.changed) == (False, "failed", False)
    assert "job errors" in result.message
    assert result.log_tail


async def test_refusals_of_a_backup(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="ceph-vm is no active backup storage") as caught:
        await bench.perform("backup.create", VM, storage="ceph-vm")
    assert "There are: pbs1, nas, local." in caught.value.cure
    bench.lab.fault("guest-lock", VM, "migrate")
    with pytest.raises(ActionError, match=r"locked \(migrate\)"):
        await bench.perform("backup.create", VM)
    with pytest.raises(UnknownTargetError):
        await bench.perform("backup.create", 99_999)
    with pytest.raises(PolicyError, match="PROXMOX_VMID_ALLOWLIST"):
        await bench.perform("backup.create", CT, permission=replace(OPEN, vmid_allowlist=frozenset({VM})))
    async with opened(tmp_path / "other", "audit@pve!ro", bench.lab) as auditor:
        with pytest.raises(ForbiddenError, match=r"VM\.Backup"):
            await auditor.perform("backup.create", CT)
    assert not [path for path in bench.writes if "/nodes/pve1/vzdump" in path]


# --- restored as a new guest -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vmid", [VM, CT])
@pytest.mark.parametrize("storage", ["local", "nas", "pbs1"])
async def test_a_new_guest_comes_of_it(bench: Bench, vmid: int, storage: str) -> None:
    volume = await backed_up(bench, vmid, storage)
    original = bench.lab.guest(vmid)
    made = await bench.on_volume("backup.restore", volume, name="again.example", start=True)
    assert (made.ok, made.status, made.state_after) == (True, "done", "running"), made
    new = int(made.details["vmid"])
    guest = bench.lab.guest(new)
    assert (new != vmid, guest.kind, guest.name, guest.node) == (True, KINDS[vmid], "again.example", original.node)
    assert guest.config["cores"] == original.config["cores"]
    assert guest.config["net0"] != original.config["net0"], "the original exists, so it gets another address"
    assert (made.action, made.target) == ("backup.restore", new)
    assert bench.lab.guest(vmid) is original


async def test_what_is_sent_for_each_kind(bench: Bench) -> None:
    vm, ct = await backed_up(bench, VM), await backed_up(bench, CT)
    sent = len(bench.writes)
    dry = await bench.on_volume(
        "backup.restore", vm, dry_run=True, vmid=5000, storage="ceph-vm", pool="dev", unique=False
    )
    assert dry.calls[0].params == {
        "vmid": 5000, "archive": vm, "storage": "ceph-vm", "pool": "dev", "unique": 0,
    }  # fmt: skip
    rootfs = bench.lab.guest(CT).config["rootfs"].partition(":")[0]
    dry = await bench.on_volume("backup.restore", ct, dry_run=True, vmid=5000)
    assert dry.calls[0].params == {"vmid": 5000, "ostemplate": ct, "restore": 1, "storage": rootfs, "unique": 1}
    assert dry.allowed
    assert len(bench.writes) == sent


async def test_where_it_may_go(bench: Bench) -> None:
    local, shared = await backed_up(bench, VM, "local"), await backed_up(bench, VM, "nas")
    with pytest.raises(ActionError, match="cannot be reached from pve2") as caught:
        await bench.on_volume("backup.restore", local, node="pve2")
    assert "restored on pve1" in caught.value.cure
    moved = await bench.on_volume("backup.restore", shared, node="pve2")
    assert bench.lab.guest(int(moved.details["vmid"])).node == "pve2"
    with pytest.raises(ActionError, match="without content 'images'") as caught:
        await bench.on_volume("backup.restore", shared, storage="local")
    assert "ceph-vm" in caught.value.cure
    with pytest.raises(ActionError, match="not there"):
        await bench.on_volume("backup.restore", shared, storage="nowhere")


@pytest.mark.parametrize(
    "volume",
    ["/var/lib/vz/dump/vzdump-qemu-100-2026.vma", "local:backup/../../etc/passwd", "local:iso/x.iso", "-",
     "local:backup/", "local:backup/vzdump-qemu-100-2026_01_01-00_00_00.vma.zst,force=1", "pbs1:backup/vm/100/now"],
)  # fmt: skip
async def test_paths_are_never_taken(bench: Bench, volume: str) -> None:
    for action in ("backup.restore", "backup.delete"):
        with pytest.raises(ActionError, match="The argument volume"):
            await bench.perform(action, StorageRef("local", "pve1"), volume=volume)
    assert bench.writes == []


async def test_force_is_no_argument(bench: Bench) -> None:
    volume = bench.backups("pbs1", VM)[0].volid
    for more in ({"force": True}, {"archive": "/x"}, {"live_restore": True}, {"args": "-x"}, {"hookscript": "local:x"}):
        with pytest.raises(ActionError, match="has no argument"):
            await bench.on_volume("backup.restore", volume, **more)


async def test_a_backup_that_is_not_there_names_others(bench: Bench) -> None:
    there = bench.backups("pbs1", VM)[0].volid
    wrong = f"{there[:-20]}2020-01-01T00:00:00Z"
    for action in ("backup.restore", "backup.delete"):
        with pytest.raises(UnknownTargetError, match="There is no backup") as caught:
            await bench.on_volume(action, wrong)
        assert there in caught.value.candidates


async def test_lists_of_guests_hold_for_the_original_and_for_what_comes(bench: Bench) -> None:
    volume = await backed_up(bench, VM)
    sent = len(bench.writes)
    for allowed in ({VM}, {5000}):
        with pytest.raises(PolicyError, match="PROXMOX_VMID_ALLOWLIST"):
            await bench.on_volume(
                "backup.restore", volume, vmid=5000, permission=replace(OPEN, vmid_allowlist=frozenset(allowed))
            )
    pool = bench.lab.guest(VM).pool
    only = replace(OPEN, pool_allowlist=frozenset({pool}))
    with pytest.raises(PolicyError, match="PROXMOX_POOL_ALLOWLIST"):
        await bench.on_volume("backup.restore", volume, permission=only)
    assert len(bench.writes) == sent
    assert (await bench.on_volume("backup.restore", volume, permission=only, pool=pool)).ok
    dry = await bench.on_volume("backup.restore", volume, permission=replace(OPEN, mcp_allow="operate"), dry_run=True)
    assert dry.allowed, "the ceiling is the principal's"


# --- restored over a guest -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vmid", [STOPPED_VM, STOPPED_CT])
@pytest.mark.parametrize("storage", ["nas", "pbs1"])
async def test_a_guest_is_destroyed_and_restored_without_force(bench: Bench, vmid: int, storage: str) -> None:
    volume = await backed_up(bench, vmid, storage)
    guest = bench.lab.guest(vmid)
    cores, net0, pool = guest.config["cores"], guest.config["net0"], guest.pool
    guest.config["cores"] = 31
    sent = len(bench.writes)
    dry = await bench.on_volume("backup.restore", volume, vmid=vmid, overwrite=True, dry_run=True)
    assert not any("force" in call.params or "purge" in call.params for call in dry.calls)
    done = await bench.on_volume("backup.restore", volume, vmid=vmid, overwrite=True)
    assert (done.ok, done.status) == (True, "done"), done
    kind = KINDS[vmid]
    assert bench.writes[sent:] == [f"DELETE /nodes/{guest.node}/{kind}/{vmid}", f"POST /nodes/{guest.node}/{kind}"]
    again = bench.lab.guest(vmid)
    assert again is not guest
    assert (again.config["cores"], again.config["net0"], again.pool) == (cores, net0, pool)


async def test_over_a_guest_is_asked_for_and_is_a_destruction(bench: Bench) -> None:
    volume = await backed_up(bench, STOPPED_VM)
    sent = len(bench.writes)
    with pytest.raises(ActionError, match="There is VM 121") as caught:
        await bench.on_volume("backup.restore", volume, vmid=STOPPED_VM)
    assert "overwrite=true destroys it" in caught.value.cure
    with pytest.raises(ActionError, match="overwrite needs"):
        await bench.on_volume("backup.restore", volume, overwrite=True)
    bench.lab.guest(STOPPED_VM).config["protection"] = 1
    with pytest.raises(PolicyError, match="protection flag"):
        await bench.on_volume("backup.restore", volume, vmid=STOPPED_VM, overwrite=True)
    del bench.lab.guest(STOPPED_VM).config["protection"]
    asking = replace(OPEN, approval_required=frozenset({"destroy"}))
    with pytest.raises(PolicyError, match="needs an approval"):
        await bench.on_volume("backup.restore", volume, vmid=STOPPED_VM, overwrite=True, permission=asking)
    dry = await bench.on_volume("backup.restore", volume, vmid=STOPPED_VM, overwrite=True, dry_run=True)
    assert "is destroyed first" in dry.notes[0]
    assert [call.method for call in dry.calls] == ["DELETE", "POST"]
    assert len(bench.writes) == sent


async def test_a_guest_that_cannot_go(bench: Bench) -> None:
    volume = await backed_up(bench, VM)
    sent = len(bench.writes)

    async def refused(vmid: int, match: str) -> None:
        with pytest.raises(ActionError, match=match):
            await bench.on_volume("backup.restore", volume, vmid=vmid, overwrite=True)

    await refused(VM, "needs it stopped")
    await refused(STOPPED_CT, "not of the same kind")
    world = bench.lab.world
    world.ha[f"vm:{STOPPED_VM}"] = HaResource(f"vm:{STOPPED_VM}")
    await refused(STOPPED_VM, "managed by HA")
    world.ha.pop(f"vm:{STOPPED_VM}")
    world.replication["r"] = Replication(f"{STOPPED_VM}-0", "pve2")
    await refused(STOPPED_VM, "is replicated")
    world.replication.pop("r")
    bench.lab.fault("guest-lock", STOPPED_VM, "backup")
    await refused(STOPPED_VM, r"locked \(backup\)")
    assert len(bench.writes) == sent


async def test_rights_that_would_vanish_with_the_guest_are_noticed_before(bench: Bench, tmp_path: Path) -> None:
    volume = await backed_up(bench, STOPPED_VM)
    access = bench.lab.world.access
    rights = ((f"/vms/{STOPPED_VM}", "PVEVMAdmin"), ("/storage", "PVEDatastoreAdmin"), ("/nodes", "PVEAuditor"))
    for path, role in rights:
        access.acls += [Acl(path, "user", "none@pve", role), Acl(path, "token", "none@pve!none", role)]
    access.forget()
    async with opened(tmp_path / "other", "none@pve!none", bench.lab) as narrow:
        with pytest.raises(ActionError, match=r"lacks VM\.Allocate on /") as caught:
            await narrow.on_volume("backup.restore", volume, vmid=STOPPED_VM, overwrite=True)
    assert "or restore into a new id" in caught.value.cure
    assert STOPPED_VM in bench.lab.world.guests


async def test_a_restore_that_fails_after_the_destruction_says_so(bench: Bench) -> None:
    volume = await backed_up(bench, STOPPED_VM)
    bench.lab.fault("task-fail", "qmrestore", "no space left on device")
    result = await bench.on_volume("backup.restore", volume, vmid=STOPPED_VM, overwrite=True)
    assert (result.ok, result.status, result.changed) == (False, "failed", True)
    assert "(step 2 of 2)" in result.message
    assert "no space left on device" in result.message
    assert "cannot be seen" in result.message
    assert volume in {each.volid for each in bench.backups("nas", STOPPED_VM)}
    assert (await bench.on_volume("backup.restore", volume, vmid=STOPPED_VM)).ok


# --- deleted ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vmid", [VM, CT])
@pytest.mark.parametrize("storage", ["local", "nas", "pbs1"])
async def test_one_is_deleted(bench: Bench, vmid: int, storage: str) -> None:
    volume = await backed_up(bench, vmid, storage)
    dry = await bench.on_volume("backup.delete", volume, dry_run=True)
    assert dry.calls[0].path.endswith(f"/storage/{storage}/content/{volume}")
    last = not [each for each in bench.backups(storage, vmid) if each.volid != volume]
    assert ("last backup" in " ".join(dry.notes)) is last
    gone = await bench.on_volume("backup.delete", volume)
    assert (gone.ok, gone.target) == (True, volume), gone
    assert volume not in {each.volid for each in bench.backups(storage, vmid)}


async def test_protected_ones_stay(bench: Bench) -> None:
    made = await bench.perform("backup.create", VM, storage="nas", protected=True)
    volume = made.details["volume"]
    sent = len(bench.writes)
    with pytest.raises(PolicyError, match="protection flag"):
        await bench.on_volume("backup.delete", volume)
    bench.backups("nas", VM)[0].protected = False
    for permission in (
        replace(OPEN, protected_tags=frozenset({"web"})),
        replace(OPEN, protected_pools=frozenset({"prod"})),
        replace(OPEN, vmid_allowlist=frozenset({CT})),
    ):
        with pytest.raises(PolicyError):
            await bench.on_volume("backup.delete", volume, permission=permission)
    assert len(bench.writes) == sent


async def test_a_backup_of_a_guest_that_is_gone(bench: Bench) -> None:
    volume = await backed_up(bench, STOPPED_VM)
    bench.lab.world.remove_guest(bench.lab.guest(STOPPED_VM))
    dry = await bench.on_volume("backup.restore", volume, vmid=STOPPED_VM, dry_run=True)
    assert "unique" not in dry.calls[0].params
    back = await bench.on_volume("backup.restore", volume, vmid=STOPPED_VM)
    assert (back.ok, back.details["vmid"]) == (True, STOPPED_VM)
    bench.lab.world.storages["nas"].offline_on.add("")
    with pytest.raises(ActionError, match="not available"):
        await bench.on_volume("backup.delete", volume)
