"""`…/upkeep` of sites and nodes: maintenance, evacuation, approvals that wait, tasks that failed."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from mqtt_bridge.approvals.types import Approval
from mqtt_bridge.events.intake import JournalError
from mqtt_bridge.model import Evacuation, Model, NodeUpkeep, PendingApproval, SiteUpkeep, TaskInfo, utc
from mqtt_bridge.notifying.silences import Silence
from mqtt_bridge.proxmox.task_book import KEPT, TaskBook
from mqtt_bridge.retained import Retained
from mqtt_bridge.wording.clean import one_line

EVERY = 1.0  # seconds between two looks
DAY = 86400.0
SHOWN = 10  # approvals
TITLE = 120  # characters


class HasTasks(Protocol):
    """An inventory, as far as it matters here."""

    @property
    def tasks(self) -> TaskBook: ...


class Upkeep:
    """`run` it; `changed` is a watcher of what is put retained, so that a node has its topic as soon as it exists."""

    def __init__(
        self,
        retained: Retained,
        silences: Callable[[], Awaitable[Sequence[Silence]]],
        approvals: Callable[[], Awaitable[Sequence[Approval]]],
        inventories: Mapping[str, HasTasks],
        evacuation: Callable[[str, str], Evacuation] = lambda *_: Evacuation(),
    ) -> None:
        self._retained = retained
        self._silences = silences
        self._approvals = approvals
        self._inventories = inventories
        self._evacuation = evacuation
        self._nodes: dict[tuple[str, str], None] = {}
        self._last: tuple[Sequence[Silence], Sequence[Approval]] = (), ()  # for what appears before the next look

    def changed(self, kind: str, value: Model | None, ids: Mapping[str, str | int]) -> None:
        """A node or a site is published, or gone."""
        if kind == "cluster" and value is not None and not self._held("site_upkeep", ids):
            self._retained.put("site_upkeep", _site(str(ids["site"]), *self._last), **ids)
        if kind != "node":
            return
        key = str(ids["site"]), str(ids["node"])
        if value is None:
            self._nodes.pop(key, None)
            self._retained.drop("node_upkeep", **ids)
        elif key not in self._nodes:
            self._nodes[key] = None
            state = _node(*key, self._last[0], None, self._evacuation(*key))
            self._retained.put("node_upkeep", state, **ids)

    def _held(self, kind: str, ids: Mapping[str, str | int]) -> bool:
        return self._retained.names.build(kind, **ids) in self._retained.held

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with suppress(JournalError):  # the journal says so itself; what was published last stands
                await self._look()
            await asyncio.sleep(EVERY)

    async def _look(self) -> None:
        silences, approvals = self._last = await self._silences(), await self._approvals()
        for site in self._inventories:
            if self._held("site_upkeep", {"site": site}):
                self._retained.put("site_upkeep", _site(site, silences, approvals), site=site)
        failed = {site: _failed(inventory.tasks) for site, inventory in self._inventories.items()}
        for site, node in list(self._nodes):
            state = _node(site, node, silences, failed.get(site, ()), self._evacuation(site, node))
            self._retained.put("node_upkeep", state, site=site, node=node)


def _until(silences: Sequence[Silence], scope: str, site: str, target: str = "") -> float:
    """When the maintenance of exactly this ends; 0: there is none."""
    mine = (s.until for s in silences if (s.scope, s.site, s.target.casefold()) == (scope, site, target.casefold()))
    return max(mine, default=0.0)


def _site(site: str, silences: Sequence[Silence], approvals: Sequence[Approval]) -> SiteUpkeep:
    until = _until(silences, "site", site)
    mine = [row for row in approvals if row.site == site]
    return SiteUpkeep(
        maintenance=until > 0,
        maintenance_until=utc(until),
        pending_approvals=len(mine),
        approvals=tuple(_pending(row) for row in mine[:SHOWN]),
    )


def _pending(row: Approval) -> PendingApproval:
    return PendingApproval(
        id=row.id,
        title=one_line(row.title, TITLE),
        target=one_line(row.target, TITLE),
        requester=one_line(row.principal, TITLE),
        expires_at=utc(row.expires_at) or "",
    )


def _failed(book: TaskBook) -> Sequence[TaskInfo] | None:
    """Those of the last day, newest first; None before the first list of tasks."""
    if not book.seen:
        return None
    since = time.time() - DAY
    return [t for t in book.newest(KEPT) if t.status == "failed" and t.ended_at and _seconds(t.ended_at) >= since]


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _node(
    site: str, node: str, silences: Sequence[Silence], failed: Sequence[TaskInfo] | None, evacuation: Evacuation
) -> NodeUpkeep:
    until = _until(silences, "node", site, node)
    mine = [task for task in failed or () if task.node == node]
    last = f"{mine[0].type} {mine[0].id or ''}".strip() + f": {mine[0].exitstatus}" if mine else None
    return NodeUpkeep(
        maintenance=until > 0,
        maintenance_until=utc(until),
        failed_tasks=None if failed is None else len(mine),
        last_failure=one_line(last, 200) if last else None,
        evacuation=evacuation,
    )
