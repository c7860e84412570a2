"""The reports of one transaction become events. Nothing is decided twice: what failed to be stored is taken back."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mqtt_bridge.events.correlate import Correlator
from mqtt_bridge.events.enrich import Related, context_of
from mqtt_bridge.events.intake import Report
from mqtt_bridge.events.intakes import EventIntake
from mqtt_bridge.events.normalise import World, complete, event_id, event_of
from mqtt_bridge.model import Event
from mqtt_bridge.settings.listening import EventSettings

TURN = 0.004  # seconds of work before others on the event loop get their turn


@dataclass(eq=False, slots=True)
class Batch:
    """What one call handed over. `done` is resolved once it is committed or refused."""

    intake: EventIntake
    reports: Sequence[Report]
    cursors: Mapping[str, str]
    done: asyncio.Future[None]
    ids: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class Turn:
    """Lets the event loop go on after a few milliseconds of work."""

    def __init__(self) -> None:
        self._until = time.perf_counter() + TURN

    async def pause(self) -> None:
        """Cheap, unless the turn is over."""
        if time.perf_counter() > self._until:
            await asyncio.sleep(0)
            self._until = time.perf_counter() + TURN


class Maker:
    """Normalise, filter, limit, correlate, enrich."""

    def __init__(self, world: World, settings: EventSettings) -> None:
        self.correlator = Correlator()
        self.related = Related()
        self._world = world
        self._duplicates = settings.duplicates

    async def identify(self, batches: Sequence[Batch]) -> list[str]:
        """The ids of all reports."""
        turn = Turn()
        for batch in batches:
            batch.ids.clear()
            batch.counts.clear()
            for report in batch.reports:
                batch.ids.append(event_id(batch.intake.name, report.identity))
                await turn.pause()
        return [identity for batch in batches for identity in batch.ids]

    async def make(self, batches: Sequence[Batch], known: frozenset[str], into: list[Event]) -> None:
        """Add the events of these batches to `into`, one by one, so that the caller can take them back."""
        turn, seen, now = Turn(), set(known), time.time()
        for batch in batches:
            for identity, report in zip(batch.ids, batch.reports, strict=True):
                if identity in seen:
                    batch.counts["replays"] += 1
                    continue
                seen.add(identity)
                self._make(batch, event_of(report, batch.intake.name, self._world, now, identity), now, into)
                await turn.pause()

    def _make(self, batch: Batch, event: Event, now: float, into: list[Event]) -> None:
        """Filters and limits come first: nothing may be called a duplicate of what is not stored."""
        intake = batch.intake
        refused = "filtered" if not intake.selection.passes(event) else ""
        if not refused and not intake.budget.allows(event, now):
            refused = "held"
        if refused:
            batch.counts[refused] += 1
            self.correlator.observe(event)
            return
        complete(event, context=context_of(event, self._world))
        place = self.correlator.place(event)
        if place.duplicate_of:
            batch.counts["duplicates"] += 1
            if self._duplicates == "drop" and not place.surer:
                return
        batch.counts["accepted"] += 1
        complete(
            event,
            correlation_id=place.correlation_id,
            duplicate_of=None if self._duplicates == "all" else place.duplicate_of,
            related=self.related.of(event),
        )
        into.append(event)

    def take_back(self, events: Sequence[Event]) -> None:
        """They were not stored."""
        self.correlator.forget(events)

    async def remember(self, events: Sequence[Event]) -> None:
        """They were stored."""
        turn = Turn()
        for event in events:
            self.related.remember(event)
            await turn.pause()

    async def learn(self, events: Sequence[Event]) -> None:
        """What was stored before the start, oldest first."""
        turn = Turn()
        for event in events:
            self.correlator.learn(event)
            self.related.remember(event)
            await turn.pause()
