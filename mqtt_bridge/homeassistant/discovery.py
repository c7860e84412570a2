"""Keeps the discovery configurations at the broker in step with what there is.

- States first: nothing is published before every state of the first poll has been, and then so many a second only.
- Parents before children; what is gone is cleared; what is no longer a component of a device is published once as its
  platform alone and then left out, which is how Home Assistant removes one.
- Home Assistant warns of each disabled entity of a device that is removed (it clears their topic once more itself, and
  then finds nothing to clear). So what is to go is published once more with other ids first: see `discovered.shed`.
- A device that is gone, or of another type, and comes back is cleared first: it is another one.
- What an earlier run left is read back at each connection, so that this holds over a restart too.
- Everything again when Home Assistant says that it has started, and after each connection of ours.
"""

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import get_args

from pydantic_core import from_json

from mqtt_bridge.discovered import ORIGIN, TRIGGER, shed
from mqtt_bridge.errors import BrokerRefusedError, BrokerUnreachableError
from mqtt_bridge.homeassistant.book import Book
from mqtt_bridge.homeassistant.ids import decode
from mqtt_bridge.homeassistant.payload import Around, build, without
from mqtt_bridge.homeassistant.thing import OF_TOPIC, RANK, Key
from mqtt_bridge.homeassistant.triggers import Triggers
from mqtt_bridge.model import GuestState, GuestType, HomeAssistantInfo, Model
from mqtt_bridge.mqtt.bus import Bus, Message
from mqtt_bridge.topics import DiscoveryTopics

log = logging.getLogger(__name__)

BATCH, EVERY = 20, 0.2  # devices at once, seconds between: 100 a second
PARENTS = 1.0  # seconds that a device's parent is ahead of it
SETTLE = 2.0  # seconds in which Home Assistant has taken in what was published, before what depends on it
JITTER = (1.0, 4.0)  # seconds between Home Assistant's start and our answer
QUIET = 1.0  # seconds without a message after which all stored configurations have come
PATIENCE = 20  # parts of that in which a few configurations are waited for
LOOK = 2.0  # seconds between two looks at permissions and leftovers
CHUNK = 200  # changes between two breaths of the event loop
LARGEST = 256 * 1024  # bytes of a stored configuration
_dice = random.SystemRandom()

Components = frozenset[tuple[str, str]]
_TYPES = frozenset(get_args(GuestType))


