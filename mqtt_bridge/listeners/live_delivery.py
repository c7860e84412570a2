"""Handing reports to the intake until it has taken them: what came from a difference cannot be asked for again."""

import logging
from collections.abc import Mapping, Sequence

from mqtt_bridge.events.intake import Intake, JournalError, Report
from mqtt_bridge.listeners.patience import Patience
from mqtt_bridge.seldom import Seldom

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.05  # seconds, doubling
BATCH = 100


class Delivery:
    """Waits as long as it takes; the reports stay the same, so that a repeated one makes no second event."""

    def __init__(self, intake: Intake, longest_pause: float) -> None:
        self._intake = intake
        longest = max(FIRST_PAUSE, longest_pause)
        self._patience = Patience(FIRST_PAUSE, longest, longest, self._troubled, self._faulty)
        self._trouble = ""
        self._seldom = Seldom()

    async def __call__(self, reports: Sequence[Report], cursors: Mapping[str, str]) -> None:
        """In order; the cursors are committed with the last of the reports."""
        if not reports and not cursors:
            return
        await self._patience.hand_over(self._intake, list(reports), BATCH, cursors)
        if self._trouble:
            log.info("Events of the live watcher are taken again")
            self._trouble = ""

    def _troubled(self, error: JournalError) -> None:
        if str(error) != self._trouble:
            self._trouble = str(error)
            log.warning("Events of the live watcher wait: %s", error)

    def _faulty(self, error: Exception) -> None:
        self._intake.reject("could not be made into an event")
        if times := self._seldom.count(repr(error)):
            log.error("%s events of the live watcher were refused by mistake", times, exc_info=error)
