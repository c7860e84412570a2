"""Rate limits that hold back a flood without holding back what matters, and the summary of what was held back.

Each listener has budgets of its own a minute, for each trust: `rate_limit` for info and warning together, ERRORS times
as many for error, and as many again for critical. So a flood of info takes nothing from errors, a flood of errors
nothing from what is critical, and what anyone may send nothing from what is authenticated.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from mqtt_bridge.model import Event
from mqtt_bridge.severity import Severity, Trust

MINUTE = 60.0
ERRORS = 4
KINDS = 20  # kinds named in a summary; the rest is counted together

POOLS: dict[Severity, str] = {"info": "low", "warning": "low", "error": "error", "critical": "critical"}


@dataclass(frozen=True, slots=True)
class Summary:
    """What was held back in the minute that began at `since`, in Unix seconds."""

    since: float
    limit: int
    by_severity: dict[str, int]
    by_kind: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.by_severity.values())


@dataclass(slots=True)
class Budget:
    """One listener's. `limit` is for info and warning a minute; 0: no limit."""

    limit: int
    _since: float | None = None
    _used: Counter[tuple[Trust, str]] = field(default_factory=Counter)
    _severities: Counter[str] = field(default_factory=Counter)
    _kinds: Counter[str] = field(default_factory=Counter)

    @property
    def holding(self) -> bool:
        """Whether a summary will be due."""
        return bool(self._severities)

    def allows(self, event: Event, now: float) -> bool:
        """Whether there is room for it; if not, it is counted for the summary. Take `due` first."""
        if not self.limit:
            return True
        if self._since is None:
            self._since = now
        pool = (event.trust, POOLS[event.severity])
        if self._used[pool] < self.limit * (1 if pool[1] == "low" else ERRORS):
            self._used[pool] += 1
            return True
        self._severities[event.severity] += 1
        known = event.kind in self._kinds or len(self._kinds) < KINDS
        self._kinds[event.kind if known else "others"] += 1
        return False

    def due(self, now: float, *, closing: bool = False) -> Iterator[Summary]:
        """The summary of a minute that is over, if anything was held back; the next minute begins."""
        if self._since is None or (now - self._since < MINUTE and now >= self._since and not closing):
            return
        if self._severities:
            yield Summary(self._since, self.limit, dict(self._severities), dict(self._kinds.most_common()))
        self._since = None
        for counter in (self._used, self._severities, self._kinds):
            counter.clear()
