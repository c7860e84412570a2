"""Arguments for every action: at least one order of each that is carried out, for VMs and containers where both can.

`test_every_action_has_samples` fails for an action that has none: add it here, and all properties hold for it too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mqtt_bridge.actions import ACTIONS, Plan
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.vmids import Vmids
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.proxmox.own_guests import OwnGuests
from mqtt_bridge.targets import DatastoreRef, GuestRef, NodeRef, Ref, StorageRef
from mqtt_bridge.whoami import Identity
from tests.control.world import ARCHIVE, CT_ARCHIVE, NEW_POOL, ORPHAN, Overlay, Visit

VM, OFF_VM, FAR_OFF_VM, CEPH_VM, OFF_CEPH_VM = 100, 121, 110, 105, 120
CT, OFF_CT, CT_3, TEMPLATE = 109, 117, 102, 9000
BESIDE, BESIDE_CT = 103, 112
IMAGE = "https://images.example.org/debian-13.qcow2"
TEMPLATE_VOLUME = "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst"
ISO = "nas:iso/debian-13.1.0-amd64-netinst.iso"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0 me@here"


def _as_it_is(_segments: tuple[str | int, ...], answer: Any) -> Any:
    return answer


def current(vmid: int, **facts: Any) -> Overlay:
    """Other facts in a guest's current status."""

    def change(segments: tuple[str | int, ...], answer: Any) -> Any:
        return {**answer, **facts} if segments[-3:] == (vmid, "status", "current") else answer

    return change


def offline(node: str) -> Overlay:
    """A node that is off."""

    def change(segments: tuple[str | int, ...], answer: Any) -> Any:
        if segments != ("nodes",):
            return answer
        return [{**row, "status": "offline"} if row["node"] == node else row for row in answer]

    return change


def no_disk_left(segments: tuple[str | int, ...], answer: Any) -> Any:
    """A Backup Server that would remove the older half of each group."""
    if segments[-1:] != ("prune",):
        return answer
    return [{**row, "keep": number % 2 == 0} for number, row in enumerate(answer)]


@dataclass(frozen=True)
class Sample:
    """One order. `narrow`: an allow-list of guests cannot admit it, since it reaches guests that nobody names."""

    target: Ref
    args: Mapping[str, Any] = field(default_factory=dict)
    overlay: Overlay = _as_it_is
    narrow: bool = True


def guest(vmid: int, overlay: Overlay = _as_it_is, /, **args: Any) -> Sample:
    return Sample(GuestRef(vmid), args, overlay)


def node(name: str, overlay: Overlay = _as_it_is, /, **args: Any) -> Sample:
    return Sample(NodeRef(name), args, overlay)


def volume(volid: str, **args: Any) -> Sample:
    return Sample(StorageRef(volid.partition(":")[0], "pve1"), {"volume": volid, **args})


def store(name: str, overlay: Overlay = _as_it_is, /, *, narrow: bool = False, **args: Any) -> Sample:
    return Sample(DatastoreRef(name), args, overlay, narrow)


_NEW_CT: Mapping[str, Any] = {"template": TEMPLATE_VOLUME, "pool": NEW_POOL}
_FULL_CT: Mapping[str, Any] = {
    **_NEW_CT, "vmid": 150, "name": "box", "cores": 2, "memory": 700, "swap": 64, "storage": "local-lvm", "disk": 6,
    "password": "correct-horse", "ssh_keys": [KEY], "bridge": "vmbr0", "vlan": 7, "ip": "192.0.2.5/24",
    "gateway": "192.0.2.1", "ip6": "2001:db8::5/64", "gateway6": "2001:db8::1", "nameserver": ["192.0.2.53"],
    "searchdomain": "example.org", "unprivileged": True, "nesting": True, "onboot": True, "tags": ["new"],
    "description": "a box", "start": True,
}  # fmt: skip
_FULL_VM: Mapping[str, Any] = {
    "vmid": 151, "name": "box", "cores": 2, "sockets": 1, "memory": 3000, "cpu": "host", "ostype": "l26", "uefi": True,
    "storage": "ceph-vm", "disk": 12, "iso": ISO, "cloudinit": True, "bridge": "vmbr0", "vlan": 7, "agent": True,
    "onboot": True, "tags": ["new"], "pool": NEW_POOL, "description": "a box", "start": True,
}  # fmt: skip
_CLOUDINIT: Mapping[str, Any] = {
    "user": "me", "password": "correct-horse", "ssh_keys": [KEY], "ip": "192.0.2.5/24", "gateway": "192.0.2.1",
    "ip6": "2001:db8::5/64", "gateway6": "2001:db8::1", "nameserver": ["192.0.2.53"], "searchdomain": "example.org",
    "upgrade": True,
}  # fmt: skip
_PAUSED = current(VM, qmpstatus="paused")

