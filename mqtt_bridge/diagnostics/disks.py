"""The check of physical disks and ZFS pools."""

from collections.abc import Iterable, Iterator

from mqtt_bridge.diagnostics.facts import Facts, Found
from mqtt_bridge.model import DiskState, ZfsPoolState

HOT = {"nvme": 75.0, "ssd": 65.0, "hdd": 55.0, "unknown": 65.0}  # °C that makers do not like for long
WORN = 90.0  # percent of its life


def disks(facts: Facts) -> Iterator[Found]:
    """SMART, wear, heat; pools that are not well; disks that are missing while their node is there."""
    up = {node.node for node in facts.nodes if node.status == "online"}
    for disk in facts.disks:
        yield from _disk(disk, up)
    for pool in facts.zpools:
        yield from _pool(pool, up)


def _disk(disk: DiskState, up: Iterable[str]) -> Iterator[Found]:
    name = f"Disk {disk.dev} of {disk.node}"
    about = f"{disk.model or 'unknown model'}, S/N {disk.serial or 'not known'}, used by {disk.used_by or 'nothing'}"
    if not disk.available and disk.node in up:
        yield Found("warning", f"{name} is missing", f"{about}.", "If nobody took it out, look at its cable and slot.")
    if disk.health == "FAILED":
        yield Found(
            "critical",
            f"{name} is about to fail, says SMART",
            f"{about}.",
            "Back up what is on it and replace it; `smartctl -a` on the node tells more.",
        )
    if (disk.wear_pct or 0) >= WORN:
        yield Found("warning", f"{name} is worn out", f"{disk.wear_pct:.0f} % used; {about}.", "Plan its replacement.")
    if disk.available and (disk.temperature_c or 0) >= HOT[disk.type]:
        yield Found(
            "warning",
            f"{name} is hot",
            f"{disk.temperature_c:.0f} °C; {about}.",
            "Look at the node's fans and air flow.",
        )


def _pool(pool: ZfsPoolState, up: Iterable[str]) -> Iterator[Found]:
    name = f"ZFS pool {pool.pool} of {pool.node}"
    if not pool.available and pool.node in up:
        yield Found("error", f"{name} is missing", "Its node does not list it any more.", "`zpool import` on the node.")
    elif pool.health != "ONLINE" or pool.errors:
        told = (f"state {pool.health}", pool.status, pool.errors and f"errors: {pool.errors}", pool.scan)
        yield Found(
            "critical" if pool.health == "SUSPENDED" else "error",
            f"{name} is not well",
            "; ".join(word for word in told if word) + ".",
            "`zpool status -v` on the node names the device; replace it.",
        )
