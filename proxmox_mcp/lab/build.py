"""Pieces that both the random datacentre and the recorded one are built from."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from .access import ROOT, Acl, Identity, User
from .state import GIB, Guest, Load, Volume

if TYPE_CHECKING:
    from random import Random

    from .state import GuestKind, Storage
    from .tasks import Task
    from .world import World

ROOT_SELF = Identity(ROOT, "")


def uuid4(rng: Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def mac(rng: Random) -> str:
    return "BC:24:11:" + ":".join(f"{rng.randrange(256):02X}" for _ in range(3))


def load(rng: Random, cpu: float) -> Load:
    return Load(
        cpu=cpu * rng.uniform(0.8, 1.2),
        memory=rng.uniform(0.35, 0.75),
        network=rng.uniform(2_000, 400_000),
        disk=rng.uniform(1_000, 200_000),
        phase=rng.uniform(0, 6.28),
    )


def qemu_config(rng: Random, name: str, cores: int, memory: int, drive: str) -> dict[str, Any]:
    return {
        "agent": "1",
        "boot": "order=scsi0;net0",
        "cores": cores,
        "cpu": "x86-64-v2-AES",
        "memory": str(memory),
        "meta": "creation-qemu=10.1.2,ctime=1760000000",
        "name": name,
        "net0": f"virtio={mac(rng)},bridge=vmbr0,firewall=1",
        "numa": 0,
        "onboot": 1,
        "ostype": "l26",
        "scsi0": drive,
        "scsihw": "virtio-scsi-single",
        "smbios1": f"uuid={uuid4(rng)}",
        "sockets": 1,
        "vmgenid": uuid4(rng),
    }


def lxc_config(rng: Random, name: str, cores: int, memory: int, drive: str) -> dict[str, Any]:
    return {
        "arch": "amd64",
        "cores": cores,
        "features": "nesting=1",
        "hostname": name,
        "memory": memory,
        "net0": f"name=eth0,bridge=vmbr0,firewall=1,hwaddr={mac(rng)},ip=dhcp,type=veth",
        "onboot": 1,
        "ostype": "debian",
        "rootfs": drive,
        "swap": 512,
        "unprivileged": 1,
    }


CONFIGS = {"qemu": qemu_config, "lxc": lxc_config}


def _volid(storage: Storage, vmid: int, kind: GuestKind, number: int, base: bool) -> str:
    stem = f"{'base' if base else 'vm'}-{vmid}-disk-{number}"
    suffix = "raw" if kind == "lxc" else "qcow2"
    return f"{storage.name}:{vmid}/{stem}.{suffix}" if storage.kind in ("dir", "nfs") else f"{storage.name}:{stem}"


def disk_volume(
    storage: Storage,
    vmid: int,
    kind: GuestKind,
    node: str,
    *,
    size: int,
    at: float,
    base: bool = False,
    new: bool = False,
) -> str:
    """Put a guest's disk on a storage; returns the property string's volume part. A `new` guest has none yet."""
    taken = set() if new else {volume.volid for volume in storage.on(node) if volume.vmid == vmid}
    volid = next(each for number in range(10_000) if (each := _volid(storage, vmid, kind, number, base)) not in taken)
    suffix = "raw" if kind == "lxc" else "qcow2"
    file_based = storage.kind in ("dir", "nfs")
    content = "images" if kind == "qemu" else "rootdir"
    form = suffix if file_based else "raw"
    storage.on(node).append(Volume(volid, content, form, size, int(at), vmid, used=int(size * 0.4)))
    return volid


def add_guest(
    world: World,
    *,
    vmid: int,
    kind: GuestKind,
    name: str,
    node: str,
    storage: Storage,
    cores: int,
    memory: int,
    disk: int,
    tags: str = "",
    pool: str = "",
    cpu: float = 0.1,
    template: bool = False,
) -> Guest:
    """Make a stopped guest with one disk (GiB) and one network card (memory in MiB)."""
    now = world.now()
    volid = disk_volume(storage, vmid, kind, node, size=disk * GIB, at=now - 8_000_000, base=template, new=True)
    config = CONFIGS[kind](world.rng, name, cores, memory, f"{volid},size={disk}G")
    if tags:
        config["tags"] = tags
    if template:
        config["template"] = 1
        config.pop("onboot")
    guest = Guest(vmid, kind, node, config, load(world.rng, cpu), pool=pool)
    world.add_guest(guest)
    return guest


def users(world: World) -> None:
    """Give the users, tokens and rules that every lab has."""
    access = world.access
    access.users = {
        ROOT: User(ROOT, email="root@lab.example"),
        "audit@pve": User("audit@pve"),
        "op@pve": User("op@pve", groups=("ops",)),
        "none@pve": User("none@pve"),
        "disabled@pve": User("disabled@pve", enabled=False),
    }
    access.acls = [
        Acl("/", "user", "audit@pve", "PVEAuditor"),
        Acl("/", "token", "audit@pve!ro", "PVEAuditor"),
        Acl("/", "token", "root@pam!ro", "PVEAuditor"),
    ]
    add = access.add_token
    add(world.rng, ROOT, "full", privsep=False)
    add(world.rng, ROOT, "ro")
    add(world.rng, "audit@pve", "ro")
    add(world.rng, "op@pve", "vm", privsep=False)
    add(world.rng, "none@pve", "none")
    add(world.rng, "disabled@pve", "t1")
    add(world.rng, "audit@pve", "expired").expire = 1_600_000_000


def past_task(
    world: World,
    node: str,
    kind: str,
    ident: str,
    *,
    age: float,
    duration: float,
    status: str = "OK",
    log: tuple[str, ...] = (),
) -> Task:
    """Write a finished task of root into the history; it began `age` seconds ago."""
    start = world.now() - age
    task = world.tasks.create(node, kind, ident, ROOT_SELF, at=start)
    task.say(*log)
    world.tasks.finish(task, status, at=start + duration)
    return task
