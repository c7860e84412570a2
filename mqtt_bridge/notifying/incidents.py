"""What one problem goes through, from its first report to its end, and when somebody is to be told of it.

Pure and deterministic: an incident, an event and the time go in; the incident as it is then, and at most one word, come
out. Times called `at` are those of events, all others are of our clock; both in Unix seconds.

The first report is told at once. A change of state (bad, well) is told at once too, unless the one before it is younger
than `debounce`: then it is quiet until nothing has changed for that long, and one word says how it ended. What is
unchanged is told again after `repeat`: by the clock where the end of a problem is sure to be told, else when it is
reported again.
"""

from dataclasses import dataclass
from typing import Literal

from mqtt_bridge.events.account import seconds
from mqtt_bridge.events.filters import RANK
from mqtt_bridge.model import Event, Model, Severity, Trust
from mqtt_bridge.notifying.problems import Subject
from mqtt_bridge.severity import TRUSTS

SKEW = 5.0  # seconds by which a recovery may seem to be earlier than what it ends: two hosts, two clocks
LONGEST = 10  # times `debounce`: for so long flapping is quiet, then there is a word in between
EARLY = 0.75  # of `repeat`: a nightly job does not fail at the same minute every night
REMINDERS = 7
FOLDED_MOST = 200

WordKind = Literal["event", "update", "recovery", "reminder"]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds."""

    debounce: float = 60
    repeat: float = 86400


class Incident(Model):
    """One problem. `last` is the report that counts; `open` are the keys of what is still bad; `title` the first's."""

    id: str
    title: str
    last: Event
    trust: Trust
    severity: Severity
    bad: bool = True
    open: frozenset[str]
    said: frozenset[str]
    began: float
    at: float
    changed: float
    told: float
    told_bad: bool = True
    lasting: bool = False
    flips: int = 0
    flipping: float | None = None
    settle: float | None = None
    remind: float | None = None
    reminders: int = 0
    folded: tuple[str, ...] = ()
    folded_told: int = 0
    acknowledged: str = ""

    @property
    def due(self) -> float | None:
        """When something is to be done without a further event."""
        times = [t for t in (self.settle, self.remind) if t is not None]
        return min(times, default=None)


@dataclass(frozen=True, slots=True)
class Word:
    """Something to be told. `louder`: worse than anything told before, so that it is not left out."""

    kind: WordKind
    event: Event
    note: str = ""
    louder: bool = False


Step = tuple[Incident, Word | None]


def begin(identity: str, event: Event, subject: Subject, now: float, timing: Timing) -> Step:
    """The first report of a problem."""
    at = seconds(event.timestamp)
    incident = Incident(
        id=identity,
        title=event.title,
        last=event,
        trust=event.trust,
        severity=event.severity,
        open=subject.bad,
        said=frozenset({_says(event)}),
        began=at,
        at=at,
        changed=now,
        told=now,
        lasting=subject.lasting,
        remind=now + timing.repeat if subject.lasting else None,
    )
    return incident, Word("event", event)


def continues(incident: Incident, event: Event, now: float, timing: Timing) -> bool:
    """Whether a report of the same problem is of this incident; else a new one begins."""
    if incident.bad or now - incident.changed < timing.debounce or incident.settle is not None:
        return True
    return seconds(event.timestamp) < incident.at - SKEW  # a late report of what is over


def report(incident: Incident, event: Event, subject: Subject, now: float, timing: Timing) -> Step:
    """A further report of it."""
    at = seconds(event.timestamp)
    if not incident.bad:
        if at < incident.at - SKEW:
            return incident, None
        return _flip(_heard(incident, event, subject), now, timing, bad=True)
    louder = RANK[event.severity] > RANK[incident.severity]
    surer = TRUSTS.index(event.trust) < TRUSTS.index(incident.trust)  # no mere claim any more
    new = louder or surer or _says(event) not in incident.said or not subject.bad <= incident.open
    if not new and now - incident.told < EARLY * timing.repeat:
        return incident.model_copy(update={"at": max(at, incident.at)}), None
    heard = _heard(incident, event, subject)
    if heard.settle is not None and not louder:
        return heard, None
    if heard.acknowledged and not louder:
        return heard, None
    again = event.correlation_id != incident.last.correlation_id  # another run, another moment: no mere update
    kind: WordKind = "reminder" if not new else "event" if again else "update"
    return _told(heard, now, timing), Word(kind, event, louder=louder)


