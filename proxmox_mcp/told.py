"""Events as people watch them: each happening once, with every channel that told of it; none missed in between."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from mqtt_bridge.errors import BrokerRefusedError, BrokerUnreachableError
from mqtt_bridge.model import SEVERITIES, Event, Severity
from mqtt_bridge.mqtt.bus import Bus, Message, OnMessages
from mqtt_bridge.topics import Topics

KEPT = 500  # happenings that a live view can show
SEEN = 20_000  # ids that are remembered, so that each event counts once
WAITING = 20_000  # events that wait to be printed; the oldest give way, and are counted
LARGEST = 512 * 1024  # bytes of an event
LOST = "The connection to the broker is lost; it is tried again."
TRUST = ("unauthenticated", "authenticated", "api")


@dataclass(eq=False)
class Happening:
    """One line: the account that can be trusted most, and the channels that told, in the order in which they did."""

    event: Event
    sources: list[str] = field(default_factory=list)
    reports: int = 0
    printed: bool = False
    late: list[str] = field(default_factory=list)  # told since it was printed

    def tell(self, event: Event) -> None:
        """One more report of it."""
        self.reports += 1
        if event.source not in self.sources:
            self.sources.append(event.source)
            self.late.append(event.source)
        if TRUST.index(event.trust) > TRUST.index(self.event.trust):
            self.event = event


class Told:
    """What was told, newest last in `happenings`. `least`: what is less severe is left out."""

    def __init__(self, least: Severity = "info") -> None:
        self.happenings: OrderedDict[Hashable, Happening] = OrderedDict()
        self.by_severity: Counter[str] = Counter()
        self.total = 0  # happenings, those that are not kept any more too
        self.problem = ""
        self.losses = 0  # of the connection
        self._least = SEVERITIES.index(least)
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._heads: OrderedDict[str, Happening] = OrderedDict()
        self._news: OrderedDict[int, Happening] = OrderedDict()
        self._raw: list[Event] = []
        self.unprinted = 0  # gave way before they were printed

    def add(self, events: Iterable[Event]) -> None:
        """Take events in the order in which they were told; one that is known already is left out."""
        for event in events:
            if event.id not in self._seen and self.fits(event):
                self.skip([event])
                self._take(event)

    def skip(self, events: Iterable[Event]) -> None:
        """These are not to be shown."""
        self._seen.update((event.id, None) for event in events)
        while len(self._seen) > SEEN:
            self._seen.popitem(last=False)

    def fits(self, event: Event) -> bool:
        """Whether it is severe enough."""
        return SEVERITIES.index(event.severity) >= self._least

    def _take(self, event: Event) -> None:
        key = (event.site, event.correlation_id or event.id, event.severity, event.ok, event.node, event.guest)
        happening = self._heads.get(event.duplicate_of or "")
        if happening is None or not _repeats(event, happening.event):
            happening = self.happenings.get(key)
        if happening is None:
            happening = self.happenings[key] = Happening(event)
            self.total += 1
            self.by_severity[event.severity] += 1
        happening.tell(event)
        self._heads[event.id] = happening
        self._news[id(happening)] = happening
        self._raw.append(event)
        self._trim()

    def _trim(self) -> None:
        if len(self.happenings) > KEPT:
            self.happenings.popitem(last=False)
        if len(self._heads) > SEEN:
            self._heads.popitem(last=False)
        if len(self._news) > WAITING:
            self._news.popitem(last=False)
            self.unprinted += 1
        if len(self._raw) > WAITING:
            del self._raw[0]
            self.unprinted += 1

    def latest(self, count: int) -> list[Happening]:
        """The last ones, newest first."""
        found: list[Happening] = []
        for happening in reversed(self.happenings.values()):
            if len(found) >= count:
                break
            found.append(happening)
        return found

    def news(self) -> list[Happening]:
        """What is new, or was told again, since this was last asked."""
        found, self._news = list(self._news.values()), OrderedDict()
        self._raw.clear()
        return found

    def raw(self) -> list[Event]:
        """The same as events, each report by itself."""
        found, self._raw = self._raw, []
        self._news.clear()
        return found


def _repeats(event: Event, head: Event) -> bool:
    """What is worse than the first account is a line of its own, whatever it calls itself."""
    worse = SEVERITIES.index(event.severity) > SEVERITIES.index(head.severity)
    return event.site == head.site and not worse and not (event.ok is False and head.ok is not False)


class Listening:
    """`async with` it: what is published on the event topics goes into `told`.

    QoS 0, because a broker drops what exceeds a QoS 1 subscriber's queue (Mosquitto: 1000 messages), and a burst of
    events is longer; what a lost connection costs is made up for by the retained lists, which the caller adds too.
    """

    def __init__(
        self, bus: Callable[[OnMessages], AbstractAsyncContextManager[Bus]], names: Topics, told: Told
    ) -> None:
        self.told = told
        self.ready = asyncio.Event()
        self._factory = bus
        self._names = names
        self._task: asyncio.Task[None] | None = None
        self._connection: AbstractAsyncContextManager[Bus] | None = None

    async def __aenter__(self) -> Self:
        self._connection = self._factory(self._take)
        bus = await self._connection.__aenter__()
        self._task = asyncio.create_task(self._listen(bus), name="watch events")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._connection:
            await self._connection.__aexit__(kind, error, trace)

    async def _listen(self, bus: Bus) -> None:
        generation = 0
        while True:
            generation = await bus.wait_connected(generation)
            try:
                await bus.subscribe([self._names.filter("event")], qos=0)
                self.told.problem = ""
            except BrokerRefusedError as error:
                self.told.problem = f"Of events only the last ones of each site are seen: {error}"
            except BrokerUnreachableError:
                continue
            self.ready.set()
            await bus.wait_disconnected(generation)
            self.told.problem = LOST
            self.told.losses += 1

    def _take(self, messages: Sequence[Message]) -> None:
        self.told.add(event for message in messages if (event := self._event(message)))

    def _event(self, message: Message) -> Event | None:
        """Anyone on the broker can write there: what is no event, or another one than its topic says, is left out."""
        parsed = self._names.parse(message.topic)
        if parsed is None or parsed.kind.name != "event" or message.retain or len(message.payload) > LARGEST:
            return None
        try:
            event = Event.model_validate_json(message.payload)
        except ValidationError:
            return None
        return event if (event.site, event.severity) == (parsed.site, parsed.ids["severity"]) else None
