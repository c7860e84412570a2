"""What becomes an event: severity, nodes, guests, kinds, keywords. Compiled once from the settings."""

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mqtt_bridge.model import Event
from mqtt_bridge.settings.listening import Filters
from mqtt_bridge.severity import SEVERITIES

RANK = {severity: rank for rank, severity in enumerate(SEVERITIES)}

Test = Callable[[Event], bool]


@dataclass(frozen=True, slots=True)
class Selection:
    """The tests that an event must pass, all of them."""

    tests: tuple[Test, ...]

    @classmethod
    def of(cls, *filters: Filters) -> "Selection":
        """Every one of these filters counts."""
        return cls(tuple(test for one in filters for test in _tests(one)))

    def passes(self, event: Event) -> bool:
        """Whether it becomes an event."""
        return all(test(event) for test in self.tests)


def _tests(filters: Filters) -> list[Test]:
    least = RANK[filters.min_severity]
    tests: list[Test] = [lambda event: RANK[event.severity] >= least] if least else []
    if filters.kinds:
        tests.append(_kinds(filters.kinds))
    if filters.nodes:
        tests.append(_nodes(filters.nodes))
    if filters.guests:
        tests.append(_guests(filters.guests))
    if filters.keywords:
        tests.append(_keywords(filters.keywords))
    return tests


def _split(entries: Sequence[str]) -> tuple[list[str], list[str]]:
    """Wanted and excluded."""
    wanted = [entry for entry in entries if not entry.startswith("!")]
    return wanted, [entry[1:] for entry in entries if entry.startswith("!")]


def _globs(entries: Sequence[str]) -> Callable[[str], bool]:
    wanted, excluded = (_any_of(part) for part in _split(entries))

    def test(text: str) -> bool:
        folded = text.casefold()[:255]
        return not (excluded and excluded.match(folded)) and (wanted is None or wanted.match(folded) is not None)

    return test


def _any_of(globs: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(fnmatch.translate(glob.casefold()) for glob in globs)) if globs else None


def _kinds(entries: Sequence[str]) -> Test:
    fits = _globs(entries)
    return lambda event: fits(event.kind)


def _nodes(entries: Sequence[str]) -> Test:
    """What names no node (a lost quorum) is not of another node: it passes."""
    fits = _globs(entries)
    return lambda event: event.node is None or fits(event.node)


def _guests(entries: Sequence[str]) -> Test:
    """What names no guest passes. Of a job with several guests one that is wanted is enough."""
    wanted, excluded = ([_range(entry) for entry in part] for part in _split(entries))

    def fits(vmid: int) -> bool:
        return not _within(vmid, excluded) and (not wanted or _within(vmid, wanted))

    def test(event: Event) -> bool:
        if event.guest is not None:
            return fits(event.guest)
        listed = event.metadata.get("guests")
        members = [one["vmid"] for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        return not members or any(fits(vmid) for vmid in members)

    return test


def _range(entry: str) -> tuple[int, int]:
    first, _, last = entry.partition("-")
    return int(first), int(last or first)


def _within(vmid: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(first <= vmid <= last for first, last in ranges)


def _keywords(entries: Sequence[str]) -> Test:
    wanted, excluded = ([word.casefold() for word in part] for part in _split(entries))

    def test(event: Event) -> bool:
        text = f"{event.title}\n{event.message}".casefold()
        return not any(word in text for word in excluded) and (not wanted or any(word in text for word in wanted))

    return test
