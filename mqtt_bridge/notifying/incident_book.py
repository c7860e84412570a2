"""Incidents in the journal's database, found by the keys of their problems and by correlation."""

import sqlite3
from collections.abc import Iterable

from mqtt_bridge.notifying.incidents import Incident

QUIET = 8 * 86400.0  # seconds without a word after which an incident is forgotten; longer than the last reminder
CORRELATION = "correlation|"


def load(connection: sqlite3.Connection, identity: str) -> Incident | None:
    """By id."""
    row = connection.execute("SELECT body FROM incidents WHERE id = ?", [identity]).fetchone()
    return Incident.model_validate_json(row[0]) if row else None


def by_key(connection: sqlite3.Connection, keys: Iterable[str]) -> list[Incident]:
    """Those that these keys lead to, each once."""
    sql = "SELECT incident FROM incident_keys WHERE key = ?"
    rows = (connection.execute(sql, [key]).fetchone() for key in sorted(keys))
    found = (load(connection, identity) for identity in dict.fromkeys(row[0] for row in rows if row))
    return [incident for incident in found if incident]


def by_correlation(connection: sqlite3.Connection, correlation: str) -> Incident | None:
    """The one that events of this correlation went into."""
    return next(iter(by_key(connection, [CORRELATION + correlation])), None)


def save(connection: sqlite3.Connection, incident: Incident, now: float, correlation: str = "") -> None:
    """Its keys lead to it from now on, whatever they led to before."""
    sql = """INSERT INTO incidents VALUES (?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET due = excluded.due, touched = excluded.touched, body = excluded.body"""
    connection.execute(sql, [incident.id, incident.due, now, incident.model_dump_json()])
    keys = [*incident.open, *([CORRELATION + correlation] if correlation else [])]
    connection.executemany("INSERT OR REPLACE INTO incident_keys VALUES (?, ?)", [(key, incident.id) for key in keys])


def due(connection: sqlite3.Connection, now: float, limit: int = 100) -> list[Incident]:
    """Those of which the clock makes something."""
    sql = "SELECT body FROM incidents WHERE due <= ? ORDER BY due LIMIT ?"
    return [Incident.model_validate_json(row[0]) for row in connection.execute(sql, [now, limit])]


def rest(connection: sqlite3.Connection, identity: str) -> None:
    """Nothing is due of it any more, until something happens."""
    connection.execute("UPDATE incidents SET due = NULL WHERE id = ?", [identity])


def current(connection: sqlite3.Connection) -> list[Incident]:
    """Those that are bad, newest first."""
    sql = "SELECT body FROM incidents WHERE json_extract(body, '$.bad') ORDER BY touched DESC"
    return [Incident.model_validate_json(row[0]) for row in connection.execute(sql)]


def forget_old(connection: sqlite3.Connection, now: float) -> None:
    """What nobody has said anything about for days."""
    connection.execute("DELETE FROM incidents WHERE touched < ?", [now - QUIET])
    connection.execute("DELETE FROM incident_keys WHERE incident NOT IN (SELECT id FROM incidents)")
