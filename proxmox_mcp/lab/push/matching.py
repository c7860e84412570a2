"""Which targets get a notification: what matchers say of its severity, fields and time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import daily
from .config import MATCHER

if TYPE_CHECKING:
    from collections.abc import Callable

    from .config import Entry, NotifyConfig
    from .model import Notification


def targets(config: NotifyConfig, note: Notification) -> list[str]:
    """Names in the order of the matchers, each once: also of targets that are disabled."""
    found = [
        target
        for one in config.of(MATCHER)
        if not one.disabled and matches(one, note)
        for target in one.values.get("target", ())
    ]
    return list(dict.fromkeys(found))


def matches(matcher: Entry, note: Notification) -> bool:
    """Say whether a matcher lets a notification through; one without any condition always does."""
    combine = any if matcher.values.get("mode") == "any" else all
    groups = [
        combine(test(text, note) for text in matcher.values[key]) for key, test in _TESTS if matcher.values.get(key)
    ]
    return not groups or combine(groups) != bool(matcher.values.get("invert-match"))


def _severity(text: str, note: Notification) -> bool:
    return note.severity in map(str.strip, text.split(","))


def _field(text: str, note: Notification) -> bool:
    how, _, rest = text.partition(":")
    name, _, wanted = rest.partition("=")
    value = note.fields.get(name)
    if value is None:
        return False
    return bool(re.search(wanted, value)) if how == "regex" else value in map(str.strip, wanted.split(","))


def _calendar(text: str, note: Notification) -> bool:
    return daily.parse(text).covers(note.timestamp)


_TESTS: tuple[tuple[str, Callable[[str, Notification], bool]], ...] = (
    ("match-severity", _severity),
    ("match-field", _field),
    ("match-calendar", _calendar),
)