SAMPLES: Mapping[str, tuple[Sample, ...]] = {
    "guest.start": (guest(OFF_VM), guest(OFF_CT)),
    "guest.stop": (guest(VM, overrule_shutdown=True), guest(CT)),
    "guest.shutdown": (guest(VM, timeout=30), guest(CT)),
    "guest.reboot": (guest(VM, timeout=30), guest(CT)),
    "guest.restart": (guest(VM), guest(CT)),
    "guest.suspend": (guest(VM), guest(CT)),
    "guest.resume": (guest(VM, _PAUSED), guest(CT)),
    "guest.hibernate": (guest(VM),),
    "guest.reset": (guest(VM),),
    "node.reboot": (node("pve1"),),
    "node.shutdown": (node("pve1"),),
    "node.startall": (node("pve1"), node("pve1", vmids=[OFF_VM], force=True, max_workers=2)),
    "node.stopall": (node("pve1"), node("pve1", vmids=[VM, CT], timeout=30, force_stop=True)),
    "node.wakeonlan": (node("pve3", offline("pve3")),),
    "guest.exec": (guest(VM, argv=["ls", "-l", "/var"], input_data="x"),),
    "disk.add": (
        guest(VM, storage="ceph-vm", size_gb=8, bus="scsi", disk="scsi5", backup=True, discard=True, ssd=True,
              iothread=True),
        guest(CT, storage="local-lvm", size_gb=8, path="/data", backup=True, read_only=True),
    ),
    "disk.resize": (guest(OFF_VM, disk="scsi1", size="+8G"), guest(OFF_CT, disk="rootfs", size="64G")),
    "disk.move": (
        guest(OFF_VM, disk="scsi1", storage="local-lvm"),
        guest(OFF_VM, disk="scsi1", storage="local-lvm", delete=True),
        guest(OFF_VM, disk="scsi1", target_vmid=BESIDE, target_disk="scsi9"),
        guest(OFF_CT, disk="mp0", storage="local-lvm"),
    ),
    "disk.remove": (guest(OFF_VM, disk="unused0"), guest(OFF_VM, disk="scsi1"), guest(OFF_CT, disk="mp0")),
    "network.set": (
        guest(VM, interface="net1", bridge="vmbr0", tag=5, model="virtio", mac="BC:24:11:00:00:77", firewall=True,
              rate=3.5, link_down=False),
        guest(VM, interface="net0", tag=9),
        guest(CT, interface="net1", bridge="vmbr0", name="eth7", ip="192.0.2.5/24", gateway="192.0.2.1",
              ip6="2001:db8::5/64", gateway6="2001:db8::1", mac="BC:24:11:00:00:77"),
    ),
    "network.remove": (guest(VM, interface="net0"), guest(CT, interface="net0")),
    "vm.create": (
        node("pve1", pool=NEW_POOL),
        node("pve1", **_FULL_VM),
        node("pve1", pool=NEW_POOL, storage="local-lvm", import_from="local-lvm:vm-103-disk-0", disk=300, start=True),
        node("pve1", pool=NEW_POOL, diskless=True),
    ),
    "lxc.create": (node("pve1", **_NEW_CT), node("pve1", **_FULL_CT)),
    "guest.clone": (
        guest(TEMPLATE, pool=NEW_POOL, name="copy", target="pve2"),
        guest(OFF_CEPH_VM, pool=NEW_POOL, newid=152, full=True, target="pve2", storage="nas", description="a copy"),
        guest(FAR_OFF_VM, pool=NEW_POOL, snapshot="clean"),
        guest(OFF_CT, pool=NEW_POOL, name="copy"),
    ),
    "guest.update": (
        guest(VM, name="web09", description="x", tags=["a", "t100"], cores=3, sockets=2, cpu="host", cpu_limit=1.5,
              memory=5000, balloon=1000, onboot=False, startup_order=3, boot=["scsi0", "net0"], agent=False,
              protection=True),
        guest(CT, name="web09", tags=[], description="", swap=77, nameserver=["192.0.2.53"],
              searchdomain="example.org"),
    ),
    "guest.cloudinit": (guest(OFF_VM, **_CLOUDINIT), guest(VM, **_CLOUDINIT, storage="ceph-vm")),
    "guest.migrate": (
        guest(CEPH_VM, target="pve1"),
        guest(VM, target="pve2", online=True, target_storage="local-lvm"),
        guest(CT_3, target="pve2", timeout=30),
        guest(OFF_CT, target="pve2", target_storage="ceph-vm"),
    ),
    "guest.template": (guest(OFF_VM), guest(OFF_CT)),
    "guest.delete": (guest(OFF_VM), guest(OFF_CT, purge=True)),
    "image.download": (
        Sample(StorageRef("local", "pve1"),
               {"url": IMAGE.replace(".qcow2", ".iso"), "checksum": "a" * 64, "content": "iso", "filename": "d.iso"}),
    ),
    "snapshot.create": (guest(VM, name="one", description="x", vmstate=True), guest(OFF_CT)),
    "snapshot.rollback": (guest(VM, name="clean", start=True), guest(CT_3, name="clean")),
    "snapshot.delete": (guest(VM, name="clean"), guest(CT_3, name="clean")),
    "backup.create": (
        guest(VM, storage="local", mode="snapshot", compress="zstd", notes="x", protected=True),
        guest(VM, mode="stop"),
        guest(CT),
    ),
    "backup.delete": (volume(ARCHIVE), volume(ORPHAN)),
    "backup.restore": (
        volume(ARCHIVE, pool=NEW_POOL, vmid=153, storage="local-lvm", name="back", unique=True, start=True),
        volume(ARCHIVE, vmid=OFF_VM, overwrite=True, node="pve1"),
        volume(CT_ARCHIVE, pool=NEW_POOL),
        volume("pbs1:backup/vm/100/{LAST}", pool=NEW_POOL),
    ),
    "datastore.verify": (
        store("main"), store("main", job_id="v-main"), store("main", narrow=True, group="vm/100", ignore_verified=True)
    ),
    "datastore.sync": (store("archive"), store("archive", job_id="s-offsite")),
    "datastore.prune": (
        store("main", no_disk_left, keep_last=1),
        store("main", no_disk_left, job_id="p-main"),
        store("main", no_disk_left, narrow=True, group="vm/100", keep_last=1, keep_daily=2),
    ),
    "datastore.gc": (store("main"),),
    "datastore.forget": (store("main", narrow=True, snapshot="vm/100/{LAST}"),),
}  # fmt: skip

