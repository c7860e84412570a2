"""Handing reports to the intake until it has taken them: what came from a difference cannot be asked for again."""

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence

from mqtt_bridge.intake import Intake, IntakeFullError, JournalError, Report

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.05  # seconds, doubling
BATCH = 100


class Delivery:
    """Waits as long as it takes; the reports stay the same, so that a repeated one makes no second event."""

    def __init__(self, intake: Intake, longest_pause: float) -> None:
        self._intake = intake
        self._longest = max(FIRST_PAUSE, longest_pause)

    async def __call__(self, reports: Sequence[Report], cursors: Mapping[str, str]) -> None:
        """In order; the cursors are committed with the last of the reports."""
        if not reports and not cursors:
            return
        waiting, size, pause = list(reports), BATCH, FIRST_PAUSE
        while True:
            batch, last = waiting[:size], len(waiting) <= size
            try:
                await self._intake(batch, cursors=cursors if last else None)
            except IntakeFullError:
                size = max(1, size // 2)
            except JournalError as error:
                log.warning("Events of the live watcher wait: %s", error)
            except Exception:
                log.exception("Events of the live watcher were refused by mistake")
                size = max(1, len(batch) // 2)
                if len(batch) == 1:  # this one is the reason, and would hold up all others for ever
                    self._intake.reject("could not be made into an event")
                    del waiting[0]
            else:
                del waiting[: len(batch)]
                pause = FIRST_PAUSE
                if last:
                    return
                continue
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 -- jitter
            pause = min(self._longest, pause * 2)
