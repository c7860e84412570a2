"""Home Assistant, put together: what the bridge starts when HA_DISCOVERY is true."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import quote

from mqtt_bridge.approvals.approvals import Approvals
from mqtt_bridge.homeassistant.chosen import Chosen
from mqtt_bridge.homeassistant.discovery import Discovery
from mqtt_bridge.homeassistant.happenings import Happenings
from mqtt_bridge.homeassistant.may import May
from mqtt_bridge.homeassistant.payload import Around
from mqtt_bridge.homeassistant.thing import Key, Thing
from mqtt_bridge.homeassistant.upkeep import Upkeep
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.model import Evacuation, GuestState, HomeAssistantInfo, NodeState, StorageState
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.notifying.maintenance import Maintenance
from mqtt_bridge.pollers import Pollers
from mqtt_bridge.proxmox.permissions import Permissions
from mqtt_bridge.settings import Settings, SiteSettings
from mqtt_bridge.topics import DiscoveryTopics

log = logging.getLogger(__name__)

LARGEST_PACKET = 256 * 1024  # bytes of what others may have put where we look for our own configurations


class HomeAssistant:
    """Make it before the first poll: it watches what is put retained. `run` it when we may publish."""

    def __init__(
        self,
        pollers: Pollers,
        journal: Journal,
        maintenance: Maintenance,
        approvals: Approvals,
        evacuation: Callable[[str, str], Evacuation],
    ) -> None:
        settings = pollers.settings
        self._pollers = pollers
        self._journal = journal
        self._sites = tuple(site.slug for site in settings.sites)
        chosen = Chosen(settings.homeassistant.entities)
        names = pollers.retained.names
        around = Around(
            names,
            pollers.writer.bridge,
            chosen,
            May(settings.permission),
            granted=self._granted,
            url=Addresses(settings).of,
            pbs=frozenset(site.slug for site in settings.sites if site.kind == "pbs"),
            full=settings.listen.live.storage_warning,
        )
        self._idle = chosen.idle()
        self.discovery = Discovery(
            DiscoveryTopics(settings.homeassistant.prefix), around, self._complete, self._awaited
        )
        self.happenings = Happenings(names, self._published)
        self._upkeep = Upkeep(pollers.retained, maintenance.active, approvals.pending, pollers.inventories, evacuation)
        pollers.retained.watch(self.discovery.changed)
        pollers.retained.watch(self._upkeep.changed)

    async def run(self, options: BrokerOptions, ready: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled. `ready` ends when the states of the first poll are published."""
        for sentence in self._idle:
            log.warning("%s", sentence)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._upkeep.run())
            with self.happenings.watch(self._journal):
                await ready()
                async with (
                    Broker(options, self.discovery.take, role="homeassistant", max_packet=LARGEST_PACKET) as bus,
                    asyncio.TaskGroup() as inner,
                ):
                    inner.create_task(self.happenings.run(bus))
                    inner.create_task(self.discovery.run(bus, self._sites))

    def info(self) -> HomeAssistantInfo:
        """For `bridge/info`."""
        return self.discovery.info()

    @property
    def problems(self) -> Sequence[str]:
        """Sentences; empty: all is well."""
        return [*self._idle, *([self.discovery.problem] if self.discovery.problem else [])]

    def _published(self, key: Key) -> bool:
        retained = self._pollers.retained
        return retained.names.build(key.topic, **key.ids) in retained.held

    def _granted(self, site: str) -> Permissions:
        inventory = self._pollers.inventories.get(site)
        return inventory.granted if inventory else {}

    def _awaited(self, key: Key) -> bool:
        return self._pollers.awaited(key.site, key.topic, key.ids)

    def _complete(self) -> set[str]:
        return {slug for slug, inventory in self._pollers.inventories.items() if inventory.complete}


class Addresses:
    """Where a device's page in Proxmox's own web interface is."""

    def __init__(self, settings: Settings) -> None:
        self._sites: Mapping[str, SiteSettings] = {site.slug: site for site in settings.sites}

    def of(self, thing: Thing) -> str | None:
        """The first host of the site serves all of a cluster."""
        site = self._sites.get(thing.key.site)
        if site is None or not site.endpoints:
            return None
        base = site.endpoints[0].url
        match thing.state:
            case GuestState(type=kind, vmid=vmid):
                path = f"{kind}/{vmid}"
            case NodeState(node=node) if site.kind == "pve":
                path = f"node/{node}"
            case StorageState(nodes=(first, *_), storage=storage):
                path = f"storage/{first}/{storage}"
            case _:
                return base
        return f"{base}/#v1:0:={quote(path, safe='')}"
