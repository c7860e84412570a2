"""What every poller is given, and the loop that drives it."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.proxmox.pulse import Pulse, Writer
from mqtt_bridge.proxmox.sink import Sink
from mqtt_bridge.settings import ApiSettings, SiteSettings

LOOK_AGAIN = 1.0
SHORTEST = 0.1  # seconds between two polls, however long one takes


@dataclass(frozen=True)
class Polling:
    """One site: whom to ask, how often, and where to put what is learnt. `metrics_max_age` in seconds."""

    site: SiteSettings
    client: ProxmoxClient
    sink: Sink
    writer: Writer
    api: ApiSettings = field(default_factory=ApiSettings)
    metrics_max_age: float = 300

    def pulse(self) -> Pulse:
        """The site's state and heartbeat."""
        return Pulse(self.site.slug, self.sink, self.writer, self.api.poll_interval)


async def every(
    interval: float | Callable[[], float], step: Callable[[], Awaitable[None]], hurry: asyncio.Event | None = None
) -> None:
    """Take a step every `interval` seconds until cancelled, or at once when `hurry` is set.

    An interval that is a function is asked again every second: one that becomes shorter counts at once.
    """
    sooner = hurry or asyncio.Event()
    while True:
        started = time.monotonic()
        await step()
        wait = SHORTEST
        while wait > 0 and not sooner.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await sooner.wait()
            due = interval() if callable(interval) else interval
            wait = min(LOOK_AGAIN, due - (time.monotonic() - started))
        sooner.clear()
