"""The lines that pvestatd pushes to InfluxDB: those of a node, its guests and its storages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import figures
from proxmox_mcp.lab.world import ha_sid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxmox_mcp.lab.state import Guest, Node, Storage
    from proxmox_mcp.lab.world import World

    Values = dict[str, Any]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def lines(world: World, node: Node) -> Iterator[str]:
    """Give all lines of one round, each with its newline."""
    at = int(world.now())
    yield from _object(f"object=nodes,host={node.name}", _node(node, at), at)
    for guest in world.sorted_guests():
        if guest.node == node.name:
            tags = f"object={guest.kind},vmid={guest.vmid},nodename={node.name},host={guest.name}"
            yield from _object(tags, _guest(world, guest, at), at)
    for storage in world.storages.values():
        if storage.serves(node.name) and not storage.disabled:
            tags = f"object=storages,nodename={node.name},host={storage.name},type={storage.kind}"
            yield from _object(tags, _storage(storage, node, at), at)


def _object(tags: str, data: Values, at: int) -> Iterator[str]:
    """Write what is nested once as a measurement, what is nested twice as its instances, the rest as `system`."""
    tags = re.sub(r"\s", r"\\ ", tags)
    for name, values in sorted(data.items()):
        if isinstance(values, dict):
            yield from _measurement(name, tags, values, at)
    yield from _line("system", tags, data, at)


def _measurement(name: str, tags: str, data: Values, at: int) -> Iterator[str]:
    for instance, values in sorted(data.items()):
        if isinstance(values, dict):
            yield from _line(name, f"{tags},instance={instance}", values, at)
    yield from _line(name, tags, data, at)


def _line(name: str, tags: str, data: Values, at: int) -> Iterator[str]:
    flat = {key: value for key, value in data.items() if not isinstance(value, dict)}
    values = ",".join(f"{key}={value(one)}" for key, one in sorted(flat.items()) if one != "")
    if values:
        yield f"{name},{tags} {values} {at}000000000\n"


def value(one: float | str) -> str:
    """Write a number as it is, and so a text that looks like one; quote the rest."""
    text = str(one)
    return text if _NUMBER.fullmatch(text) else '"' + text.replace('"', '\\"') + '"'


def _guest(world: World, guest: Guest, at: float) -> Values:
    numbers = figures.guest(guest, at, world.maxdisk(guest))
    found: Values = {key: one for key, one in numbers.items() if key != "maxcpu"}
    found |= {"cpus": guest.cores, "name": guest.name, "status": "running" if guest.running else "stopped"}
    found |= {"tags": guest.tags, "lock": guest.lock, "ha": {"managed": int(ha_sid(guest) in world.ha)}}
    found |= {"template": 1} if guest.template else {}
    found |= {"pid": guest.pid} if guest.running else {}
    return found | (_qemu(guest, numbers) if guest.kind == "qemu" else {"type": "lxc", "swap": 0})


def _qemu(guest: Guest, numbers: dict[str, float]) -> Values:
    found: Values = {"qmpstatus": guest.qmpstatus}
    if not guest.running:
        return found
    traffic = {"netin": numbers["netin"], "netout": numbers["netout"]}
    blocks = {"rd_bytes": numbers["diskread"], "wr_bytes": numbers["diskwrite"], "failed_rd_operations": 0}
    return found | {
        "agent": int(guest.agent),
        "running-machine": "pc-i440fx-10.1+pve0",
        "running-qemu": "10.1.2",
        "nics": {f"tap{guest.vmid}i0": traffic},
        "blockstat": {"scsi0": blocks},
        "proxmox-support": {"pbs-library-version": "1.5.2 (UNKNOWN)"},
    }


def _node(node: Node, at: float) -> Values:
    numbers = figures.node(node, at)
    load = round(numbers["cpu"] * node.cores, 2)
    used, total = int(numbers["mem"]), node.memory
    disk = int(numbers["disk"])
    rate = node.load.network
    age = max(0.0, at - node.booted_at)
    return {
        "uptime": numbers["uptime"],
        "cpustat": {
            "avg1": load, "avg5": load, "avg15": load, "cpu": numbers["cpu"], "cpus": node.cores,
            "iowait": 0, "wait": round(numbers["cpu"] * 0.05, 5),
        },
        "memory": {
            "memtotal": total, "memused": used, "memfree": total - used,
            "swaptotal": 8 * 1024**3, "swapused": 0, "swapfree": 8 * 1024**3,
        },
        "blockstat": {
            "blocks": node.disk // 4096, "bfree": (node.disk - disk) // 4096, "bavail": (node.disk - disk) // 4096,
            "total": node.disk, "used": disk, "per": round(100 * disk / node.disk),
        },
        "nics": {
            "vmbr0": {
                "receive": figures.counter(rate, node.load.phase, age),
                "transmit": figures.counter(rate * 0.6, node.load.phase + 1, age),
            }
        },
    }  # fmt: skip


def _storage(storage: Storage, node: Node, at: float) -> Values:
    used = figures.storage_used(storage, at)
    found: Values = {
        "active": int(storage.active(node.name)),
        "content": storage.content,
        "enabled": 1,
        "shared": int(storage.shared),
        "type": storage.kind,
    }
    return found | {"total": storage.total, "used": used, "avail": storage.total - used}
