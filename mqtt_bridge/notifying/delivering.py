"""One notifier's queue, worked off by itself: a service that is down or slow delays no other."""

import asyncio
import logging
import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from mqtt_bridge.events.intake import JournalError
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.notifiers.notice import LaterError, Notifier, RefusedError, Sent
from mqtt_bridge.notifying import deliveries
from mqtt_bridge.notifying.deliveries import Due
from mqtt_bridge.notifying.posting import Posting

log = logging.getLogger(__name__)

LOOK = 5.0  # seconds between looks for what another process has put back (`mqtt-bridge deliveries --retry`)
PATIENCE = 120.0  # seconds for one attempt, should a notifier not bound it
JOURNAL_PAUSE = 1.0
PROBE = 60.0  # seconds after which something is tried on a service that was down, so that the latest news is not late
OUTAGE = 3  # failures in a row after which a success means that the service is back
LONGEST_ASKED = 1800.0  # seconds that a service may ask for


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds: the first pause, the longest, and for how long it is tried at all."""

    first: float = 5
    longest: float = 1800
    limit: float = 86400

    def pause(self, attempt: int) -> float:
        """Before the attempt after this one (from 1), never in step with others."""
        return float(min(self.longest, self.first * 2 ** min(attempt - 1, 30)) * random.uniform(0.75, 1.25))  # noqa: S311 -- jitter


class Worker:
    """`run` it, supervised. `problem` is what is wrong at present: cause and cure; empty while all is well."""

    def __init__(self, notifier: Notifier, journal: Journal, posting: Posting, backoff: Backoff | None = None) -> None:
        self.name = notifier.name
        self.problem = ""
        self.sent = 0
        self._notifier = notifier
        self._journal = journal
        self._posting = posting
        self._backoff = backoff or Backoff()
        self._failures = 0  # in a row
        self._news = asyncio.Event()
        self.on_change: Callable[[], None] = lambda: None

    def wake(self) -> None:
        """There may be something new."""
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with self._notifier:
            self.problem = await self._journal.db.read(lambda c: self._posting.trouble(c, self.name))
            while True:
                self._news.clear()
                try:
                    await self._next()
                except JournalError as error:
                    self.problem = str(error)
                    await asyncio.sleep(JOURNAL_PAUSE)

    async def _next(self) -> None:
        """One delivery, or a rest until there may be one."""
        now = time.time()
        due = await self._journal.db.read(lambda c: deliveries.due(c, self.name, now))
        if due is not None:
            await self._attempt(due)
            return
        at = await self._journal.db.read(lambda c: deliveries.next_due(c, self.name))
        await self._rest(LOOK if at is None or at <= now else min(LOOK, at - now))

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(seconds, 0.001)):
                await self._news.wait()
        except TimeoutError:
            return

    async def _attempt(self, due: Due) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                sent = await self._notifier.send(due.notice)
        except RefusedError as error:
            await self._refused(due, str(error))
        except LaterError as error:
            await self._later(due, str(error), error.after)
        except TimeoutError:
            await self._later(due, f"It took longer than {PATIENCE:.0f} s.", None)
        except Exception as error:
            log.exception("%s failed over notice %s", self.name, due.notice.id)
            await self._later(due, f"{type(error).__name__} in {self.name}; the log has more.", None)
        else:
            await self._sent(due, sent)
        self.on_change()

    async def _sent(self, due: Due, sent: Sent) -> None:
        back, self._failures, self.problem = self._failures >= OUTAGE, 0, ""
        self.sent += 1

        def mark(connection: sqlite3.Connection) -> None:
            now = time.time()
            deliveries.sent(connection, due.seq, now, sent.ref, sent.answer)
            self._posting.works(connection, self.name)
            if back:
                deliveries.hasten(connection, self.name, now)

        await self._mark(mark)

    async def _refused(self, due: Due, reason: str) -> None:
        self.problem = reason

        def mark(connection: sqlite3.Connection) -> None:
            deliveries.park(connection, due.seq, time.time(), reason)
            self._posting.refused(connection, self.name, reason, time.time())

        log.error("%s was refused: %s", self.name, reason)
        await self._mark(mark)

    async def _later(self, due: Due, reason: str, after: float | None) -> None:
        now = time.time()
        self._failures += 1
        if now - (due.first_at or now) > self._backoff.limit:
            text = f"Given up after {self._backoff.limit / 3600:.0f} h: {reason}"
            self.problem = text
            await self._mark(lambda c: deliveries.park(c, due.seq, now, text))
            return
        pause = self._backoff.pause(due.attempts + 1)
        asked = min(max(after, 0.0), LONGEST_ASKED) if after is not None else 0.0
        await self._mark(lambda c: deliveries.later(c, due.seq, now, now + max(pause, asked), reason))
        if self._failures >= OUTAGE:
            if not self.problem:
                log.warning("%s cannot tell: %s", self.name, reason)
            self.problem = reason
        # one failure is that notice's; several, or a service that asks for it, make the whole queue wait
        whole = min(PROBE, self._backoff.pause(self._failures - 1)) if self._failures > 1 else 0.0
        await asyncio.sleep(max(asked, whole))

    async def _mark(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """A journal that fails is tried again: what was sent is not to be sent twice for that."""
        while True:
            try:
                await self._journal.db.write(work, durable=False)
            except JournalError as error:
                self.problem = str(error)
                await asyncio.sleep(JOURNAL_PAUSE)
            else:
                return
