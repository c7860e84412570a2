"""What we hold retained on MQTT: published when it changes, again after every reconnect, and again when overwritten.

Each bus (the broker, and the loopback of this process) is fed by a task of its own, so a dead broker delays nobody.
While a bus is away its changes are kept by topic: the last value wins, memory stays bounded.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import islice

from mqtt_bridge import topics
from mqtt_bridge.errors import BrokerUnreachableError
from mqtt_bridge.model import Model
from mqtt_bridge.mqtt.bus import Bus, Message

log = logging.getLogger(__name__)

WINDOW = 500  # publishes under way at once: fills the connection, keeps what a lost one must repeat small
LEFTOVERS = 50_000  # unknown topics remembered: a flood of them is not kept
FOREIGN_PAUSE = 1.0  # seconds between corrections: two writers that fight are slow, not a storm


Watcher = Callable[[str, Model | None, Mapping[str, str | int]], None]  # topic kind, value, ids


class Retained:
    """The retained topics of this process, by topic."""

    def __init__(self, names: topics.Topics) -> None:
        self.names = names
        self.held: dict[str, tuple[bytes, int]] = {}
        self.stats: Counter[str] = Counter()
        self.refused: dict[str, str] = {}
        self.leftovers: set[str] = set()
        self._feeds: list[_Feed] = []
        self._watchers: list[Watcher] = []

    def watch(self, watcher: Watcher) -> None:
        """Have `watcher` called with each state that is put and differs, and (None) with each that is dropped."""
        self._watchers.append(watcher)

    def put(self, kind: str, value: Model | str, **ids: str | int) -> bool:
        """Hold `value` as the payload of a topic; says whether it differs from what was held."""
        payload = value.encode() if isinstance(value, str) else value.payload()
        changed = self.put_raw(self.names.build(kind, **ids), payload, topics.KINDS[kind].qos)
        if changed and not isinstance(value, str):
            for watcher in self._watchers:
                watcher(kind, value, ids)
        return changed

    def put_raw(self, topic: str, payload: bytes, qos: int) -> bool:
        """The same with a ready topic and payload."""
        held = self.held.get(topic)
        if held is not None and held[0] == payload:
            return False
        self.held[topic] = (payload, qos)
        self._mark(topic)
        return True

    def drop(self, kind: str, **ids: str | int) -> bool:
        """Clear a topic at the broker; says whether it was held."""
        known = self.drop_topic(self.names.build(kind, **ids))
        for watcher in self._watchers:
            watcher(kind, None, ids)
        return known

    def drop_topic(self, topic: str) -> bool:
        """Clear a topic, also one that an earlier run left behind."""
        known = self.held.pop(topic, None) is not None
        self._mark(topic)
        return known

    def _mark(self, topic: str) -> None:
        for feed in self._feeds:
            feed.mark(topic)

    async def feed(self, bus: Bus) -> None:
        """Keep `bus` in step until cancelled."""
        feed = _Feed(self, bus)
        self._feeds.append(feed)
        try:
            await feed.run()
        finally:
            self._feeds.remove(feed)

    async def settled(self, bus: Bus) -> None:
        """Wait until everything held has been acknowledged by `bus`."""
        for feed in self._feeds:
            if feed.bus is bus:
                await feed.idle.wait()

    def correct(self, bus: Bus, messages: Iterable[Message], *, mine: Callable[[topics.Parsed], bool]) -> None:
        """Compare what `bus` carries of our topics with what we hold; put right what someone else wrote there."""
        for message in messages:
            held = self.held.get(message.topic)
            if held is not None and held[0] == message.payload:
                continue
            parsed = self.names.parse(message.topic)
            if parsed is None or not parsed.kind.retain or not mine(parsed):
                continue
            if held is None:
                self._unknown(message)
                continue
            for feed in self._feeds:
                if feed.bus is bus and feed.sent.get(message.topic) != message.payload:
                    self.stats["foreign_writes"] += 1
                    feed.mark_foreign(message.topic)

    def _unknown(self, message: Message) -> None:
        if message.payload and len(self.leftovers) < LEFTOVERS:
            self.leftovers.add(message.topic)
        elif not message.payload:
            self.leftovers.discard(message.topic)

    def sweep(self, sites: Container[str], awaited: Callable[[topics.Parsed], bool] = lambda _: False) -> int:
        """Clear topics of these sites that nothing corresponds to: only after a complete poll. Returns how many.

        `awaited`: what of them may still turn up, and stays.
        """
        unknown = {t: p for t in self.leftovers if t not in self.held and (p := self.names.parse(t))}
        stale = {t for t, parsed in unknown.items() if parsed.site in sites and not awaited(parsed)}
        self.leftovers -= stale
        for topic in stale:
            self.drop_topic(topic)
        self.stats["leftovers"] += len(stale)
        return len(stale)


class _Feed:
    """One bus: the topics that it has not got yet, in the order in which they changed."""

    def __init__(self, retained: Retained, bus: Bus) -> None:
        self.retained = retained
        self.bus = bus
        self.idle = asyncio.Event()
        self.sent: dict[str, bytes] = {}  # the last payload by topic: an echo of it is no foreign write
        self._dirty: dict[str, None] = {}
        self._foreign: set[str] = set()
        self._wake = asyncio.Event()

    def mark(self, topic: str) -> None:
        # moves the topic to the end: a manifest that changed again must follow the states it speaks of
        self._dirty.pop(topic, None)
        self._dirty[topic] = None
        self.idle.clear()
        self._wake.set()

    def mark_foreign(self, topic: str) -> None:
        self._foreign.add(topic)
        self._wake.set()

    async def run(self) -> None:
        generation = 0
        while True:
            generation = await self.bus.wait_connected(generation)
            self._dirty = dict.fromkeys([*self.retained.held, *self._dirty])
            try:
                async with asyncio.TaskGroup() as group:
                    pump = group.create_task(self._pump())
                    mend = group.create_task(self._mend())
                    await self.bus.wait_disconnected(generation)
                    pump.cancel()
                    mend.cancel()
            except* BrokerUnreachableError:
                await asyncio.sleep(0.1)

    async def _pump(self) -> None:
        while True:
            while self._dirty:
                batch = list(islice(self._dirty, WINDOW))
                for topic in batch:
                    del self._dirty[topic]
                await self._publish(batch)
            self.idle.set()
            self._wake.clear()
            await self._wake.wait()

    async def _mend(self) -> None:
        while True:
            await asyncio.sleep(FOREIGN_PAUSE)
            if self._foreign:
                foreign, self._foreign = self._foreign, set()
                for topic in foreign:
                    self.mark(topic)

    async def _publish(self, batch: Sequence[str]) -> None:
        try:
            reasons = await self.bus.publish_many([self._message(topic) for topic in batch])
        except BaseException:
            for topic in batch:
                self._dirty.setdefault(topic)
            raise
        for topic, reason in zip(batch, reasons, strict=True):
            if reason:
                self._refused(topic, reason)
            else:
                self.retained.refused.pop(topic, None)
        self.retained.stats["published"] += sum(not reason for reason in reasons)

    def _message(self, topic: str) -> Message:
        payload, qos = self.retained.held.get(topic, (b"", 1))
        if payload:
            self.sent[topic] = payload
        else:
            self.sent.pop(topic, None)
        return Message(topic, payload, qos, retain=True)

    def _refused(self, topic: str, reason: str) -> None:
        if not self.retained.refused:
            log.error("The broker refuses the publish to %s (%s).", topic, reason)
        self.retained.refused[topic] = reason
        self.retained.stats["refused"] += 1
