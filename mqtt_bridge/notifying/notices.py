"""Notices made of events, incidents, digests and our own messages: texts and facts, for every service alike."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from mqtt_bridge.events.account import seconds
from mqtt_bridge.events.filters import RANK
from mqtt_bridge.model import Event, Severity, utc
from mqtt_bridge.notifiers.notice import Notice, NoticeKind
from mqtt_bridge.notifying.incidents import Incident, Word
from mqtt_bridge.notifying.routing import tags_of
from mqtt_bridge.wording.clean import clean, one_line

Link = Callable[[Event], str | None]

NAMESPACE = uuid.UUID("3b0f6c53-9a3e-5d0b-8d0e-2a1d6f2f7c11")
LINES = 40  # of a digest
EVENTS = 50  # in a digest
FOLDED = 20  # guests named with their node
_FACTS = ("storage", "datastore", "device", "pool", "job", "user", "address", "used_percent", "exitstatus")
_LOGS = ("task.", "backup.", "gc.", "prune.", "sync.", "verify.", "replication.", "tape.")


def own_id(*parts: object) -> str:
    """The same of the same: what is made twice is one notice."""
    return str(uuid.uuid5(NAMESPACE, "\x1f".join(str(part) for part in parts)))


def bounded(event: Event) -> Event:
    """Anyone on the broker may have written it: texts cleaned and capped as in the pipeline."""
    title, message = one_line(event.title) or event.kind, clean(event.message)
    if title == event.title and message == event.message:
        return event
    return event.model_copy(update={"title": title, "message": message})


def of_event(event: Event, incident: str, kind: NoticeKind = "event", link: Link | None = None) -> Notice:
    """One event. Its id is the event's."""
    logged = event.kind.startswith(_LOGS) and "\n" in event.message
    return Notice(
        id=event.id,
        kind=kind,
        title=event.title,
        text="" if logged else event.message,
        severity=event.severity,
        at=event.timestamp,
        site=event.site,
        incident=incident,
        url=link(event) if link else None,
        log=event.message if logged else "",
        facts=tuple(_facts(event)),
        tags=tuple(sorted(tags_of(event))),
        events=(event,),
    )


def _facts(event: Event) -> list[tuple[str, str]]:
    name = event.context.get("name")
    guest = f"{name} ({event.guest})" if isinstance(name, str) and name else str(event.guest)
    found = [("Site", event.site), ("Node", event.node or "")]
    found += [("Guest", guest)] if event.guest is not None else []
    found += [("Told by", f"{event.source}, unauthenticated")] if event.trust == "unauthenticated" else []
    told = ((key, event.metadata.get(key)) for key in _FACTS)
    found += [(key.replace("_", " ").capitalize(), one_line(str(v), 200)) for key, v in told if v not in (None, "")]
    return [(label, value) for label, value in found if value]


def of_word(word: Word, incident: Incident, now: float, link: Link | None = None) -> Notice:
    """What an incident has to say. Told by an event it has that event's id, told by the clock one of its own."""
    notice = of_event(word.event, incident.id, word.kind, link)
    lines = [word.note] if word.note else []
    facts = list(notice.facts)
    if incident.folded:
        lines.append(f"Affected: {_names(incident.folded)}.")
    if word.kind == "recovery":
        lines.insert(0, f"It was: {incident.title}")
        facts.append(("Lasted", length(max(0.0, incident.at - incident.began))))
    if word.kind == "reminder":
        lines.append(f"It has lasted {length(max(0.0, now - incident.began))}.")
    text = "\n".join([*lines, *([notice.text] if notice.text else [])])
    return replace(notice, text=text, facts=tuple(facts))


def _names(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:FOLDED])
    return shown if len(labels) <= FOLDED else f"{shown} and {len(labels) - FOLDED} more"


def by_clock(notice: Notice, now: float) -> Notice:
    """The same under an id of its own: its event was told before, or never will be."""
    return replace(notice, id=own_id(notice.incident, notice.kind, f"{now:.3f}"), at=utc(now) or notice.at)


def length(seconds_: float) -> str:
    """As people say it."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    left, words = int(seconds_), []
    for unit, size in units:
        count, left = divmod(left, size)
        if count:
            words.append(f"{count} {unit}")
    return " ".join(words[:2]) or "less than a second"


# --- several in one --------------------------------------------------------------------------------------------------

_WHY = {
    "quiet": "{count} notices during the quiet hours",
    "flood": "{count} notices within a minute",
    "late": "{count} notices of what happened earlier",
    "silence": "Still wrong after the silence: {count} problems",
}


def digest(why: str, identity: str, notices: Sequence[Notice], now: float, counts: Mapping[Severity, int]) -> Notice:
    """One notice for several, the first of those that `counts` counts; those of one incident are one line."""
    by_incident: dict[str, list[Notice]] = {}
    for notice in notices:
        by_incident.setdefault(notice.incident or notice.id, []).append(notice)
    rows = list(by_incident.values())
    order = sorted(counts, key=lambda s: -RANK[s])
    told = ", ".join(f"{counts[s]} {s}" for s in order)
    total = sum(counts.values())
    lines = [_line(row) for row in rows[:LINES]]
    more = len(rows) - len(lines) + total - len(notices)
    lines += [f"and {more} more"] if more else []
    sites = {notice.site for notice in notices}
    count = len(rows) if why == "silence" else total
    title = _WHY[why].format(count=count)
    one = why == "silence" and count == 1
    return Notice(
        id=identity,
        kind="digest",
        title=f"Still wrong after the silence: {rows[0][0].title}" if one else f"{title}: {told}",
        text="\n".join(lines),
        severity=order[0],
        at=utc(now) or "",
        site=sites.pop() if len(sites) == 1 else "",
        events=tuple(event for row in rows[:EVENTS] for event in row[-1].events[:1]),
    )


def _line(row: Sequence[Notice]) -> str:
    first, last = row[0], row[-1]
    at = f"{_clock(first.at)} {first.severity}: {first.title}"
    return at if last.title == first.title else f"{at} → {_clock(last.at)} {last.title}"


def _clock(timestamp: str) -> str:
    return (utc(seconds(timestamp)) or timestamp)[5:16].replace("T", " ")


def message(identity: str, title: str, text: str, severity: Severity, now: float, site: str = "") -> Notice:  # noqa: PLR0917 -- its fields
    """Something that somebody, or we ourselves, have to say."""
    return Notice(identity, "message", one_line(title), clean(text), severity, utc(now) or "", site)
