"""One SQLite file, one thread: work is handed over as a function of the connection and awaited."""

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.events.intake import JournalError
from mqtt_bridge.journal.file import DAMAGED, MEMORY, open_owner, primary, translated

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
GOODBYE = 3.0  # seconds for what is under way, and for the last checkpoint
_SUSPECT = DAMAGED | {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


class Database:
    """`async with` it: opens the file in a thread of its own, or raises JournalError.

    `problem` is why the last transaction failed, or the last reading; empty since one has succeeded.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._problems = {"write": "", "read": ""}
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._open = False
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._synchronous = ""

    async def __aenter__(self) -> Self:
        self._thread.start()
        self._open = True
        try:
            await self.read(lambda _: None)
        except BaseException:
            self._open = False
            self._jobs.put(None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        closed: Future[None] = Future()
        self._jobs.put(lambda: _settle(closed, self._close))
        self._jobs.put(None)
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE):
                await asyncio.wrap_future(closed)

    @property
    def problem(self) -> str:
        return self._problems["write"] or self._problems["read"]

    async def read(self, work: Work[T]) -> T:
        """What `work` makes of the connection; raises JournalError."""
        return await self._submit(lambda: self._guarded("read", work))

    async def write(self, work: Work[T], *, durable: bool = True, after: Callable[[T], None] = lambda _: None) -> T:
        """The same in a transaction that is on disk when this returns, or did not happen: raises JournalError.

        Without `durable` it may be undone by a loss of power, though by no crash of ours. `after` is called in the
        database's thread once it is committed, also when nobody awaits this any more.
        """

        def job() -> T:
            result = self._guarded("write", lambda connection: self._transaction(connection, work, durable=durable))
            after(result)
            return result

        return await self._submit(job)

    async def _submit(self, job: Callable[[], T]) -> T:
        if not self._open:
            raise JournalError(f"The journal {self.path} is closed.", cure="The bridge is shutting down.")
        future: Future[T] = Future()
        self._jobs.put(lambda: _settle(future, job))
        return await asyncio.wrap_future(future)

    # --- the database's thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _guarded(self, what: str, work: Work[T]) -> T:
        try:
            result = work(self._opened())
        except sqlite3.Error as error:
            self._note(what, str(failure := translated(self.path, error)))
            if primary(error) in _SUSPECT and self.path != MEMORY:
                self._close()  # the next one begins with a fresh look at the file
            raise failure from error
        except BridgeError as error:
            self._note(what, str(error))
            raise
        self._note(what, "")
        return result

    def _note(self, what: str, problem: str) -> None:
        before, self._problems[what] = self._problems[what], problem
        if problem and not before:
            log.error("%s", problem)
        elif before and not problem:
            log.info("The journal %s can be used again.", self.path)

    def _opened(self) -> sqlite3.Connection:
        if self._file is not None and self._identity() != self._file:
            raise JournalError(
                f"The journal {self.path} was removed or replaced while it was in use.", cure="Restart the bridge."
            )
        if self._connection is None:
            self._connection = open_owner(self.path)
            self._file, self._synchronous = self._identity(), ""
        return self._connection

    def _identity(self) -> tuple[int, int]:
        if self.path == MEMORY:
            return (1, 1)
        try:
            found = os.stat(self.path)  # noqa: PTH116 -- a Path made anew for each transaction costs more than the look
        except OSError:
            return (0, 0)
        return (found.st_dev, found.st_ino)

    def _transaction(self, connection: sqlite3.Connection, work: Work[T], *, durable: bool) -> T:
        synchronous = "FULL" if durable else "NORMAL"
        if self._synchronous != synchronous:
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            self._synchronous = synchronous
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return result

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):  # a checkpoint that fails is made up for by the next opening
                connection.close()


def _settle(future: "Future[Any]", job: Callable[[], Any]) -> None:
    """Run it and hand its outcome over, unless nobody waits for it to begin."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:  # noqa: BLE001 -- it is raised where it is awaited
        future.set_exception(error)
    else:
        future.set_result(result)
