"""Keeps the progress of each site's shutdown: in the journal, on MQTT, and as events, in this order."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

from pydantic import ValidationError

from mqtt_bridge.events.intake import IntakeFullError, JournalError
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.model import Event, SiteShutdown
from mqtt_bridge.notifying import silences
from mqtt_bridge.retained import Retained
from mqtt_bridge.site_shutdown import telling
from mqtt_bridge.site_shutdown.progress import Progress

log = logging.getLogger(__name__)

TOLD = 3.0  # seconds
_CURSOR = "site shutdown/"


class Book:
    """What it is told of a site is there after a restart. A journal that fails stops no shutdown: that is logged.

    `settled` waits until the broker has everything that is retained.
    """

    def __init__(self, journal: Journal, retained: Retained, settled: Callable[[], Awaitable[None]]) -> None:
        self._journal = journal
        self._retained = retained
        self._settled = settled
        self.known: dict[str, Progress] = {}

    async def load(self, site: str) -> Progress | None:
        """The last one of a site, which is then published."""
        found = await self.last(site)
        self.publish(site)
        return found

    async def last(self, site: str) -> Progress | None:
        """The same, and nothing is published."""
        text = await self._journal.cursor(_CURSOR + site)
        try:
            found = Progress.model_validate_json(text) if text else None
        except ValidationError as error:
            log.warning("The last shutdown of site %s cannot be read any more: %s", site, error)
            found = None
        if found:
            self.known[site] = found
        return found

    def publish(self, site: str) -> None:
        """What is known, on MQTT."""
        known = self.known.get(site)
        self._retained.put("site_shutdown", known.published() if known else SiteShutdown(), site=site)

    async def keep(self, progress: Progress) -> None:
        """Before the step that it tells of."""
        before = self.known.get(progress.site)
        self.known[progress.site] = progress
        events = telling.of_step(before, progress)
        for event in events:
            log.warning("%s: %s", event.title, event.message)
        await self._write(progress, events)
        self.publish(progress.site)

    async def told(self) -> None:
        """Wait a moment until the broker has it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TOLD):
                await self._settled()

    async def _write(self, progress: Progress, events: Sequence[Event]) -> None:
        cursor = {_CURSOR + progress.site: progress.model_dump_json()}
        try:
            try:
                await self._journal.commit(events, cursor)
            except IntakeFullError as error:  # the events are lost, the progress must not be
                log.warning("%s", error)
                await self._journal.commit([], cursor)
            await self._spare(events)
        except JournalError as error:
            log.error("The shutdown of site %s goes on, but is not written down: %s", progress.site, error)  # noqa: TRY400

    async def _spare(self, events: Sequence[Event]) -> None:
        """Nobody is told that what was to go down is down; what is still wrong afterwards is told."""
        for event in events:
            if one := silences.of_shutdown(event, time.time()):
                await self._journal.db.write(partial(_put, one))


def _put(one: silences.Silence, connection: sqlite3.Connection) -> None:
    silences.put(connection, one)
