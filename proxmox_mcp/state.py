"""What tools read from: the mirror of the broker if a bridge is online there, else a private one fed by the API itself.

The private poller is started when a read first needs it and ends when a bridge is back. `proxmox_mcp.mirror` has the
mirror, `proxmox_mcp.view` the typed reads.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, Self

from mqtt_bridge.errors import BridgeError, UnreachableError
from mqtt_bridge.mqtt.bus import Bus, OnMessages
from mqtt_bridge.topics import Topics
from proxmox_mcp.mirror import BusFactory, Mirror, OnChange
from proxmox_mcp.view import View

__all__ = ["BusFactory", "Fallback", "Hub", "Mirror", "State", "View"]

log = logging.getLogger(__name__)

STEP = 0.05  # seconds between two looks at a broker that has not answered yet
FIRST_WAIT = 5.0  # seconds that a read waits for the first fill or the first poll
SILENT = 6  # missed heartbeats after which a bridge that claims to be online is taken to hang
SILENT_AT_LEAST = 30.0  # seconds
GRACE = 15.0  # seconds that a lost broker may take to come back before the API is asked instead
WATCH = 1.0  # seconds between two looks at whether a bridge is back


class Hub(Protocol):
    """What a private poller yields: `loopback.Loopback` is one."""

    def client(self, on_messages: OnMessages) -> AbstractAsyncContextManager[Bus]: ...


Fallback = Callable[[], AbstractAsyncContextManager[Hub]]


class State:
    """`async with`. `bus`: None without a broker; `fallback`: None where Proxmox must not be asked directly."""

    def __init__(
        self,
        bus: BusFactory | None,
        fallback: Fallback | None = None,
        *,
        names: Topics | None = None,
        sites: Iterable[str] = (),
        wait: float = FIRST_WAIT,
    ) -> None:
        self._names = names or Topics()
        self._sites = frozenset(sites)
        self._wait = wait
        self._fallback = fallback
        self._seen_alive: float | None = None
        self._private: Mirror | None = None
        self._private_task: asyncio.Task[None] | None = None
        self._private_ready = asyncio.Event()
        self._private_error: BridgeError | None = None
        self._on_change: list[OnChange] = []
        self.primary = Mirror(bus, self._names, sites=self._sites) if bus else None

    async def __aenter__(self) -> Self:
        if self.primary:
            await self.primary.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._private_task:
            self._private_task.cancel()
            await asyncio.wait([self._private_task])
        if self.primary:
            await self.primary.__aexit__()

    def on_change(self, callback: OnChange) -> None:
        """Tell of changed topics, whichever mirror is read."""
        self._on_change.append(callback)
        for mirror in (self.primary, self._private):
            if mirror:
                mirror.on_change.append(callback)

    async def adopt(self, bus: BusFactory) -> None:
        """Read from this broker from now on: a bridge has come that brought its own."""
        mirror = Mirror(bus, self._names, sites=self._sites)
        mirror.on_change.extend(self._on_change)
        await mirror.__aenter__()
        former, self.primary = self.primary, mirror
        if former:
            await former.__aexit__()

    def current(self) -> View | None:
        """What is there now, without waiting: for metrics, notices and lists of resources."""
        if self.primary and (self._private is None or self._alive(self.primary)):
            return View(self.primary, "mqtt")
        return View(self._private, "api") if self._private else None

    async def view(self) -> View:
        """What to read from; waits a few seconds for the first fill. Raises UnreachableError if there is nothing."""
        primary = self.primary
        if primary and await self._usable(primary):
            return View(primary, "mqtt")
        if self._fallback is not None:
            return await self._private_view(self._fallback)
        if primary and primary.store.sites():
            return View(primary, "mqtt")
        raise UnreachableError(
            "No bridge is online on the MQTT broker, and nothing has been read from it.",
            cure="Start `proxmox-mcp serve` or `mqtt-bridge`, or check MQTT_HOST with `proxmox-mcp check`.",
        )

    # --- the broker's mirror ----------------------------------------------------------------------------------------

    async def _usable(self, primary: Mirror) -> bool:
        """Whether a bridge is online there; at the start, waits until that is known and the fill is complete."""
        deadline = time.monotonic() + self._wait
        while self._seen_alive is None and not (primary.filled.is_set() or primary.unreachable):
            if time.monotonic() > deadline:
                break
            await _within(primary.filled, STEP)
        return self._alive(primary)

    def _alive(self, mirror: Mirror) -> bool:
        now = time.monotonic()
        if not mirror.connected:
            return self._seen_alive is not None and now - self._seen_alive < GRACE
        alive = any(self._speaks(mirror, site, now) for site in self._sites or mirror.store.sites())
        self._seen_alive = now if alive else None
        return alive

    @staticmethod
    def _speaks(mirror: Mirror, site: str, now: float) -> bool:
        beat = mirror.store.beats.get(site)
        if beat is None or not View(mirror, "mqtt").bridge_online(site):
            return False
        return now - beat.monotonic < max(SILENT_AT_LEAST, SILENT * beat.value.interval_s)

    # --- straight from the API --------------------------------------------------------------------------------------

    async def _private_view(self, fallback: Fallback) -> View:
        if self._private_task is None or self._private_task.done():
            self._private_ready.clear()
            self._private_error = None
            self._private_task = asyncio.create_task(self._poll_privately(fallback), name="private poller")
        await _within(self._private_ready, self._wait)
        if self._private_error:
            raise self._private_error
        if self._private is None or not self._private.store.sites():
            raise UnreachableError(
                f"No bridge is online, and Proxmox has not answered within {self._wait:g} s.",
                cure="Try again in a moment; `test_connectivity` says which host does not answer, and why.",
            )
        return View(self._private, "api")

    async def _poll_privately(self, fallback: Fallback) -> None:
        """Until a bridge is back."""
        log.info("No bridge is online: reading from the Proxmox API directly.")
        try:
            async with fallback() as hub, Mirror(hub.client, self._names, sites=self._sites) as mirror:
                mirror.on_change.extend(self._on_change)
                self._private = mirror
                ready = asyncio.create_task(self._announce(mirror))
                try:
                    await self._bridge_back()
                finally:
                    ready.cancel()
            log.info("A bridge is online again: reading from MQTT.")
        except BridgeError as error:
            log.warning("Reading from the API directly failed: %s", error)
            self._private_error = error
        finally:
            self._private = None
            self._private_ready.set()

    async def _bridge_back(self) -> None:
        never = asyncio.Event()
        while not ((primary := self.primary) and primary.filled.is_set() and self._alive(primary)):
            await _within(never, WATCH)

    async def _announce(self, mirror: Mirror) -> None:
        """Readers wait until each site has been polled once, or has failed to."""
        changed = asyncio.Event()
        mirror.on_change.append(lambda _keys: changed.set())
        while not all(_polled(mirror, site) for site in self._sites or {""}):
            changed.clear()
            await _within(changed, WATCH)
        self._private_ready.set()


def _polled(mirror: Mirror, site: str) -> bool:
    """Whether a site is mirrored, or its first poll is known to have failed."""
    beat = mirror.store.beats.get(site) if site else next(iter(mirror.store.beats.values()), None)
    if beat is None:
        return False
    return (
        mirror.complete if beat.value.polled_at and not site else not beat.value.polled_at or mirror.site_complete(site)
    )


async def _within(event: asyncio.Event, timeout: float) -> None:  # noqa: ASYNC109 - giving up is the point
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        return
