"""What guests of both types answer to questions: lists, status, configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import figures, rrd, sizes
from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError
from proxmox_mcp.lab.world import ha_sid

from .kinds import both

if TYPE_CHECKING:
    from proxmox_mcp.lab.state import Guest
    from proxmox_mcp.lab.world import World

_QEMU_IDLE = ("cpu", "mem", "memhost", "disk", "netin", "netout", "uptime", "maxdisk", "maxmem")
_COMMON = (*_QEMU_IDLE, "diskread", "diskwrite")
_BLOCK_COUNTERS = [
    "failed_flush_operations",
    "failed_rd_operations",
    "failed_unmap_operations",
    "failed_wr_operations",
    "flush_operations",
    "flush_total_time_ns",
    "idle_time_ns",
    "invalid_flush_operations",
    "invalid_rd_operations",
    "invalid_unmap_operations",
    "invalid_wr_operations",
    "rd_merged",
    "rd_operations",
    "rd_total_time_ns",
    "unmap_bytes",
    "unmap_merged",
    "unmap_operations",
    "unmap_total_time_ns",
    "wr_highest_offset",
    "wr_merged",
    "wr_operations",
    "wr_total_time_ns",
]


def listing(call: Call) -> list[dict[str, Any]]:
    """Only guests that one may audit; without `full` a running VM's details stay out."""
    full = bool(call.params.get("full"))
    return [
        summary(call.world, guest, full=full)
        for guest in call.world.sorted_guests()
        if guest.node == call.node.name and guest.kind == call.kind and call.may(f"/vms/{guest.vmid}", "VM.Audit")
    ]


def summary(world: World, guest: Guest, *, full: bool) -> dict[str, Any]:
    numbers = figures.guest(guest, world.now(), world.maxdisk(guest))
    keys = _QEMU_IDLE if guest.kind == "qemu" and not guest.running else _COMMON
    row: dict[str, Any] = {key: numbers[key] for key in keys}
    row |= {"vmid": guest.vmid, "name": guest.name, "status": "running" if guest.running else "stopped"}
    row["cpus"] = guest.cores
    optional = {"tags": guest.tags, "lock": guest.lock, "template": int(guest.template)}
    row |= {key: value for key, value in optional.items() if value}
    if guest.running:
        row |= {"pid": guest.pid} | pressure(guest, world.now())
    if guest.kind == "lxc":
        swap = int(guest.config.get("swap", 0)) * 1024 * 1024
        row.pop("memhost", None)
        return row | {"type": "lxc", "maxswap": swap, "swap": 0}
    return row | ({"qmpstatus": guest.qmpstatus} if full else {})


def pressure(guest: Guest, now: float) -> dict[str, float]:
    share = round(figures.cpu(guest.load, now), 2)
    row = dict.fromkeys(("pressureiosome", "pressureiofull", "pressurememorysome", "pressurememoryfull"), 0.0)
    return {"pressurecpusome": share, **({"pressurecpufull": 0.0} if guest.kind == "qemu" else {}), **row}


def current(call: Call) -> dict[str, Any]:
    guest = call.guest
    row = summary(call.world, guest, full=True)
    managed = call.world.ha.get(ha_sid(guest))
    row["ha"] = {"managed": 1, "state": managed.state} if managed else {"managed": 0}
    if guest.kind == "qemu":
        if guest.agent:
            row["agent"] = 1
        if guest.running:
            row |= _running(guest, row)
            if call.world.options.scenario != "recorded":
                row["proxmox-support"] = {
                    "pbs-dirty-bitmap": True,
                    "query-bitmap-info": True,
                    "backup-max-workers": True,
                }
    return row


def _running(guest: Guest, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "running-machine": "pc-i440fx-10.1+pve0",
        "running-qemu": "10.1.2",
        "nics": {f"tap{guest.vmid}i0": {"netin": row["netin"], "netout": row["netout"]}},
        "blockstat": {key: _block(row) for key in sizes.disks(guest.config, "qemu")},
        **_balloon(guest, row),
    }


def _block(row: dict[str, Any]) -> dict[str, Any]:
    counters: dict[str, Any] = dict.fromkeys(_BLOCK_COUNTERS, 0)
    return counters | {
        "rd_bytes": row["diskread"],
        "wr_bytes": row["diskwrite"],
        "account_failed": True,
        "account_invalid": True,
        "timed_stats": [],
    }