class Discovery:
    """`run` it on a connection of its own, which hands `take` what it receives."""

    def __init__(
        self,
        topics: DiscoveryTopics,
        around: Around,
        complete: Callable[[], set[str]],
        awaited: Callable[[Key], bool] = lambda _: False,
    ) -> None:
        self.book = Book()
        self.stats: Counter[str] = Counter()
        self.problem = ""
        self._topics = topics
        self._around = around
        self._complete = complete  # sites that were seen whole, so that what is not there is gone
        self._awaited = awaited  # but these may still turn up
        self._has: dict[str, Components] = {}  # what the broker holds of ours, by device id
        self._sent: dict[str, int] = {}  # a hash of it, where we published it over this connection
        self._clear: set[str] = set()  # device ids to be cleared before anything else is said of them
        self._left: set[str] = set()  # stored by an earlier run, and not met again yet
        self._leaving: dict[str, Key] = {}  # to be cleared, once Home Assistant lets go of their disabled entities
        self._fetched: dict[str, bytes] = {}
        self._shed: set[str] = set()  # it has
        self._passed: dict[str, set[str]] = {}  # components on their way out, by device, that are shed already
        self._triggers = Triggers(topics)
        self._types: dict[str, str] = {}
        self._left_out: dict[tuple[str, str], frozenset[str]] = {}  # by site and kind
        self._answer: asyncio.TimerHandle | None = None  # to births: several in a row are answered once
        self._interned: dict[Components, Components] = {}
        self._heard = 0.0
        self._news: deque[tuple[str, Model | None, Mapping[str, str | int]]] = deque()
        self._wake = asyncio.Event()
        self._granted: dict[str, object] = {}

    # --- what comes in ---------------------------------------------------------------------------------------------

    def changed(self, kind: str, value: Model | None, ids: Mapping[str, str | int]) -> None:
        """A watcher of what is put retained. It only notes it: a first poll of thousands must not wait for us."""
        if kind in OF_TOPIC:
            self._news.append((kind, value, ids))
            self._wake.set()

    async def _drain(self) -> None:
        """Look at what has changed."""
        while self._news:
            for _ in range(min(CHUNK, len(self._news))):
                self._changed(*self._news.popleft())
            await asyncio.sleep(0)

    def _changed(self, kind: str, value: Model | None, ids: Mapping[str, str | int]) -> None:
        key = Key.of(kind, ids)
        identity = key.identity(self._around.names.base)
        if value is None or self._types.get(identity, kind_of(value)) != kind_of(value):
            self._clear.add(identity)
        if value is None:
            self._types.pop(identity, None)
        elif isinstance(value, GuestState):
            self._types[identity] = value.type
        self.book.take(kind, value, ids)

    def take(self, messages: Sequence[Message]) -> None:
        """What the connection has received: stored configurations, and births."""
        for message in messages:
            if message.topic in self._topics.births:
                if message.payload == b"online" and not message.retain:
                    self._born()
            elif message.retain and (identity := self._topics.identity(message.topic)):
                self._stored(identity, message.payload)

    def _born(self) -> None:
        self.stats["births"] += 1
        if self._answer is None:
            self._answer = asyncio.get_running_loop().call_later(_dice.uniform(*JITTER), self._reply)

    def _reply(self) -> None:
        self._answer = None
        self._again()

    def _again(self) -> None:
        """Publish every configuration again."""
        self._sent.clear()
        self._triggers.again()
        self.book.mark_all()
        self._wake.set()

    def _stored(self, identity: str, payload: bytes) -> None:
        self._heard = asyncio.get_running_loop().time()
        if identity in self._leaving and len(payload) <= LARGEST:
            self._fetched[identity] = payload
        if identity in self._has or self._key(identity) is None or len(payload) > LARGEST:
            return
        try:
            whole = from_json(payload)
            if whole["o"]["name"] != ORIGIN:
                return
            found = frozenset((str(key), str(one["p"])) for key, one in whole["cmps"].items())
            self._was(identity, str(whole["dev"].get("mdl_id")).partition("/")[0])
        except (ValueError, TypeError, KeyError, AttributeError):
            return
        self._has[identity] = self._interned.setdefault(found, found)
        self._left.add(identity)

    def _was(self, identity: str, kind: str) -> None:
        """A guest that had another type before we were started, or when we could not say so, is another device now."""
        if kind in _TYPES and self._types.setdefault(identity, kind) != kind:
            self._clear.add(identity)

    def _key(self, identity: str) -> Key | None:
        """Of a device of ours; None for another's."""
        parts = decode(identity) or ()
        if len(parts) < 3 or parts[0] != self._around.names.base or parts[1] not in self._granted:  # noqa: PLR2004
            return None
        kind, name = parts[2], parts[3:]
        topic = "shared_storage" if kind == "storage" and len(name) == 1 else kind
        key = Key(parts[1], topic, name) if topic in OF_TOPIC else None
        return key if key and key.whole else None

    # --- what goes out ---------------------------------------------------------------------------------------------

    async def run(self, bus: Bus, sites: Sequence[str]) -> None:
        """Until cancelled. To be started when the states of the first poll are published."""
        self._granted = {site: self._around.granted(site) for site in sites}
        generation = 0
        while True:
            generation = await bus.wait_connected(generation)
            try:
                async with asyncio.TaskGroup() as group:
                    work = group.create_task(self._serve(bus))
                    await bus.wait_disconnected(generation)
                    work.cancel()
            except* BrokerUnreachableError:
                await asyncio.sleep(0.1)

    async def _serve(self, bus: Bus) -> None:
        await self._read_back(bus)
        await self._drain()
        self._again()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish_all(bus))
            group.create_task(self._look())

    async def _read_back(self, bus: Bus) -> None:
        """What the broker holds of ours, from an earlier run too."""
        self._has.clear()
        self._left.clear()
        self._shed.clear()
        self._passed.clear()
        self._leaving.clear()
        try:
            await bus.subscribe(self._topics.births, qos=1, retain_handling=2)
            await bus.subscribe([self._topics.configs])
        except BrokerRefusedError as error:
            log.warning("Home Assistant's start and earlier configurations cannot be seen: %s", error)
            return
        clock = asyncio.get_running_loop().time
        self._heard = clock()
        rest = QUIET
        while rest > 0:
            await asyncio.sleep(rest)
            rest = self._heard + QUIET - clock()
        await bus.unsubscribe([self._topics.configs])

    async def _look(self) -> None:
        """Permissions that changed, and what nothing corresponds to any more."""
        while True:
            for site, before in list(self._granted.items()):
                granted = self._around.granted(site)
                if granted != before:
                    self._granted[site] = granted
                    self._left_out = {key: why for key, why in self._left_out.items() if key[0] != site}
                    self.book.mark_all({site})
            await self._drain()
            self._look_at_leftovers()
            self._wake.set()
            await asyncio.sleep(LOOK)

    def _look_at_leftovers(self) -> None:
        """What was stored is known by now, or, where all was seen, gone."""
        whole = self._complete() if self._left else set()
        for identity in list(self._left):
            key = self._key(identity)
            if key is None or key in self.book:
                self._left.discard(identity)
            elif key.site in whole and not self._awaited(key):
                self._left.discard(identity)
                self.book.mark(key)

    async def _publish_all(self, bus: Bus) -> None:
        while True:
            self._wake.clear()
            await self._drain()
            while batch := self.book.due(BATCH):
                if self._leaving:
                    await self._let_go(bus)
                sent = await self._publish(bus, batch)
                await asyncio.sleep(PARENTS if sent and RANK[batch[0].kind] < max(RANK.values()) else EVERY)
                await self._drain()
            if self._leaving:
                await self._let_go(bus)
            else:
                await self._wake.wait()

    async def _let_go(self, bus: Bus) -> None:
        """Ask the broker for the configurations of what leaves, and publish them without disabled entities."""
        several = dict(islice(self._leaving.items(), BATCH))
        topics = {identity: self._topics.config(identity) for identity in several}
        with suppress(BrokerRefusedError):
            await bus.subscribe(list(topics.values()))
            for _ in range(PATIENCE):
                if several.keys() <= self._fetched.keys():
                    break
                await asyncio.sleep(QUIET / PATIENCE)
            await bus.unsubscribe(list(topics.values()))
        found = {one: config for one in several if (config := shed(self._fetched.pop(one, b"")))}
        await bus.publish_many([Message(topics[one], config, 1, retain=True) for one, config in found.items()])
        for identity, key in several.items():
            del self._leaving[identity]
            self._shed.add(identity)
            if identity in found:
                self._later(key)
            else:
                self.book.mark(key)

    async def _publish(self, bus: Bus, batch: Sequence[Key]) -> int:
        messages = [message for key in batch for message in self._next(key)]
        if not messages:
            return 0
        try:
            reasons = await bus.publish_many(messages)
        except BaseException:
            for key in batch:
                self.book.mark(key)
            raise
        refused = [reason for reason in reasons if reason]
        if refused and not self.problem:
            log.error("The broker refuses Home Assistant's discovery topics (%s).", refused[0])
        self.problem = f"The broker refuses discovery topics ({refused[0]})." if refused else ""
        self.stats["published"] += len(reasons) - len(refused)
        self.stats["refused"] += len(refused)
        return len(messages)

    def _next(self, key: Key) -> list[Message]:
        """What is to be published of it now; the rest is marked for later."""
        identity = key.identity(self._around.names.base)
        has = self._has.get(identity, frozenset())
        thing = self.book.thing(key)
        config = build(thing, self._around, frozenset(name for name, _ in has)) if thing else None
        if config is not None:
            about = key.site, key.kind
            self._left_out[about] = self._left_out.get(about, frozenset()) | config.left_out
        if config is None or not config.payload or identity in self._clear:
            return self._cleared(key, identity, again=config is not None and bool(config.payload))
        kept = {name for name, _ in config.components}
        gone = {name: platform for name, platform in has if name not in kept}
        passing = {name: gone.pop(name) for name in self._passing(identity, gone)}
        now = config.components | frozenset(passing.items())
        self._has[identity] = self._interned.setdefault(now, now)
        if gone or passing:
            self._later(key)
        else:
            self._passed.pop(identity, None)
        payload = without(config, identity, gone, passing) if gone or passing else config.payload
        told = TRIGGER in gone.values()  # as components, by an earlier version: not twice at a time
        triggers = [] if told else self._triggers.due(identity, key.kind, config.triggers)
        if self._sent.get(identity) == (mark := hash(payload)):
            return triggers
        self._sent[identity] = mark
        return [self._message(identity, payload), *triggers]

    def _message(self, identity: str, payload: bytes) -> Message:
        return Message(self._topics.config(identity), payload, 1, retain=True)

    def _passing(self, identity: str, gone: Mapping[str, str]) -> Sequence[str]:
        """Those of the components that go for which `shed` was not done yet: any may be a disabled entity."""
        done = self._passed.setdefault(identity, set())
        found = [name for name, platform in gone.items() if platform != TRIGGER and name not in done]
        done.update(found)
        return found

    def _cleared(self, key: Key, identity: str, *, again: bool) -> list[Message]:
        if identity in self._has and identity not in self._shed:
            self._leaving[identity] = key
            return []
        self._shed.discard(identity)
        known = self._has.pop(identity, None) is not None
        self._sent.pop(identity, None)
        asked = identity in self._clear
        self._clear.discard(identity)
        if again:
            self._later(key)
        return [*self._triggers.gone(identity, key.kind), self._message(identity, b"")] if known or asked else []

    def _later(self, key: Key) -> None:
        def mark() -> None:
            self.book.mark(key)
            self._wake.set()

        asyncio.get_running_loop().call_later(SETTLE, mark)

    # --- what is said of it ----------------------------------------------------------------------------------------

    def info(self) -> HomeAssistantInfo:
        """For `bridge/info`."""
        left_out = sorted({one for several in self._left_out.values() for one in several})
        return HomeAssistantInfo(
            devices=len(self._sent), waiting=self.book.waiting + len(self._news), not_created=tuple(left_out)
        )


def kind_of(state: object) -> str:
    """What makes a thing of one id another thing: a guest's type."""
    return state.type if isinstance(state, GuestState) else ""
