"""One poller per Proxmox Backup Server: datastores, its host, its tasks, as a site of its own."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from mqtt_bridge import errors
from mqtt_bridge.model import ClusterState, DatastoreState, JobRun, MissingPrivilege, percent, utc
from mqtt_bridge.proxmox import changes, permissions, rows
from mqtt_bridge.proxmox.gone import Departures
from mqtt_bridge.proxmox.nodes import NodeBook
from mqtt_bridge.proxmox.polling import Polling, every
from mqtt_bridge.proxmox.task_book import TaskBook, task_status
from mqtt_bridge.proxmox.whole import ManifestKeeper

log = logging.getLogger(__name__)

HOST = "localhost"  # the node's name in every path of a Backup Server
HOST_EVERY = 60.0
CONTENT_EVERY = 600.0
TASKS_LISTED = 50


class BackupServerInventory:
    """Polls one Backup Server: `/status/datastore-usage` once per poll, the rest more seldom."""

    def __init__(self, polling: Polling) -> None:
        site, sink = polling.site, polling.sink
        self.site = site
        self.client = polling.client
        self.api = polling.api
        self.pulse = polling.pulse()
        self.nodes = NodeBook(site.slug, sink, polling.metrics_max_age)
        self.tasks = TaskBook(site.slug, sink)
        self.missing: tuple[MissingPrivilege, ...] = ()
        self.first_poll = asyncio.Event()
        self.complete = False
        self.states: dict[str, DatastoreState] = {}
        self._details: dict[str, dict[str, Any]] = {}
        self._sink = sink
        self.changes = changes.Feed()
        self._known = False
        self._granted: permissions.Permissions = {}
        self._host: rows.Row = {}
        self._host_due = 0.0
        self._manifest = ManifestKeeper(site.slug, sink)
        self._departed: Departures[str] = Departures(self._read_store)

    async def run(self) -> None:
        """Poll until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(every(self.api.poll_interval, self.poll), name="poll")
            group.create_task(every(self.api.poll_tasks_interval, self.poll_tasks), name="tasks")
            group.create_task(self._content(), name="datastore details")

    async def poll(self) -> None:
        """One poll: read, publish, tell."""
        started, clock = time.time(), time.monotonic()
        try:
            usage = await self.client.get("status", "datastore-usage", purpose="poll")
            if not isinstance(usage, list):
                raise errors.ProtocolError("Something that is no Backup Server answered.")
            await self._slow(started)
        except errors.ProxmoxError as error:
            level = logging.WARNING if self.pulse.status != "offline" else logging.DEBUG
            log.log(level, "Site %s cannot be polled: %s", self.site.slug, error)
            self.pulse.failed(time.monotonic() - clock, self.client.endpoint, str(error))
            if self.pulse.status == "offline":
                self.nodes.take(self.site.name, {"status": "unknown"}, {}, running=None)
        else:
            await self._take(usage)
            self.pulse.good(started, time.monotonic() - clock, self.client.endpoint, self._degraded())
        finally:
            self.first_poll.set()

    async def _slow(self, now: float) -> None:
        if now < self._host_due:
            return
        self._host_due = now + HOST_EVERY
        granted = await self.client.get("access", "permissions", purpose="poll")
        if isinstance(granted, Mapping):
            self._granted = granted
            self.missing = permissions.missing(granted, self.site.slug, self.site.endpoints[0])
        version = await self.client.get("version", purpose="poll")
        try:
            host = await self.client.get("nodes", HOST, "status", purpose="poll")
        except errors.ForbiddenError:
            host = {}
        self._host = {**host, "pveversion": f"proxmox-backup-server/{version.get('version')}"}

    @property
    def granted(self) -> permissions.Permissions:
        """What the token may, as last read; empty before."""
        return self._granted

    def _degraded(self) -> str | None:
        lacking = permissions.core_missing(self._granted, self.site.endpoints[0])
        return f"The token lacks {lacking[0].privilege} on {lacking[0].path}." if lacking else None

    async def _take(self, usage: list[rows.Row]) -> None:
        self._take_host()
        for row in usage:
            self._publish(str(row["store"]), row, tell=self._known)
        leaving, clear = await self._departed.poll(
            list(self.states),
            {str(r["store"]) for r in usage},
            trusted=lambda s: permissions.holds(self._granted, f"/datastore/{s}", "Datastore.Audit"),
        )
        for store in leaving:
            self.states[store] = self.states[store].model_copy(update={"available": False})
            self._sink.put("datastore", self.states[store], site=self.site.slug, store=store)
        for store in clear:
            del self.states[store]
            self._sink.drop("datastore", site=self.site.slug, store=store)
        self._whole()
        self._known = True
        self.changes.ready(self._snapshot)

    def _snapshot(self) -> changes.Snapshot:
        return changes.Snapshot(
            self.site.slug,
            guests=(),
            nodes=tuple(n.state for n in self.nodes if n.state is not None),
            storages=(),
            datastores=tuple(self.states.values()),
            quorate=None,
            complete=self.complete,
            at=time.time(),
        )

    def _take_host(self) -> None:
        host, memory, root = self._host, self._host.get("memory") or {}, self._host.get("root") or {}
        row = {
            "status": "online",
            "uptime": host.get("uptime"),
            "cpu": host.get("cpu"),
            "maxcpu": (host.get("cpuinfo") or {}).get("cpus"),
            "mem": memory.get("used"),
            "maxmem": memory.get("total"),
            "disk": root.get("used"),
            "maxdisk": root.get("total"),
        }
        change = self.nodes.take(self.site.name, row, {}, running=None)
        record = self.nodes.records[self.site.name]
        record.details, record.details_at = host, time.time() if host else None
        if change is not None and self._known:
            self.changes.tell(changes.NodeChanged(change.old, change.new, time.time()))

    def _publish(self, store: str, row: rows.Row, *, tell: bool) -> None:
        used, total = row.get("used"), row.get("total")
        new = DatastoreState(
            site=self.site.slug,
            store=store,
            available=not row.get("error") and row.get("mount-status") != "notmounted",
            used=used,
            total=total,
            used_percent=percent(used, total),
            estimated_full=full_at(row.get("estimated-full-date"), time.time()),
            error=row.get("error"),
            **self._details.get(store, {}),
        )
        old = self.states.get(store)
        if old is not None and old.model_copy(update={"used": used}) == new:
            return
        self.states[store] = new
        self._sink.put("datastore", new, site=self.site.slug, store=store)
        if tell:
            self.changes.tell(changes.DatastoreChanged(new, time.time()))

    def _whole(self) -> None:
        record = self.nodes.records[self.site.name]
        online = record.state is not None and record.state.status == "online"
        whole = ClusterState(
            site=self.site.slug,
            name=self.site.name,
            kind="pbs",
            version=record.state.version if record.state else None,
            nodes_total=1,
            nodes_online=int(online),
            cpus=record.row.get("maxcpu"),
            maxmem=record.row.get("maxmem"),
        )
        self._sink.put("cluster", whole, site=self.site.slug)
        self.complete = self._degraded() is None and not self._departed.absent()
        self._manifest.publish(complete=self.complete, nodes=self.nodes.records, datastores=self.states)

    async def _read_store(self, store: str) -> None:
        await self.client.get("admin", "datastore", store, "status", purpose="poll")

    async def poll_tasks(self) -> None:
        """The newest tasks of the host."""
        try:
            raw = await self.client.get("nodes", HOST, "tasks", purpose="poll", limit=TASKS_LISTED)
        except errors.ProxmoxError as error:
            log.debug("Tasks of %s cannot be read: %s", self.site.slug, error)
            return
        self.tasks.take([{**r, "node": self.site.name} for r in raw or ()])
        online = {self.site.name: True}
        self.changes.tell(changes.TasksListed(self.site.slug, self.tasks.listed, online, time.time()))

    # --- what is in the datastores ----------------------------------------------------------------------------------

    async def _content(self) -> None:
        await self.first_poll.wait()
        while True:
            for store in list(self.states):
                self._details[store] = await self._store_details(store)
            await asyncio.sleep(CONTENT_EVERY if self.states else 1.0)

    async def _get(self, *path: str, **params: Any) -> Any:
        try:
            return await self.client.get(*path, purpose="poll", **params)
        except errors.ProxmoxError as error:
            log.debug("Details of %s: %s", "/".join(path), error)
            return None

    async def _store_details(self, store: str) -> dict[str, Any]:
        spaces = await self._get("admin", "datastore", store, "namespace")
        names = tuple(str(r.get("ns", "")) for r in spaces) if isinstance(spaces, list) else None
        held = [await self._snapshots(store, ns) for ns in names or ("",)]
        known = names is not None and None not in held
        snapshots = [snapshot for some in held for snapshot in some or ()]
        collected = await self._get("admin", "datastore", store, "gc")
        jobs = {kind: await self._get("admin", kind, store=store) for kind in ("verify", "sync", "prune")}
        newest = max((int(s["backup-time"]) for s in snapshots), default=None)
        failed = sum((s.get("verification") or {}).get("state") == "failed" for s in snapshots)
        return {
            "namespaces": names,
            "snapshots": len(snapshots) if known else None,
            "last_backup": utc(newest) if known else None,
            "unverified": failed if known else None,
            "gc": _last_run([collected] if isinstance(collected, Mapping) else None),
            **{kind: _last_run(rows_) for kind, rows_ in jobs.items()},
            "details_at": utc(time.time()),
        }

    async def _snapshots(self, store: str, namespace: str) -> list[rows.Row] | None:
        params = {"ns": namespace} if namespace else {}
        found = await self._get("admin", "datastore", store, "snapshots", **params)
        return found if isinstance(found, list) else None


def _last_run(jobs: Any) -> JobRun | None:
    """The newest run among the jobs of one kind; None where none has run, or none may be seen."""
    ran = [j for j in jobs or () if j.get("last-run-endtime") or j.get("last-run-state")]
    if not ran:
        return None
    newest = max(ran, key=lambda j: int(j.get("last-run-endtime") or 0))
    state = newest.get("last-run-state")
    return JobRun(
        status=task_status(state, ended=newest.get("last-run-endtime") is not None),
        ended_at=utc(newest.get("last-run-endtime")),
        message=None if state == "OK" else state,
    )


def full_at(estimate: float | None, now: float) -> str | None:
    """When a datastore will be full; one that shrinks is told with a time that has passed: never."""
    return utc(estimate) if estimate is not None and estimate > now else None
