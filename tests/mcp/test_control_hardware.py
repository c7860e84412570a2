"""The tools for disks and network interfaces, on a lab."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from proxmox_mcp.lab import Lab
from tests.mcp.kept_bench import ALLOWED, OPERATE, connected
from tests.support.asking import ask, refused
from tests.support.lab_client import QUICK

VM, CT, STOPPED_CT = 121, 109, 117
HARDWARE = {"add_disk", "resize_disk", "move_disk", "remove_disk", "set_network_interface", "remove_network_interface"}


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(QUICK) as running:
        yield running
        assert running.violations == []


@pytest.fixture
async def client(lab: Lab, tmp_path: Path) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        yield await connected(stack, lab, tmp_path, ALLOWED)


def config(lab: Lab, vmid: int) -> dict[str, Any]:
    return lab.guest(vmid).config


async def test_a_disk_s_life(client: Client, lab: Lab) -> None:
    made = await ask(client, "add_disk", vmid=str(VM), storage="local-lvm", size_gb=8, bus="virtio")
    assert (made["ok"], made["details"]["disk"]) == (True, "virtio0")
    assert (await ask(client, "resize_disk", vmid=VM, disk="virtio0", size="+2G"))["details"] == {"size": "10G"}
    moved = await ask(client, "move_disk", vmid=VM, disk="virtio0", storage="ceph-vm", delete=True, node="pve1")
    assert moved["details"]["volume"].startswith("ceph-vm:")
    given = await ask(client, "move_disk", vmid=VM, disk="virtio0", target_vmid="103")
    assert given["details"]["disk"] == "virtio0"
    assert config(lab, 103)["virtio0"].endswith("size=10G")
    gone = await ask(client, "remove_disk", vmid=103, disk="virtio0")
    assert (gone["ok"], "virtio0" in config(lab, 103)) == (True, False)


async def test_a_mount_point(client: Client, lab: Lab) -> None:
    args = {"vmid": STOPPED_CT, "storage": "ceph-vm", "size_gb": 1, "path": "/srv", "read_only": True}
    assert (await ask(client, "add_disk", **args))["ok"]
    assert "mp=/srv,ro=1" in config(lab, STOPPED_CT)["mp0"]


async def test_an_interface_s_life(client: Client, lab: Lab) -> None:
    made = await ask(client, "set_network_interface", vmid=CT, interface="net1", bridge="vmbr0", ip="192.0.2.5/24")
    assert made["ok"]
    changed = await ask(client, "set_network_interface", vmid=CT, interface="net1", tag=9, rate=1.5)
    assert changed["details"]["net1"] == config(lab, CT)["net1"]
    assert {"ip=192.0.2.5/24", "tag=9", "rate=1.5"} <= set(config(lab, CT)["net1"].split(","))
    assert (await ask(client, "remove_network_interface", vmid=CT, interface="net1"))["ok"]
    assert "net1" not in config(lab, CT)


async def test_a_dry_run_says_what_is_lost(client: Client, lab: Lab) -> None:
    dry = await ask(client, "remove_disk", vmid=VM, disk="scsi0", dry_run=True)
    assert "are lost" in dry["before"][0]
    assert [call["params"].get("delete") for call in dry["calls"]] == ["scsi0", "unused0"]
    assert lab.requests.count("POST") == 0


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("add_disk", {"vmid": VM, "storage": "local", "size_gb": 1}, "takes no disks of VMs"),
        ("resize_disk", {"vmid": VM, "disk": "scsi0", "size": "1G"}, "disks only grow"),
        ("move_disk", {"vmid": VM, "disk": "scsi0"}, "either to a storage or to another guest"),
        ("remove_disk", {"vmid": CT, "disk": "rootfs"}, "nothing without its rootfs"),
        ("set_network_interface", {"vmid": VM, "interface": "net0", "bridge": "vmbr7"}, "no bridge vmbr7"),
        ("set_network_interface", {"vmid": VM, "interface": "net0", "colour": "red"}, "colour"),
        ("remove_network_interface", {"vmid": 4711, "interface": "net0"}, "no guest 4711"),
    ],
)
async def test_refusals_say_what_to_do(client: Client, lab: Lab, tool: str, arguments: Any, says: str) -> None:
    assert says in await refused(client, tool, **arguments)
    assert lab.requests.count("POST") == 0


async def test_who_may_only_operate_is_not_shown_them(lab: Lab, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        weak = await connected(stack, lab, tmp_path, OPERATE)
        assert HARDWARE.isdisjoint(tool.name for tool in (await weak.list_tools()).tools)
