"""From the backlog to the intake: a few batches under way at once, so that one is read while others are written."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from mqtt_bridge.events.intake import Intake, JournalError, Report
from mqtt_bridge.listeners.patience import Patience
from mqtt_bridge.listeners.syslog_backlog import Backlog, Message
from mqtt_bridge.seldom import Seldom

log = logging.getLogger(__name__)

BATCH = 500  # reports in one call of the intake
UNDER_WAY = 3  # calls at once; beyond the first only full batches, so that a trickle makes no small ones
SOME = 10  # messages read at a stretch; a malicious one takes a millisecond
TURN = 0.005  # seconds of reading before others have theirs: sockets are emptied, and what was read is written down
LOOK = 5.0  # seconds between two looks around when nothing comes
NEAR = 0.02  # seconds between two looks whether a batch is full
FULL_PAUSE, LONGEST_FULL, LONGEST_FAILED = 0.02, 1.0, 10.0  # seconds until the intake is asked again, doubling

Read = Callable[[Message, Intake], Report | None]


class Handover:
    """`run` it; after it was cancelled `flush` brings to an end what was begun. `recovered` is called after trouble."""

    def __init__(self, backlog: Backlog, read: Read, recovered: Callable[[Intake], None]) -> None:
        self._backlog = backlog
        self._read = read
        self._recovered = recovered
        self._open: list[list[Report]] = []  # not known to be committed
        self._calls: set[asyncio.Task[None]] = set()
        self._seldom = Seldom()

    async def run(self, intake: Intake, look: Callable[[], None]) -> None:
        """Until cancelled; `look` is called now and then. Raises what the intake should not raise."""
        while True:
            look()
            await self._backlog.some(LOOK)
            await self._place()
            if batch := await self._fill(intake):
                call = asyncio.create_task(self._commit(batch, intake))
                call.add_done_callback(self._heed)
                self._calls.add(call)

    async def flush(self, intake: Intake, seconds: float) -> int:
        """Commit the rest, if that goes fast. How many messages are not known to be committed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*self._calls, return_exceptions=True)
                for batch in list(self._open):
                    await self._commit(batch, intake)
                while len(self._backlog):
                    await self._commit(await self._fill(intake), intake)
        for call in self._calls:
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls)
        self._calls.clear()
        return sum(map(len, self._open)) + len(self._backlog)

    def _heed(self, call: asyncio.Task[None]) -> None:
        """A call that failed is looked at now, not when the next message comes."""
        if not call.cancelled() and call.exception():
            self._backlog.nudge()

    async def _place(self) -> None:
        """Wait until another call makes sense. Raises what one failed of."""
        while self._calls:
            for call in [call for call in self._calls if call.done()]:
                self._calls.discard(call)
                call.result()
            if not self._calls or (len(self._calls) < UNDER_WAY and len(self._backlog) >= BATCH):
                return
            await asyncio.wait(self._calls, timeout=NEAR, return_when=asyncio.FIRST_COMPLETED)

    async def _fill(self, intake: Intake) -> list[Report]:
        """The next batch. It counts as open from its first report, so that a cancellation loses none."""
        batch: list[Report] = []
        self._open.append(batch)
        until = 0.0
        while len(batch) < BATCH and len(self._backlog):
            made = [self._read(message, intake) for message in self._backlog.take(SOME)]
            batch += [report for report in made if report]
            if time.perf_counter() > until:
                await asyncio.sleep(0)
                until = time.perf_counter() + TURN
        if not batch:
            self._close(batch)
        return batch

    async def _commit(self, batch: list[Report], intake: Intake) -> None:
        """Hand it over, however long that takes. A message that a fault of ours refuses costs only itself."""
        failed = False

        def troubled(error: JournalError) -> None:
            nonlocal failed
            failed = True
            intake.unhealthy(str(error))

        def faulty(error: Exception) -> None:
            intake.reject("failed inside")
            if times := self._seldom.count(repr(error)):
                log.error("%s syslog messages were refused by mistake", times, exc_info=error)

        patience = Patience(FULL_PAUSE, LONGEST_FULL, LONGEST_FAILED, troubled, faulty)
        await patience.hand_over(intake, batch, BATCH)
        self._close(batch)
        if failed:
            self._recovered(intake)

    def _close(self, batch: list[Report]) -> None:
        self._open = [each for each in self._open if each is not batch]
