"""Disks of guests on the lab: added, grown, moved, removed; what is seen afterwards counts."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.actions import ActionError
from mqtt_bridge.approvals import Approvals, Decider
from mqtt_bridge.errors import ForbiddenError, PolicyError, RejectedError, UnknownTargetError
from mqtt_bridge.policy import Principal
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.targets import GuestRef
from tests.approvals.making import AGENT, SETTINGS
from tests.policy.bench import CT, ROOT, STOPPED_CT, STOPPED_VM, TEMPLATE, VM, Bench, client_of, opened

BESIDE = 103  # a VM on the node of VM and STOPPED_VM


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path) as running:
        yield running


def config(bench: Bench, vmid: int) -> dict[str, Any]:
    return bench.lab.guest(vmid).config


def volumes(bench: Bench, vmid: int) -> set[str]:
    storages = bench.lab.world.storages.values()
    return {v.volid for s in storages for each in s.volumes.values() for v in each if v.vmid == vmid and v.content in
            {"images", "rootdir"}}  # fmt: skip


# --- adding ----------------------------------------------------------------------------------------------------------


async def test_a_disk_is_added_to_a_running_vm(bench: Bench) -> None:
    done = await bench.perform("disk.add", VM, args={"storage": "ceph-vm", "size_gb": 8, "discard": True, "ssd": True})
    assert (done.ok, done.details) == (True, {"disk": "scsi1", "volume": "ceph-vm:vm-100-disk-0"})
    assert config(bench, VM)["scsi1"] == "ceph-vm:vm-100-disk-0,discard=on,ssd=1,size=8G"
    assert bench.told == [("lab", VM)]


async def test_a_mount_point_is_added_to_a_container(bench: Bench) -> None:
    args = {"storage": "local-lvm", "size_gb": 4, "path": "/var/data", "backup": True}
    done = await bench.perform("disk.add", CT, args=args)
    assert done.details["disk"] == "mp0"
    assert config(bench, CT)["mp0"] == "local-lvm:vm-109-disk-1,mp=/var/data,backup=1,size=4G"
    with pytest.raises(ActionError, match="mounted at /var/data/ already"):
        await bench.perform("disk.add", CT, args={**args, "path": "/var/data/"})


@pytest.mark.parametrize(
    ("vmid", "more", "says"),
    [
        (CT, {}, "needs the path"),
        (CT, {"path": "../x"}, "full path inside"),
        (CT, {"path": "/a,ro=0"}, "must not begin with"),
        (CT, {"path": "/a", "bus": "scsi"}, "has no bus"),
        (VM, {"path": "/a"}, "no path"),
        (VM, {"disk": "scsi0"}, "scsi0 already"),
        (VM, {"disk": "rootfs"}, "no place"),
        (VM, {"disk": "scsi99"}, "no place"),
        (VM, {"bus": "sata"}, "cannot be plugged in"),
        (VM, {"bus": "virtio", "ssd": True}, "cannot look like an SSD"),
        (VM, {"storage": "local"}, "takes no disks of VMs.*Such do: ceph-vm, local-lvm, nas"),
        (CT, {"storage": "nas", "path": "/a"}, "takes no volumes of containers"),
        (VM, {"storage": "a,b"}, "must not begin with"),
        (VM, {"size_gb": 0}, "greater than or equal"),
        (TEMPLATE, {}, "is a template"),
    ],
)
async def test_what_cannot_be_added(bench: Bench, vmid: int, more: dict[str, Any], says: str) -> None:
    with pytest.raises(ActionError, match=says):
        await bench.perform("disk.add", vmid, args={"storage": "ceph-vm", "size_gb": 1, **more})
    assert bench.writes == []


async def test_unknown_storages_and_guests(bench: Bench) -> None:
    with pytest.raises(UnknownTargetError, match="no storage nowhere"):
        await bench.perform("disk.add", VM, args={"storage": "nowhere", "size_gb": 1})
    with pytest.raises(UnknownTargetError, match="no guest 4711"):
        await bench.perform("disk.add", 4711, args={"storage": "ceph-vm", "size_gb": 1})


async def test_a_dry_run_shows_the_call_and_the_room(bench: Bench) -> None:
    dry = await bench.perform("disk.add", VM, args={"storage": "local-lvm", "size_gb": 100_000}, dry_run=True)
    (call,) = dry.calls
    assert (call.method, call.path) == ("POST", f"/nodes/pve1/qemu/{VM}/config")
    assert call.params == {"scsi1": "local-lvm:100000", "digest": bench.lab.guest(VM).digest}
    assert "less than the disk's size" in dry.notes[1]
    assert bench.writes == []


async def test_a_token_without_the_right_is_told_which(bench: Bench) -> None:
    async with client_of(bench.lab, account="audit@pve!ro") as client:
        actions = bench.actions(clients={"lab": client})
        with pytest.raises(ForbiddenError, match=r"VM\.Config"):
            await actions.perform(ROOT, "disk.add", GuestRef(VM), args={"storage": "ceph-vm", "size_gb": 1})
    assert "scsi1" not in config(bench, VM)


async def test_a_configuration_that_changed_in_between_is_left_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = type(bench.client).post

    async def late(self: Any, *segments: Any, **params: Any) -> Any:
        bench.lab.guest(VM).config["onboot"] = 0
        return await post(self, *segments, **params)

    monkeypatch.setattr(type(bench.client), "post", late)
    with pytest.raises(RejectedError, match="checksum mismatch"):
        await bench.perform("disk.add", VM, args={"storage": "ceph-vm", "size_gb": 1})


# --- growing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vmid", "key"), [(VM, "scsi0"), (CT, "rootfs")])
async def test_a_disk_grows(bench: Bench, vmid: int, key: str) -> None:
    before = config(bench, vmid)[key]
    more = await bench.perform("disk.resize", vmid, args={"disk": key, "size": "+10G"})
    assert more.ok
    size = "42G" if vmid == VM else "74G"
    assert config(bench, vmid)[key] == f"{before.rpartition('=')[0]}={size}"
    assert more.details == {"size": size}
    same = await bench.perform("disk.resize", vmid, args={"disk": key, "size": size})
    assert (same.ok, same.changed, len(bench.writes)) == (True, False, 1)
    assert ("inside the VM" in more.message) == (vmid == VM)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"disk": "scsi0", "size": "8G"}, "is 32G large, and disks only grow"),
        ({"disk": "scsi0", "size": "-8G"}, "must not begin with"),
        ({"disk": "scsi0", "size": "8"}, "new size like 64G"),
        ({"disk": "scsi0", "size": "900T"}, "surely a mistake"),
        ({"disk": "scsi7", "size": "8G"}, "has no disk scsi7.*It has: scsi0"),
        ({"disk": "net0", "size": "8G"}, "has no disk net0"),
    ],
)
async def test_what_cannot_grow(bench: Bench, args: dict[str, Any], says: str) -> None:
    with pytest.raises(ActionError, match=says):
        await bench.perform("disk.resize", VM, args=args)
    assert bench.writes == []


async def test_foreign_volumes_devices_and_cd_drives_are_no_disks_of_it(bench: Bench) -> None:
    rows = {
        "scsi5": ("local-lvm:vm-103-disk-0,size=32G", "a volume of guest 103"),
        "scsi6": ("/dev/disk/by-id/ata-x,size=32G", "a device or folder"),
        "ide2": ("nas:iso/a.iso,media=cdrom,size=1G", "a CD drive"),
    }
    config(bench, STOPPED_VM).update({key: text for key, (text, _) in rows.items()})
    for key, (_, says) in rows.items():
        for action, more in (("resize", {"size": "64G"}), ("move", {"storage": "nas"}), ("remove", {})):
            with pytest.raises(ActionError, match=says):
                await bench.perform(f"disk.{action}", STOPPED_VM, args={"disk": key, **more})
    config(bench, STOPPED_CT)["mp0"] = "/srv/data,mp=/data"
    with pytest.raises(ActionError, match="a device or folder"):
        await bench.perform("disk.remove", STOPPED_CT, args={"disk": "mp0"})
    assert bench.writes == []


async def test_a_lock_is_named(bench: Bench) -> None:
    bench.lab.guest(VM).lock = "backup"
    with pytest.raises(ActionError, match="a backup of it runs"):
        await bench.perform("disk.resize", VM, args={"disk": "scsi0", "size": "64G"})


# --- moving ----------------------------------------------------------------------------------------------------------


async def test_a_disk_moves_to_another_storage_and_its_source_stays_as_unused(bench: Bench) -> None:
    done = await bench.perform("disk.move", VM, args={"disk": "scsi0", "storage": "ceph-vm"})
    assert done.ok
    assert config(bench, VM)["scsi0"] == "ceph-vm:vm-100-disk-0,size=32G"
    assert config(bench, VM)["unused0"] == "local-lvm:vm-100-disk-0"
    assert done.details == {"volume": "ceph-vm:vm-100-disk-0", "unused": "unused0"}
    same = await bench.perform("disk.move", VM, args={"disk": "scsi0", "storage": "ceph-vm"})
    assert (same.changed, len(bench.writes)) == (False, 1)


async def test_and_is_deleted_where_that_is_asked_for(bench: Bench) -> None:
    args = {"disk": "rootfs", "storage": "local-lvm", "delete": True}
    done = await bench.perform("disk.move", STOPPED_CT, args=args)
    assert done.ok
    assert volumes(bench, STOPPED_CT) == {"local-lvm:vm-117-disk-0"}
    assert "unused0" not in config(bench, STOPPED_CT)
    assert done.notes[0].endswith("The source is deleted then.")


async def test_not_while_a_snapshot_needs_it(bench: Bench) -> None:
    await bench.perform("disk.resize", VM, args={"disk": "scsi0", "size": "+1G"})
    for one in bench.lab.guest(VM).snapshots:
        one.config["scsi0"] = "local-lvm:vm-100-disk-0,size=32G"
    args = {"disk": "scsi0", "storage": "ceph-vm", "delete": True}
    with pytest.raises(ActionError, match="part of the snapshots before-upgrade, clean"):
        await bench.perform("disk.move", VM, args=args)


async def test_a_containers_volumes_move_while_it_is_stopped(bench: Bench) -> None:
    with pytest.raises(ActionError, match=r"is running.*Shut it down"):
        await bench.perform("disk.move", CT, args={"disk": "rootfs", "storage": "ceph-vm"})


async def test_a_disk_is_given_to_another_guest_which_must_pass_too(bench: Bench) -> None:
    await bench.perform("disk.add", STOPPED_VM, args={"storage": "local-lvm", "size_gb": 2})
    args = {"disk": "scsi1", "target_vmid": BESIDE}
    alone = PermissionSettings(
        mcp_allow="exec", approval_required=frozenset(), vmid_allowlist=frozenset({STOPPED_VM})
    )  # fmt: skip
    with pytest.raises(PolicyError, match="PROXMOX_VMID_ALLOWLIST"):
        await bench.actions(alone).perform(ROOT, "disk.move", GuestRef(STOPPED_VM), args=args)
    done = await bench.perform("disk.move", STOPPED_VM, args=args)
    assert (done.ok, done.details) == (True, {"disk": "scsi1", "volume": "local-lvm:vm-103-disk-1"})
    assert "scsi1" not in config(bench, STOPPED_VM)
    assert config(bench, BESIDE)["scsi1"].startswith("local-lvm:vm-103-disk-1")
    assert bench.told[-2:] == [("lab", STOPPED_VM), ("lab", BESIDE)]


@pytest.mark.parametrize(
    ("vmid", "args", "says"),
    [
        (STOPPED_VM, {"disk": "scsi0", "target_vmid": 101}, "is on pve2"),
        (STOPPED_VM, {"disk": "scsi0", "target_vmid": CT}, "another type"),
        (STOPPED_VM, {"disk": "scsi0", "target_vmid": STOPPED_VM}, "is the guest that has it"),
        (STOPPED_VM, {"disk": "scsi0", "target_vmid": BESIDE, "target_disk": "scsi0"}, "has a scsi0 already"),
        (VM, {"disk": "scsi0", "target_vmid": BESIDE}, "cannot be given away"),
        (STOPPED_VM, {"disk": "scsi0"}, "either to a storage or to another guest"),
        (STOPPED_VM, {"disk": "scsi0", "storage": "nas", "target_vmid": BESIDE}, "either to a storage or"),
        (STOPPED_CT, {"disk": "rootfs", "target_vmid": 102}, "without its rootfs"),
    ],
)
async def test_what_cannot_move(bench: Bench, vmid: int, args: dict[str, Any], says: str) -> None:
    with pytest.raises(ActionError, match=says):
        await bench.perform("disk.move", vmid, args=args)
    assert bench.writes == []


# --- removing --------------------------------------------------------------------------------------------------------


async def test_a_disk_is_taken_off_and_its_volume_deleted(bench: Bench) -> None:
    config(bench, VM)["unused0"] = "ceph-vm:vm-100-disk-7"
    await bench.perform("disk.add", VM, args={"storage": "local-lvm", "size_gb": 2})
    before = volumes(bench, VM)
    done = await bench.perform("disk.remove", VM, args={"disk": "scsi1"})
    assert (done.ok, done.changed) == (True, True)
    assert before - volumes(bench, VM) == {"local-lvm:vm-100-disk-1"}
    assert config(bench, VM)["unused0"] == "ceph-vm:vm-100-disk-7", "what was unused before is not touched"
    assert {"scsi1", "unused1"}.isdisjoint(config(bench, VM))
    assert "are lost" in done.notes[0]


async def test_a_containers_mount_point_and_an_unused_disk(bench: Bench) -> None:
    await bench.perform("disk.add", STOPPED_CT, args={"storage": "ceph-vm", "size_gb": 2, "path": "/data"})
    assert (await bench.perform("disk.remove", STOPPED_CT, args={"disk": "mp0"})).ok
    await bench.perform("disk.move", STOPPED_CT, args={"disk": "rootfs", "storage": "local-lvm"})
    assert (await bench.perform("disk.remove", STOPPED_CT, args={"disk": "unused0"})).ok
    assert volumes(bench, STOPPED_CT) == {"local-lvm:vm-117-disk-0"}


async def test_what_the_guest_does_not_let_go_is_not_deleted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.perform("disk.add", VM, args={"storage": "local-lvm", "size_gb": 2})
    monkeypatch.setattr("proxmox_mcp.lab.handlers.disks.stays", lambda _guest, key: key == "scsi1")
    done = await bench.perform("disk.remove", VM, args={"disk": "scsi1"})
    assert (done.ok, done.changed) == (False, False)
    assert "still attached; nothing was deleted" in done.message
    assert "local-lvm:vm-100-disk-1" in volumes(bench, VM)


@pytest.mark.parametrize(
    ("vmid", "key", "says"),
    [
        (CT, "rootfs", "nothing without its rootfs"),
        (TEMPLATE, "scsi0", "is a template"),
        (VM, "scsi9", "has no disk"),
        (VM, "scsi0", "part of the snapshots"),
    ],
)
async def test_what_is_not_removed(bench: Bench, vmid: int, key: str, says: str) -> None:
    for one in bench.lab.guest(VM).snapshots:
        one.config["scsi0"] = "local-lvm:vm-100-disk-0,size=32G"
    with pytest.raises(ActionError, match=says):
        await bench.perform("disk.remove", vmid, args={"disk": key})
    assert bench.writes == []


async def test_protection_and_level_are_heard_first(bench: Bench) -> None:
    with pytest.raises(PolicyError, match="MCP_ALLOW=destroy"):
        await bench.actions().perform(
            Principal("weak", "stdio", "change"), "disk.remove", GuestRef(STOPPED_VM), args={"disk": "scsi0"}
        )
    config(bench, STOPPED_VM)["protection"] = 1
    with pytest.raises(PolicyError, match="protection flag"):
        await bench.perform("disk.remove", STOPPED_VM, args={"disk": "scsi0"})


async def test_an_approval_is_for_that_disk_as_it_was(bench: Bench) -> None:
    async with Approvals(bench.folder, SETTINGS) as approvals:
        actions = bench.actions(PermissionSettings(mcp_allow="destroy"), approvals=approvals)
        args = {"disk": "scsi0"}
        asked = await actions.perform(AGENT, "disk.remove", GuestRef(STOPPED_VM), args=args)
        assert asked.approval is not None
        given = asked.approval.id
        assert any("boots from it" in note for note in asked.notes)
        await approvals.decide(given, "approve", Decider("alice", "secret"))
        config(bench, STOPPED_VM)["scsi0"] = "local-lvm:vm-121-disk-0,size=65G"
        with pytest.raises(PolicyError, match="is stale"):
            await actions.perform(AGENT, "disk.remove", GuestRef(STOPPED_VM), args=args, approval=given)
    assert bench.writes == []
