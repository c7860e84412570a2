"""Good backups are told once a day: how many guests of how many, and which failed or had none."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mqtt_bridge.events.account import seconds
from mqtt_bridge.model import Event, GuestState, utc
from mqtt_bridge.notifiers.notice import Notice
from mqtt_bridge.notifying.notices import LINES, own_id
from mqtt_bridge.notifying.problems import backed_up

DAY = 86400.0
OLD = 40 * DAY


@dataclass(frozen=True, slots=True)
class Tally:
    """The last end of one guest's backup, and when the last good one was; Unix seconds."""

    site: str
    guest: int
    name: str
    at: float
    ok: bool
    good_at: float | None

    def __str__(self) -> str:
        return f"{self.name} ({self.guest})" if self.name else str(self.guest)


def is_good(event: Event) -> bool:
    """Whether the digest tells it, so that nothing else needs to: backups that begin, go on or ended well."""
    backup = event.kind.startswith(("backup.job.", "backup.guest.", "task.vzdump."))
    return backup and event.severity == "info" and event.ok is not False


def note(connection: sqlite3.Connection, event: Event) -> None:
    """Remember how the backups that it tells of ended. That a backup is good has to come from somebody known."""
    at = seconds(event.timestamp)
    for vmid, ok in backed_up(event).items():
        if ok and event.trust == "unauthenticated":
            continue
        name = event.context.get("name") if event.guest == vmid else None
        row = [event.site, vmid, name if isinstance(name, str) else "", at, ok, at if ok else None]
        sql = """INSERT INTO backups VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (site, guest) DO UPDATE SET
            name = CASE excluded.name WHEN '' THEN name ELSE excluded.name END,
            ok = CASE WHEN excluded.at >= at THEN excluded.ok ELSE ok END,
            at = max(at, excluded.at),
            good_at = max(coalesce(good_at, excluded.good_at), coalesce(excluded.good_at, good_at))"""
        connection.execute(sql, row)


def tallies(connection: sqlite3.Connection) -> list[Tally]:
    """Of all guests; what is long gone is forgotten."""
    rows = connection.execute("SELECT site, guest, name, at, ok, good_at FROM backups ORDER BY site, guest").fetchall()
    return [Tally(site, guest, name, at, bool(ok), good) for site, guest, name, at, ok, good in rows]


def forget_old(connection: sqlite3.Connection, now: float) -> None:
    """Guests that are backed up no more."""
    connection.execute("DELETE FROM backups WHERE at < ?", [now - OLD])


def morning(day: str, known: Sequence[Tally], guests: Iterable[GuestState], now: float) -> Notice | None:
    """The digest; None where no backup ended within the last day. `guests` is empty where nobody knows them."""
    since = now - DAY
    ended = [tally for tally in known if tally.at >= since]
    if not ended:
        return None
    good = {(t.site, t.guest) for t in known if t.good_at is not None and t.good_at >= since}
    failed = [str(tally) for tally in ended if not tally.ok]
    expected, exempt, missing = {(t.site, t.guest) for t in ended}, 0, []
    if states := [guest for guest in guests if not guest.template]:
        good |= {(g.site, g.vmid) for g in states if g.last_backup and seconds(g.last_backup) >= since}
        expected = {(g.site, g.vmid) for g in states if g.backup_covered} | {k for k in expected if k in good}
        exempt = sum(1 for g in states if g.backup_covered is False and (g.site, g.vmid) not in expected)
        named = {(t.site, t.guest) for t in ended if not t.ok}
        missing = [f"{g.name} ({g.vmid})" for g in states if g.backup_covered and (g.site, g.vmid) not in good | named]
    lines = [f"Failed: {_names(failed)}."] if failed else []
    lines += [f"None within a day: {_names(missing)}."] if missing else []
    title = f"{len(good & expected)} of {len(expected)} backed up" + (f", {exempt} exempt" if exempt else "")
    return Notice(
        id=own_id("morning", day),
        kind="digest",
        title=title,
        text="\n".join(lines),
        severity="warning" if failed else "info",
        at=utc(now) or "",
        facts=tuple([("Failed", str(len(failed)))] if failed else []),
    )


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:LINES]) + (f" and {len(names) - LINES} more" if len(names) > LINES else "")
