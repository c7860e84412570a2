"""The cluster log: its entries of warnings and worse, each told once."""

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mqtt_bridge import errors
from mqtt_bridge.events.intake import Intake, Report
from mqtt_bridge.listeners.live_delivery import Delivery
from mqtt_bridge.proxmox.inventory import Inventory
from mqtt_bridge.proxmox.permissions import holds
from mqtt_bridge.proxmox.polling import every
from mqtt_bridge.proxmox.privileges import grant_lines
from mqtt_bridge.wording import classify

log = logging.getLogger(__name__)

EVERY = 15.0  # seconds
EVERY_EMPTY = 60.0  # where nothing may be seen (no Sys.Syslog) or nothing is logged
LOOK = 100  # entries
FAR_LOOK = 1000  # when nothing of the last look is in this one any more
UNLOGGED = 300.0  # seconds before the very first look from which on entries are new, if there is none
TASKS = ("starting task UPID:", "end task UPID:")  # the tasks themselves are followed


class LogWatch:
    """One site's cluster log. What of the newest page was told is the cursor."""

    def __init__(self, inventory: Inventory, intake: Intake, deliver: Delivery, priority: int) -> None:
        self._inventory = inventory
        self._intake = intake
        self._deliver = deliver
        self._priority = priority
        self._cursor = f"log/{inventory.site.slug}"
        self._page: set[str] = set()
        self._told: set[str] = set()
        self._since = 0.0
        self._interval = EVERY

    async def run(self) -> None:
        """Until cancelled."""
        await self._inventory.first_poll.wait()
        first = not await self._load()
        if first:
            await self._begin()
        await every(lambda: self._interval, self._look)

    async def _load(self) -> bool:
        """Whether an earlier run, with the same priority, has left a cursor."""
        try:
            known = json.loads(await self._intake.cursor(self._cursor) or "{}")
            if known.get("priority") != self._priority:
                return False
            self._told, self._since = {str(identity) for identity in known["told"]}, float(known["since"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        return True

    async def _begin(self) -> None:
        """The very first look: what was logged before is not told."""
        rows = await self._read(LOOK)
        while rows is None:
            await asyncio.sleep(self._interval)
            rows = await self._read(LOOK)
        self._since = time.time() - UNLOGGED
        await self._tell((), rows)

    async def _look(self) -> None:
        """What came since the last look, oldest first."""
        rows = await self._read(LOOK if self._page else FAR_LOOK)
        if rows is None:
            return
        if len(rows) >= LOOK and not self._page & {_identity(row) for row in rows}:
            rows = await self._read(FAR_LOOK) or rows
        news = [row for row in rows if self._counts(row) and self._is_new(row)]
        await self._tell([_report(row, self._inventory.site.slug) for row in reversed(news)], rows[:LOOK])
        self._interval = EVERY if rows else EVERY_EMPTY

    def _is_new(self, row: Mapping[str, Any]) -> bool:
        return _identity(row) not in self._told | self._page and _time(row) >= self._since

    async def _tell(self, reports: Sequence[Report], page: Sequence[Mapping[str, Any]]) -> None:
        """`since` is the time of the oldest entry of the page: from there on `told` is complete."""
        told = {_identity(row) for row in page if self._counts(row)}
        since = min((_time(row) for row in page), default=self._since)
        text = json.dumps({"priority": self._priority, "since": since, "told": sorted(told)}, separators=(",", ":"))
        if reports or told != self._told or not self._page:
            await self._deliver(reports, {self._cursor: text})
        self._told, self._since, self._page = told, since, {_identity(row) for row in page}

    def _counts(self, row: Mapping[str, Any]) -> bool:
        return _priority(row) <= self._priority and not str(row.get("msg", "")).startswith(TASKS)

    async def _read(self, most: int) -> list[Mapping[str, Any]] | None:
        """Newest first; None where it cannot be read now."""
        if self._inventory.pulse.status == "offline":
            return None
        try:
            rows = await self._inventory.client.get("cluster", "log", purpose="poll", max=most)
        except errors.ProxmoxError as error:
            log.debug("The cluster log of %s cannot be read: %s", self._inventory.site.slug, error)
            return None
        return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else None


def partial(inventory: Inventory) -> str:
    """Why the site's cluster log is not all there is, with the cure; empty where it is, or that is not known yet.

    Without Sys.Syslog on / Proxmox answers with the token's own entries, and says nothing of the others.
    """
    if not inventory.granted or holds(inventory.granted, "/", "Sys.Syslog"):
        return ""
    endpoint = inventory.site.endpoints[0]
    cure = grant_lines("pve", "/", "Sys.Syslog", endpoint.user, endpoint.token_name)
    return f"of the cluster log of {inventory.site.slug} only our own entries are seen; as root on a node: {cure}"


def _identity(row: Mapping[str, Any]) -> str:
    return f"{row.get('uid', '')}:{row.get('node', '')}:{row.get('time', '')}"


def _time(row: Mapping[str, Any]) -> float:
    value = row.get("time")
    return float(value) if isinstance(value, int | float) else 0.0


def _priority(row: Mapping[str, Any]) -> int:
    value = row.get("pri")
    return value if isinstance(value, int) else 6


def _report(row: Mapping[str, Any], site: str) -> Report:
    verdict = classify("clusterlog", json.dumps(row))
    return Report(
        f"log/{site}/{_identity(row)}",
        verdict,
        "api",
        at=_time(row) or None,
        site=site,
        metadata={"tag": row.get("tag")},
    )
