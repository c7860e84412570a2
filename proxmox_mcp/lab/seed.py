"""A datacentre from a seed: nodes, guests of both types, storages, jobs and a past."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import build, catalog, rules
from .access import Acl
from .history import history
from .pbs.seed import backup_server
from .state import GIB, BackupJob, Disk, HaResource, Load, Node, Pool, Snapshot, Storage, Volume, Zpool
from .world import ha_sid

if TYPE_CHECKING:
    from .state import Guest
    from .world import World

Row = tuple[str, str, int, int, int, str, str, float]
TIB = 1024 * GIB
_SHAPES = (
    (32, 128, "AMD EPYC 7302P 16-Core Processor"),
    (16, 64, "Intel(R) Xeon(R) E-2388G CPU @ 3.20GHz"),
    (12, 64, "AMD Ryzen 9 7900 12-Core Processor"),
)


def random_datacentre(world: World) -> None:
    """Fill an empty world after its options."""
    options = world.options
    world.standalone = options.nodes == 1
    build.users(world)
    _nodes(world)
    for index in range(1, options.pbs + 1):
        host = backup_server(world, f"pbs{index}")
        world.pbs[host.name] = host
    _storages(world)
    for name, comment in (("prod", "production"), ("infra", "infrastructure"), ("dev", "development")):
        world.pools[name] = Pool(name, comment, ("nas",) if name == "prod" else ())
    _guests(world)
    _snapshots(world)
    _jobs(world)
    history(world)
    rules.seed(world)


def _nodes(world: World) -> None:
    for index in range(1, world.options.nodes + 1):
        cores, memory, model = _SHAPES[(index - 1) % len(_SHAPES)]
        node = Node(
            name=f"pve{index}",
            nodeid=index,
            ip="127.0.0.1",
            cores=cores,
            memory=memory * GIB,
            disk=94 * GIB,
            load=Load(cpu=world.rng.uniform(0.08, 0.3), memory=0.55, network=1e6, disk=1e6, phase=float(index)),
            booted_at=world.now() - world.rng.uniform(10, 60) * 86_400,
            cpu_model=model,
            updates=catalog.PVE_UPDATES if index == 1 else (),
            disks=_disks(world, index),
            zpools=[Zpool("tank", 3_985_729_650_688, 1_472_903_086_080, "/dev/sda")],
        )
        world.nodes[node.name] = node
        world.tasks.boot[node.name] = node.booted_at
        world.write_log(node, "root", "cluster", "starting cluster log", at=node.booted_at)


def _disks(world: World, index: int) -> list[Disk]:
    found = []
    for path, model, kind, size, used, wear in catalog.DISKS:
        serial = "".join(world.rng.choices("ABCDEFGHJKLMNPRSTUVWXYZ0123456789", k=14))
        disk = Disk(path, model, serial, size, kind, used, wear, power_on_hours=world.rng.randrange(2_000, 40_000))
        disk.temperature = world.rng.randrange(28, 45)
        if index == 3 and kind == "ssd":  # noqa: PLR2004 - one node has a worn one
            disk.wearout = 6
        found.append(disk)
    return found if index != 2 else found[:2]  # noqa: PLR2004 - one node has fewer disks


def _storages(world: World) -> None:
    rows = [
        Storage("local", "dir", "iso,vztmpl,backup,snippets", shared=False, total=94 * GIB, used=0.21,
            path="/var/lib/vz"),
        Storage("local-lvm", "lvmthin", "images,rootdir", shared=False, total=794 * GIB, used=0.44, growth=2_000),
        Storage(
            "nas", "nfs", "images,iso,backup", shared=True, total=8 * TIB, used=0.62, growth=9_000,
            path="/mnt/pve/nas", server="192.0.2.20", export="/export/pve",
        ),
        Storage("ceph-vm", "rbd", "images,rootdir", shared=True, total=12 * TIB, used=0.38, growth=12_000, pool="vm"),
    ]  # fmt: skip
    rows += [
        Storage(name, "pbs", "backup", shared=True, total=4 * TIB, used=0.57, server="192.0.2.30", datastore="main")
        for name in world.pbs
    ]
    for storage in rows:
        storage.since = world.now()
        world.storages[storage.name] = storage
    for node in world.nodes:
        world.storages["local"].on(node).append(
            Volume("local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst", "vztmpl", "tzst", 129_000_000, 1_770_000_000)
        )
    world.storages["nas"].on("").append(
        Volume("nas:iso/debian-13.1.0-amd64-netinst.iso", "iso", "iso", 783_000_000, 1_770_000_000)
    )


def _guests(world: World) -> None:
    """Templates first (one per 24 guests at most two), then the catalogue, then numbered copies of it."""
    count = world.options.guests
    nodes = list(world.nodes)
    templates = 0 if count == 0 else 1 if count < 2 * len(catalog.GUESTS) else 2
    for index in range(templates):
        name, cores, memory, disk = catalog.TEMPLATES[index]
        build.add_guest(
            world, vmid=9000 + index if count <= 8000 else 90_000 + index, kind="qemu", name=name, node=nodes[0],  # noqa: PLR2004
            storage=world.storages["nas"], cores=cores, memory=memory, disk=disk, template=True,
        )  # fmt: skip
    rows = _mixed(count - templates)
    for index in range(count - templates):
        _guest(world, 100 + index, nodes[index % len(nodes)], rows[index])


def _mixed(count: int) -> list[Row]:
    """Give rows of both kinds in turn, whatever the number; copies get a number in their name."""
    virtual = [row for row in catalog.GUESTS if row[1] == "qemu"]
    containers = [row for row in catalog.GUESTS if row[1] == "lxc"]
    rows: list[Row] = []
    for index in range(count):
        source = containers if index % 5 in (2, 4) else virtual
        place = sum(row[1] == source[0][1] for row in rows) if count <= 100 else index  # noqa: PLR2004
        row = source[place % len(source)]
        copy = place // len(source)
        rows.append((f"{row[0]}-{copy + 1}" if copy else row[0], *row[1:]))
    return rows


def _guest(world: World, vmid: int, node: str, row: Row) -> Guest:
    name, kind, cores, memory, disk, tags, pool, cpu = row
    storage = world.storages["ceph-vm" if vmid % 3 == 0 and not world.standalone else "local-lvm"]
    guest = build.add_guest(
        world, vmid=vmid, kind="lxc" if kind == "lxc" else "qemu", name=name, node=node, storage=storage,
        cores=cores, memory=memory, disk=disk, tags=tags, pool=pool, cpu=cpu,
    )  # fmt: skip
    if name.rstrip("-0123456789") not in {stem.rstrip("-0123456789") for stem in catalog.STOPPED}:
        guest.running = True
        guest.pid = world.rng.randrange(2_000, 400_000)
        guest.started_at = world.now() - world.rng.uniform(0.1, 9) * 86_400
    else:
        del guest.config["onboot"]
    if name == "opnsense":
        guest.config.pop("agent")
    return guest


def _snapshots(world: World) -> None:
    """Two guests have been there before: one of each kind, where there is one."""
    for kind in ("qemu", "lxc"):
        guest = next((one for one in world.sorted_guests() if one.kind == kind and one.running), None)
        if guest is not None:
            kept = dict(guest.config)
            at = int(world.now()) - 12 * 86_400
            guest.snapshots = [
                Snapshot("before-upgrade", at, "before the upgrade", config=kept),
                Snapshot("clean", at + 86_400, "", "before-upgrade", config=kept | {"parent": "before-upgrade"}),
            ]
            guest.config["parent"] = "clean"


def _jobs(world: World) -> None:
    """Back up what is in production, leave out the rest: some guests have no coverage."""
    guests = world.sorted_guests()
    covered = [guest.vmid for guest in guests if guest.pool in ("prod", "infra") and not guest.template]
    target = next(iter(world.pbs), "nas")
    world.backup_jobs["backup-nightly"] = BackupJob(
        "backup-nightly", "02:00", target, "snapshot", tuple(covered), comment="production and infrastructure"
    )
    world.backup_jobs["backup-weekly"] = BackupJob(
        "backup-weekly", "sat 04:00", "nas", "stop", pool="dev", keep="keep-last=2"
    )
    running = [guest for guest in guests if guest.running and guest.kind == "qemu"]
    if not world.standalone:
        for guest in running[-2:]:
            world.ha[ha_sid(guest)] = HaResource(ha_sid(guest), comment=guest.name)
    powered = [guest.vmid for guest in guests if not guest.template][:4]
    world.access.acls += [Acl(f"/vms/{vmid}", "group", "ops", "VMOper") for vmid in powered]
