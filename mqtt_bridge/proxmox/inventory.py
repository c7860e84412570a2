"""One poller per Proxmox VE site: one `/cluster/resources` call per poll, whatever the number of guests."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mqtt_bridge import errors
from mqtt_bridge.model import GuestMetrics, GuestState, MissingPrivilege, NodeMetrics, TaskInfo
from mqtt_bridge.proxmox import changes, permissions, rows
from mqtt_bridge.proxmox.disks import DiskBook
from mqtt_bridge.proxmox.guests import Change, GuestBook
from mqtt_bridge.proxmox.leaving import Leaving
from mqtt_bridge.proxmox.nodes import NodeBook
from mqtt_bridge.proxmox.polling import Polling, every
from mqtt_bridge.proxmox.pushed import Pushed
from mqtt_bridge.proxmox.stops import Stops
from mqtt_bridge.proxmox.storages import StorageBook
from mqtt_bridge.proxmox.task_book import DESTROYS, MIGRATES, STOPS, TaskBook
from mqtt_bridge.proxmox.whole import ManifestKeeper, Membership, cluster_state

log = logging.getLogger(__name__)

CHUNK = 500  # guests between two breaths of the event loop
PERMISSIONS_EVERY = 60.0  # seconds


class Inventory:
    """Polls one site and puts what it learns into the sink. `details.Details` fills in what costs a call per thing.

    What is different from before goes to `changes`.
    """

    def __init__(self, polling: Polling) -> None:
        site, sink, client = polling.site, polling.sink, polling.client
        self.site = site
        self.client = client
        self.api = polling.api
        self.pulse = polling.pulse()
        self.nodes = NodeBook(site.slug, sink, polling.metrics_max_age)
        self.guests = GuestBook(site.slug, sink, polling.metrics_max_age)
        self.storages = StorageBook(site.slug, sink)
        self.disks = DiskBook(site.slug, sink)
        self.tasks = TaskBook(site.slug, sink)
        self.missing: tuple[MissingPrivilege, ...] = ()
        self.ha: Sequence[rows.Row] | None = None
        self.not_backed_up: tuple[int, ...] | None = None
        self.first_poll = asyncio.Event()
        self.backup_ended = asyncio.Event()
        self.complete = False
        self._sink = sink
        self.changes = changes.Feed()
        self.stops = Stops(client, self.guests, self.nodes, self.tasks, self.changes)
        self._pushed = Pushed(self.guests, self.nodes, self.api.poll_interval)
        self._known = False  # after the first poll that brought something: from then on there are differences
        self._granted: permissions.Permissions = {}
        self._granted_at = 0.0
        self.membership = Membership(site.name, clustered=site.clustered)
        self._manifest = ManifestKeeper(site.slug, sink)
        self._leaving = Leaving(client, guests=self.guests, nodes=self.nodes, storages=self.storages, tasks=self.tasks)
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Poll until cancelled; a poll that fails is told in the heartbeat and never ends this."""
        async with asyncio.TaskGroup() as group:
            group.create_task(every(self._pushed.interval, self.poll, self._hurry), name="poll")
            group.create_task(every(self.api.poll_tasks_interval, self.poll_tasks), name="tasks")

    def hurry(self) -> None:
        """Poll now rather than at the next turn."""
        self._hurry.set()

    def take_pushed(self, nodes: Mapping[str, NodeMetrics], guests: Mapping[int, GuestMetrics]) -> int:
        """Figures that Proxmox pushed: published for what is known here, and the poll slows down while they come.

        Never changes a state. Returns how many of them are known here.
        """
        before = self._pushed.interval()
        known = self._pushed.take(nodes, guests)
        if self._pushed.interval() != before:
            self.hurry()  # so that the heartbeat says how often is polled from now on
        return known

    # --- states -----------------------------------------------------------------------------------------------------

    async def poll(self) -> None:
        """One poll: read, publish, tell."""
        started, clock = time.time(), time.monotonic()
        self.pulse.interval = self._pushed.interval()
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
        if fresh and not self._leaving.absent() and not self._lacking():
            return
        granted = await self.client.get("access", "permissions", purpose="poll")
        if isinstance(granted, Mapping):
            self._granted, self._granted_at = granted, now
            self.missing = permissions.missing(granted, self.site.slug, self.site.endpoints[0])

    @property
    def granted(self) -> permissions.Permissions:
        """What the token may, as last read; empty before."""
        return self._granted

    def _lacking(self) -> tuple[permissions.Need, ...]:
        """What nothing works without; asked for at every poll while there is any, so that a cure is seen at once."""
        return permissions.core_missing(self._granted, self.site.endpoints[0])

    def _degraded(self) -> str | None:
        """Why the data is not all there is, or None."""
        lacking = self._lacking()
        if lacking:
            need = lacking[0]
            return f"The token lacks {need.privilege} on {need.path}: {need.feature} cannot be seen."
        hidden = self._leaving.hidden()
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
            if change is not None:
                found.append(change)
            if index % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)
        for change in found if self._known else ():
            self._tell(change, now)
        storage_ids = self.storages.take(by_type["storage"], online)
        for identity in self.storages.turned if self._known else ():
            self.changes.tell(self._storage(identity, now))
        for gone in await self._leaving.guests({int(r["vmid"]) for r in guest_rows}, self._granted, now):
            self.stops.forget(gone.last.vmid)
            self.changes.tell(gone)
        await self._leaving.nodes(node_names)
        self.disks.look(self.nodes.online())
        self.nodes.hurry_those_away()
        await self._leaving.storages(storage_ids, self._granted)
        self._publish_whole(members, now)
        self._known = True
        self.changes.ready(self._snapshot)

    def _snapshot(self) -> changes.Snapshot:
        now = time.time()
        return changes.Snapshot(
            self.site.slug,
            guests=self.guest_states(),
            nodes=tuple(n.state for n in self.nodes if n.state is not None),
            storages=tuple(self._storage(identity, now) for identity in self.storages.states),
            datastores=(),
            quorate=self.membership.quorate,
            complete=self.complete,
            at=now,
        )

    def awaited(self, kind: str, ids: Mapping[str, str]) -> bool:
        """Whether a thing that is not known may still turn up, though the site was seen completely: a disk or pool."""
        node = ids.get("node", "")
        return kind in ("disk", "zpool") and node in self.nodes.records and self.disks.awaited(kind, node)

    def guest_states(self) -> tuple[GuestState, ...]:
        """All guests as they are published."""
        return tuple(g.state for g in self.guests if g.state is not None)

    def _storage(self, identity: str, now: float) -> changes.StorageChanged:
        state = self.storages.states[identity]
        return changes.StorageChanged(identity, state, self.storages.node_up(state, self.nodes.online()), now)

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
            if change is not None and self._known:
                self.changes.tell(changes.NodeChanged(change.old, change.new, now))
        return {*by_name, *members}

    def _tell(self, change: Change, now: float) -> None:
        """One that has just appeared is new only if none was hidden before, or if a task has made it."""
        if change.old is not None:
            self.stops.take(change, now)
            return
        made = self.tasks.last(change.new.vmid, "create")
        why = changes.Why("task", made.user, made.upid, None, made.type) if made else None
        created = self.complete or made is not None
        self.changes.tell(changes.GuestChanged(None, change.new, now, why=why, created=created))

    @property
    def cluster_name(self) -> str | None:
        """As Proxmox says; None for a standalone host, or while it is not known."""
        known = self.membership.clustered and self.pulse.status in ("online", "degraded")
        return self.membership.name if known else None

    # --- the site as a whole ----------------------------------------------------------------------------------------

    def _publish_whole(self, members: list[rows.Row], now: float) -> None:
        turned = self.membership.take(members)
        if turned is not None:
            self.changes.tell(changes.QuorumChanged(self.site.slug, turned, now))
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
        self.complete = self._degraded() is None and not self._leaving.absent()
        self._manifest.publish(
            complete=self.complete,
            nodes=self.nodes.records,
            guests=self.guests.records,
            storages=self.storages.states,
            disks=self.disks.disks.states,
            zpools=self.disks.zpools.states,
        )

    # --- tasks ------------------------------------------------------------------------------------------------------

    async def poll_tasks(self) -> None:
        """The recent tasks; one that ended explains and refreshes its guest at once."""
        try:
            raw = _listed(await self.client.get("cluster", "tasks", purpose="poll"))
        except errors.ProxmoxError as error:
            log.debug("Tasks of %s cannot be read: %s", self.site.slug, error)
            await self.stops.settle(looked=False)
            return
        ended = self.tasks.take(raw).ended
        self.changes.tell(changes.TasksListed(self.site.slug, self.tasks.listed, self.nodes.online(), time.time()))
        for task in ended:
            await self._ended(task)
        await self.stops.settle(looked=True)

    async def _ended(self, task: TaskInfo) -> None:
        if task.type in DESTROYS and task.guest is not None and task.status != "failed":
            self._leaving.destroyed(task.guest)
            self.hurry()
        elif task.type in MIGRATES or task.type.endswith(("create", "clone", "restore")):
            self.hurry()
        elif task.guest is not None:
            await self.refresh(task.guest)
        if task.type == "vzdump":
            self.backup_ended.set()

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
