"""Small things that deciding keeps in the journal's database, and how a fault of ours stays with what it is about."""

import logging
import sqlite3
from collections.abc import Callable

log = logging.getLogger(__name__)


def alone(connection: sqlite3.Connection, work: Callable[[], None]) -> bool:
    """Whether it could be done. A fault of ours over one event must not silence the next: then it is as if not begun.

    Errors of the file itself are not ours: they are raised.
    """
    connection.execute("SAVEPOINT alone")
    try:
        work()
    except (sqlite3.OperationalError, sqlite3.NotSupportedError, sqlite3.InternalError):
        raise
    except Exception as error:
        if type(error) is sqlite3.DatabaseError:  # damaged
            raise
        log.exception("Something could not be decided; it is left out")
        connection.execute("ROLLBACK TO alone")
        done = False
    else:
        done = True
    connection.execute("RELEASE alone")
    return done


def value(connection: sqlite3.Connection, name: str) -> str | None:
    """A single value of ours."""
    row = connection.execute("SELECT value FROM notifying WHERE name = ?", [name]).fetchone()
    return row[0] if row else None


def set_value(connection: sqlite3.Connection, name: str, text: str) -> None:
    """Keep it."""
    connection.execute("INSERT OR REPLACE INTO notifying VALUES (?, ?)", [name, text])
