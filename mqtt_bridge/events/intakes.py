"""A listener's way in, with what it counts and how it fares."""

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from mqtt_bridge.events.filters import Selection
from mqtt_bridge.events.held import Budget
from mqtt_bridge.events.intake import IntakeFullError, JournalError, Report
from mqtt_bridge.model import ListenerInfo, utc
from mqtt_bridge.settings.listening import EventSettings

log = logging.getLogger(__name__)

REASONS = 32  # reasons counted apart; further ones are counted as OTHER
OTHER = "other"
DETAIL = 500  # characters

HandOver = Callable[["EventIntake", Sequence[Report], Mapping[str, str]], Awaitable[None]]
AskCursor = Callable[[str], Awaitable[str | None]]


class EventIntake:
    """An `Intake`, made by the pipeline. The numbers count since the start."""

    def __init__(self, name: str, settings: EventSettings, hand_over: HandOver, cursor: AskCursor) -> None:
        self.name = name
        filters = [settings.filters, *([settings.per_listener[name]] if name in settings.per_listener else [])]
        limits = [one.rate_limit for one in filters if one.rate_limit]
        self.selection = Selection.of(*filters)
        self.budget = Budget(min(limits, default=0))
        self.accepted = self.replays = self.duplicates = self.filtered = self.held = 0
        self.rejected: Counter[str] = Counter()
        self.last_event: float | None = None
        self._hand_over = hand_over
        self._cursor = cursor
        self._status: Literal["starting", "ok", "problem"] = "starting"
        self._detail = ""
        self._problem: tuple[str, float] | None = None

    async def __call__(self, reports: Sequence[Report], *, cursors: Mapping[str, str] | None = None) -> None:
        """Returns once all of it is committed; raises IntakeFullError or JournalError, and then none of it is.

        What was handed over is committed even when the caller is cancelled meanwhile: handing it over again is a
        replay.
        """
        try:
            await self._hand_over(self, reports, cursors or {})
        except IntakeFullError:
            self.reject("queue full (to be tried again)", len(reports))
            raise
        except JournalError:
            self.reject("journal problem (to be tried again)", len(reports))
            raise

    async def cursor(self, name: str) -> str | None:
        """As last committed."""
        return await self._cursor(f"{self.name}:{name}")

    def reject(self, reason: str, count: int = 1) -> None:
        """Count what was refused."""
        known = reason in self.rejected or len(self.rejected) < REASONS
        self.rejected[reason[:80] if known else OTHER] += count

    def healthy(self, detail: str = "") -> None:
        """It works."""
        if self._status != "ok":
            log.info("%s works%s: %s", self.name, " again" if self._status == "problem" else "", detail)
        self._status, self._detail = "ok", detail[:DETAIL]

    def unhealthy(self, reason: str) -> None:
        """It does not work at present."""
        reason = reason[:DETAIL]
        if (self._status, self._detail) != ("problem", reason):
            log.warning("%s: %s", self.name, reason)
        self._status, self._detail = "problem", reason
        self._problem = (reason, time.time())

    def info(self) -> ListenerInfo:
        """For bridge/info and /health."""
        problem, since = self._problem or (None, None)
        return ListenerInfo(
            status=self._status,
            detail=self._detail,
            accepted=self.accepted,
            replays=self.replays,
            duplicates=self.duplicates,
            filtered=self.filtered,
            held=self.held,
            rejected=dict(self.rejected),
            last_event_at=utc(self.last_event),
            last_problem=problem,
            last_problem_at=utc(since),
        )

    def numbers(self) -> dict[str, int]:
        """For metrics; `rejected` is the sum over all reasons."""
        return {
            "accepted": self.accepted,
            "replays": self.replays,
            "duplicates": self.duplicates,
            "filtered": self.filtered,
            "held": self.held,
            "rejected": self.rejected.total(),
        }
