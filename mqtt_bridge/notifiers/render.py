"""A notice as people read it: what every text says about it, and the plain text. `render_html` has the HTML.

All texts of a notice come from outside. They are bounded and freed of what cannot be seen here, once, for both.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo

from mqtt_bridge.model import SEVERITIES, Event
from mqtt_bridge.notifiers.notice import Notice
from mqtt_bridge.wording.clean import clean, one_line

TITLE, TEXT, LOG = 200, 4000, 8000  # characters at most
LOG_LINES, FACTS, EVENTS = 60, 20, 40  # the last lines of a log; the first facts; the worst events of a digest
_LABEL, _VALUE, _URL = 40, 300, 1000
_WEB = re.compile(r"https?://[^\s<>\"'\x00-\x20\x7f]+")

BLUE, GREEN, AMBER, RED, CRIMSON = "#2563eb", "#15803d", "#c2760c", "#dc2626", "#9f1239"
COLOURS = {"info": BLUE, "warning": AMBER, "error": RED, "critical": CRIMSON}


@dataclass(frozen=True, slots=True)
class Look:
    """The word and the colour that say at a glance what it is."""

    word: str
    colour: str


def look(notice: Notice) -> Look:
    """Severity decides, except where it is over or was only tried."""
    word, colour = notice.severity.capitalize(), COLOURS[notice.severity]
    rows = {
        "event": Look(word, colour),
        "update": Look(f"{word}, update", colour),
        "reminder": Look(f"{word}, still open", colour),
        "recovery": Look("Recovered", GREEN),
        "digest": Look("Digest", _worst(notice)),
        "test": Look("Test", BLUE),
        "message": Look("Message", colour),
    }
    return rows[notice.kind]


def _worst(notice: Notice) -> str:
    """A digest is as bad as the worst in it, whatever its own severity says."""
    severities = [notice.severity, *(event.severity for event in notice.events)]
    worst = max(severities, key=SEVERITIES.index)
    return GREEN if worst == "info" else COLOURS[worst]


def event_look(event: Event) -> Look:
    """Of one line of a digest."""
    if event.severity == "info" and event.ok:
        return Look("OK", GREEN)
    return Look(event.severity.capitalize(), COLOURS[event.severity])


def tidy(notice: Notice) -> Notice:
    """The same within the limits above; a link that is none of the web goes."""
    facts = [(one_line(label, _LABEL), one_line(value, _VALUE)) for label, value in notice.facts]
    return replace(
        notice,
        title=one_line(notice.title, TITLE) or "Notice",
        text=clean(notice.text, TEXT),
        log=tail(notice.log),
        site=one_line(notice.site, _LABEL),
        incident=one_line(notice.incident, _LABEL),
        facts=tuple((label, value) for label, value in facts if label and value)[:FACTS],
        url=notice.url if notice.url and len(notice.url) <= _URL and _WEB.fullmatch(notice.url) else None,
    )


def tail(log: str) -> str:
    """The end of a log, in whole lines: there it says what went wrong."""
    lines = clean(log[-4 * LOG :], 5 * LOG).splitlines()
    kept = lines[-LOG_LINES:]
    while len(kept) > 1 and sum(len(line) + 1 for line in kept) > LOG:
        kept.pop(0)
    kept = [line[-LOG:] for line in kept]
    return "\n".join(["…", *kept] if len(kept) < len(lines) or len(log) > 4 * LOG else kept)


def moment(at: str, zone: tzinfo | None = None) -> str:
    """ISO 8601 as `20 Nov 2026, 04:00:12 CET`; `zone` None is the system's. What is no time stays as it is."""
    try:
        parsed = datetime.fromisoformat(at)
    except ValueError:
        return one_line(at, _LABEL)
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    try:
        return f"{aware.astimezone(zone):%-d %b %Y, %H:%M:%S %Z}"
    except (OverflowError, ValueError):
        return one_line(at, _LABEL)


def listed(notice: Notice) -> tuple[list[Event], int]:
    """The events of a digest, worst first, and how many are left out; one event alone is no list."""
    if notice.kind != "digest":
        return [], 0
    ordered = sorted(notice.events, key=lambda event: (-SEVERITIES.index(event.severity), event.timestamp))
    return ordered[:EVENTS], max(0, len(ordered) - EVENTS)


def where(event: Event) -> str:
    """Guest and node of an event in a few words."""
    name = event.context.get("name")
    guest = "" if event.guest is None else f"{event.guest} {name}" if name else str(event.guest)
    return one_line(", ".join(part for part in (guest, event.node or "") if part), 80)


def text(notice: Notice, zone: tzinfo | None = None) -> str:
    """The plain text, with the title as its first line."""
    return f"[{look(notice).word}] {tidy(notice).title}\n\n{body(notice, zone)}"


def body(notice: Notice, zone: tzinfo | None = None) -> str:
    """The plain text without the title, for services that have a field for it."""
    tidied = tidy(notice)
    events, more = listed(tidied)
    blocks = [
        tidied.text,
        _aligned((("When", moment(tidied.at, zone)), ("Site", tidied.site), *tidied.facts)),
        "\n".join([*map(_line, events), *([f"… and {more} more"] if more else [])]),
        tidied.url or "",
        f"---- end of the log ----\n{tidied.log}" if tidied.log else "",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _aligned(facts: tuple[tuple[str, str], ...]) -> str:
    shown = [(label, value) for label, value in facts if value]
    width = max((len(label) for label, _ in shown), default=0) + 1
    return "\n".join(f"{label + ':':<{width}} {value}" for label, value in shown)


def _line(event: Event) -> str:
    place = where(event)
    return f"{event_look(event).word:<8} {one_line(event.title, TITLE)}{f' ({place})' if place else ''}"