ORDERS: tuple[tuple[str, int], ...] = tuple((name, n) for name, found in SAMPLES.items() for n in range(len(found)))


def reading(clients: Mapping[str, Api]) -> Reading:
    return Reading(clients, OwnGuests(Identity()), Vmids())


async def arguments(clients: Mapping[str, Api], sample: Sample) -> dict[str, Any]:
    """A sample's, with the time of guest 100's last backup in the place of {LAST}."""
    rows = await clients["lab"].get("nodes", "pve1", "storage", "pbs1", "content", content="backup", vmid=100)
    last = max(str(row["volid"]).rpartition("/")[2] for row in rows)
    return {k: v.replace("{LAST}", last) if isinstance(v, str) else v for k, v in sample.args.items()}


async def planned(clients: Mapping[str, Api], action: str, sample: Sample) -> Plan:
    row = ACTIONS[action]
    args = row.arguments(await arguments(clients, sample))
    return await row.plan(reading(clients), sample.target, args)


def visits() -> list[Visit]:
    """The plan of each sample, made once over the live lab."""

    def visit(action: str, sample: Sample) -> Visit:
        async def make(clients: Any) -> None:
            for api in clients.values():
                api.overlay = sample.overlay
            await planned(clients, action, sample)

        return make

    return [visit(name, sample) for name, found in SAMPLES.items() if name in ACTIONS for sample in found]
