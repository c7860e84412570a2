"""A lab that lives fast and pollers that look often."""

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import Any

from mqtt_bridge.events.events import Events
from mqtt_bridge.model import Event
from mqtt_bridge.pollers import Pollers
from mqtt_bridge.proxmox.inventory import Inventory
from mqtt_bridge.proxmox.pulse import Writer
from mqtt_bridge.settings import Settings
from proxmox_mcp.lab import Lab

POLL = 0.15  # seconds
WRITER = Writer("test", "instance", "2026-01-01T00:00:00Z")


def fast(settings: Settings) -> Settings:
    """The same settings with intervals for tests."""
    api = dataclasses.replace(settings.api, poll_interval=POLL, poll_tasks_interval=POLL, poll_details_budget=6000)
    return dataclasses.replace(settings, api=api)


class Watched:
    """Pollers with what they hold as JSON, and waiting for it to become what is expected."""

    def __init__(self, lab: Lab, pollers: Pollers, events: Events | None = None) -> None:
        self.lab = lab
        self.pollers = pollers
        self.events: list[Event] = []
        if events is not None:
            events.journal.watch(lambda new: self.events.extend(Event.model_validate_json(one.body) for one in new))

    @property
    def inventory(self) -> Inventory:
        """The site `lab`'s."""
        found = self.pollers.inventories["lab"]
        assert isinstance(found, Inventory)
        return found

    def get(self, kind: str, site: str = "lab", **ids: str | int) -> Any:
        held = self.pollers.retained.held.get(self.pollers.retained.names.build(kind, site=site, **ids))
        if held is None:
            return None
        text = held[0].decode()
        return json.loads(text) if text.startswith("{") else text

    def guest(self, vmid: int) -> Any:
        return self.get("guest", vmid=vmid)

    async def until(self, what: Callable[[], object], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while not what():
                await asyncio.sleep(0.02)

    async def polls(self, number: int, site: str = "lab") -> None:
        pulse = self.pollers.inventories[site].pulse
        end = pulse.polls + number
        await self.until(lambda: pulse.polls >= end)

    def kinds(self) -> list[str]:
        return [e.kind for e in self.events]
