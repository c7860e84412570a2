"""One poller per Proxmox VE site: one `/cluster/resources` call per poll, whatever the number of guests."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mqtt_bridge import errors
from mqtt_bridge.model import MissingPrivilege, utc
from mqtt_bridge.proxmox import changes, permissions, rows
from mqtt_bridge.proxmox.gone import Departures
from mqtt_bridge.proxmox.guests import Change, GuestBook
from mqtt_bridge.proxmox.nodes import NodeBook
from mqtt_bridge.proxmox.polling import Polling, every
from mqtt_bridge.proxmox.storages import StorageBook
from mqtt_bridge.proxmox.task_book import DESTROYS, MIGRATES, STOPS, TaskBook
from mqtt_bridge.proxmox.whole import ManifestKeeper, Membership, cluster_state

log = logging.getLogger(__name__)

CHUNK = 500  # guests between two breaths of the event loop
PERMISSIONS_EVERY = 60.0  # seconds
FAILED_LOG_LINES = 20
LOOKS = 2  # at the task list, before a stop counts as unexpected


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
        self.membership = Membership(site.name, clustered=site.clustered)
        self._manifest = ManifestKeeper(site.slug, sink)
        self._departed_guests: Departures[int] = Departures(self._read_guest)
        self._departed_nodes: Departures[str] = Departures(lambda n: client.get("nodes", n, "status", purpose="poll"))
        self._departed_storages: Departures[str] = Departures(self._read_storage)
        self._hurry = asyncio.Event()
        self._doubts: list[tuple[Change, float, int]] = []

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
        fresh = now - self._granted_at < PERMISSIONS_EVERY
        if fresh and not self._departed_guests.absent() and not self._lacking():
            return
        granted = await self.client.get("access", "permissions", purpose="poll")
        if isinstance(granted, Mapping):
            self._granted, self._granted_at = granted, now
            self.missing = permissions.missing(granted, self.site.slug, self.site.endpoints[0])

    def _lacking(self) -> tuple[permissions.Need, ...]:
        """What nothing works without; asked for at every poll while there is any, so that a cure is seen at once."""
        return permissions.core_missing(self._granted, self.site.endpoints[0])

    def _degraded(self) -> str | None:
        """Why the data is not all there is, or None."""
        lacking = self._lacking()
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
        for change in found:
            self._tell(change, now)
        storage_ids = self.storages.take(by_type["storage"], online)
        await self._depart(node_names, {int(r["vmid"]) for r in guest_rows}, storage_ids)
        self._publish_whole(members, now)

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

    def _tell(self, change: Change, now: float, *, looked: bool = False) -> None:
        if change.old is None:
            return
        after = change.new
        if after.status in ("stopped", "suspended") and not after.stopped_by and (user := self._asked(change)):
            after = after.model_copy(update={"stopped_by": user})
            record = self.guests.records[after.vmid]
            record.stop = (user, now)
            self.guests.touch(record, self.nodes.online())
        event = changes.guest_event(change.old, after, utc(now) or "")
        if event is not None and event.kind == changes.UNEXPECTED and not looked:
            self._doubts.append((change, now, LOOKS))
        elif event is not None:
            self._emit(event)

    def _settle_doubts(self) -> None:
        """A stop may be seen before the task that asked for it: judge it after the next looks at the task list."""
        doubts, self._doubts = self._doubts, []
        for change, at, looks in doubts:
            if change.new.vmid not in self.guests.records:
                continue
            if looks > 1 and not self._asked(change):
                self._doubts.append((change, at, looks - 1))
            else:
                self._tell(change, at, looked=True)

    def _asked(self, change: Change) -> str | None:
        """Who asked for a stop, where a task says so: one of before its last start explains nothing."""
        task = self.tasks.explains_stop(change.new.vmid)
        began = change.old.started_at if change.old else None
        return task.user if task is not None and (began is None or (task.ended_at or "9") >= began) else None

    @property
    def cluster_name(self) -> str | None:
        """As Proxmox says; None for a standalone host, or while it is not known."""
        known = self.membership.clustered and self.pulse.status in ("online", "degraded")
        return self.membership.name if known else None

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

    def _publish_whole(self, members: list[rows.Row], now: float) -> None:
        turned = self.membership.take(members)
        if turned is not None:
            self._emit(changes.quorum_event(self.site.slug, quorate=turned, at=utc(now) or ""))
        guests = [r.state for r in self.guests if r.state is not None]
        known = bool(guests) or permissions.anywhere(self._granted, "/vms", "VM.Audit")
        state = cluster_state(
            self.site.slug,
            self.membership,
            [n.state for n in self.nodes if n.state is not None],
            guests if known else None,
            ha=self.ha,
            not_backed_up=self.not_backed_up,
        )
        self._sink.put("cluster", state, site=self.site.slug)
        self.complete = self._degraded() is None and not self._departed_guests.absent()
        self._manifest.publish(
            complete=self.complete,
            nodes=self.nodes.records,
            guests=self.guests.records,
            storages=self.storages.states,
        )

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
        self._settle_doubts()

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