def _says(event: Event) -> str:
    return f"{event.kind}|{event.severity}|{event.node}|{event.guest}"


def _heard(incident: Incident, event: Event, subject: Subject) -> Incident:
    worse = RANK[event.severity] >= RANK[incident.severity]
    return incident.model_copy(
        update={
            "last": event if worse or not incident.bad else incident.last,
            "severity": event.severity if worse else incident.severity,
            "trust": min(event.trust, incident.trust, key=TRUSTS.index),
            "open": incident.open | subject.bad,
            "said": incident.said | {_says(event)},
            "at": max(seconds(event.timestamp), incident.at),
            "lasting": incident.lasting or subject.lasting,
        }
    )


def _told(incident: Incident, now: float, timing: Timing) -> Incident:
    lasts = incident.bad and incident.lasting and incident.reminders < REMINDERS
    return incident.model_copy(
        update={
            "told": now,
            "told_bad": incident.bad,
            "remind": now + timing.repeat if lasts else None,
            "flips": 0,
            "flipping": None,
            "settle": None,
            "folded_told": len(incident.folded),
        }
    )


def recover(incident: Incident, event: Event, subject: Subject, now: float, timing: Timing) -> Step:
    """Something of it is well again. One that is trusted less than who reported the problem ends nothing."""
    at = seconds(event.timestamp)
    forged = TRUSTS.index(event.trust) > TRUSTS.index(incident.trust)
    if not incident.bad or forged or at < incident.at - SKEW:
        return incident, None
    left = incident.open - subject.well
    if left:
        return incident.model_copy(update={"open": left}), None
    well = incident.model_copy(update={"last": event, "at": max(at, incident.at), "open": left})
    return _flip(well, now, timing, bad=False)


def _flip(incident: Incident, now: float, timing: Timing, *, bad: bool) -> Step:
    """It changed between bad and well."""
    quick = incident.settle is not None or now - incident.changed < timing.debounce
    changed = incident.model_copy(update={"bad": bad, "changed": now})
    if not quick:
        return _told(changed, now, timing), Word("event" if bad else "recovery", incident.last)
    since = incident.flipping if incident.flipping is not None else incident.changed
    settle = min(now + timing.debounce, since + LONGEST * timing.debounce)
    update = {"flips": incident.flips + 1, "flipping": since, "settle": max(settle, now), "remind": None}
    return changed.model_copy(update=update), None


def fold(incident: Incident, event: Event, now: float, timing: Timing) -> Step:
    """What a lost node took along: named with it, in one word a little later."""
    label = _label(event)
    if label in incident.folded or len(incident.folded) >= FOLDED_MOST:
        return incident, None
    settle = incident.settle if incident.settle is not None else now + timing.debounce
    return incident.model_copy(update={"folded": (*incident.folded, label), "settle": settle}), None


def _label(event: Event) -> str:
    name = event.context.get("name")
    if event.guest is not None:
        return f"{name} ({event.guest})" if isinstance(name, str) and name else str(event.guest)
    return event.title


def act(incident: Incident, now: float, timing: Timing) -> Step:
    """What the clock makes due."""
    if incident.settle is not None and incident.settle <= now:
        return _settled(incident, now, timing)
    if incident.remind is not None and incident.remind <= now:
        again = incident.model_copy(update={"reminders": incident.reminders + 1})
        word = None if incident.acknowledged else Word("reminder", incident.last)
        return _told(again, now, timing), word
    return incident, None


def _settled(incident: Incident, now: float, timing: Timing) -> Step:
    note = ""
    if incident.flips > 1 and incident.flipping is not None:
        note = f"It changed {incident.flips} times within {max(1, round(incident.changed - incident.flipping))} s."
    if incident.bad != incident.told_bad:
        kind: WordKind = "event" if incident.bad else "recovery"
        return _told(incident, now, timing), Word(kind, incident.last, note)
    grown = incident.bad and len(incident.folded) > incident.folded_told
    if not incident.flips and not grown:
        return _told(incident, incident.told, timing), None
    if incident.acknowledged and incident.bad:
        return _told(incident, now, timing), None
    return _told(incident, now, timing), Word("update" if incident.bad else "recovery", incident.last, note)


def acknowledge(incident: Incident, by: str) -> Incident:
    """Somebody knows: no reminders and no updates any more, but its end, and what is worse."""
    return incident.model_copy(update={"acknowledged": by, "remind": None})
