"""Figures of the past, from the same waves as those of now, and a guest's address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from . import figures

if TYPE_CHECKING:
    from .state import Guest, Node, Storage
    from .world import World

# timeframe → (seconds per point, points)
FRAMES = {"hour": (60, 70), "day": (1_800, 70), "week": (10_800, 70), "month": (43_200, 70), "year": (604_800, 70)}


def times(now: float, frame: str) -> list[int]:
    """The moments that there are figures of."""
    step, count = FRAMES.get(frame, FRAMES["hour"])
    last = int(now) // step * step
    return [last - step * back for back in range(count - 1, -1, -1)]


def guest_rows(world: World, guest: Guest, frame: str) -> list[dict[str, Any]]:
    """Points before the guest ran have only a time."""
    rows = []
    for at in times(world.now(), frame):
        row: dict[str, Any] = {"time": at}
        if guest.running and at >= guest.started_at:
            numbers = figures.guest(guest, at, world.maxdisk(guest))
            row |= {key: value for key, value in numbers.items() if key not in ("uptime", "netin", "netout")}
            row |= {"netin": guest.load.network, "netout": guest.load.network * 0.4}
            row |= {"diskread": guest.load.disk, "diskwrite": guest.load.disk * 0.7}
        rows.append(row)
    return rows


def node_rows(node: Node, now: float, frame: str) -> list[dict[str, Any]]:
    rows = []
    for at in times(now, frame):
        row: dict[str, Any] = {"time": at}
        if node.online and at >= node.booted_at:
            numbers = figures.node(node, at)
            row |= {
                "cpu": numbers["cpu"],
                "maxcpu": node.cores,
                "memused": numbers["mem"],
                "memtotal": node.memory,
                "loadavg": round(numbers["cpu"] * node.cores, 2),
                "iowait": round(numbers["cpu"] * 0.05, 4),
                "rootused": numbers["disk"],
                "roottotal": node.disk,
                "swapused": 0,
                "swaptotal": 8 * 1024**3,
                "netin": node.load.network,
                "netout": node.load.network * 0.6,
            }
        rows.append(row)
    return rows


def storage_rows(storage: Storage, now: float, frame: str) -> list[dict[str, Any]]:
    return [{"time": at, "used": figures.storage_used(storage, at), "total": storage.total} for at in times(now, frame)]


def address(guest: Guest) -> tuple[str, str]:
    """Give a guest's hardware and IPv4 address (192.0.2.0/24 is for documentation)."""
    found = re.search(r"([0-9A-F]{2}(?::[0-9A-F]{2}){5})", str(guest.config.get("net0", "")))
    return (found[1] if found else "BC:24:11:00:00:00", f"192.0.2.{guest.vmid % 250 + 2}")
