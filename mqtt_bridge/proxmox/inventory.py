"""One poller per Proxmox VE site: one `/cluster/resources` call per poll, whatever the number of guests."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mqtt_bridge import errors
from mqtt_bridge.model import ClusterState, Manifest, MissingPrivilege, utc
from mqtt_bridge.proxmox import changes, permissions, rows
from mqtt_bridge.proxmox.gone import Departures
from mqtt_bridge.proxmox.guests import Change, GuestBook
from mqtt_bridge.proxmox.nodes import NodeBook
from mqtt_bridge.proxmox.polling import Polling, every
from mqtt_bridge.proxmox.storages import StorageBook
from mqtt_bridge.proxmox.task_book import DESTROYS, MIGRATES, STOPS, TaskBook

log = logging.getLogger(__name__)

CHUNK = 500  # guests between two breaths of the event loop
PERMISSIONS_EVERY = 60.0  # seconds
FAILED_LOG_LINES = 20


class Inventory:
    """Polls one site and puts what it learns into the sink. `details.Details` fills in what costs a call per thing."""

    def __init__(self, polling: Polling) -> None:
        site, sink, client = polling.site, polling.sink, polling.client
        self.site = site
        self.client = client
        self.api = polling.api
        self.pulse = polling.pulse()
        self.nodes = NodeBook(site.slug, sink, polling.metrics_max_age)
        self.guests = GuestBook(site.slug, sink, polling.metrics_max_age)
        self.storages = StorageBook(site.slug, sink)
        self.tasks = TaskBook(site.slug, sink)
        self.missing: tuple[MissingPrivilege, ...] = ()
        self.ha: Sequence[rows.Row] | None = None
        self.not_backed_up: tuple[int, ...] | None = None
        self.first_poll = asyncio.Event()
        self.backup_ended = asyncio.Event()
        self.complete = False
        self._sink = sink
        self._emit = polling.emit
        self._granted: permissions.Permissions = {}
        self._granted_at = 0.0
        self._manifest = Manifest(generation=0)
        self._quorate: bool | None = None
        self._name = site.name
        self._clustered = site.clustered
        self._departed_guests: Departures[int] = Departures(self._read_guest)
        self._departed_nodes: Departures[str] = Departures(lambda n: client.get("nodes", n, "status", purpose="poll"))
        self._departed_storages: Departures[str] = Departures(self._read_storage)
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Poll until cancelled; a poll that fails is told in the heartbeat and never ends this."""
        async with asyncio.TaskGroup() as group:
            group.create_task(every(self.api.poll_interval, self.poll, self._hurry), name="poll")
            group.create_task(every(self.api.poll_tasks_interval, self.poll_tasks), name="tasks")

    def hurry(self) -> None:
        """Poll now rather than at the next turn."""
        self._hurry.set()

    # --- states -----------------------------------------------------------------------------------------------------

    async def poll(self) -> None:
        """One poll: read, publish, tell."""
        started, clock = time.time(), time.monotonic()
        try:
            resources, members = await asyncio.gather(
                self.client.get("cluster", "resources", purpose="poll"),
                self._members(),
            )
            await self._permissions(started)
            await self._take(_listed(resources), members, started)
        except errors.ProxmoxError as error:
            self._say(error)
            self.pulse.failed(time.monotonic() - clock, self.client.endpoint, str(error))
        else:
            self.pulse.good(started, time.monotonic() - clock, self.client.endpoint, self._degraded())
        finally:
            self.first_poll.set()

    def _say(self, error: errors.ProxmoxError) -> None:
        level = logging.WARNING if self.pulse.status != "offline" else logging.DEBUG
        log.log(level, "Site %s cannot be polled: %s", self.site.slug, error)

    async def _members(self) -> list[rows.Row]:
        """The rows of `/cluster/status`; empty without Sys.Audit, when only `/cluster/resources` tells of nodes."""
        try:
            return _listed(await self.client.get("cluster", "status", purpose="poll"))
        except errors.ForbiddenError:
            return []

    async def _permissions(self, now: float) -> None:
        if now - self._granted_at < PERMISSIONS_EVERY and not self._departed_guests.absent():
            return
        granted = await self.client.get("access", "permissions", purpose="poll")
        if isinstance(granted, Mapping):
            self._granted, self._granted_at = granted, now
            self.missing = permissions.missing(granted, self.site.slug, self.site.endpoints[0])

    def _degraded(self) -> str | None:
        """Why the data is not all there is, or None."""
        lacking = permissions.core_missing(self._granted, self.site.endpoints[0])
        if lacking:
            need = lacking[0]
            return f"The token lacks {need.privilege} on {need.path}: {need.feature} cannot be seen."
        hidden = self._departed_guests.hidden(len(self.guests.records))
        if hidden:
            return f"{hidden} guests vanished at once without a destroy task: kept until each is proven gone."
        return None

    async def _take(self, resources: list[rows.Row], members: list[rows.Row], now: float) -> None:
        by_type: dict[str, list[rows.Row]] = defaultdict(list)
        for row in resources:
            by_type[str(row.get("type"))].append(row)
        guest_rows = by_type["qemu"] + by_type["lxc"]
        member_rows = {str(m["name"]): m for m in members if m.get("type") == "node"}
        self._discover(member_rows)
        node_names = self._take_nodes(by_type["node"], member_rows, guest_rows, now)
        online = self.nodes.online()
        found = []
        for index, row in enumerate(guest_rows):
            change = self.guests.take(row, online, now)
            if change is not None and change.old is not None:
                found.append(change)
            if index % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)
        if any(c.new.status == "stopped" and not self.tasks.explains_stop(c.new.vmid) for c in found):
            await self.poll_tasks()  # a stop may be seen before the task that asked for it
        for change in found:
            self._tell(change, now)
        storage_ids = self.storages.take(by_type["storage"], online)
        await self._depart(node_names, {int(r["vmid"]) for r in guest_rows}, storage_ids)
        self._cluster(members, guest_rows, now)
        self._publish_manifest()

    def _discover(self, members: Mapping[str, rows.Row]) -> None:
        if self.site.clustered:
            self.client.add_discovered([(n, str(m["ip"])) for n, m in members.items() if m.get("ip")])

    def _take_nodes(
        self, node_rows: list[rows.Row], members: Mapping[str, rows.Row], guest_rows: list[rows.Row], now: float
    ) -> set[str]:
        running: dict[str, int] = defaultdict(int)
        for row in guest_rows:
            running[str(row["node"])] += row.get("status") == "running"
        by_name = {str(r["node"]): r for r in node_rows}
        for name in sorted({*by_name, *members}):
            change = self.nodes.take(name, by_name.get(name, {}), members.get(name, {}), running=running[name])
            event = change and change.old and changes.node_event(change.old, change.new, utc(now) or "")
            if event:
                self._emit(event)
        return {*by_name, *members}

    def _tell(self, change: Change, now: float) -> None:
        if change.old is None:
            return
        self._explain(change)
        record = self.guests.records[change.new.vmid]
        event = changes.guest_event(change.old, record.state or change.new, utc(now) or "")
        if event is not None:
            self._emit(event)

    def _explain(self, change: Change) -> None:
        """Who asked for a stop, where a task says so."""
        if change.new.status not in ("stopped", "suspended") or change.new.stopped_by:
            return
        task = self.tasks.explains_stop(change.new.vmid)
        began = change.old.started_at if change.old else None
        if task is not None and (began is None or (task.ended_at or "9") >= began):
            record = self.guests.records[change.new.vmid]
            record.stop = (task.user, time.time())
            self.guests.touch(record, self.nodes.online())

    @property
    def cluster_name(self) -> str | None:
        """As Proxmox says; None for a standalone host, or while it is not known."""
        return self._name if self._clustered and self.pulse.status in ("online", "degraded") else None

    # --- what is gone -----------------------------------------------------------------------------------------------

    async def _depart(self, nodes: set[str], guests: set[int], storages: set[str]) -> None:
        leaving, clear = await self._departed_guests.poll(
            list(self.guests.records),
            guests,
            trusted=lambda v: permissions.holds(self._granted, f"/vms/{v}", "VM.Audit"),
        )
        self.guests.mark_unavailable(self.guests.records[v] for v in leaving)
        for vmid in clear:
            self.guests.remove(vmid)
        gone_nodes, clear_nodes = await self._departed_nodes.poll(
            list(self.nodes.records), nodes, trusted=lambda _: bool(nodes)
        )
        for name in gone_nodes:
            self.nodes.mark_unavailable(name)
        for name in clear_nodes:
            self.nodes.remove(name)
        gone_storages, clear_storages = await self._departed_storages.poll(
            list(self.storages.states), storages, trusted=self._storage_visible
        )
        for identity in gone_storages:
            self.storages.mark_unavailable(identity)
        for identity in clear_storages:
            self.storages.remove(identity)

    def _storage_visible(self, identity: str) -> bool:
        return permissions.holds(self._granted, f"/storage/{identity.rpartition('/')[2]}", "Datastore.Audit")

    async def _read_guest(self, vmid: int) -> None:
        record = self.guests.records[vmid]
        await self.client.get("nodes", record.node, record.type, vmid, "status", "current", purpose="poll")

    async def _read_storage(self, identity: str) -> None:
        node, _, name = identity.rpartition("/")
        node = node or next(iter(self.storages.states[identity].nodes), "")
        await self.client.get("nodes", node, "storage", name, "status", purpose="poll")

    # --- the site as a whole ----------------------------------------------------------------------------------------

    def _cluster(self, members: list[rows.Row], guest_rows: list[rows.Row], now: float) -> None:
        cluster = next((m for m in members if m.get("type") == "cluster"), None)
        if members:
            self._name = str(cluster["name"]) if cluster else self.site.name
            self._clustered = cluster is not None
        states = [r.state for r in self.guests if r.state is not None]
        known = bool(guest_rows) or permissions.anywhere(self._granted, "/vms", "VM.Audit")
        online = [n for n in self.nodes if n.state is not None and n.state.status == "online"]
        quorate = None if cluster is None else bool(cluster.get("quorate"))
        if quorate is not None and self._quorate is not None and quorate != self._quorate:
            self._emit(changes.quorum_event(self.site.slug, quorate=quorate, at=utc(now) or ""))
        self._quorate = quorate
        guests = [s for s in states if not s.template]
        cluster_state = ClusterState(
            site=self.site.slug,
            name=self._name,
            kind="cluster" if self._clustered else "standalone",
            quorate=quorate,
            version=next((n.state.version for n in online if n.state and n.state.version), None),
            nodes_total=len(self.nodes.records),
            nodes_online=len(online),
            guests_total=len(guests) if known else None,
            guests_running=sum(s.status == "running" for s in guests) if known else None,
            guests_stopped=sum(s.status == "stopped" for s in guests) if known else None,
            templates=sum(s.template for s in states) if known else None,
            cpus=sum(n.state.cpus or 0 for n in online if n.state) or None,
            maxmem=sum(n.state.maxmem or 0 for n in online if n.state) or None,
            ha_managed=None if self.ha is None else sum(h.get("type") == "service" for h in self.ha),
            ha_errors=tuple(sorted(str(h.get("sid")) for h in self.ha or () if h.get("state") in ("error", "fence"))),
            not_backed_up=self.not_backed_up,
        )
        self._sink.put("cluster", cluster_state, site=self.site.slug)

    def _publish_manifest(self) -> None:
        self.complete = self._degraded() is None and not self._departed_guests.absent()
        manifest = Manifest(
            generation=self._manifest.generation,
            complete=self.complete,
            nodes=tuple(sorted(self.nodes.records)),
            guests=tuple(sorted(self.guests.records)),
            storages=tuple(sorted(self.storages.states)),
        )
        if manifest != self._manifest or not manifest.generation:
            self._manifest = manifest.model_copy(update={"generation": manifest.generation + 1})
            self._sink.put("manifest", self._manifest, site=self.site.slug)

    # --- tasks ------------------------------------------------------------------------------------------------------

    async def poll_tasks(self) -> None:
        """The recent tasks; one that ended explains and refreshes its guest at once."""
        try:
            raw = await self.client.get("cluster", "tasks", purpose="poll")
        except errors.ProxmoxError as error:
            log.debug("Tasks of %s cannot be read: %s", self.site.slug, error)
            return
        for task in self.tasks.take(_listed(raw)).ended:
            if task.type in DESTROYS and task.guest is not None and task.status != "failed":
                self._departed_guests.destroyed(task.guest)
                self.hurry()
            elif task.type in MIGRATES or task.type.endswith(("create", "clone", "restore")):
                self.hurry()
            elif task.guest is not None:
                await self.refresh(task.guest)
            if task.type == "vzdump":
                self.backup_ended.set()
            if task.status == "failed":
                self._emit(changes.task_event(task, await self._log_tail(task.upid)))

    async def _log_tail(self, upid: str) -> tuple[str, ...]:
        try:
            _, total = await self.client.task_log(upid, 0, 1)
            lines, _ = await self.client.task_log(upid, max(0, total - FAILED_LOG_LINES), FAILED_LOG_LINES)
        except errors.ProxmoxError:
            return ()
        return tuple(lines)

    async def refresh(self, vmid: int) -> None:
        """Re-read one guest and publish it now: after an action, or when a task of it has ended."""
        record = self.guests.records.get(vmid)
        if record is None:
            self.hurry()
            return
        try:
            current = await self.client.get(
                "nodes", record.node, record.type, vmid, "status", "current", purpose="poll"
            )
        except errors.ProxmoxError as error:
            log.debug("Guest %s cannot be re-read: %s", vmid, error)
            self.hurry()
            return
        task = self.tasks.explains_stop(vmid)
        if task is not None and task.type in STOPS and current.get("status") == "stopped":
            record.stop = (task.user, time.time())
        change = self.guests.refresh(record, current, self.nodes.online())
        if change is not None:
            self._tell(change, time.time())


def _listed(answer: Any) -> list[rows.Row]:
    if not isinstance(answer, list) or not all(isinstance(r, Mapping) for r in answer):
        raise errors.ProtocolError("Proxmox answered something that is no list of objects.")
    return answer
