"""How an event lies in the journal: its columns, and the questions that are asked of them. No I/O."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pydantic_core import PydanticSerializationError

from mqtt_bridge.model import SEVERITIES, Event, Query, Severity

RANK: dict[str, int] = {severity: rank for rank, severity in enumerate(SEVERITIES)}
_INTO = (
    "INSERT INTO events (id, received_at, at, site, kind, severity, node, guest, source, correlation_id, body) VALUES "
)
_VALUES = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
INSERT = _INTO + _VALUES
CHUNK = 50  # rows a statement: where other threads compute, each statement waits for Python's lock
INSERT_CHUNK = _INTO + ", ".join([_VALUES] * CHUNK)
COLUMNS = "seq, id, received_at, at, site, kind, severity, body"
CURSOR = re.compile(r"(-?\d{1,15}(?:\.\d{1,9})?):(\d{1,18})")
_LARGEST = 2**63 - 1

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """An event as the journal has it. `body` is the JSON that goes to MQTT; `received_at` and `at` Unix seconds."""

    seq: int
    id: str
    received_at: float
    at: float
    site: str
    kind: str
    severity: Severity
    body: bytes

    @property
    def event(self) -> Event:
        return Event.model_validate_json(self.body)

    @property
    def cursor(self) -> str:
        """Where a page that ends with this one goes on."""
        return f"{self.at:.5f}:{self.seq}"


def to_row(event: Event, received_at: float) -> Row:
    """For INSERT."""
    event, body = _serialised(event)
    return (
        event.id,
        received_at,
        happened(event, received_at),
        event.site,
        event.kind,
        RANK[event.severity],
        event.node,
        event.guest if event.guest is None or abs(event.guest) <= _LARGEST else None,
        event.source,
        event.correlation_id,
        body,
    )


def from_row(row: Row) -> Stored:
    """Of COLUMNS."""
    seq, identity, received_at, at, site, kind, severity, body = row
    return Stored(seq, identity, received_at, at, site, kind, SEVERITIES[severity], body)


def from_inserted(seq: int, row: Row) -> Stored:
    """Of what INSERT was given."""
    return Stored(seq, row[0], row[1], row[2], row[3], row[4], SEVERITIES[row[5]], row[10])


def happened(event: Event, otherwise: float) -> float:
    """Unix seconds, as exact as SQLite's JSON (15 digits) and a cursor can name it."""
    at = _unix(event.timestamp)
    return round(otherwise, 5) if at is None else at


@lru_cache(4096)
def _unix(timestamp: str) -> float | None:
    try:
        at = datetime.fromisoformat(timestamp)
        return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp(), 5)
    except (ValueError, OverflowError, OSError):
        return None


def _serialised(event: Event) -> tuple[Event, bytes]:
    """With its JSON; without what cannot be written in UTF-8, half a character (a lone surrogate)."""
    try:
        return event, event.payload()
    except PydanticSerializationError:
        text = json.dumps(event.model_dump(), ensure_ascii=False, separators=(",", ":"), default=str)
        body = text.encode("utf-8", "replace")
        return Event.model_validate_json(body), body


_CONDITIONS: tuple[tuple[str, str], ...] = (
    ("since", "at >= ?"),
    ("until", "at <= ?"),
    ("kind", "kind GLOB ?"),
    ("site", "site = ?"),
    ("node", "node = ?"),
    ("guest", "guest = ?"),
)


def select(query: Query) -> tuple[str, list[Any]]:
    """The statement for a page and one row more, newest first, with its parameters."""
    where, parameters = _where(query)
    if query.cursor is not None:
        where.append("(at, seq) < (?, ?)")
        parameters += position(query.cursor)
    # the conditions are the constants above, whatever is asked for
    sql = f"SELECT {COLUMNS} FROM events INDEXED BY history {_and(where)} ORDER BY at DESC, seq DESC LIMIT ?"  # noqa: S608
    return sql, [*parameters, query.limit + 1]


def select_new(query: Query, after: int) -> tuple[str, list[Any]]:
    """The statement for what was stored behind `after`, in that order."""
    where, parameters = _where(query)
    sql = f"SELECT {COLUMNS} FROM events {_and(['seq > ?', *where])} ORDER BY seq LIMIT ?"  # noqa: S608 -- constants
    return sql, [after, *parameters, query.limit]


def _where(query: Query) -> tuple[list[str], list[Any]]:
    found = [(sql, value) for name, sql in _CONDITIONS if (value := getattr(query, name)) is not None]
    if query.severity and RANK[query.severity]:
        found.append(("severity >= ?", RANK[query.severity]))
    return [sql for sql, _ in found], [value for _, value in found]


def _and(where: Sequence[str]) -> str:
    return f"WHERE {' AND '.join(where)}" if where else ""


def position(cursor: str) -> tuple[float, int]:
    """Raises ValueError for what is no cursor of ours."""
    found = CURSOR.fullmatch(cursor)
    if found is None:
        raise ValueError("cursor: take next_cursor of the page before as it is")
    return float(found[1]), int(found[2])


def page(rows: Iterable[Row], limit: int) -> tuple[list[Stored], str | None]:
    """The rows of `select` as a page, and the cursor of the next one."""
    stored = [from_row(row) for row in rows]
    return stored[:limit], stored[limit - 1].cursor if len(stored) > limit else None


def one_per_id(events: Iterable[Event]) -> Iterator[Event]:
    """The first of each id."""
    seen: set[str] = set()
    for event in events:
        if event.id not in seen:
            seen.add(event.id)
            yield event
