"""A mirror of the retained topics, filled so that nothing is missing.

A plain wildcard subscription is not enough: a broker silently drops what exceeds its queue. So the mirror asks kind
by kind at QoS 0, compares with each site's manifest, asks again for exactly what is missing, and stays at QoS 1.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Self

from mqtt_bridge.errors import BrokerRefusedError, BrokerUnreachableError
from mqtt_bridge.mqtt.bus import Bus, Message, OnMessages
from mqtt_bridge.topics import KINDS, TABLE, Topics
from proxmox_mcp.history import HistoryClient
from proxmox_mcp.store import LISTS, MAX_BYTES, MAX_TOPICS, REQUIRED, Key, Store
from proxmox_mcp.telling import TellingClient

log = logging.getLogger(__name__)

BusFactory = Callable[[OnMessages], AbstractAsyncContextManager[Bus]]
OnChange = Callable[[Sequence[Key]], None]

REFILL = 600.0  # seconds between two fills of a healthy connection
RETRY = 5.0  # seconds until what is missing is asked for again
IDLE = 0.15  # seconds without a message after which a broker is taken to have sent all
UNGRANTED = 1.0  # the same while the broker has not granted the subscription
LONGEST = 20.0  # seconds that one filter may take
BATCH = 200  # topics of one subscription to what is missing
FIRST = tuple(k.name for k in TABLE if k.retain and k.name not in LISTS)
RUNNING = b'"status":"running"'
# the order keeps each burst below what a broker queues for one subscriber
ROUNDS = (
    ("node", "node_metrics", "storage", "shared_storage", "datastore"),
    ("disk", "zpool"),
    ("guest",),
    ("guest_metrics",),
)


class Mirror:
    """`async with`; reads go to `store`. `sites`: those known to exist, so that the fill need not guess."""

    def __init__(
        self,
        bus: BusFactory,
        names: Topics | None = None,
        *,
        sites: Iterable[str] = (),
        max_topics: int = MAX_TOPICS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.store = Store(names or Topics(), max_topics, max_bytes)
        self.history = HistoryClient(self.store.names)
        self.telling = TellingClient(self.store.names)
        self.sites = frozenset(sites)
        self.on_change: list[OnChange] = []
        self.filled = asyncio.Event()
        self.fill_seconds: float | None = None
        self.problem: str | None = None
        self._factory = bus
        self._bus: Bus | None = None
        self._stack = AsyncExitStack()
        self._arrived = asyncio.Event()
        self._gap = asyncio.Event()
        self._asked: set[str] = set()

    async def __aenter__(self) -> Self:
        self._bus = await self._stack.enter_async_context(self._factory(self._take))
        task = asyncio.create_task(self._run(self._bus), name="mirror")
        self._stack.push_async_callback(_ended, task)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # --- what readers ask -------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the broker."""
        return self._bus is not None and self._bus.connected

    @property
    def factory(self) -> BusFactory:
        """Makes further connections to where this one goes."""
        return self._factory

    @property
    def bus(self) -> Bus:
        """The connection, for questions."""
        if self._bus is None:
            raise RuntimeError("the mirror is not open")
        return self._bus

    @property
    def trouble(self) -> str | None:
        """Why there is no connection, or why the broker gives nothing."""
        return self.problem if self.connected else getattr(self._bus, "reason", None) or "There is no connection."

    @property
    def unreachable(self) -> bool:
        """Whether an attempt to connect has failed, and none has succeeded since."""
        return not self.connected and getattr(self._bus, "failure", None) is not None

    @property
    def complete(self) -> bool:
        """Whether everything that the manifests list is here, as this connection delivered it."""
        store = self.store
        if not (self.connected and self.filled.is_set()) or store.missing or store.overflow:
            return False
        return bool(store.sites()) and all((site, "manifest") in store.tables for site in store.sites())

    def site_complete(self, site: str) -> bool:
        """The same for one site."""
        store = self.store
        if not (self.connected and self.filled.is_set()) or store.overflow:
            return False
        return bool(store.tables.get((site, "manifest"))) and not any(key[0] == site for key in store.missing)

    # --- messages ---------------------------------------------------------------------------------------------------

    def _take(self, messages: Sequence[Message]) -> None:
        self.history.take(messages)
        self.telling.take(messages)
        changed = [key for message in messages if (key := self.store.put(message))]
        self._arrived.set()
        if self.filled.is_set() and (self.store.missing or self._new_site(changed)):
            self._gap.set()
        if changed:
            for callback in self.on_change:
                callback(changed)

    def _new_site(self, changed: Sequence[Key]) -> bool:
        return any(kind in {"manifest", "heartbeat"} and site not in self._asked for site, kind, _ in changed)

    # --- filling ----------------------------------------------------------------------------------------------------

    async def _run(self, bus: Bus) -> None:
        generation = 0
        while True:
            generation = await bus.wait_connected(generation)
            filling = asyncio.create_task(self._keep_filled(bus), name="mirror.fill")
            try:
                await bus.wait_disconnected(generation)
            finally:
                self.filled.clear()
                await _ended(filling)

    async def _keep_filled(self, bus: Bus) -> None:
        while True:
            try:
                await self._fill(bus)
                self.problem = None
                await self._patch_until(bus, time.monotonic() + REFILL)
            except BrokerUnreachableError:
                return  # the connection is gone; the next one fills again
            except BrokerRefusedError as error:
                self._refused(error)
                await asyncio.sleep(RETRY)

    def _refused(self, error: BrokerRefusedError) -> None:
        if self.problem != str(error):
            log.warning("The mirror cannot subscribe: %s", error)
        self.problem = str(error)

    async def _fill(self, bus: Bus) -> None:
        began = time.monotonic()
        store = self.store
        store.begin()
        await self._ask(bus, [store.names.filter(kind) for kind in FIRST], self._sites_known)
        self._asked = {*store.sites(), *self.sites}
        for site in sorted(self._asked):
            for kinds in ROUNDS:
                self._expect_no_figures_of_the_stopped(site)
                filters = [store.names.filter(kind, site=site) for kind in kinds]
                await self._ask(bus, filters, lambda site=site, kinds=kinds: self._round_done(site, kinds))  # type: ignore[misc]
        await self._fetch(bus, self._unseen())
        await self._stay(bus)
        store.finish()
        self.fill_seconds = time.monotonic() - began
        self.filled.set()

    async def _patch_until(self, bus: Bus, deadline: float) -> None:
        """Ask for what turned out to be missing, until the next fill is due or a new site asks for one."""
        while (left := deadline - time.monotonic()) > 0:
            self._gap.clear()
            if not self.store.missing:
                try:
                    async with asyncio.timeout(left):
                        await self._gap.wait()
                except TimeoutError:
                    return
            if set(self.store.sites()) - self._asked:
                return
            await self._fetch(bus, self.store.missing)
            if self.store.missing:
                await asyncio.sleep(min(RETRY, left))

    async def _ask(self, bus: Bus, filters: Sequence[str], done: Callable[[], bool]) -> None:
        """Subscribe at QoS 0 and take what is stored, until it is all there or nothing more comes.

        Mosquitto may drop its acknowledgement behind a flood, so it is not waited for once something arrives.
        """
        began = time.monotonic()
        self._arrived.clear()
        asked = asyncio.create_task(bus.subscribe(filters, qos=0), name="mirror.ask")
        first = asyncio.create_task(self._arrived.wait(), name="mirror.first")
        try:
            if not (await asyncio.wait({asked, first}, timeout=RETRY, return_when=asyncio.FIRST_COMPLETED))[0]:
                return  # neither granted nor anything stored: what is missing after all is asked for again
            idle = max(IDLE, 3 * (time.monotonic() - began))
            while not done() and time.monotonic() - began < LONGEST:
                self._arrived.clear()
                if not await _set_within(self._arrived, idle if asked.done() else max(idle, UNGRANTED)):
                    break
            if asked.done():
                asked.result()
        finally:
            asked.cancel()
            first.cancel()

    async def _fetch(self, bus: Bus, keys: Iterable[Key]) -> None:
        """Ask for exactly these, in batches; give up when two batches in a row bring nothing."""
        topics = [topic for key in sorted(keys) if (topic := self.store.topic(key))]
        in_vain = 0
        for start in range(0, len(topics), BATCH):
            batch = topics[start : start + BATCH]
            await self._ask(bus, batch, lambda batch=batch: all(self._fresh(t) for t in batch))  # type: ignore[misc]
            await bus.unsubscribe(batch)
            in_vain = 0 if any(self._fresh(topic) for topic in batch) else in_vain + 1
            if in_vain == 2:  # noqa: PLR2004
                return

    async def _stay(self, bus: Bus) -> None:
        """Go on at QoS 1, without a second delivery of what is stored.

        MQTT 3.1.1 cannot leave that out (and a broker would drop most of it), so there QoS 0 stays.
        """
        if getattr(bus, "protocol", "5") != "5":
            return
        store = self.store
        filters = [store.names.filter(kind) for kind in FIRST if KINDS[kind].qos]
        filters += [store.names.filter(kind, site=s) for s in sorted(self._asked) for kind in LISTS if KINDS[kind].qos]
        await bus.subscribe(filters, qos=1, retain_handling=2)

    # --- when is enough enough --------------------------------------------------------------------------------------

    def _sites_known(self) -> bool:
        """Every site that must exist has told of itself, and its bridge too."""
        tables, kinds = self.store.tables, ("manifest", "heartbeat", "site_state", "cluster")
        told = all(tables.get((site, kind)) for site in self.sites for kind in kinds)
        return bool(self.sites) and told and ("", "bridge_state") in tables

    def _round_done(self, site: str, kinds: Sequence[str]) -> bool:
        return not any(self.store.unseen(site, kind) for kind in kinds)

    def _unseen(self) -> list[Key]:
        """What must be there and has not come, and the figures of running guests."""
        store = self.store
        keys = [(site, kind, name) for (site, kind), names in store.awaited.items() for name in names]
        return [key for key in keys if key[1] in REQUIRED or key[1] == "guest_metrics"]

    def _expect_no_figures_of_the_stopped(self, site: str) -> None:
        """Waiting for them would cost an idle time; judged by the raw text, since reading 10 000 takes its time."""
        states = self.store.tables.get((site, "guest"), {})
        names = self.store.unseen(site, "guest_metrics")
        names -= {name for name in names if name in states and RUNNING not in states[name].raw}

    def _fresh(self, topic: str) -> bool:
        entry = self.store.topics.get(topic)
        return entry is not None and entry.epoch == self.store.epoch


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task of ours and wait for its end; what it died of is logged, never lost."""
    task.cancel()
    done, _ = await asyncio.wait({task})
    for ended in done:
        if not ended.cancelled() and (error := ended.exception()):
            log.error("The mirror failed: %s", error, exc_info=error)
