"""From events to deliveries: who is to be told what, when, decided once, in the transaction that writes it down.

Everything here runs in the database's thread, on its connection, inside a transaction of its caller; the clock is
passed in. What comes twice is decided on once (`seen`).
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from mqtt_bridge.errors import SettingsError
from mqtt_bridge.events.account import seconds
from mqtt_bridge.model import Event, GuestState
from mqtt_bridge.notifying import backup_digest, deliveries, incident_book, incidents, maintenance, notices, silences
from mqtt_bridge.notifying.incidents import Incident, Timing, Word
from mqtt_bridge.notifying.notices import Link
from mqtt_bridge.notifying.posting import Circumstance, Posting
from mqtt_bridge.notifying.problems import Subject, folds_into_node, loses_node, subject_of
from mqtt_bridge.notifying.routing import minutes, next_time, zone
from mqtt_bridge.notifying.rows import alone, set_value, value
from mqtt_bridge.settings.notifying import NotifySettings
from mqtt_bridge.severity import TRUSTS

AHEAD = 3600.0  # seconds; no attempt is planned later than that, but by a clock that was wrong
SEEN = 14 * 86400.0  # seconds that an event is remembered as decided on
MORNING = 12 * 3600.0  # seconds after its time that the morning digest is still made up for
_BACK = frozenset({"site.online", "node.online"})
_BACKUPS = Event(id="", kind="backup.job.finished", title="", source="", timestamp="", site="")


class Decider:
    """Compiled from the settings once. Raises SettingsError for what cannot be understood.

    `follows`: maintenance comes from another process, as events; else whoever begins it writes it into this journal.
    """

    def __init__(
        self, settings: NotifySettings, names: Sequence[str], link: Link | None = None, *, follows: bool = False
    ) -> None:
        self._follows = follows
        self.timing = Timing(settings.debounce, settings.repeat)
        self.posting = Posting(settings, names)
        self._where = zone(settings.timezone)
        self._max_age = settings.max_age
        self._morning = _time_of_day(settings.digest_at)
        self._link = link

    # --- events ------------------------------------------------------------------------------------------------------

    def take(self, events: Iterable[Event], connection: sqlite3.Connection, now: float) -> int:
        """Decide on these; returns how many were new."""
        new = 0
        for event in events:
            sql = "INSERT OR IGNORE INTO seen VALUES (?, ?)"
            if connection.execute(sql, [event.id, now]).rowcount:
                new += 1
                if _says_more(connection, event, now) and not alone(
                    connection, partial(self._take, connection, event, now)
                ):
                    alone(connection, partial(self._plain, connection, notices.bounded(event), Circumstance(now)))
        return new

    def _take(self, connection: sqlite3.Connection, event: Event, now: float) -> None:
        if event.kind in maintenance.KINDS and self._follows:
            maintenance.follow(connection, event, now)
        if self._follows and (shutdown := silences.of_shutdown(event, now)):
            silences.put(connection, shutdown)
        if silences.stops_all(event):
            set_value(connection, silences.of_node(event.site, event.node or ""), event.timestamp)
        backup_digest.note(connection, event)
        subject = subject_of(event)
        if not (subject.bad or subject.well or any(route.wants(event) for route in self.posting.routes.values())):
            return
        event = notices.bounded(event)
        self._asked(connection, event, now)
        spared = next((s for s in silences.active(connection, now) if s.covers(event)), None)
        at = seconds(event.timestamp)
        late = at > 0 and now - at > self._max_age
        it = Circumstance(now, spared.id if spared else "", late)
        recovered = self._recover(connection, event, subject, it)
        if subject.bad:
            self._report(connection, event, subject, it)
        elif not recovered:
            self._plain(connection, event, it)
        self._restart(connection, event, now)

    def _recover(self, connection: sqlite3.Connection, event: Event, subject: Subject, it: Circumstance) -> bool:
        """Whether it ended something."""
        found = [one for one in incident_book.by_key(connection, subject.well) if one.bad]
        for incident in found:
            step = incidents.recover(incident, event, subject, it.now, self.timing)
            self._step(connection, step, it)
        return bool(found)

    def _report(self, connection: sqlite3.Connection, event: Event, subject: Subject, it: Circumstance) -> None:
        if self._folds(connection, event, it):
            return
        correlation = event.correlation_id or event.id
        of_keys = incident_book.by_key(connection, subject.bad)
        incident = next(iter(sorted(of_keys, key=lambda one: not one.bad)), None)
        incident = incident or incident_book.by_correlation(connection, correlation)
        if incident and incidents.continues(incident, event, it.now, self.timing):
            step = incidents.report(incident, event, subject, it.now, self.timing)
        else:
            taken = incident_book.load(connection, correlation) is not None
            identity = event.id if taken else correlation
            step = incidents.begin(identity, event, subject, it.now, self.timing)
        self._step(connection, step, it, correlation)

    def _folds(self, connection: sqlite3.Connection, event: Event, it: Circumstance) -> bool:
        """What a lost node took along is no problem of its own."""
        key = folds_into_node(event)
        found = incident_book.by_key(connection, [key]) if key else []
        for incident in found:
            if incident.bad and loses_node(incident.last):
                self._step(connection, incidents.fold(incident, event, it.now, self.timing), it)
                return True
        return False

    def _plain(self, connection: sqlite3.Connection, event: Event, it: Circumstance) -> None:
        """No problem: for those who want to know even that."""
        if self._morning is not None and backup_digest.is_good(event):
            return
        notice = notices.of_event(event, "", link=self._link)
        for route in self.posting.routes.values():
            if route.wants(event):
                self.posting.deliver(connection, route, notice, it)

    @staticmethod
    def _asked(connection: sqlite3.Connection, event: Event, now: float) -> None:
        """A node that has just stopped all of its guests goes because it was asked to, whoever asked."""
        if event.kind == "node.offline" and event.node and event.trust == "api":
            asked = value(connection, silences.of_node(event.site, event.node))
            if asked is not None and seconds(event.timestamp) - seconds(asked) <= silences.GOING:
                silences.add(connection, silences.restart(event.site, event.node, now, by="stopall"))

    def _restart(self, connection: sqlite3.Connection, event: Event, now: float) -> None:
        """After the restart itself is told: what it takes along is not."""
        if (restart := silences.of_restart(event, now)) is not None:
            silences.add(connection, restart)
        elif event.kind == "node.online" and event.node and event.trust != "unauthenticated":
            silences.end(connection, silences.of_node(event.site, event.node), now)
        if event.kind in _BACK and event.trust != "unauthenticated":
            silences.come_back(connection, event.site, now)

    # --- words -------------------------------------------------------------------------------------------------------

    def _step(
        self, connection: sqlite3.Connection, step: incidents.Step, it: Circumstance, correlation: str = ""
    ) -> None:
        incident, word = step
        incident_book.save(connection, incident, it.now, correlation)
        if word is not None:
            self._say(connection, incident, word, it)

    def _say(self, connection: sqlite3.Connection, incident: Incident, word: Word, it: Circumstance) -> None:
        notice = notices.of_word(word, incident, it.now, self._link)
        if connection.execute("SELECT 1 FROM notices WHERE id = ?", [notice.id]).fetchone():
            notice = notices.by_clock(notice, it.now)
        told = deliveries.told(connection, incident.id)
        for name, route in self.posting.routes.items():
            if word.kind == "recovery":
                if (before := told.get(name)) is not None:
                    self.posting.end(connection, route, notice, before, it, woken=incident.severity == "critical")
            elif not route.wants(word.event):
                continue
            elif name not in told:
                self.posting.deliver(connection, route, replace(notice, kind="event"), it)
            elif word.kind != "update" or word.louder or route.routing.updates == "update":
                self.posting.deliver(connection, route, notice, it)

    # --- the clock ---------------------------------------------------------------------------------------------------

    def morning_due(self, connection: sqlite3.Connection, now: float) -> bool:
        """Whether `tick` will want to know the guests."""
        planned = value(connection, "morning")
        return self._morning is not None and (planned is None or float(planned) <= now)

    def tick(self, connection: sqlite3.Connection, now: float, guests: Iterable[GuestState] = ()) -> None:
        """What the clock makes due."""
        for incident in incident_book.due(connection, now):
            if not alone(connection, partial(self._act, connection, incident, now)):
                incident_book.rest(connection, incident.id)
        for silence in silences.ended(connection, now):
            alone(connection, partial(self._after, connection, silence.id, now))
        for notifier, hold in deliveries.holds_due(connection, now):
            alone(connection, partial(self._digest, connection, notifier, hold, now))
        alone(connection, partial(self._good_morning, connection, now, guests))

    def _act(self, connection: sqlite3.Connection, incident: Incident, now: float) -> None:
        spared = next((s for s in silences.active(connection, now) if s.covers(incident.last)), None)
        it = Circumstance(now, spared.id if spared else "")
        self._step(connection, incidents.act(incident, now, self.timing), it)

    def _digest(self, connection: sqlite3.Connection, notifier: str, hold: str, now: float) -> None:
        rows = deliveries.held(connection, hold, notifier)
        self.posting.fold(connection, notifier, hold, rows, now)

    def _after(self, connection: sqlite3.Connection, identity: str, now: float) -> None:
        """A silence is over: what it held back is told if it is still wrong."""
        hold = f"silence {identity}"
        rows = deliveries.held(connection, hold)
        bad = {one.id for one in incident_book.current(connection)}
        still: dict[str, list[deliveries.Held]] = {}
        over: list[int] = []
        for row in rows:
            notice = deliveries.read(connection, row.notice)
            if notice and notice.incident in bad:
                still.setdefault(row.notifier, []).append(row)
            else:
                over.append(row.seq)
        deliveries.settle(connection, over, deliveries.DROPPED, now)
        for notifier, kept in still.items():
            self.posting.fold(connection, notifier, hold, kept, now)
        silences.forget(connection, identity)

    def _good_morning(self, connection: sqlite3.Connection, now: float, guests: Iterable[GuestState]) -> None:
        """Once a day; when the time passed while nobody ran, a little later."""
        if self._morning is None or not self.morning_due(connection, now):
            return
        planned = value(connection, "morning")
        set_value(connection, "morning", str(next_time(self._morning, now, self._where)))
        if planned is None or now - float(planned) > MORNING:
            return
        notice = backup_digest.morning(planned, backup_digest.tallies(connection), guests, now)
        if notice is not None:
            self.posting.say(
                connection, notice, [name for name, r in self.posting.routes.items() if r.concerns(_BACKUPS)], now
            )

    @staticmethod
    def acknowledge(connection: sqlite3.Connection, which: str, by: str, now: float) -> Incident | None:
        """Somebody knows of an incident, or of what one of its notices tells; None: there is none like that."""
        row = connection.execute("SELECT incident FROM deliveries WHERE notice = ?", [which]).fetchone()
        incident = incident_book.load(connection, which) or (incident_book.load(connection, row[0]) if row else None)
        if incident is not None:
            incident = incidents.acknowledge(incident, by)
            incident_book.save(connection, incident, now)
        return incident

    # --- tidying up --------------------------------------------------------------------------------------------------

    def begin(self, connection: sqlite3.Connection, now: float) -> None:
        """At the start: what waits for a notifier that is gone waits no more, nor what a wrong clock put off."""
        deliveries.not_later(connection, now + AHEAD, now)
        deliveries.give_up_others(connection, self.posting.routes, now)

    @staticmethod
    def tidy(connection: sqlite3.Connection, now: float) -> None:
        """Forget what nobody asks for any more."""
        connection.execute("DELETE FROM seen WHERE at < ?", [now - SEEN])
        incident_book.forget_old(connection, now)
        deliveries.forget_old(connection, now)
        backup_digest.forget_old(connection, now)


def _says_more(connection: sqlite3.Connection, event: Event, now: float) -> bool:
    """Whether it repeats nothing, or is trusted more than all who said the same before."""
    said = [f"{event.duplicate_of or event.id}|{trust}" for trust in TRUSTS[: TRUSTS.index(event.trust) + 1]]
    known = connection.execute(f"SELECT 1 FROM seen WHERE id IN ({', '.join('?' * len(said))})", said).fetchone()  # noqa: S608 -- marks
    if event.trust != TRUSTS[-1]:  # which nothing is trusted less than
        connection.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", [said[-1], now])
    return event.duplicate_of is None or (known is None and event.trust != TRUSTS[-1])


def _time_of_day(text: str) -> int | None:
    if text.strip().lower() in ("", "off"):
        return None
    try:
        return minutes(text)
    except ValueError as error:
        raise SettingsError([f"NOTIFY_DIGEST_AT: {error}, or `off`."]) from error
