"""Who needs to know, knows: events from MQTT become notices, and each notifier tells them.

It subscribes to events on a durable session of its own and acknowledges each once it is written down. Where its journal
is the bridge's, it also reads there what the broker forgot, and, while there is no broker, what cannot wait.
"""

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from pydantic import ValidationError

from mqtt_bridge.errors import BrokerError, BrokerRefusedError
from mqtt_bridge.events.intake import JournalError
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.model import Event, GuestState, Severity
from mqtt_bridge.mqtt.bus import DurableBus, Message, OnMessages
from mqtt_bridge.mqtt.options import Session
from mqtt_bridge.notifiers.notice import Notice, Notifier
from mqtt_bridge.notifying import catching_up, deliveries, incident_book, silences
from mqtt_bridge.notifying.deciding import Decider
from mqtt_bridge.notifying.delivering import Backoff, Worker
from mqtt_bridge.notifying.incidents import Incident
from mqtt_bridge.notifying.messages import Messages, Outcome
from mqtt_bridge.notifying.notices import Link
from mqtt_bridge.notifying.silences import Scope, Silence
from mqtt_bridge.settings.notifying import NotifySettings
from mqtt_bridge.supervise import Parts
from mqtt_bridge.topics import Topics

log = logging.getLogger(__name__)

T = TypeVar("T")
Connect = Callable[[OnMessages, Session], AbstractAsyncContextManager[DurableBus]]
TICK = 1.0
TIDY = 3600.0
COUNT = 30.0  # seconds between two looks at what was given up
DAY = 86400.0
PAUSE = 1.0  # seconds before a journal that failed is tried again
WAITING = 10_000  # messages that wait for the journal; more of those that the broker does not keep are dropped


@dataclass(frozen=True, slots=True)
class Tuning:
    """Seconds. `patience`: without a broker for so long, error and critical are told straight from the journal."""

    patience: float = 15
    backoff: Backoff = field(default_factory=Backoff)


