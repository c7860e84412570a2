"""What is to be told and to whom: one row per notice and notifier, in the journal's database.

A row waits (PENDING), was taken by the service (SENT), was given up (PARKED), or waits for a digest (HELD); then it
went in one (FOLDED) or was over by then (DROPPED). A row that is SENT is never sent again. Between the service's answer
and that mark a crash may come: then it is sent again, with the same notice id.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from mqtt_bridge.events.filters import RANK
from mqtt_bridge.model import SEVERITIES, Severity
from mqtt_bridge.notifiers.notice import Notice, NoticeKind

PENDING, SENT, PARKED, HELD, FOLDED, DROPPED = range(6)
STATES = ("pending", "sent", "parked", "held", "in a digest", "dropped")
KEPT = 30 * 86400.0  # seconds that what is settled is remembered
WAITED = 7 * 86400.0  # seconds that a notice may have waited before it was given up
KEPT_MOST = 100_000

_NOTICE: TypeAdapter[Notice] = TypeAdapter(Notice)


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery whose time has come. `first_at`: the first attempt, None before it."""

    seq: int
    notice: Notice
    attempts: int
    first_at: float | None


@dataclass(frozen=True, slots=True)
class Told:
    """What one notifier has of an incident: the state of its newest row, and what it waits for."""

    state: int
    hold: str
    next_at: float | None


def write(connection: sqlite3.Connection, notice: Notice) -> None:
    """The text, once for all notifiers."""
    connection.execute("INSERT OR IGNORE INTO notices VALUES (?, ?)", [notice.id, _NOTICE.dump_json(notice)])


def read(connection: sqlite3.Connection, identity: str) -> Notice | None:
    """By id."""
    row = connection.execute("SELECT body FROM notices WHERE id = ?", [identity]).fetchone()
    return _NOTICE.validate_json(row[0]) if row else None