def _balloon(guest: Guest, row: dict[str, Any]) -> dict[str, Any]:
    """Only guests with an agent in this lab have a balloon driver that reports."""
    if not guest.agent or guest.memory < 1024**3:
        return {}
    free = guest.memory - row["mem"]
    info = {"actual": guest.memory, "max_mem": guest.memory, "total_mem": guest.memory, "free_mem": free}
    return {"balloon": guest.memory, "freemem": free, "ballooninfo": info}


def config(call: Call) -> dict[str, Any]:
    guest = call.guest
    current_only = call.params.get("current")
    values = guest.config if current_only else guest.config | guest.pending
    hidden = {"cipassword": "**********"} if "cipassword" in values else {}
    return values | hidden | {"digest": guest.digest}


def pending(call: Call) -> list[dict[str, Any]]:
    guest = call.guest
    rows: list[dict[str, Any]] = [{"key": key, "value": value} for key, value in guest.config.items()]
    for row in rows:
        if row["key"] == "cipassword":
            row["value"] = "**********"
        if row["key"] in guest.pending:
            row["pending"] = guest.pending[row["key"]]
    return [*rows, {"key": "digest", "value": guest.digest}]


def snapshots(call: Call) -> list[dict[str, Any]]:
    guest = call.guest
    rows: list[dict[str, Any]] = []
    for one in guest.snapshots:
        row: dict[str, Any] = {"name": one.name, "snaptime": one.time, "description": one.description}
        if guest.kind == "qemu":
            row["vmstate"] = int(one.vmstate)
        if one.prepared:
            row["snapstate"] = "prepare"
        rows.append(row | ({"parent": one.parent} if one.parent else {}))
    here: dict[str, Any] = {
        "name": "current",
        "description": "You are here!",
        "digest": guest.digest,
        "running": int(guest.running),
    }
    parent = guest.config.get("parent")
    return [*rows, here | ({"parent": parent} if parent else {})]


def snapshot_config(call: Call) -> dict[str, Any]:
    found = {one.name: one for one in call.guest.snapshots}
    name = call.params["snapname"]
    if name not in found:
        raise ApiError(500, f"snapshot '{name}' does not exist")
    one = found[name]
    return one.config | {"description": one.description, "snaptime": one.time}


def rrddata(call: Call) -> list[dict[str, Any]]:
    guest = call.guest
    return rrd.guest_rows(call.world, guest, call.params["timeframe"])


def feature(call: Call) -> dict[str, Any]:
    """Of the features only snapshots depend on the storage here."""
    guest = call.guest
    has = call.params["feature"] != "snapshot" or can_snapshot(call.world, guest)
    return {"hasFeature": int(has), "nodes": [call.node.name] if has else []}


def can_snapshot(world: World, guest: Guest) -> bool:
    """Directories keep snapshots in qcow2 files only, which containers do not have."""
    drives = [drive.partition(",")[0] for drive in sizes.disks(guest.config, guest.kind).values()]
    kinds = {drive: world.storages[drive.partition(":")[0]].kind for drive in drives if ":" in drive}
    by_file = ("dir", "nfs", "cifs", "lvm")
    return not any(kind in by_file and not drive.endswith(".qcow2") for drive, kind in kinds.items())


def interfaces(call: Call) -> list[dict[str, Any]] | None:
    guest = call.guest
    if not guest.running:
        return None
    hardware, address = rrd.address(guest)
    return [
        _interface("lo", "00:00:00:00:00:00", "127.0.0.1", 8),
        _interface("eth0", hardware.lower(), address, 24),
    ]


def _interface(name: str, hardware: str, address: str, prefix: int) -> dict[str, Any]:
    return {
        "name": name,
        "hwaddr": hardware,
        "hardware-address": hardware,
        "inet": f"{address}/{prefix}",
        "ip-addresses": [{"ip-address": address, "ip-address-type": "inet", "prefix": str(prefix)}],
    }


ROUTES: tuple[Route, ...] = (
    *both("GET", "", listing),
    *both("GET", "/{vmid}/status/current", current),
    *both("GET", "/{vmid}/config", config),
    *both("GET", "/{vmid}/pending", pending),
    *both("GET", "/{vmid}/snapshot", snapshots),
    *both("GET", "/{vmid}/snapshot/{snapname}/config", snapshot_config),
    *both("GET", "/{vmid}/rrddata", rrddata),
    *both("GET", "/{vmid}/feature", feature),
    ("GET", "/nodes/{node}/lxc/{vmid}/interfaces", interfaces),
)
