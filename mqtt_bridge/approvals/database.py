"""`STATE_DIR/approvals.db`: one small SQLite file that any process of this STATE_DIR opens.

Every transaction begins with the write lock (`BEGIN IMMEDIATE`), so two processes that race to use one approval take
turns, and the second sees what the first did. It is on disk when it returns.
"""

import asyncio
import errno
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from mqtt_bridge.errors import BridgeError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

FILE = "approvals.db"
VERSION = 1
BUSY = 10.0  # seconds to wait for another process
KEY_BYTES = 32
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_MAKING = threading.Lock()  # of this process: nobody connects between the making of the file and the closing of it
_SCHEMA = """
CREATE TABLE IF NOT EXISTS store (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS approvals (
  id TEXT PRIMARY KEY, site TEXT NOT NULL, state TEXT NOT NULL, principal TEXT NOT NULL, channel TEXT NOT NULL,
  action TEXT NOT NULL, title TEXT NOT NULL, risk TEXT NOT NULL, target TEXT NOT NULL, digest TEXT NOT NULL,
  body TEXT NOT NULL, created_at REAL NOT NULL, expires_at REAL NOT NULL,
  decided_at REAL, decided_by TEXT NOT NULL DEFAULT '', decided_how TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS approvals_state ON approvals (state, expires_at);
CREATE TABLE IF NOT EXISTS codes (
  approval TEXT NOT NULL, approver TEXT NOT NULL, mac BLOB NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
  sent INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (approval, approver)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS command_ids (
  site TEXT NOT NULL, id TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (site, id)
) WITHOUT ROWID;
"""


class ApprovalStoreError(BridgeError):
    """The store cannot be read or written: nothing that needs an approval is done."""


class Database:
    """`async with` it. `key` is the store's own random key, made once and never shown."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FILE
        self.key = b""
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._close)

    async def write(self, work: Work[T]) -> T:
        """What `work` makes of it, committed; an exception of `work` takes all of it back."""
        return await asyncio.to_thread(self._locked, lambda connection: _transaction(connection, work))

    async def read(self, work: Work[T]) -> T:
        """The same without the write lock."""
        return await asyncio.to_thread(self._locked, work)

    def _locked(self, work: Work[T]) -> T:
        with self._lock:
            if self._connection is None:
                raise ApprovalStoreError(f"The approvals in {self.path} are closed.")
            try:
                return work(self._connection)
            except sqlite3.Error as error:
                raise _translated(self.path, error) from error

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _MAKING:
                _make_private(self.path)
                connection = sqlite3.connect(self.path, isolation_level=None, timeout=BUSY, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise _translated(self.path, error) from error
        try:
            self.key = _prepared(connection, self.path)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()


def _make_private(path: Path) -> None:
    """The file, 0600, if there is none. One that is there is never opened here.

    Closing any descriptor of a file takes from this process all locks on it (POSIX), also those of another connection
    to it: SQLite in another process would then take itself for the last, and remove the write-ahead log in use.
    """
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _prepared(connection: sqlite3.Connection, path: Path) -> bytes:
    try:
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = FULL").close()
        return _transaction(connection, lambda c: _migrated(c, path))
    except sqlite3.Error as error:
        raise _translated(path, error) from error


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Two processes that open a new file at once lock each other out for a moment, whatever the time-out says."""
    deadline = time.monotonic() + BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _migrated(connection: sqlite3.Connection, path: Path) -> bytes:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise ApprovalStoreError(
            f"{path} was written by a newer version of this program.", cure="Update this one, or move the file away."
        )
    for statement in _SCHEMA.split(";\n"):
        connection.execute(statement).close()
    connection.execute(f"PRAGMA user_version = {VERSION}").close()
    connection.execute("INSERT OR IGNORE INTO store VALUES ('key', ?)", [secrets.token_bytes(KEY_BYTES)]).close()
    return bytes(connection.execute("SELECT value FROM store WHERE name = 'key'").fetchone()[0])


def _transaction(connection: sqlite3.Connection, work: Work[T]) -> T:
    connection.execute("BEGIN IMMEDIATE").close()
    try:
        result = work(connection)
        connection.execute("COMMIT").close()
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK").close()
        raise
    return result


def _translated(path: Path, error: OSError | sqlite3.Error) -> ApprovalStoreError:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED:
        return ApprovalStoreError(
            f"The approvals in {path} are damaged, so nothing is done that needs one.",
            cure=f"Stop what uses them, move {path}* away and start again; what waited has to be asked for again.",
        )
    why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return ApprovalStoreError(
        f"The approvals in {path} cannot be used: {why}.",
        cure="Check the space, owner and rights there; until then nothing is done that needs an approval.",
    )
