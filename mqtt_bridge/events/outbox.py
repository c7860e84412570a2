"""Events on their way from the journal to MQTT: in order, again until the broker has acknowledged them."""

import asyncio
import logging
import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from types import TracebackType
from typing import Self

from mqtt_bridge.errors import BrokerUnreachableError
from mqtt_bridge.events.intake import JournalError
from mqtt_bridge.events.lists import SHOWN, EventLists
from mqtt_bridge.journal.journal import Journal, Stored
from mqtt_bridge.mqtt.bus import Bus, Message
from mqtt_bridge.retained import Retained
from mqtt_bridge.topics import KINDS, Topics

log = logging.getLogger(__name__)

WINDOW = 200  # events published at once; the next as many are read meanwhile
FRESH = 5_000  # events that are published without being read from the journal again
LIVE = 1000  # events that wait for a reader in this process; the oldest give way, counted
PAUSE = 1.0  # seconds before the journal is tried again
NO_TOPIC = "its site or kind cannot stand in a topic"
REFUSED = "The broker refuses events ({reason})."
HANG_UPS, HUNG_UP = 3, "it hangs up on it"
_LEVELS = re.compile(r"[A-Za-z0-9_.-]{1,200}")  # a broker hangs up on a topic with control characters


class Outbox:
    """`async with` it, inside its journal. `feed` carries events to the broker, `feed_live` to readers in this process.

    An event counts as published when the broker acknowledged it. One that the broker refuses holds nothing up; it
    stays in the journal and is tried again with the next connection. `stats` counts published, refused and missed
    (by live readers).
    """

    def __init__(self, journal: Journal, retained: Retained) -> None:
        self.stats: Counter[str] = Counter()
        self._journal = journal
        self._names = retained.names
        self._lists = EventLists(retained)
        self._news = asyncio.Event()
        self._fresh: deque[Stored] = deque(maxlen=FRESH)  # as the journal stored them, one after the other
        self._live: list[tuple[deque[Stored], asyncio.Event]] = []
        self._acknowledged: set[int] = set()  # and not yet marked so in the journal
        self._refused: set[int] = set()
        self._poison: set[int] = set()  # the broker hangs up on these
        self._width, self._hung_up = WINDOW, 0
        self._refusal = ""
        self._failures: dict[str, str] = {}
        self._to_mark = asyncio.Event()
        self._unwatch: Callable[[], None] = lambda: None
        self._marker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._lists.fill(await self._journal.latest(SHOWN))
        self._unwatch = self._journal.watch(self._on_stored)
        self._marker = asyncio.create_task(self._mark(), name="outbox marks")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unwatch()
        self._lists.close()
        if self._marker:
            self._marker.cancel()
            await asyncio.wait([self._marker])
        with suppress(JournalError):  # then they are published again, under the same id
            await self._mark_once()

    @property
    def problem(self) -> str:
        """What goes wrong at present, in a sentence; else empty."""
        return next(iter(self._failures.values()), self._refusal)

    def _on_stored(self, new: Sequence[Stored]) -> None:
        self._lists.add(new)
        if self._fresh and new[0].seq != self._fresh[-1].seq + 1:
            self._fresh.clear()
        self._fresh.extend(new)
        self._news.set()
        self._news = asyncio.Event()
        for waiting, wake in self._live:
            self.stats["missed"] += max(0, len(waiting) + len(new) - LIVE)
            waiting.extend(new)
            wake.set()

    # --- to the broker -----------------------------------------------------------------------------------------------

    async def feed(self, bus: Bus) -> None:
        """Publish what the broker has not got, until cancelled. One feed at a time: its marks are the journal's."""
        generation = 0
        while True:
            generation = await bus.wait_connected(generation)
            try:
                async with asyncio.TaskGroup() as group:
                    pump = group.create_task(self._pump(bus))
                    await bus.wait_disconnected(generation)
                    pump.cancel()
            except* BrokerUnreachableError:
                await asyncio.sleep(0.1)

    async def _pump(self, bus: Bus) -> None:
        await self._retry()
        after = 0
        while True:
            news = self._news
            window = await self._read(after)
            if window:
                after = await self._drain(bus, window)
            else:
                await news.wait()

    async def _drain(self, bus: Bus, window: Sequence[Stored]) -> int:
        """Publish this window and those behind it, two at a time; returns where it has come to.

        Without a second one under way each window would end with the 40 ms by which a kernel delays the TCP
        acknowledgement that the broker waits for before it sends its last PUBACKs.
        """
        after = 0
        async with asyncio.TaskGroup() as group:
            before: asyncio.Task[None] | None = None
            while window:
                after = window[-1].seq
                settled = self._acknowledged | self._poison if self._poison else self._acknowledged
                left = [stored for stored in window if stored.seq not in settled]
                under_way = group.create_task(self._publish_parts(bus, left))
                window = await self._read(after)
                if before:
                    await before
                before = under_way
                if self._width < WINDOW:
                    await under_way
        return after

    async def _publish_parts(self, bus: Bus, window: Sequence[Stored]) -> None:
        """All at once, or in parts that grow again after a connection that was lost over them."""
        while window:
            part, window = window[: self._width], window[self._width :]
            await self._publish(bus, part)

    async def _publish(self, bus: Bus, part: Sequence[Stored]) -> None:
        topics = [event_topic(self._names, stored.site, stored.severity, stored.kind) for stored in part]
        messages = [
            Message(topic, stored.body, KINDS["event"].qos) for topic, stored in zip(topics, part, strict=True) if topic
        ]
        try:
            reasons = iter(await bus.publish_many(messages) if messages else ())
        except BrokerUnreachableError:
            self._narrow(part)
            raise
        self._width, self._hung_up = min(WINDOW, self._width + max(1, self._width // 4)), 0
        for topic, stored in zip(topics, part, strict=True):
            if reason := next(reasons) if topic else NO_TOPIC:
                self._refuse(stored.seq, reason)
            else:
                self.stats["published"] += 1
                self._acknowledged.add(stored.seq)
        self._to_mark.set()

    def _narrow(self, part: Sequence[Stored]) -> None:
        """Before MQTT 5 a broker hangs up on what is too large for it: find that one, and go on without it."""
        self._width = max(1, self._width // 10)  # each attempt costs a longer pause before the next connection
        self._hung_up = self._hung_up + 1 if len(part) == 1 else 0
        if self._hung_up >= HANG_UPS:
            self._hung_up = 0
            self._poison.add(part[0].seq)
            self._refuse(part[0].seq, HUNG_UP)

    def _refuse(self, seq: int, reason: str) -> None:
        if not self._refusal:
            log.error("The broker refuses an event (%s); it stays in the journal.", reason)
        self._refusal = REFUSED.format(reason=reason)
        self.stats["refused"] += 1
        self._refused.add(seq)
        self._to_mark.set()

    async def _retry(self) -> None:
        """What was refused before may pass now: an ACL was corrected, a limit raised."""
        self._refusal = REFUSED.format(reason=HUNG_UP) if self._poison else ""
        with suppress(JournalError):  # what can be read is published all the same
            await self._mark_once()
            await self._journal.retry()
        self._refused |= self._poison
        self._to_mark.set()

    async def _read(self, after: int) -> list[Stored]:
        """The next window. What was stored right behind `after` a moment ago need not be read again."""
        fresh = self._fresh
        while fresh and fresh[0].seq <= after:
            fresh.popleft()
        if fresh and fresh[0].seq == after + 1:
            return [fresh.popleft() for _ in range(min(WINDOW, len(fresh)))]
        found: list[Stored] = []

        async def read() -> None:
            found.extend(await self._journal.unpublished(after, WINDOW))

        await self._patiently("read", read)
        return found

    # --- marks -------------------------------------------------------------------------------------------------------

    async def _mark(self) -> None:
        while True:
            await self._to_mark.wait()
            self._to_mark.clear()
            await self._patiently("mark", self._mark_once)

    async def _mark_once(self) -> None:
        acknowledged, refused = tuple(self._acknowledged), tuple(self._refused)
        await self._journal.published(acknowledged)
        self._acknowledged.difference_update(acknowledged)
        await self._journal.refused(refused)
        self._refused.difference_update(refused)

    async def _patiently(self, what: str, work: Callable[[], Awaitable[object]]) -> None:
        """A journal that fails is tried again until it works: what is in it is still to be published."""
        while True:
            try:
                await work()
            except JournalError as error:
                if what not in self._failures:
                    log.error("The outbox waits (%s): %s", what, error)  # noqa: TRY400 -- the sentence says it all
                self._failures[what] = str(error)
                await asyncio.sleep(PAUSE)
            else:
                self._failures.pop(what, None)
                return

    # --- to readers in this process ----------------------------------------------------------------------------------

    async def feed_live(self, bus: Bus) -> None:
        """Publish what is stored from now on to a loopback, until cancelled; nothing is marked."""
        waiting: deque[Stored] = deque(maxlen=LIVE)
        wake = asyncio.Event()
        self._live.append((waiting, wake))
        try:
            while True:
                await wake.wait()
                wake.clear()
                batch = [(event_topic(self._names, s.site, s.severity, s.kind), s.body) for s in waiting]
                waiting.clear()
                await bus.publish_many([Message(t, body, KINDS["event"].qos) for t, body in batch if t is not None])
        finally:
            self._live.remove((waiting, wake))


@lru_cache(maxsize=4096)
def event_topic(names: Topics, site: str, severity: str, kind: str) -> str | None:
    """Where an event goes; None where MQTT has no such topic."""
    if not (_LEVELS.fullmatch(site) and _LEVELS.fullmatch(kind)):
        return None
    return names.build("event", site=site, severity=severity, rest=kind.replace(".", "/"))
