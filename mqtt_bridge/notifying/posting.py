"""Deliveries are made: at once, or held for a digest, because of a silence, the hour, a flood, or the event's age.

In the database's thread, inside a transaction of its caller.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mqtt_bridge.notifiers.notice import Notice
from mqtt_bridge.notifying import deliveries, notices
from mqtt_bridge.notifying.routing import QuietHours, Route, routes, zone
from mqtt_bridge.notifying.rows import set_value, value
from mqtt_bridge.settings.notifying import NotifySettings

COLLECT = 10.0  # seconds in which late events gather for their digest
MINUTE = 60.0
READ = 1000  # notices that are read for a digest; the others are counted
TROUBLE = "notifier refuses: "


@dataclass(frozen=True, slots=True)
class Circumstance:
    """What holds for one event."""

    now: float
    silence: str = ""  # the id of the silence that covers it
    late: bool = False


class Posting:
    """Compiled from the settings once. Raises SettingsError for what cannot be understood."""

    def __init__(self, settings: NotifySettings, names: Sequence[str]) -> None:
        self.routes: Mapping[str, Route] = routes(settings, tuple(names))
        self._quiet = QuietHours.of(settings.quiet_hours, zone(settings.timezone))

    def deliver(
        self, connection: sqlite3.Connection, route: Route, notice: Notice, it: Circumstance, *, woken: bool = False
    ) -> None:
        hold, next_at = self._hold(connection, route, notice, it, woken=woken)
        deliveries.add(connection, notice, route.name, it.now, kind=notice.kind, hold=hold, next_at=next_at)

    def _hold(
        self, connection: sqlite3.Connection, route: Route, notice: Notice, it: Circumstance, *, woken: bool
    ) -> tuple[str, float | None]:
        """Why it waits for a digest, and until when."""
        if it.silence:
            return f"silence {it.silence}", None
        critical = notice.severity == "critical" or woken
        if it.late:
            return self._collected(connection, route, "late", it.now + COLLECT)
        if self._quiet and not critical and (until := self._quiet.until(it.now)):
            return "quiet", until
        limit = route.routing.rate_limit
        waiting = deliveries.waiting_until(connection, route.name, "flood") if not critical else None
        if waiting is not None:
            return "flood", waiting
        count = deliveries.made_since(connection, route.name, it.now - MINUTE, critical=critical) if limit else 0
        return ("flood", it.now + MINUTE) if limit and count >= limit else ("", None)

    @staticmethod
    def _collected(connection: sqlite3.Connection, route: Route, hold: str, until: float) -> tuple[str, float]:
        waiting = deliveries.waiting_until(connection, route.name, hold)
        return hold, until if waiting is None else waiting

    def end(
        self,
        connection: sqlite3.Connection,
        route: Route,
        notice: Notice,
        told: deliveries.Told,
        it: Circumstance,
        *,
        woken: bool,
    ) -> None:
        """Whoever was told of the problem is told of its end; where that still waits for a digest, there."""
        if told.state == deliveries.HELD:
            hold, next_at = told.hold, told.next_at
            deliveries.add(connection, notice, route.name, it.now, hold=hold, next_at=next_at)
            return
        self.deliver(connection, route, notice, replace(it, silence=""), woken=woken)

    def fold(
        self, connection: sqlite3.Connection, notifier: str, why: str, rows: Sequence[deliveries.Held], now: float
    ) -> None:
        """One notice for these. A single one goes as it is, and at night only what is critical goes."""
        seqs = [row.seq for row in rows]
        counts = Counter(row.severity for row in rows)
        until = self._quiet.until(now) if self._quiet else None
        if until and not counts["critical"]:
            return deliveries.postpone(connection, seqs, "quiet", until)
        reason = why.split(" ", 1)[0]
        if len(rows) == 1 and reason != "silence":
            return deliveries.release(connection, seqs, now)
        identity = notices.own_id("digest", notifier, why, rows[0].seq)
        read = (deliveries.read(connection, row.notice) for row in rows[:READ])
        if found := [notice for notice in read if notice]:
            deliveries.add(connection, notices.digest(reason, identity, found, now, counts), notifier, now)
        return deliveries.settle(connection, seqs, deliveries.FOLDED, now, identity)

    # --- messages ----------------------------------------------------------------------------------------------------

    @staticmethod
    def say(connection: sqlite3.Connection, notice: Notice, notifiers: Iterable[str], now: float) -> None:
        """To these, whatever their filters say."""
        for name in notifiers:
            deliveries.add(connection, notice, name, now)

    def refused(self, connection: sqlite3.Connection, notifier: str, reason: str, now: float) -> None:
        """A notifier was refused for good: the others tell it, once until it works again."""
        if value(connection, TROUBLE + notifier) is not None:
            return
        set_value(connection, TROUBLE + notifier, reason)
        identity = notices.own_id("refused", notifier, now)
        text = f"{reason}\nWhat it refused is kept: `mqtt-bridge deliveries --parked`."
        notice = notices.message(identity, f"Notifier {notifier} is refused by its service", text, "error", now)
        for route in self.routes.values():
            if route.name != notifier:
                self.deliver(connection, route, notice, Circumstance(now))

    @staticmethod
    def works(connection: sqlite3.Connection, notifier: str) -> None:
        """It told something: the next refusal is news again."""
        connection.execute("DELETE FROM notifying WHERE name = ?", [TROUBLE + notifier])

    @staticmethod
    def trouble(connection: sqlite3.Connection, notifier: str) -> str:
        """Why it was refused, if that was its last word before a restart; else empty."""
        return value(connection, TROUBLE + notifier) or ""
