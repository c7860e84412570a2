"""What was accepted, in SQLite: outbox, history, cursors. An event is accepted once `commit` has returned."""

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, takewhile
from pathlib import Path
from types import TracebackType
from typing import Self

from mqtt_bridge.events.intake import IntakeFullError
from mqtt_bridge.journal.db import Database
from mqtt_bridge.journal.file import FILE, MEMORY, open_reader
from mqtt_bridge.journal.rows import (
    CHUNK,
    COLUMNS,
    INSERT,
    INSERT_CHUNK,
    Row,
    Stored,
    from_inserted,
    from_row,
    one_per_id,
    page,
    select,
    to_row,
)
from mqtt_bridge.journal.schema import PUBLISHED, REFUSED, WAITING
from mqtt_bridge.model import Event, Page, Query

__all__ = ["FILE", "MEMORY", "Journal", "JournalStats", "Stored", "open_reader"]

Watcher = Callable[[Sequence[Stored]], None]
MAX_EVENTS = 100_000


@dataclass(frozen=True, slots=True)
class JournalStats:
    """`dropped` is what retention removed since the start; `refused` was refused by the broker; `size` is bytes."""

    stored: int
    unpublished: int
    refused: int
    dropped: int
    size: int
    problem: str


@dataclass(frozen=True, slots=True)
class _Change:
    """What a transaction did to the counts."""

    new: tuple[Stored, ...] = ()
    dropped: int = 0
    published: int = 0
    refused: int = 0
    retried: int = 0
    forgotten: int = 0  # of the dropped, those that had been refused


