"""Which notifier tells what, and when it keeps quiet. Pure: the clock is passed in, in Unix seconds."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mqtt_bridge.errors import SettingsError
from mqtt_bridge.events.filters import RANK, Selection
from mqtt_bridge.model import Event
from mqtt_bridge.settings.listening import Filters
from mqtt_bridge.settings.notifying import NotifySettings, Routing

_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Route:
    """What one notifier tells."""

    name: str
    routing: Routing
    selection: Selection  # all but the severity: a digest passes by kind whatever its severity
    tags: Callable[[Event], bool]

    @classmethod
    def of(cls, name: str, routing: Routing) -> "Route":
        """Compile its filters."""
        filters = Filters(nodes=routing.nodes, guests=routing.guests, kinds=routing.kinds)
        return cls(name, routing, Selection.of(filters), _tags(routing.tags))

    def wants(self, event: Event) -> bool:
        """Whether it tells this event at all."""
        return RANK[event.severity] >= RANK[self.routing.min_severity] and self.concerns(event)

    def concerns(self, event: Event) -> bool:
        """The same whatever the severity."""
        return self.selection.passes(event) and self.tags(event)


def routes(settings: NotifySettings, names: Mapping[str, object] | tuple[str, ...]) -> Mapping[str, Route]:
    """A route for each notifier."""
    return {name: Route.of(name, settings.routing.get(name, Routing())) for name in names}


def _tags(entries: tuple[str, ...]) -> Callable[[Event], bool]:
    """Of guests alone: what is about no guest passes. An excluded tag wins."""
    wanted = {entry.casefold() for entry in entries if not entry.startswith("!")}
    excluded = {entry[1:].casefold() for entry in entries if entry.startswith("!")}

    def test(event: Event) -> bool:
        if event.guest is None:
            return True
        tags = tags_of(event)
        return not (excluded & tags) and (not wanted or bool(wanted & tags))

    return test if entries else lambda _: True


def tags_of(event: Event) -> frozenset[str]:
    """Of the guest that it is about, as far as it was known."""
    tags = event.context.get("tags")
    return frozenset(str(tag).casefold() for tag in tags) if isinstance(tags, list) else frozenset()


# --- times of day ----------------------------------------------------------------------------------------------------


def zone(name: str) -> tzinfo | None:
    """Of a name as in `Europe/Berlin`; None is the system's."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsError([f"TZ: {name!r} is no time zone; write it as in Europe/Berlin."]) from error


@lru_cache(maxsize=16)
def minutes(text: str) -> int:
    """Minutes since midnight of `22:00`; raises ValueError."""
    found = _CLOCK.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no time of day as in 22:00")
    return 60 * int(found[1]) + int(found[2])


def next_time(minute: int, now: float, where: tzinfo | None) -> float:
    """When the clock shows that minute of the day next, later than `now`."""
    local = datetime.fromtimestamp(now, where)
    for days in range(3):
        day = local.date() + timedelta(days=days)
        then = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=where).timestamp()
        if then > now:
            return then
    raise AssertionError("a day has every minute")


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From one time of day to another, over midnight too."""

    start: int
    end: int
    where: tzinfo | None

    @classmethod
    def of(cls, text: str, where: tzinfo | None) -> "QuietHours | None":
        """`22:00-07:00`; empty: none."""
        if not text.strip():
            return None
        first, dash, last = text.partition("-")
        try:
            hours = cls(minutes(first), minutes(last), where)
        except ValueError as error:
            raise SettingsError([f"NOTIFY_QUIET_HOURS: {error}; write 22:00-07:00."]) from error
        return hours if dash and hours.start != hours.end else None

    def until(self, now: float) -> float | None:
        """When the quiet ends; None: it is not quiet."""
        local = datetime.fromtimestamp(now, self.where)
        minute = 60 * local.hour + local.minute
        inside = self.start <= minute < self.end if self.start < self.end else minute >= self.start or minute < self.end
        return next_time(self.end, now, self.where) if inside else None
