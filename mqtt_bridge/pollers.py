"""Every site's poller with its client, feeding one set of retained topics: a bridge and a lone MCP server share it."""

import asyncio
import gc
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from mqtt_bridge.mqtt.loopback import Loopback
from mqtt_bridge.notifying.maintenance import About
from mqtt_bridge.proxmox.backup_server import BackupServerInventory
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.proxmox.details import Details
from mqtt_bridge.proxmox.inventory import Inventory
from mqtt_bridge.proxmox.polling import Polling
from mqtt_bridge.proxmox.pulse import Writer
from mqtt_bridge.retained import Retained
from mqtt_bridge.settings import Settings, SiteSettings
from mqtt_bridge.supervise import Parts
from mqtt_bridge.topics import Topics

GARBAGE = 20_000  # objects made between two looks for rings of garbage; Python's 700 means thousands of looks a poll
REFRESHED = 100  # guests of a node that are re-read one by one after an action on all of them


class Pollers:
    """`async with` it: polls every site into `retained`, which always feeds `loopback`."""

    def __init__(self, settings: Settings, writer: Writer) -> None:
        self.settings = settings
        self.writer = writer
        self.loopback = Loopback()
        self.retained = Retained(Topics(settings.mqtt.base_topic))
        self.clients: dict[str, ProxmoxClient] = {}
        self.inventories: dict[str, Inventory | BackupServerInventory] = {}
        self.parts = Parts()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        gc.set_threshold(GARBAGE, 20, 50)
        async with AsyncExitStack() as stack:
            for site in self.settings.sites:
                self.clients[site.slug] = await stack.enter_async_context(ProxmoxClient(site, self.settings.api))
            local = await stack.enter_async_context(self.loopback.client())
            await stack.enter_async_context(self.parts)
            self.parts.start("loopback", lambda: self.retained.feed(local))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def poll(self) -> None:
        """Start polling every site."""
        self.retained.put("bridge_state", "online", bridge=self.writer.bridge)
        for site in self.settings.sites:
            self._start(site)

    def _start(self, site: SiteSettings) -> None:
        api = self.settings.api
        kind = Inventory if site.kind == "pve" else BackupServerInventory
        inventory = kind(
            Polling(
                site,
                self.clients[site.slug],
                self.retained,
                self.writer,
                api,
                self.settings.general.metrics_max_age,
            )
        )
        self.inventories[site.slug] = inventory
        self.parts.start(f"poll {site.slug}", inventory.run)
        if isinstance(inventory, Inventory):
            max_age = self.settings.listen.live.backup_max_age
            details = Details(inventory, api.poll_details_budget, api.poll_slow_interval, max_age, api.disk_smart)
            self.parts.start(f"details {site.slug}", details.run)

    def sees(self, what: About) -> bool:
        """Whether the state of this node or guest is published; of a site or tag nothing is to be seen."""
        level = {"node": "node", "guest": "vmid"}.get(what.scope)
        topics = self.retained.names
        return not level or topics.build(what.scope, site=what.site, **{level: what.target}) in self.retained.held

    def awaited(self, site: str, kind: str, ids: Mapping[str, str]) -> bool:
        """Whether a thing that is not known may still turn up: it is read seldom, and was not yet."""
        inventory = self.inventories.get(site)
        return isinstance(inventory, Inventory) and inventory.awaited(kind, ids)

    async def polled_once(self) -> None:
        """Wait until every site was polled, well or not."""
        await asyncio.gather(*(i.first_poll.wait() for i in self.inventories.values()))

    async def refresh(self, site: str, changed: int | str) -> None:
        """Re-read a guest (VMID), or the guests of a node (name), now and publish them: after an action."""
        inventory = self.inventories.get(site)
        if not isinstance(inventory, Inventory):
            return
        if isinstance(changed, int):
            await inventory.refresh(changed)
            return
        inventory.hurry()
        guests = [g.vmid for g in inventory.guests if g.node == changed][:REFRESHED]
        await asyncio.gather(*(inventory.refresh(vmid) for vmid in guests))
