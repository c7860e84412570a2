"""Guests, nodes and storages that are listed no more: unavailable, then cleared, once they are proven gone."""

from mqtt_bridge.proxmox import permissions
from mqtt_bridge.proxmox.changes import GuestGone, Why
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.proxmox.gone import Departures
from mqtt_bridge.proxmox.guests import GuestBook
from mqtt_bridge.proxmox.nodes import NodeBook
from mqtt_bridge.proxmox.storages import StorageBook
from mqtt_bridge.proxmox.task_book import TaskBook, seconds


class Leaving:
    """What a site's polls say of absence."""

    def __init__(
        self, client: ProxmoxClient, *, guests: GuestBook, nodes: NodeBook, storages: StorageBook, tasks: TaskBook
    ) -> None:
        self._client = client
        self._guests = guests
        self._nodes = nodes
        self._storages = storages
        self._tasks = tasks
        self._gone_guests: Departures[int] = Departures(self._read_guest)
        self._gone_nodes: Departures[str] = Departures(lambda n: client.get("nodes", n, "status", purpose="poll"))
        self._gone_storages: Departures[str] = Departures(self._read_storage)

    def destroyed(self, vmid: int) -> None:
        """A destroy task for it has succeeded."""
        self._gone_guests.destroyed(vmid)

    def absent(self) -> frozenset[int]:
        """Guests that are missing and not proven gone."""
        return self._gone_guests.absent()

    def hidden(self) -> int:
        """How many guests are absent without proof, if they are too many at once to be believed; else 0."""
        return self._gone_guests.hidden(len(self._guests.records))

    async def guests(self, seen: set[int], granted: permissions.Permissions, now: float) -> list[GuestGone]:
        """After a poll that listed these; returns those that are cleared now."""
        leaving, clear = await self._gone_guests.poll(
            list(self._guests.records),
            seen,
            trusted=lambda v: permissions.holds(granted, f"/vms/{v}", "VM.Audit"),
        )
        self._guests.mark_unavailable(self._guests.records[v] for v in leaving)
        return [gone for vmid in clear if (gone := self._cleared(vmid, now))]

    def _cleared(self, vmid: int, now: float) -> GuestGone | None:
        record = self._guests.records.get(vmid)
        self._guests.remove(vmid)
        task = self._tasks.last(vmid, "destroy")
        self._tasks.forget(vmid)
        if record is None or record.state is None:
            return None
        why = Why("task", task.user, task.upid, seconds(task.ended_at) or None, task.type) if task else None
        return GuestGone(record.state, now, why)

    async def nodes(self, seen: set[str]) -> None:
        """The same for nodes."""
        leaving, clear = await self._gone_nodes.poll(list(self._nodes.records), seen, trusted=lambda _: bool(seen))
        for name in leaving:
            self._nodes.mark_unavailable(name)
        for name in clear:
            self._nodes.remove(name)

    async def storages(self, seen: set[str], granted: permissions.Permissions) -> None:
        """The same for storages."""

        def visible(identity: str) -> bool:
            return permissions.holds(granted, f"/storage/{identity.rpartition('/')[2]}", "Datastore.Audit")

        leaving, clear = await self._gone_storages.poll(list(self._storages.states), seen, trusted=visible)
        for identity in leaving:
            self._storages.mark_unavailable(identity)
        for identity in clear:
            self._storages.remove(identity)

    async def _read_guest(self, vmid: int) -> None:
        record = self._guests.records[vmid]
        await self._client.get("nodes", record.node, record.type, vmid, "status", "current", purpose="poll")

    async def _read_storage(self, identity: str) -> None:
        node, _, name = identity.rpartition("/")
        node = node or next(iter(self._storages.states[identity].nodes), "")
        await self._client.get("nodes", node, "storage", name, "status", purpose="poll")
