"""The live watcher's words for physical disks and ZFS pools, which are read seldom.

smartd and zed on the node tell the same at once, where they run and their mail arrives. `well_at`, when it was last
read to be well, is what lets `correlate` see that both are one happening, although we come later.
"""

from collections.abc import Iterator

from mqtt_bridge.events.intake import Report
from mqtt_bridge.listeners.live_memory import Memory
from mqtt_bridge.listeners.live_words import Said, report
from mqtt_bridge.model import DiskState, utc
from mqtt_bridge.proxmox.changes import DiskRead, ZfsPoolRead

_MISSING = "missing"


def told(memory: Memory, change: DiskRead | ZfsPoolRead) -> Iterator[Report]:
    """What a reading says that was not told."""
    return disk(memory, change) if isinstance(change, DiskRead) else zpool(memory, change)


def disk(memory: Memory, change: DiskRead) -> Iterator[Report]:
    """SMART says that it fails, or no longer; its node does not list it any more, or again."""
    new = change.new
    key = f"disk/{new.node}/{new.disk}"
    before = memory.fact(key)
    if change.missing:
        memory.set_fact(key, _MISSING)
        if before != _MISSING:
            yield _disk(memory, change, Said("disk.missing", "warning", False, f"{_called(new)} is gone"))
        if before == "FAILED":
            said = Said("disk.smart.ok", "info", True, f"{_called(new)}, which was failing, is gone")
            yield _disk(memory, change, said)
        return
    if before == _MISSING:
        memory.set_fact(key, before := "")
        yield _disk(memory, change, Said("disk.found", "info", True, f"{_called(new)} is back"))
    if new.health == "FAILED" and before != "FAILED":
        said = Said("disk.smart.failing", "critical", False, f"{_called(new)} is about to fail")
        yield _disk(memory, change, said)
        memory.set_fact(key, "FAILED")
    elif new.health == "PASSED" and memory.set_fact(key, ""):
        yield _disk(memory, change, Said("disk.smart.ok", "info", True, f"{_called(new)} is well again, says SMART"))
    _well(memory, key, change.at, well=new.health == "PASSED")


def zpool(memory: Memory, change: ZfsPoolRead) -> Iterator[Report]:
    """It is not as it should be, or well again."""
    new = change.new
    key = f"zpool/{new.node}/{new.pool}"
    trouble = "" if not change.missing and new.health == "ONLINE" and not new.errors else _trouble(change)
    before = memory.set_fact(key, trouble)
    if trouble and trouble != before:
        yield _zpool(memory, change, _POOLS[trouble])
    elif before and not trouble:
        yield _zpool(memory, change, Said("storage.zfs.ok", "info", True, "ZFS pool {} is well again"))
    _well(memory, key, change.at, well=not trouble)


_POOLS = {
    "missing": Said("storage.zfs.missing", "error", False, "ZFS pool {} is gone"),
    "suspended": Said("storage.zfs.suspended", "critical", False, "ZFS pool {} is suspended"),
    "degraded": Said("storage.zfs.degraded", "error", False, "ZFS pool {} is {state}"),
    "errors": Said("storage.zfs.errors", "error", False, "ZFS pool {} has data errors"),
}


def _trouble(change: ZfsPoolRead) -> str:
    if change.missing:
        return _MISSING
    if change.new.health == "SUSPENDED":
        return "suspended"
    return "errors" if change.new.health == "ONLINE" else "degraded"


def _well(memory: Memory, key: str, at: float, *, well: bool) -> None:
    """Noted in memory only: a restart of the bridge is no reason to write it down at each reading."""
    if well:
        memory.well_at[key] = at


def _since(memory: Memory, key: str) -> str | None:
    return utc(memory.well_at.get(key, memory.left_at))


def _called(disk: DiskState) -> str:
    return f"Disk {disk.dev} of {disk.node}" + (f" ({disk.model})" if disk.model else "")


def _disk(memory: Memory, change: DiskRead, said: Said) -> Report:
    new = change.new
    worn = None if new.wear_pct is None else f"{new.wear_pct:.0f} % worn"
    warm = None if new.temperature_c is None else f"{new.temperature_c:.0f} °C"
    about = (f"/dev/{new.dev}", new.model, new.serial and f"S/N {new.serial}", new.used_by and f"used by {new.used_by}")
    key = f"disk/{new.node}/{new.disk}"
    return report(
        said,
        memory.site,
        key,
        change.at,
        node=new.node,
        message=", ".join(word for word in (*about, worn, warm) if word),
        device=f"/dev/{new.dev}",
        model=new.model,
        serial=new.serial,
        disk=new.disk,
        well_at=_since(memory, key) if said.ok is False else None,
    )


def _zpool(memory: Memory, change: ZfsPoolRead, said: Said) -> Report:
    new = change.new
    title = said.title.format(f"{new.pool} of {new.node}", state=new.health.lower())
    told = (new.status, new.errors and f"errors: {new.errors}", new.scan and f"scan: {new.scan}")
    key = f"zpool/{new.node}/{new.pool}"
    return report(
        Said(said.kind, said.severity, said.ok, title),
        memory.site,
        key,
        change.at,
        node=new.node,
        message="\n".join(line for line in told if line),
        pool=new.pool,
        state=new.health,
        well_at=_since(memory, key) if said.ok is False else None,
    )