class Notify:
    """`async with` it, inside its journal and before the first listener runs.

    `connect` opens a connection with a session of its own. `guests` are all guests that the inventory knows, `link`
    leads to an event's page in Proxmox; `follows`: the bridge, and so whoever begins maintenance, is another process.
    Raises SettingsError when it is made of settings that cannot be understood.
    """

    def __init__(
        self,
        settings: NotifySettings,
        notifiers: Sequence[Notifier],
        journal: Journal,
        connect: Connect,
        names: Topics,
        *,
        client_id: str = "proxmox-mcp-notify",
        link: Link | None = None,
        guests: Callable[[], Iterable[GuestState]] = tuple,
        follows: bool = False,
        tuning: Tuning | None = None,
    ) -> None:
        self.rejected = 0
        self.parts = Parts()
        self._tuning = tuning or Tuning()
        self._journal = journal
        self._connect = connect
        self._filter = names.filter("event")
        self._client_id = client_id
        self._guests = guests
        self._decider = Decider(settings, [notifier.name for notifier in notifiers], link, follows=follows)
        self._workers = [Worker(one, journal, self._decider.posting, self._tuning.backoff) for one in notifiers]
        self._arrived: deque[Message] = deque()
        self._news = asyncio.Event()
        self.messages = Messages(journal, self._decider.posting, [w.name for w in self._workers], self._wake)
        self._listening = False
        self._refusal = ""
        self._parked: Mapping[str, int] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            client = await self._journal.db.write(self._begin)
            bus = await stack.enter_async_context(self._connect(self._take, Session(client)))
            await stack.enter_async_context(self.parts)
            self.parts.start("notify intake", lambda: self._write_down(bus))
            self.parts.start("notify session", lambda: self._listen(bus))
            self.parts.start("notify clock", lambda: self._watch(bus))
            for worker in self._workers:
                worker.on_change = self._wake
                self.parts.start(worker.name, worker.run)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def _begin(self, connection: sqlite3.Connection) -> str:
        self._decider.begin(connection, time.time())
        return catching_up.begin(connection, self._client_id)

    # --- from MQTT ---------------------------------------------------------------------------------------------------

    def _take(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.ticket is None and len(self._arrived) >= WAITING:
                self.rejected += 1
            else:
                self._arrived.append(message)
        self._news.set()

    async def _write_down(self, bus: DurableBus) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._arrived:
                batch = list(self._arrived)
                events = [event for message in batch if (event := self._event(message))]
                await self._decide(partial(self._decider.take, events))
                for _ in batch:
                    self._arrived.popleft()
                bus.acknowledge(batch)
                self._wake()

    def _event(self, message: Message) -> Event | None:
        try:
            return Event.model_validate_json(message.payload)
        except ValidationError:
            self.rejected += 1
            return None

    async def _decide(self, work: Callable[[sqlite3.Connection, float], T]) -> T:
        """In a transaction; a journal that fails is tried again until it works, and nothing is acknowledged."""
        while True:
            try:
                return await self._journal.db.write(lambda c: work(c, time.time()))
            except JournalError:
                await asyncio.sleep(PAUSE)

    async def _listen(self, bus: DurableBus) -> None:
        generation = 0
        try:
            while True:
                generation = await bus.wait_connected(generation)
                try:
                    await bus.subscribe([self._filter], qos=1)
                except BrokerRefusedError as error:
                    self._refusal = str(error)
                except BrokerError:
                    continue
                else:
                    self._listening, self._refusal = True, ""
                    await self._catch_up()
                await bus.wait_disconnected(generation)
                self._listening = False
        finally:
            self._listening = False

    # --- from the journal --------------------------------------------------------------------------------------------

    async def _catch_up(self, *, older: float = 0, urgent: bool = False) -> None:
        more = True
        while more:
            found = await self._decide(
                lambda c, now: catching_up.some(c, self._decider, now, older=older, urgent=urgent)
            )
            more = found == catching_up.AT_ONCE
            if found:
                self._wake()

    async def _watch(self, bus: DurableBus) -> None:
        """The clock: what is due, what the broker does not bring, what nobody needs any more."""
        clock = asyncio.get_running_loop().time
        patience = self._tuning.patience
        heard = swept = clock()
        tidied = counted = float("-inf")
        while True:
            await asyncio.sleep(min(TICK, patience / 4))
            await self._tick()
            if bus.connected:
                heard = clock()
            elif clock() - heard >= patience:
                await self._catch_up(urgent=True)
            if bus.connected and clock() - swept > max(patience, TICK):  # also where its ACL lets nothing through
                await self._catch_up(older=patience)
                swept = clock()
            if clock() - counted > COUNT:
                await self._count_parked()
                counted = clock()
            if clock() - tidied > TIDY:
                await self._decide(self._decider.tidy)
                tidied = clock()

    async def _count_parked(self) -> None:
        names, since = [worker.name for worker in self._workers], time.time() - DAY
        with suppress(JournalError):
            self._parked = await self._journal.db.read(lambda c: deliveries.parked_since(c, names, since))

    async def _tick(self) -> None:
        try:
            morning = await self._journal.db.read(lambda c: self._decider.morning_due(c, time.time()))
        except JournalError:
            return
        guests = tuple(self._guests()) if morning else ()
        before = await self._decide(lambda c, now: _ticked(c, self._decider, now, guests))
        if before:
            self._wake()

    def _wake(self) -> None:
        for worker in self._workers:
            worker.wake()
        self.messages.changed()

    # --- what others ask for -----------------------------------------------------------------------------------------

    async def tell(self, notice: Notice, notifiers: Iterable[str] | None = None) -> Mapping[str, Outcome]:
        """See Messages."""
        return await self.messages.tell(notice, notifiers)

    async def message(
        self, title: str, text: str, severity: Severity = "info", *, site: str = "", only: Iterable[str] | None = None
    ) -> Mapping[str, Outcome]:
        """See Messages."""
        return await self.messages.send(title, text, severity, site=site, only=only)

    async def silence(  # noqa: PLR0917 -- what a silence is made of
        self, scope: Scope, site: str, target: str, length: float, reason: str = "", by: str = ""
    ) -> Silence:
        """Hold back what is about this for `length` seconds; survives restarts."""
        one = silences.silence(scope, site, target, time.time(), length, reason, by)
        await self._journal.db.write(lambda c: silences.add(c, one))
        return one

    async def unsilence(self, identity: str) -> bool:
        """Let a silence end now: what is still wrong is told. False: there is none of that id."""
        return await self._journal.db.write(lambda c: silences.end(c, identity, time.time()))

    async def silences(self) -> list[Silence]:
        """Those that hold."""
        return await self._journal.db.read(silences.every)

    async def acknowledge(self, which: str, by: str) -> Incident | None:
        """Somebody takes care of an incident (its id, or that of a notice): no reminders and updates any more."""
        return await self._journal.db.write(lambda c: self._decider.acknowledge(c, which, by, time.time()))

    async def incidents(self) -> list[Incident]:
        """What is wrong at present, newest first."""
        return await self._journal.db.read(incident_book.current)

    async def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Deliveries by notifier and state, of the last 30 days."""
        return await self._journal.db.read(deliveries.counts)

    # --- health ------------------------------------------------------------------------------------------------------

    def info(self) -> dict[str, str]:
        """Each notifier's health: `ok`, or what is wrong."""
        failed = {part.name: part.problem for part in self.parts.parts if part.problem}
        return {worker.name: worker.problem or failed.get(worker.name, "") or "ok" for worker in self._workers}

    @property
    def listening(self) -> bool:
        """Whether the broker has granted the subscription, on the connection that there is."""
        return self._listening

    @property
    def problems(self) -> list[str]:
        """What is wrong with telling at present."""
        found = [f"{name}: {text}" for name, text in self.info().items() if text != "ok"]
        for name, count in self._parked.items():
            given_up = "a notice was" if count == 1 else f"{count} notices were"
            found.append(f"{name}: {given_up} given up within 24 h. `mqtt-bridge deliveries --parked` shows why.")
        return [*found, *([f"Notifiers: {self._refusal}"] if self._refusal else [])]


def _ticked(connection: sqlite3.Connection, decider: Decider, now: float, guests: Iterable[GuestState]) -> bool:
    """Whether the clock made anything."""
    before = connection.total_changes
    decider.tick(connection, now, guests)
    return connection.total_changes > before
