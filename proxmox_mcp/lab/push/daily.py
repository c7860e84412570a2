"""A matcher's times of day: `mon..fri 8-17:30`, `sat,sun 0-24`, `22:00-23:59`. In UTC: lab hosts know no other zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Daily:
    days: frozenset[int]
    start: int
    end: int
    """Minutes of the day; the end is not part of it."""

    def covers(self, timestamp: float) -> bool:
        at = datetime.fromtimestamp(timestamp, UTC)
        return at.weekday() in self.days and self.start <= at.hour * 60 + at.minute < self.end


def parse(text: str) -> Daily:
    """Read it, or raise `ValueError`."""
    days, _, hours = text.strip().rpartition(" ")
    first, dash, last = hours.partition("-")
    if not dash:
        raise ValueError(f"'{text}' has no range of hours")
    return Daily(_days(days), _minute(first), _minute(last))


def _minute(text: str) -> int:
    hour, _, minute = text.partition(":")
    return int(hour) * 60 + int(minute or 0)


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(",") if text else ("mon..sun",):
        first, _, last = part.strip().partition("..")
        found.update(range(DAYS.index(first), DAYS.index(last or first) + 1))
    return frozenset(found)
