"""A guest whose configuration names a volume of another one: what reaches all its disks reaches that guest too."""

import asyncio
from typing import Any

import pytest

from mqtt_bridge.actions import Plan
from mqtt_bridge.actions.volumes import owner_of
from mqtt_bridge.targets import Role
from tests.control import touching
from tests.control.samples import BESIDE, BESIDE_CT, SAMPLES, planned
from tests.control.world import Overlay, world

GONE = 777  # a guest that is not there
REACH: tuple[tuple[str, Role], ...] = (
    ("guest.clone", "read"),
    ("backup.create", "read"),
    ("snapshot.create", "write"),
    ("snapshot.rollback", "destroy"),
    ("snapshot.delete", "write"),
    ("guest.template", "write"),
)
CASES = [(action, number, role) for action, role in REACH for number in range(len(SAMPLES[action]))]


def borrowing(vm_disk: int, ct_disk: int) -> Overlay:
    """Every guest has a disk of another one."""

    def change(segments: tuple[str | int, ...], answer: Any) -> Any:
        if segments[-1:] != ("config",) or segments[2:3] not in {("qemu",), ("lxc",)}:
            return answer
        if segments[2] == "qemu":
            return {**answer, "scsi9": f"local-lvm:vm-{vm_disk}-disk-0,size=8G"}
        return {**answer, "mp9": f"ceph-vm:vm-{ct_disk}-disk-0,mp=/other,size=8G"}

    return change


def plan_of(action: str, number: int, overlay: Overlay) -> Plan:
    return asyncio.run(planned(world().clients(overlay), action, SAMPLES[action][number]))


@pytest.mark.parametrize(("action", "number", "role"), CASES)
def test_the_owner_of_a_foreign_disk_is_an_object(action: str, number: int, role: Role) -> None:
    plan = plan_of(action, number, borrowing(BESIDE, BESIDE_CT))
    other = BESIDE if plan.steps[0].segments[2] == "qemu" or plan.steps[0].params.get("vmid") == "100" else BESIDE_CT
    assert touching.held(plan, str(other)) == {role}


@pytest.mark.parametrize(("action", "number", "role"), CASES)
def test_an_owner_that_is_gone_can_be_judged_by_its_id(action: str, number: int, role: Role) -> None:
    plan = plan_of(action, number, borrowing(GONE, GONE))
    assert touching.held(plan, str(GONE)) == {"read"}
    assert role


@pytest.mark.parametrize(
    ("volid", "owner"),
    [
        ("local-lvm:vm-100-disk-0", 100),
        ("nas:9000/base-9000-disk-0.qcow2", 9000),
        ("nas:9000/base-9000-disk-0.qcow2/121/vm-121-disk-0.qcow2", 121),
        ("zfs:base-9000-disk-0/vm-121-disk-0", 121),
        ("zfs:basevol-9000-disk-0/subvol-122-disk-0", 122),
        ("nas:100/odd.raw", 100),
        ("nas:iso/debian.iso", None),
    ],
)
def test_a_volume_s_owner_is_the_last_in_its_name(volid: str, owner: int | None) -> None:
    assert owner_of(volid) == owner
