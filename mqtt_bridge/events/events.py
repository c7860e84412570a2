"""Events on their way: listeners → pipeline → journal → outbox → MQTT, put together."""

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from mqtt_bridge.approvals.ballot import Ballot
from mqtt_bridge.chat import Chat
from mqtt_bridge.events.history import History
from mqtt_bridge.events.intake import Intake, Listener
from mqtt_bridge.events.outbox import Outbox
from mqtt_bridge.events.pipeline import Pipeline
from mqtt_bridge.journal.journal import MEMORY, Journal
from mqtt_bridge.model import ListenerInfo
from mqtt_bridge.mqtt.bus import Bus
from mqtt_bridge.pollers import Pollers
from mqtt_bridge.settings.listening import ListenerName
from mqtt_bridge.supervise import Parts
from mqtt_bridge.ways_in import LISTENERS, Given
from mqtt_bridge.world import InventoryWorld

JOURNAL = "journal.db"  # in STATE_DIR
FAMILIAR = 2.5  # seconds that reports wait for the first poll at most: Proxmox's SMTP targets give up after 5


class Events:
    """`async with` it inside the pollers; `listen` starts the listeners, `feed` carries events to a broker.

    Without `journal` (a private poller) everything is in memory: nothing survives, and nothing is left behind.
    """

    def __init__(self, pollers: Pollers, journal: Path | None = None) -> None:
        settings = pollers.settings
        self.journal = Journal(journal or MEMORY, max_events=settings.events.journal_max_events)
        self.outbox = Outbox(self.journal, pollers.retained)
        self.world = InventoryWorld([s.slug for s in settings.sites], pollers.inventories)
        self.pipeline = Pipeline(self.journal, self.world, settings.events, familiar=self._familiar)
        self.listeners: dict[ListenerName, Listener] = {}
        self._lasting = journal is not None
        self.parts = Parts()  # what writes to the journal or reads it ends before it is closed
        self._pollers = pollers
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.journal)
            await stack.enter_async_context(self.outbox)
            await stack.enter_async_context(self.pipeline)
            history = self.history()
            local = await stack.enter_async_context(self._pollers.loopback.client(history.take))
            feed = self.outbox.feed_live if self._lasting else self.outbox.feed
            await stack.enter_async_context(self.parts)
            self.parts.start("loopback events", lambda: feed(local))
            self.parts.start("loopback history", lambda: history.serve(local))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _familiar(self) -> None:
        """Until every site was polled, well or not; not for ever, because of a host that hangs."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FAMILIAR):
                await self._pollers.polled_once()

    def listen(self, names: Collection[ListenerName], chat: Chat | None = None, ballot: Ballot | None = None) -> None:
        """Start these listeners, each under supervision of its own."""
        settings = self._pollers.settings
        given = Given(settings.listen, self._pollers.inventories, self.world, chat, ballot)
        for name in (name for name in LISTENERS if name in names):
            listener = self.listeners[name] = LISTENERS[name](given)
            self.parts.start(name, _Run(listener, self.pipeline.intake(name)))

    def history(self) -> History:
        """What answers questions about earlier events on one bus."""
        return History(self.journal, self._pollers.retained.names, self._pollers.writer.bridge)

    async def feed(self, bus: Bus) -> None:
        """Publish what the broker has not got yet, until cancelled."""
        await self.outbox.feed(bus)

    def info(self) -> dict[str, ListenerInfo]:
        """The listeners' health; one that is switched off is not there."""
        return {name: self.pipeline.intake(name).info() for name in self.listeners}

    @property
    def problem(self) -> str:
        """What is wrong with journal or outbox at present; empty: nothing."""
        return self.journal.stats.problem or self.outbox.problem

    @property
    def healthy(self) -> bool:
        """Whether journal, outbox and listeners work. WEBSOCKET's troubles are its sites', which are judged apart."""
        listeners = (info for name, info in self.info().items() if name != "WEBSOCKET")
        return not self.problem and all(info.status != "problem" for info in listeners)


class _Run:
    """A listener's `run` as a supervised part; how it failed shows in its health."""

    def __init__(self, listener: Listener, intake: Intake) -> None:
        self._listener, self._intake = listener, intake

    async def __call__(self) -> None:
        try:
            await self._listener.run(self._intake)
        except Exception as error:
            self._intake.unhealthy(f"It failed and is started again: {type(error).__name__}: {error}")
            raise
