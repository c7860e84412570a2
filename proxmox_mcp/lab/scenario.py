"""The cluster of the recorded exchanges: two nodes, a member that never came, seven guests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import build
from .access import Acl
from .state import GIB, MIB, Guest, Load, Node, Pool, Storage, Volume

if TYPE_CHECKING:
    from .state import GuestKind
    from .world import World

_LOAD = Load(cpu=0.02, memory=0.063, network=60, disk=20, phase=1.0)
_REFUSED = (
    "kvm: warning: host doesn't support requested feature: CPUID.01H:ECX.pni [bit 0]",
    "kvm: Host doesn't support requested features",
    "start failed: QEMU exited with code 1",
)
_NO_QEMU = "VM 100 qmp command '{}' failed - The command {} has not been found"
_BREAKS: dict[int, dict[str, tuple[str, ...]]] = {
    100: {"snapshot": (_NO_QEMU.format("savevm-end", "savevm-end"), _NO_QEMU.format("query-savevm", "query-savevm"))},
    102: {"start": _REFUSED},
    200: {"start": ("command 'lxc-start --version' failed: exit code 1",)},
}
GuestRow = tuple[int, "GuestKind", str, str, dict[str, Any]]
# vmid, kind, node, name, what its configuration says beyond the common
_GUESTS: tuple[GuestRow, ...] = (
    (
        100,
        "qemu",
        "pve1",
        "web01",
        {
            "agent": "1",
            "args": "-kernel /boot/guest/vmlinuz -initrd /boot/guest/initrd.gz -append quiet",
            "cpu": "qemu64",
            "description": "web server\nsecond line",
            "scsi0": "local:100/vm-100-disk-0.qcow2,size=1G",
            "tags": "prod;web",
        },
    ),
    (101, "qemu", "pve1", "db01", {"lock": "backup"}),
    (102, "qemu", "pve1", "nokvm", {}),
    (110, "qemu", "pve2", "remote01", {}),
    (120, "qemu", "pve3", "gone01", {}),
    (200, "lxc", "pve1", "ct-dns", {"tags": "prod"}),
    (9000, "qemu", "pve1", "tmpl", {"template": 1}),
)


def _node(world: World, index: int, *, seen: bool = True) -> Node:
    return Node(
        name=f"pve{index}",
        nodeid=index,
        ip=f"10.99.0.1{index}",
        cores=2,
        memory=25_276_510_208,
        disk=4 * GIB,
        load=_LOAD,
        booted_at=world.now() - 4_900,
        cpu_model="AMD EPYC",
        online=seen,
        seen=seen,
        updates=(("dpkg", "1.21.22", "1.21.23"), ("libssh2-1", "1.10.0-3+b1", "1.10.0-3+deb12u1")),
    )


def _guest(world: World, row: GuestRow) -> None:
    vmid, kind, node, name, more = row
    if kind == "qemu":
        config = build.qemu_config(world.rng, name, 1, 192, "")
        for key in ("agent", "cpu", "meta", "onboot", "scsi0"):
            del config[key]
        config |= {"kvm": 0}
    else:
        config = build.lxc_config(world.rng, name, 1, 512, f"local:{vmid}/vm-{vmid}-disk-0.raw,size=4G")
        del config["onboot"]
    guest = Guest(vmid, kind, node, config | more, _LOAD)
    guest.pool = "prod" if vmid in (100, 200) else ""
    guest.breaks = _BREAKS.get(vmid, {})
    world.add_guest(guest)


def recorded(world: World) -> None:
    """Fill an empty world."""
    world.cluster_name = "testcl"
    build.users(world)
    world.access.acls += [
        Acl("/vms/100", "group", "ops", "PVEVMAdmin"),
        Acl("/vms/200", "group", "ops", "VMOper"),
    ]
    for index, seen in ((1, True), (2, True), (3, False)):
        node = _node(world, index, seen=seen)
        world.nodes[node.name] = node
        world.tasks.boot[node.name] = node.booted_at
    everything = "images,rootdir,vztmpl,iso,backup,snippets,import"
    for storage in (
        Storage("local", "dir", everything, shared=False, total=4 * GIB, used=0.0066, path="/var/lib/vz"),
        Storage("shared", "dir", "images,backup", shared=True, total=4 * GIB, used=0.0066, path="/mnt/shared"),
        Storage(
            "deadnfs", "nfs", "backup", shared=True, total=0, used=0, path="/mnt/pve/deadnfs",
            disabled=True, server="10.99.0.200", export="/x",
        ),
    ):  # fmt: skip
        storage.since = world.now()
        world.storages[storage.name] = storage
    created = int(world.now()) - 5_000
    disk = Volume("local:100/vm-100-disk-0.qcow2", "images", "qcow2", 1024 * MIB, created, 100, used=200_704)
    world.storages["local"].on("pve1").append(disk)
    world.backup_breaks = {
        "qemu": "command '/usr/bin/vma create' failed: No such file or directory",
        "lxc": "volume 'local:200/vm-200-disk-0.raw' does not exist",
    }
    world.pools["prod"] = Pool("prod", "production", ("local",))
    for row in _GUESTS:
        _guest(world, row)
    for name in ("pve2", "pve1"):
        world.write_log(world.nodes[name], "root", "cluster", "starting cluster log", at=world.now() - 100)
