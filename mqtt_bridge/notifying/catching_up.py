"""What the journal has and no notifier was asked about: read where a broker forgot it, or is not there to bring it."""

import secrets
import sqlite3

from mqtt_bridge.events.filters import RANK
from mqtt_bridge.model import Event
from mqtt_bridge.notifying.deciding import Decider
from mqtt_bridge.notifying.rows import set_value, value

CURSOR = "journal"  # all events up to this number were decided on
CLIENT = "client"
AT_ONCE = 500  # events a transaction

_UNSEEN = """SELECT seq, body FROM events AS e WHERE seq > ? AND severity >= ? AND received_at <= ?
    AND NOT EXISTS (SELECT 1 FROM seen WHERE seen.id = e.id) ORDER BY seq LIMIT ?"""


def begin(connection: sqlite3.Connection, prefix: str) -> str:
    """At the start: the name of our session. At the very first one, what is in the journal is history already."""
    if value(connection, CURSOR) is None:
        set_value(connection, CURSOR, str(_newest(connection)))
    client = value(connection, CLIENT)
    if client is None or not client.startswith(f"{prefix}-"):
        client = f"{prefix}-{secrets.token_hex(6)}"
        set_value(connection, CLIENT, client)
    return client


def some(
    connection: sqlite3.Connection, decider: Decider, now: float, *, older: float = 0, urgent: bool = False
) -> int:
    """Decide on up to AT_ONCE that were received `older` seconds ago; `urgent`: only error and critical.

    Returns how many there were. Once all were, the next look begins behind them.
    """
    cursor = int(value(connection, CURSOR) or 0)
    least = RANK["error"] if urgent else 0
    rows = connection.execute(_UNSEEN, [cursor, least, now - older, AT_ONCE]).fetchall()
    decider.take((Event.model_validate_json(body) for _, body in rows), connection, now)
    if len(rows) < AT_ONCE and not urgent:
        set_value(connection, CURSOR, str(_behind(connection, cursor, now - older)))
    return len(rows)


def _behind(connection: sqlite3.Connection, cursor: int, received: float) -> int:
    """The last number before what is too young to be looked at."""
    sql = "SELECT min(seq) FROM events WHERE seq > ? AND received_at > ?"
    young = connection.execute(sql, [cursor, received]).fetchone()[0]
    return max(cursor, _newest(connection)) if young is None else int(young) - 1


def _newest(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT max(seq) FROM events").fetchone()[0] or 0)