class Journal:
    """`async with` it. Every method raises JournalError where the file fails; then nothing of the call was done.

    `max_events` bounds it: what the broker has goes first, `info` before worse, the oldest first. What it has not got
    is never dropped: when `max_events` of those wait, `commit` raises IntakeFullError.
    """

    def __init__(self, path: Path | str = MEMORY, *, max_events: int = MAX_EVENTS) -> None:
        self.path = str(path)
        self.max_events = max_events
        self.db = Database(self.path)
        self._watchers: list[Watcher] = []
        self._stored = self._unpublished = self._refused = self._dropped = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        await self.db.__aenter__()
        try:
            await self.db.read(self._count)
        except BaseException:
            await self.db.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.db.__aexit__(kind, error, trace)

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Have `watcher` called on the event loop with what each commit has newly stored; returns how to end that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    @property
    def stats(self) -> JournalStats:
        return JournalStats(
            self._stored, self._unpublished, self._refused, self._dropped, _size(self.path), self.db.problem
        )

    # --- in ----------------------------------------------------------------------------------------------------------

    async def commit(self, events: Sequence[Event], cursors: Mapping[str, str]) -> frozenset[str]:
        """Events and cursors in one transaction, on disk when this returns: the ids that were not there before."""
        received_at = round(time.time(), 5)

        def work(connection: sqlite3.Connection) -> _Change:
            change = self._store(connection, events, received_at) if events else _Change()
            connection.executemany("INSERT OR REPLACE INTO cursors VALUES (?, ?)", list(cursors.items()))
            return change

        change = await self.db.write(work, after=self._apply)
        return frozenset(stored.id for stored in change.new)

    def _store(self, connection: sqlite3.Connection, events: Sequence[Event], received_at: float) -> _Change:
        known = _known(connection, [event.id for event in events])
        rows = [to_row(event, received_at) for event in one_per_id(events) if event.id not in known]
        if not rows:
            return _Change()
        if self._unpublished >= self.max_events:
            raise IntakeFullError(
                f"{self._unpublished} events wait for the MQTT broker: the journal is full (JOURNAL_MAX_EVENTS).",
                cure="Bring the broker back; the sender tries again.",
            )
        last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        _insert(connection, rows)
        new = tuple(from_inserted(seq, row) for seq, row in enumerate(rows, (last[0] if last else 0) + 1))
        dropped, refused = _trim(connection, self._stored + len(rows) - self.max_events)
        return _Change(new, dropped=dropped, forgotten=refused)

    async def known(self, ids: Sequence[str]) -> frozenset[str]:
        """Which of these ids are stored."""
        return await self.db.read(lambda connection: _known(connection, ids))

    async def cursor(self, name: str) -> str | None:
        """As last committed; None: never."""
        rows = await self.rows("SELECT value FROM cursors WHERE name = ?", [name])
        return str(rows[0][0]) if rows else None

    # --- out to the broker -------------------------------------------------------------------------------------------

    async def unpublished(self, after: int, limit: int) -> list[Stored]:
        """What the broker has not got, in order, behind `after`."""
        return await self.db.read(lambda connection: _unpublished(connection, after, limit))

    async def published(self, seqs: Iterable[int]) -> None:
        """The broker has acknowledged these. A loss of power may undo it: then they are published again."""
        await self._settle(seqs, PUBLISHED)

    async def refused(self, seqs: Iterable[int]) -> None:
        """The broker will not take these. They stay in history, and `retry` publishes them again."""
        await self._settle(seqs, REFUSED)

    async def retry(self) -> int:
        """What was refused waits once more; returns how many."""
        if not self._refused:
            return 0

        def work(connection: sqlite3.Connection) -> _Change:
            return _Change(retried=connection.execute("UPDATE events SET state = 0 WHERE state = 2").rowcount)

        return (await self.db.write(work, durable=False, after=self._apply)).retried

    async def _settle(self, seqs: Iterable[int], state: int) -> None:
        wanted = json.dumps(list(seqs))

        def work(connection: sqlite3.Connection) -> _Change:
            sql = "UPDATE events SET state = ? WHERE state = 0 AND seq IN (SELECT value FROM json_each(?))"
            count = connection.execute(sql, [state, wanted]).rowcount
            return _Change(published=count) if state == PUBLISHED else _Change(refused=count)

        if wanted != "[]":
            await self.db.write(work, durable=False, after=self._apply)

    # --- history -----------------------------------------------------------------------------------------------------

    async def recent(self, since: float, limit: int) -> list[Event]:
        """Received since then (Unix seconds), newest first."""
        sql = f"SELECT {COLUMNS} FROM events ORDER BY seq DESC LIMIT ?"  # noqa: S608 -- constant

        def work(connection: sqlite3.Connection) -> list[Stored]:
            newest = (from_row(row) for row in connection.execute(sql, [limit]))
            return list(takewhile(lambda stored: stored.received_at >= since, newest))

        return [stored.event for stored in await self.db.read(work)]

    async def history(self, query: Query) -> Page:
        """A page, newest first by when it happened. Raises ValueError for a cursor that is none."""
        stored, cursor = await self.history_rows(query)
        return Page(events=tuple(one.event for one in stored), next_cursor=cursor)

    async def history_rows(self, query: Query) -> tuple[list[Stored], str | None]:
        """The same as it is stored, and the cursor of the next page."""
        sql, parameters = select(query)
        return page(await self.rows(sql, parameters), query.limit)

    async def latest(self, count: int) -> dict[str, list[Stored]]:
        """The last `count` of each site, newest first, by receipt."""
        sql = f"""SELECT {COLUMNS} FROM events WHERE seq IN (SELECT seq FROM
            (SELECT seq, row_number() OVER (PARTITION BY site ORDER BY seq DESC) AS place FROM events)
            WHERE place <= ?) ORDER BY seq DESC"""  # noqa: S608 -- constant
        found: dict[str, list[Stored]] = {}
        for row in await self.rows(sql, [count]):
            stored = from_row(row)
            found.setdefault(stored.site, []).append(stored)
        return found

    async def rows(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        """What a SELECT finds."""
        return await self.db.read(lambda connection: connection.execute(sql, parameters).fetchall())

    # --- the database's thread ---------------------------------------------------------------------------------------

    def _count(self, connection: sqlite3.Connection) -> None:
        counts = dict(connection.execute("SELECT state, count(*) FROM events GROUP BY state").fetchall())
        self._stored = sum(counts.values())
        self._unpublished, self._refused = counts.get(WAITING, 0), counts.get(REFUSED, 0)

    def _apply(self, change: _Change) -> None:
        self._stored += len(change.new) - change.dropped
        self._dropped += change.dropped
        self._unpublished += len(change.new) + change.retried - change.published - change.refused
        self._refused += change.refused - change.retried - change.forgotten
        if change.new:
            with suppress(RuntimeError):  # the loop is closed: whoever watched is gone
                self._loop.call_soon_threadsafe(self._tell, change.new)

    def _tell(self, new: Sequence[Stored]) -> None:
        for watcher in tuple(self._watchers):
            watcher(new)


def _insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    whole = len(rows) - len(rows) % CHUNK
    for start in range(0, whole, CHUNK):
        connection.execute(INSERT_CHUNK, list(chain.from_iterable(rows[start : start + CHUNK])))
    connection.executemany(INSERT, rows[whole:])


def _unpublished(connection: sqlite3.Connection, after: int, limit: int) -> list[Stored]:
    """Read as one row: a thread that computes would make us wait for Python's lock after each of many."""
    sql = """SELECT json_group_array(json_array(seq, id, received_at, at, site, kind, severity, CAST(body AS TEXT)))
        FROM (SELECT * FROM events WHERE state = 0 AND seq > ? ORDER BY seq LIMIT ?)"""
    found = json.loads(connection.execute(sql, [after, limit]).fetchone()[0])
    return [from_row((*row[:-1], row[-1].encode())) for row in found]


def _known(connection: sqlite3.Connection, ids: Sequence[str]) -> frozenset[str]:
    sql = "SELECT id FROM events WHERE id IN (SELECT value FROM json_each(?))"
    return frozenset(row[0] for row in connection.execute(sql, [json.dumps(ids)]))


def _trim(connection: sqlite3.Connection, excess: int) -> tuple[int, int]:
    """How many it removed, and how many of those had been refused."""
    if excess <= 0:
        return 0, 0
    sql = """DELETE FROM events WHERE seq IN
        (SELECT seq FROM events INDEXED BY settled WHERE state <> 0 ORDER BY severity, seq LIMIT ?) RETURNING state"""
    removed = [row[0] for row in connection.execute(sql, [excess])]
    return len(removed), removed.count(REFUSED)


def _size(path: str) -> int:
    total = 0
    for name in (path, f"{path}-wal"):
        with suppress(OSError):
            total += os.stat(name).st_size  # noqa: PTH116 -- ":memory:" is no path
    return total
