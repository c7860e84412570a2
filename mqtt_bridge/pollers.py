"""Every site's poller with its client, feeding one set of retained topics: a bridge and a lone MCP server share it."""

import asyncio
import gc
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from mqtt_bridge.events import EventLog
from mqtt_bridge.intake import Report
from mqtt_bridge.listeners.live import Live
from mqtt_bridge.loopback import Loopback
from mqtt_bridge.model import Event, utc
from mqtt_bridge.proxmox.backup_server import BackupServerInventory
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.proxmox.details import Details
from mqtt_bridge.proxmox.inventory import Inventory
from mqtt_bridge.proxmox.polling import Polling
from mqtt_bridge.proxmox.pulse import Writer
from mqtt_bridge.retained import Retained
from mqtt_bridge.settings import Settings, SiteSettings
from mqtt_bridge.settings.listening import LiveSettings
from mqtt_bridge.supervise import Parts
from mqtt_bridge.topics import Topics

log = logging.getLogger(__name__)

NAMESPACE = uuid.UUID("6f1c1d0e-6f0b-5b0e-9a55-0f6d1c9b7a10")
GARBAGE = 20_000  # objects made between two looks for rings of garbage; Python's 700 means thousands of looks a poll
REFRESHED = 100  # guests of a node that are re-read one by one after an action on all of them


class StraightIn:
    """An intake without a journal: what comes in is published at once."""

    def __init__(self, listener: str, events: EventLog) -> None:
        self._listener = listener
        self._events = events
        self._cursors: dict[str, str] = {}

    async def __call__(self, reports: Sequence[Report], *, cursors: Mapping[str, str] | None = None) -> None:
        self._cursors |= cursors or {}
        for report in reports:
            said = report.verdict
            identity = str(uuid.uuid5(NAMESPACE, f"{self._listener}/{report.identity}"))
            self._events.emit(
                Event(
                    id=identity,
                    kind=said.kind,
                    title=said.title,
                    message=said.message,
                    source=self._listener,
                    timestamp=utc(report.at or said.at or time.time()) or "",
                    site=report.site or "unassigned",
                    node=said.node,
                    guest=said.guest,
                    severity=said.severity,
                    ok=said.ok,
                    trust=report.trust,
                    metadata={**said.fields, **report.metadata, **({"upid": said.upid} if said.upid else {})},
                    context=dict(report.context),
                    correlation_id=identity,
                )
            )

    async def cursor(self, name: str) -> str | None:
        return self._cursors.get(name)

    def reject(self, reason: str, count: int = 1) -> None:
        log.warning("%s refused %s: %s", self._listener, count, reason)

    def healthy(self, detail: str = "") -> None:
        log.debug("%s: %s", self._listener, detail)

    def unhealthy(self, reason: str) -> None:
        log.debug("%s: %s", self._listener, reason)


class Pollers:
    """`async with` it: polls every site into `retained`, which always feeds `loopback`."""

    def __init__(self, settings: Settings, writer: Writer) -> None:
        self.settings = settings
        self.writer = writer
        self.loopback = Loopback()
        self.retained = Retained(Topics(settings.mqtt.base_topic))
        self.events = EventLog(self.retained)
        self.clients: dict[str, ProxmoxClient] = {}
        self.inventories: dict[str, Inventory | BackupServerInventory] = {}
        self.parts = Parts()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        gc.set_threshold(max(GARBAGE, gc.get_threshold()[0]), *gc.get_threshold()[1:])
        async with AsyncExitStack() as stack:
            for site in self.settings.sites:
                self.clients[site.slug] = await stack.enter_async_context(ProxmoxClient(site, self.settings.api))
            local = await stack.enter_async_context(self.loopback.client())
            await stack.enter_async_context(self.parts)
            self.parts.start("loopback", lambda: self.retained.feed(local))
            self.parts.start("loopback events", lambda: self.events.feed(local))
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
        live = Live(LiveSettings(), self.inventories)
        self.parts.start(live.name, lambda: live.run(StraightIn(live.name, self.events)))

    def _start(self, site: SiteSettings) -> None:
        api = self.settings.api
        kind = Inventory if site.kind == "pve" else BackupServerInventory
        inventory = kind(
            Polling(
                site,
                self.clients[site.slug],
                self.retained,
                None,
                self.writer,
                api,
                self.settings.general.metrics_max_age,
            )
        )
        self.inventories[site.slug] = inventory
        self.parts.start(f"poll {site.slug}", inventory.run)
        if isinstance(inventory, Inventory):
            details = Details(inventory, api.poll_details_budget, api.poll_slow_interval)
            self.parts.start(f"details {site.slug}", details.run)

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
