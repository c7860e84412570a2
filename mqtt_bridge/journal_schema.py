"""The journal's tables, as a list of steps that a file is taken through; `PRAGMA user_version` says how far it is."""

import sqlite3

from mqtt_bridge.intake import JournalError

# `seq` is never used twice (AUTOINCREMENT), so that a position in the outbox or a page of history stays valid.
# `at` is when it happened, `received_at` when we wrote it down, both in Unix seconds. `severity` is its rank.
# `state` is one of WAITING, PUBLISHED, REFUSED; `body` the event as JSON, which is also the payload on MQTT.
STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE events (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            received_at REAL NOT NULL,
            at REAL NOT NULL,
            site TEXT NOT NULL,
            kind TEXT NOT NULL,
            severity INTEGER NOT NULL,
            node TEXT,
            guest INTEGER,
            source TEXT NOT NULL,
            correlation_id TEXT NOT NULL,
            state INTEGER NOT NULL DEFAULT 0,
            body BLOB NOT NULL
        )""",
        # whatever history is asked for is decided in this index; the rows themselves are read for the page alone
        "CREATE INDEX history ON events (at, seq, severity, kind, site, node, guest)",
        "CREATE INDEX waiting ON events (seq) WHERE state = 0",
        "CREATE INDEX settled ON events (severity, seq) WHERE state <> 0",
        "CREATE TABLE cursors (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    ),
)
WAITING, PUBLISHED, REFUSED = 0, 1, 2


def version(connection: sqlite3.Connection) -> int:
    """How many steps the file has taken."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def refuse_newer(connection: sqlite3.Connection, path: str, steps: tuple[tuple[str, ...], ...] = STEPS) -> None:
    """A file of a later version is left alone: what is in it cannot be known here."""
    found = version(connection)
    if found > len(steps):
        raise JournalError(
            f"The journal {path} was written by a newer version (its schema is {found}, this version knows "
            f"{len(steps)}).",
            cure="Start the newer version again, or give this one its own STATE_DIR.",
        )


def refuse_other(connection: sqlite3.Connection, path: str) -> None:
    """For a reader, which cannot bring a file up to date."""
    refuse_newer(connection, path)
    if version(connection) < len(STEPS):
        raise JournalError(
            f"The journal {path} is of an earlier version, or empty.",
            cure="Start the bridge once: it brings the journal up to date.",
        )


def migrate(connection: sqlite3.Connection, path: str, steps: tuple[tuple[str, ...], ...] = STEPS) -> None:
    """Take the steps that are missing, each whole or not at all."""
    refuse_newer(connection, path, steps)
    for number, step in enumerate(steps[version(connection) :], version(connection) + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in step:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
