"""Reads the disks and ZFS pools of a node, seldom. A disk that sleeps is not woken.

Proxmox runs `smartctl` without `-n standby`, for a list with SMART on every disk: so the list is asked for without it,
and then each disk alone that cannot sleep (PVE::Diskmanage).
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from mqtt_bridge.model import DiskState, utc
from mqtt_bridge.proxmox import disk_rows
from mqtt_bridge.proxmox.changes import DiskRead, ZfsPoolRead
from mqtt_bridge.proxmox.inventory import Inventory
from mqtt_bridge.proxmox.permissions import holds
from mqtt_bridge.proxmox.smart import Smart, read

Policy = Literal["off", "ssd", "all"]
RETRY = 600.0  # seconds until what did not answer is asked again

Get = Callable[..., Awaitable[Any]]  # path and parameters → the answer, or None


class DiskReader:
    """`get` keeps to the budget."""

    def __init__(self, inventory: Inventory, get: Get, policy: Policy, interval: float) -> None:
        self._inventory = inventory
        self._book = inventory.disks
        self._get = get
        self._policy = policy
        self._interval = interval
        self._book.reading = policy != "off"

    async def read(self, node: str) -> None:
        """If it is time to."""
        if self._policy == "off" or self._book.due.get(node, 0.0) > time.monotonic():
            return
        granted = self._inventory.granted
        whole = holds(granted, "/", "Sys.Audit")
        if not whole and not holds(granted, f"/nodes/{node}", "Sys.Audit"):
            self._book.away(node)
            self._book.settled |= {("disk", node), ("zpool", node)}
            self._book.due[node] = 0.0
            return
        self._book.due[node] = time.monotonic() + min(self._interval, RETRY)
        answered = await self._disks(node, whole=whole)
        if whole:
            answered &= await self._zpools(node)
        else:
            self._book.zpools.away(node)
            self._book.settled.add(("zpool", node))
        if answered:
            self._book.due[node] = time.monotonic() + self._interval

    def _here(self, node: str) -> bool:
        """It may have gone away while it was asked."""
        return self._inventory.nodes.online().get(node, False)

    async def _disks(self, node: str, *, whole: bool) -> bool:
        """Whether there was an answer."""
        rows = disk_rows.listed(await self._get("nodes", node, "disks", "list", skipsmart=1))
        if rows is None:
            return False
        found = [await self._disk(node, name, row, whole=whole) for name, row in rows.items()]
        if not self._here(node):
            return False
        if not found and self._book.disks.of(node):
            self._book.disks.away(node)  # a list that is hidden is empty too
            return True
        self._book.settled.add(("disk", node))
        missing, now = self._book.disks.take(node, found), time.time()
        for state in found:
            self._inventory.changes.tell(DiskRead(state, missing=False, at=now))
        for state in missing:
            self._inventory.changes.tell(DiskRead(state, missing=True, at=now))
        return True

    async def _disk(self, node: str, name: str, row: disk_rows.Row, *, whole: bool) -> DiskState:
        site, type_ = self._inventory.site.slug, disk_rows.kind(row)
        if self._policy != "all" and type_ not in ("nvme", "ssd"):
            return disk_rows.disk_state(site, node, name, row, Smart(), unread="asleep", at=utc(time.time()))
        if not whole:
            return disk_rows.disk_state(site, node, name, row, Smart(), unread="privilege", at=utc(time.time()))
        answer = await self._get("nodes", node, "disks", "smart", disk=row["devpath"])
        if isinstance(answer, dict):
            smart, at = read(answer, wears=type_ != "hdd"), utc(time.time())
        else:
            smart, at = self._before(node, name)
        return disk_rows.disk_state(site, node, name, row, smart, unread=None, at=at)

    def _before(self, node: str, name: str) -> tuple[Smart, str | None]:
        """What was read last, where there is no answer now."""
        old = self._book.disks.states.get(f"{node}/{name}")
        if old is None:
            return Smart(), None
        return Smart(old.health, old.wear_pct, old.temperature_c, old.power_on_hours), old.updated_at

    async def _zpools(self, node: str) -> bool:
        """Whether there was an answer."""
        rows = disk_rows.pools(await self._get("nodes", node, "disks", "zfs"))
        if rows is None:
            return False
        site, found = self._inventory.site.slug, []
        for name, row in rows.items():
            detail = await self._get("nodes", node, "disks", "zfs", name)
            found.append(disk_rows.pool_state(site, node, row, detail, at=utc(time.time())))
        if not self._here(node):
            return False
        self._book.settled.add(("zpool", node))
        missing, now = self._book.zpools.take(node, found), time.time()
        for state in found:
            self._inventory.changes.tell(ZfsPoolRead(state, missing=False, at=now))
        for state in missing:
            self._inventory.changes.tell(ZfsPoolRead(state, missing=True, at=now))
        return True
