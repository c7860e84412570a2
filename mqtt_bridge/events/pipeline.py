"""Between listeners and journal: what is handed over becomes events in one transaction with its cursors.

A queue for each listener, bounded by reports, so that a flood on one is refused there and delays no other for long; one
worker takes from all of them in turn, as much as has come while the last transaction was written (group commit).
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.events.account import UNASSIGNED
from mqtt_bridge.events.held import Summary
from mqtt_bridge.events.intake import IntakeFullError, Report
from mqtt_bridge.events.intakes import EventIntake
from mqtt_bridge.events.normalise import World, event_id, iso
from mqtt_bridge.events.transaction import Batch, Maker
from mqtt_bridge.model import Event
from mqtt_bridge.seldom import Seldom
from mqtt_bridge.settings.listening import EventSettings

log = logging.getLogger(__name__)

QUEUE = 10_000  # reports of one listener that wait
TRANSACTION = 500  # reports after which no further batch is taken into a transaction: others wait for its end
FEW = 100  # reports of a listener that go before the flood of another, in a transaction of their own
SEED_AGE, SEED_EVENTS = 86_400.0, 50_000  # what is read of the journal at the start
SUMMARIES = 100  # summaries that wait while the journal fails
TICK = 1.0  # seconds between looks for a summary that is due
GOODBYE = 1.5  # seconds for what waits when everything stops

OnStored = Callable[[Sequence[Event]], None]


class EventStore(Protocol):
    """What the pipeline needs of the journal."""

    async def commit(self, events: Sequence[Event], cursors: Mapping[str, str]) -> frozenset[str]: ...
    async def known(self, ids: Sequence[str]) -> frozenset[str]: ...
    async def cursor(self, name: str) -> str | None: ...
    async def recent(self, since: float, limit: int) -> list[Event]: ...


async def _at_once() -> None:
    """There is nothing to wait for."""


class Pipeline:
    """`async with` it, inside the journal. `on_stored` is called soon after each commit with what is new.

    `familiar` is awaited before the first report is looked at: until the world is known, nothing can say which site a
    report is of, and a happening told before and after a restart would be two.
    """

    def __init__(
        self,
        journal: EventStore,
        world: World,
        settings: EventSettings,
        on_stored: OnStored = lambda _: None,
        familiar: Callable[[], Awaitable[None]] = _at_once,
    ) -> None:
        self.intakes: dict[str, EventIntake] = {}
        self._journal = journal
        self._world = world
        self._settings = settings
        self._on_stored = on_stored
        self._familiar = familiar
        self._maker = Maker(world, settings)
        self._queues: dict[str, deque[Batch]] = {}
        self._waiting: dict[str, int] = {}
        self._summaries: list[Event] = []
        self._wake = asyncio.Event()
        self._seldom = Seldom()
        self._few = False  # the last transaction was of those that have little
        self._open = False
        self._worker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        events = await self._journal.recent(time.time() - SEED_AGE, SEED_EVENTS)
        await self._maker.learn(events[::-1])
        self._open = True
        self._worker = asyncio.create_task(self._work(), name="pipeline")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was handed over is still committed, if that takes no longer than GOODBYE."""
        self._open = False
        self._wake.set()
        if self._worker is not None:
            await asyncio.wait({self._worker}, timeout=GOODBYE)
            self._worker.cancel()
            await asyncio.wait({self._worker})
        for queue in self._queues.values():
            _refuse(queue, _closing())

    def intake(self, name: str) -> EventIntake:
        """The way in of this listener; the same one each time."""
        if name not in self.intakes:
            self._queues[name] = deque()
            self._waiting[name] = 0
            self.intakes[name] = EventIntake(name, self._settings, self._hand_over, self._journal.cursor)
        return self.intakes[name]

    @property
    def waiting(self) -> dict[str, int]:
        """Reports by listener that wait to be written down."""
        return dict(self._waiting)

    # --- in ----------------------------------------------------------------------------------------------------------

    async def _hand_over(self, intake: EventIntake, reports: Sequence[Report], cursors: Mapping[str, str]) -> None:
        if not self._open:
            raise _closing()
        self._make_room(intake.name, len(reports))
        named = {f"{intake.name}:{name}": value for name, value in cursors.items()}
        if not reports and not named:
            return
        batch = Batch(intake, tuple(reports), named, asyncio.get_running_loop().create_future())
        self._queues[intake.name].append(batch)
        self._waiting[intake.name] += len(batch.reports)
        self._wake.set()
        await batch.done

    def _make_room(self, name: str, count: int) -> None:
        if count > QUEUE:
            raise IntakeFullError(f"{count} reports at once are too many.", cure=f"Hand over {QUEUE} at most.")
        if self._waiting[name] + count > QUEUE:
            raise IntakeFullError(
                f"{self._waiting[name]} reports of {name} wait to be written down.", cure="Try again in a second."
            )

    # --- the worker --------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        await self._rest()
        if self._open:
            await self._familiar()
        while self._open or any(self._queues.values()):
            await self._rest()
            batches = self._take()
            self._summarize()
            if batches or self._summaries:
                await self._settle(batches)
        self._summarize(closing=True)
        if self._summaries:
            await self._settle([])

    async def _rest(self) -> None:
        """Until something was handed over, or a summary may be due."""
        if any(self._queues.values()) or not self._open:
            return
        self._wake.clear()
        pending = self._summaries or any(intake.budget.holding for intake in self.intakes.values())
        with suppress(TimeoutError):
            async with asyncio.timeout(TICK if pending else None):
                await self._wake.wait()

    def _take(self) -> list[Batch]:
        """A batch of each listener in turn; now and then only of those that have little."""
        some = [name for name, queue in self._queues.items() if queue]
        few = [name for name in some if self._waiting[name] <= FEW]
        self._few = bool(few) and len(few) < len(some) and not self._few
        names = few if self._few else some
        taken: list[Batch] = []
        count = 0
        while count < TRANSACTION and any(self._queues[name] for name in names):
            for name in names:
                if queue := self._queues[name]:
                    taken.append(queue.popleft())
                    count += len(taken[-1].reports)
                    self._waiting[name] -= len(taken[-1].reports)
        return taken

    async def _settle(self, batches: Sequence[Batch]) -> None:
        """One transaction, and what its callers are told. Whatever fails is theirs to know; the worker goes on."""
        events: list[Event] = []
        try:
            stored = await self._store(batches, events)
        except asyncio.CancelledError:
            _refuse(batches, _closing())
            raise
        except BridgeError as error:
            self._maker.take_back(events)
            _refuse(batches, error)
            if not batches:
                await asyncio.sleep(TICK)
            return
        except Exception as error:
            self._maker.take_back(events)
            if times := self._seldom.count(repr(error)):
                log.exception("Reports could not be made into events (%d times)", times)
            await self._apart(batches, error)
            return
        new = [event for event in events if event.id in stored]
        for batch in batches:
            _resolve(batch)
        if new:
            asyncio.get_running_loop().call_soon(self._on_stored, new)
        await self._maker.remember(new)

    async def _apart(self, batches: Sequence[Batch], error: Exception) -> None:
        """A fault of ours: only the caller whose reports bring it about is to suffer."""
        if len(batches) == 1:
            return _refuse(batches, error)
        for batch in batches:
            await self._settle([batch])
        return None

    async def _store(self, batches: Sequence[Batch], events: list[Event]) -> frozenset[str]:
        ids = await self._maker.identify(batches)
        known = await self._journal.known(ids) if ids else frozenset()
        summaries = tuple(self._summaries)
        events += summaries
        await self._maker.make(batches, known, events)
        cursors = {name: value for batch in batches for name, value in batch.cursors.items()}
        if not events and not cursors:
            return frozenset()
        stored = await self._journal.commit(events, cursors)
        self._summaries = self._summaries[len(summaries) :]
        return stored

    # --- what was held back ------------------------------------------------------------------------------------------

    def _summarize(self, *, closing: bool = False) -> None:
        now = time.time()
        for intake in self.intakes.values():
            due = intake.budget.due(now, closing=closing)
            self._summaries += [self._summary(intake.name, summary) for summary in due]  # no filter hides what was held
        del self._summaries[:-SUMMARIES]

    def _summary(self, listener: str, summary: Summary) -> Event:
        identity = event_id(listener, f"held\x1f{summary.since}")
        worst = ", ".join(f"{count} {severity}" for severity, count in summary.by_severity.items())
        kinds = "\n".join(f"{count} {kind}" for kind, count in summary.by_kind.items())
        return Event(
            id=identity,
            correlation_id=identity,
            kind="bridge.events.held",
            title=f"{summary.total} events of {listener} were held back within a minute: {worst}",
            message=kinds,
            source=listener,
            timestamp=iso(int(summary.since)),
            site=self._world.sites[0] if len(self._world.sites) == 1 else UNASSIGNED,
            severity="warning",
            metadata={"limit": summary.limit, "by_severity": summary.by_severity, "by_kind": summary.by_kind},
        )


def _closing() -> IntakeFullError:
    return IntakeFullError("The bridge is shutting down and takes nothing more.", cure="Try again once it is back.")


def _waiting(batches: Sequence[Batch] | deque[Batch]) -> Iterator[Batch]:
    return (batch for batch in batches if not batch.done.done())


def _refuse(batches: Sequence[Batch] | deque[Batch], error: Exception) -> None:
    for batch in _waiting(batches):
        batch.done.set_exception(error)


def _resolve(batch: Batch) -> None:
    """Count what became of it, and tell the caller."""
    intake = batch.intake
    intake.accepted += batch.counts["accepted"]
    intake.replays += batch.counts["replays"]
    intake.duplicates += batch.counts["duplicates"]
    intake.filtered += batch.counts["filtered"]
    intake.held += batch.counts["held"]
    if batch.counts["accepted"]:
        intake.last_event = time.time()
    if not batch.done.done():
        batch.done.set_result(None)