def add(
    connection: sqlite3.Connection,
    notice: Notice,
    notifier: str,
    now: float,
    *,
    kind: NoticeKind | None = None,
    hold: str = "",
    next_at: float | None = None,
) -> bool:
    """A row; False: this notifier has this notice already. With `hold` it waits for a digest, due at `next_at`."""
    write(connection, notice)
    sql = """INSERT OR IGNORE INTO deliveries
        (notice, notifier, incident, kind, severity, state, hold, created_at, next_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
    state, due = (HELD, next_at) if hold else (PENDING, now)
    rank = RANK[notice.severity]
    row = [notice.id, notifier, notice.incident, kind or notice.kind, rank, state, hold, now, due]
    return connection.execute(sql, row).rowcount > 0


def told(connection: sqlite3.Connection, incident: str) -> Mapping[str, Told]:
    """Who was told, is to be told, or will have it in a digest, by notifier; not those for whom it was given up.

    HELD only where everything that this notifier has of it is.
    """
    sql = """SELECT notifier, state, hold, next_at FROM deliveries
        WHERE incident = ? AND incident <> '' AND state NOT IN (?, ?) ORDER BY state = ? DESC, seq"""
    return {row[0]: Told(*row[1:]) for row in connection.execute(sql, [incident, PARKED, DROPPED, HELD])}


def made_since(connection: sqlite3.Connection, notifier: str, since: float, *, critical: bool) -> int:
    """How many notices went to a notifier since then, critical ones or the others; digests do not count."""
    sql = """SELECT count(*) FROM deliveries WHERE notifier = ? AND created_at > ? AND state < 3 AND kind <> 'digest'
        AND (severity = ?) = ?"""
    found = connection.execute(sql, [notifier, since, RANK["critical"], critical])
    return int(found.fetchone()[0])


# --- attempts --------------------------------------------------------------------------------------------------------


def due(connection: sqlite3.Connection, notifier: str, now: float) -> Due | None:
    """The oldest that is due and has no older one of its incident before it."""
    sql = """SELECT seq, kind, incident, attempts, first_at, body
        FROM deliveries AS d JOIN notices ON notices.id = notice
        WHERE notifier = ? AND state = 0 AND next_at <= ? AND NOT EXISTS (
            SELECT 1 FROM deliveries AS o INDEXED BY deliveries_incident WHERE o.incident = d.incident
            AND d.incident <> '' AND o.incident <> '' AND o.notifier = d.notifier AND o.seq < d.seq AND o.state = 0)
        ORDER BY seq LIMIT 1"""
    row = connection.execute(sql, [notifier, now]).fetchone()
    if row is None:
        return None
    seq, kind, incident, attempts, first_at, body = row
    notice = replace(_NOTICE.validate_json(body), kind=kind, previous=_previous(connection, notifier, incident, seq))
    return Due(seq, notice, attempts, first_at)


def _previous(connection: sqlite3.Connection, notifier: str, incident: str, seq: int) -> str | None:
    sql = """SELECT ref FROM deliveries WHERE incident = ? AND incident <> '' AND notifier = ? AND seq < ?
        AND state = ? AND ref IS NOT NULL ORDER BY seq DESC LIMIT 1"""
    row = connection.execute(sql, [incident, notifier, seq, SENT]).fetchone()
    return row[0] if row else None


def next_due(connection: sqlite3.Connection, notifier: str) -> float | None:
    """When the next attempt is to be made; None: nothing waits."""
    sql = "SELECT min(next_at) FROM deliveries WHERE notifier = ? AND state = 0"
    found: float | None = connection.execute(sql, [notifier]).fetchone()[0]
    return found


def sent(connection: sqlite3.Connection, seq: int, now: float, ref: str | None, answer: str) -> None:
    """The service took it."""
    sql = """UPDATE deliveries SET state = ?, settled_at = ?, ref = ?, answer = ?, attempts = attempts + 1,
        first_at = coalesce(first_at, ?) WHERE seq = ?"""
    connection.execute(sql, [SENT, now, ref, answer[:500], now, seq])


def later(connection: sqlite3.Connection, seq: int, now: float, next_at: float, answer: str) -> None:
    """It is tried again."""
    sql = """UPDATE deliveries SET next_at = ?, answer = ?, attempts = attempts + 1, first_at = coalesce(first_at, ?)
        WHERE seq = ?"""
    connection.execute(sql, [next_at, answer[:500], now, seq])


def park(connection: sqlite3.Connection, seq: int, now: float, answer: str) -> None:
    """It is given up until somebody asks for it."""
    sql = """UPDATE deliveries SET state = ?, settled_at = ?, answer = ?, attempts = attempts + 1,
        first_at = coalesce(first_at, ?) WHERE seq = ?"""
    connection.execute(sql, [PARKED, now, answer[:500], now, seq])


def hasten(connection: sqlite3.Connection, notifier: str, now: float) -> None:
    """The service works again: what waits for its next attempt need not."""
    connection.execute(
        "UPDATE deliveries SET next_at = ? WHERE notifier = ? AND state = 0 AND next_at > ?", [now, notifier, now]
    )


def not_later(connection: sqlite3.Connection, latest: float, now: float) -> None:
    """An attempt that is planned later than that is made now."""
    connection.execute("UPDATE deliveries SET next_at = ? WHERE state = 0 AND next_at > ?", [now, latest])


def retry(connection: sqlite3.Connection, which: str, now: float) -> int:
    """What was parked (a row's number, a notice's id, or `all`) waits again; returns how many."""
    sql = """UPDATE deliveries SET state = 0, next_at = ?, attempts = 0, first_at = NULL, settled_at = NULL
        WHERE state = ?"""
    if which == "all":
        return connection.execute(sql, [now, PARKED]).rowcount
    return connection.execute(f"{sql} AND (notice = ? OR seq = ?)", [now, PARKED, which, which]).rowcount


def give_up_others(connection: sqlite3.Connection, notifiers: Iterable[str], now: float) -> int:
    """What waits for a notifier that is switched off is parked."""
    sql = """UPDATE deliveries SET state = ?, settled_at = ?, hold = '', answer = 'This notifier is switched off.'
        WHERE state IN (?, ?) AND notifier NOT IN (SELECT value FROM json_each(?))"""
    return connection.execute(sql, [PARKED, now, PENDING, HELD, json.dumps(list(notifiers))]).rowcount


# --- what waits for a digest -----------------------------------------------------------------------------------------


def holds_due(connection: sqlite3.Connection, now: float) -> list[tuple[str, str]]:
    """Notifier and hold of the digests that are due."""
    sql = "SELECT DISTINCT notifier, hold FROM deliveries WHERE state = 3 AND next_at <= ?"
    return [(row[0], row[1]) for row in connection.execute(sql, [now])]


@dataclass(frozen=True, slots=True)
class Held:
    """A row that waits for a digest."""

    seq: int
    notifier: str
    notice: str
    severity: Severity


def held(connection: sqlite3.Connection, hold: str, notifier: str | None = None) -> list[Held]:
    """What is held for one reason, oldest first."""
    sql = "SELECT seq, notifier, notice, severity FROM deliveries WHERE state = 3 AND hold = ?"
    rows = connection.execute(f"{sql} AND (? IS NULL OR notifier = ?) ORDER BY seq", [hold, notifier, notifier])
    return [Held(seq, name, notice, SEVERITIES[severity]) for seq, name, notice, severity in rows]


def waiting_until(connection: sqlite3.Connection, notifier: str, hold: str) -> float | None:
    """When the digest that this notifier collects for this reason is due; None: it collects none."""
    sql = "SELECT min(next_at) FROM deliveries WHERE state = 3 AND notifier = ? AND hold = ?"
    found: float | None = connection.execute(sql, [notifier, hold]).fetchone()[0]
    return found


def release(connection: sqlite3.Connection, seqs: Sequence[int], now: float) -> None:
    """What would be a digest of one goes as it is."""
    sql = "UPDATE deliveries SET state = 0, hold = '', next_at = ? WHERE seq IN (SELECT value FROM json_each(?))"
    connection.execute(sql, [now, json.dumps(list(seqs))])


def postpone(connection: sqlite3.Connection, seqs: Sequence[int], hold: str, until: float) -> None:
    """They wait for another reason now."""
    sql = "UPDATE deliveries SET hold = ?, next_at = ? WHERE seq IN (SELECT value FROM json_each(?))"
    connection.execute(sql, [hold, until, json.dumps(list(seqs))])


def settle(connection: sqlite3.Connection, seqs: Sequence[int], state: int, now: float, digest: str = "") -> None:
    """They went in a digest, or are over."""
    sql = """UPDATE deliveries SET state = ?, settled_at = ?, digest = ?
        WHERE seq IN (SELECT value FROM json_each(?))"""
    connection.execute(sql, [state, now, digest or None, json.dumps(list(seqs))])


# --- the list --------------------------------------------------------------------------------------------------------

COUNTS = "SELECT notifier, state, count(*) FROM deliveries GROUP BY notifier, state"


def counts(connection: sqlite3.Connection) -> Mapping[str, Mapping[str, int]]:
    """How many are in which state, by notifier."""
    found: dict[str, dict[str, int]] = {}
    for notifier, state, count in connection.execute(COUNTS):
        found.setdefault(notifier, {})[STATES[state]] = count
    return found


def parked_since(connection: sqlite3.Connection, notifiers: Iterable[str], since: float) -> Mapping[str, int]:
    """How many of each of these were given up since then (Unix seconds); those with none are left out."""
    sql = """SELECT count(*) FROM deliveries
        WHERE notifier = ? AND state < 3 AND created_at >= ? AND state = ? AND settled_at >= ?"""
    counted = {name: connection.execute(sql, [name, since - WAITED, PARKED, since]).fetchone()[0] for name in notifiers}
    return {name: count for name, count in counted.items() if count}


def forget_old(connection: sqlite3.Connection, now: float) -> None:
    """What was settled long ago, and texts that nobody needs."""
    settled = f"state NOT IN ({PENDING}, {HELD})"  # numbers of ours
    connection.execute(f"DELETE FROM deliveries WHERE {settled} AND created_at < ?", [now - KEPT])  # noqa: S608
    last = connection.execute("SELECT max(seq) FROM deliveries").fetchone()[0] or 0
    connection.execute(f"DELETE FROM deliveries WHERE {settled} AND seq <= ?", [last - KEPT_MOST])  # noqa: S608
    connection.execute("DELETE FROM notices WHERE id NOT IN (SELECT notice FROM deliveries)")
