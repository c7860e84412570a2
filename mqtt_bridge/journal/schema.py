"""The journal's tables, as a list of steps that a file is taken through; `PRAGMA user_version` says how far it is."""

import sqlite3

from mqtt_bridge.events.intake import JournalError

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
    # What notifiers tell. Times are Unix seconds of our clock. `seen` are events that were decided on. `incidents` and
    # their keys are the problems (`due`: when the clock makes something of them). `notices` are what is told, and
    # `deliveries` to whom; `hold` says why one waits for a digest, `digest` in which it went. `backups` is the last
    # end of each guest's backup; `notifying` holds single values.
    (
        "CREATE TABLE seen (id TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID",
        "CREATE INDEX seen_at ON seen (at)",
        "CREATE TABLE incidents (id TEXT PRIMARY KEY, due REAL, touched REAL NOT NULL, body TEXT NOT NULL)",
        "CREATE INDEX incidents_due ON incidents (due) WHERE due IS NOT NULL",
        "CREATE TABLE incident_keys (key TEXT PRIMARY KEY, incident TEXT NOT NULL) WITHOUT ROWID",
        "CREATE INDEX incident_keys_of ON incident_keys (incident)",
        "CREATE TABLE notices (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID",
        """CREATE TABLE deliveries (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            notice TEXT NOT NULL,
            notifier TEXT NOT NULL,
            incident TEXT NOT NULL,
            kind TEXT NOT NULL,
            severity INTEGER NOT NULL,
            state INTEGER NOT NULL,
            hold TEXT NOT NULL DEFAULT '',
            digest TEXT,
            created_at REAL NOT NULL,
            next_at REAL,
            first_at REAL,
            attempts INTEGER NOT NULL DEFAULT 0,
            settled_at REAL,
            ref TEXT,
            answer TEXT NOT NULL DEFAULT '',
            UNIQUE (notice, notifier)
        )""",
        "CREATE INDEX deliveries_pending ON deliveries (notifier, seq, next_at) WHERE state = 0",
        "CREATE INDEX deliveries_held ON deliveries (notifier, hold, next_at) WHERE state = 3",
        "CREATE INDEX deliveries_incident ON deliveries (incident, notifier, seq) WHERE incident <> ''",
        "CREATE INDEX deliveries_made ON deliveries (notifier, created_at) WHERE state < 3",
        """CREATE TABLE silences (
            id TEXT PRIMARY KEY,
            scope TEXT NOT NULL,
            site TEXT NOT NULL,
            target TEXT NOT NULL,
            since REAL NOT NULL,
            until REAL NOT NULL,
            reason TEXT NOT NULL,
            by TEXT NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE backups (
            site TEXT NOT NULL, guest INTEGER NOT NULL, name TEXT NOT NULL, at REAL NOT NULL, ok INTEGER NOT NULL,
            good_at REAL, PRIMARY KEY (site, guest)
        ) WITHOUT ROWID""",
        "CREATE TABLE notifying (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
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
