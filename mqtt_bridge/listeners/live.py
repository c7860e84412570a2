"""The live API watcher, `WEBSOCKET` among the listeners.

It is the only word there is of guests that start and stop, of ordinary tasks, of nodes that are lost. It asks for
nothing that the pollers know: it takes their differences. Its own reads are the cluster log, a node's task list where
the site's list leaves a gap, and the log of a task that failed.
"""

import asyncio
import logging
from collections.abc import Mapping

from mqtt_bridge.events.intake import Intake
from mqtt_bridge.listeners.live_log import partial
from mqtt_bridge.listeners.live_site import AnyInventory, SiteWatch
from mqtt_bridge.proxmox.inventory import Inventory
from mqtt_bridge.settings.listening import LiveSettings
from mqtt_bridge.supervise import Parts

log = logging.getLogger(__name__)

HEALTH_EVERY = 1.0  # seconds


class Live:
    """Watches every site. `inventories` is read when it runs: they need not exist before."""

    name = "WEBSOCKET"

    def __init__(self, settings: LiveSettings, inventories: Mapping[str, AnyInventory]) -> None:
        self._settings = settings
        self._inventories = inventories
        self.sites: dict[str, SiteWatch] = {}

    async def run(self, intake: Intake) -> None:
        """Until cancelled. A site whose watch fails is watched again after a pause; the others go on."""
        async with Parts() as parts:
            for slug, inventory in self._inventories.items():
                parts.start(f"live {slug}", lambda i=inventory: self._watch(i, intake))  # type: ignore[misc]
            told = ""
            while True:
                told = self._health(intake, parts, told)
                await asyncio.sleep(HEALTH_EVERY)

    def _partial(self) -> list[str]:
        """What is not seen of what could be, which is no trouble."""
        if self._settings.log_priority < 0:
            return []
        sites = [one for one in self._inventories.values() if isinstance(one, Inventory)]
        return [hint for site in sites if (hint := partial(site))]

    async def _watch(self, inventory: AnyInventory, intake: Intake) -> None:
        """A new one each time: it goes on from the journal's cursors."""
        watch = self.sites[inventory.site.slug] = SiteWatch(inventory, self._settings)
        try:
            await watch.run(intake)
        finally:
            watch.works = False  # through the pause before the next one too

    def _health(self, intake: Intake, parts: Parts, told: str) -> str:
        away = [
            f"{slug}: {inventory.pulse.reason or 'its API does not answer'}"
            for slug, inventory in self._inventories.items()
            if inventory.pulse.status == "offline"
        ]
        failed = [
            f"{slug}: {part.problem}"
            for slug, part in zip(self._inventories, parts.parts, strict=True)
            if part.problem and not (slug in self.sites and self.sites[slug].works)
        ]
        problem = "; ".join([*away, *failed])
        text = problem or "; ".join([f"watching {', '.join(self._inventories)}", *self._partial()])
        if text != told:
            if not problem and ";" in text:
                log.warning("%s", text)
            (intake.unhealthy if problem else intake.healthy)(text)
        return text
