"""The journal's file: where it may lie, how it is opened, and what SQLite's errors mean."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.events.intake import JournalError
from mqtt_bridge.journal.schema import migrate, refuse_other

FILE = "journal.db"  # in STATE_DIR
MEMORY = ":memory:"
BUSY = 5.0  # seconds to wait for another process
CACHE = 32 * 1024  # KiB of pages kept
CHECKPOINT = 4000  # pages of 4 KiB in the write-ahead log before they go to the file
LOG_KEPT = 32 << 20  # bytes that the write-ahead log keeps after that

# Their locks or their shared memory do not hold what SQLite's write-ahead log needs of them.
NETWORK = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
    | {"glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}
)
MOUNTS = Path("/proc/mounts")


def open_owner(path: str) -> sqlite3.Connection:
    """For reading and writing, by one thread of the one process that owns it; makes the file if there is none."""
    try:
        if path != MEMORY:
            refuse_network(path)
            _make_private(Path(path))
        connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY, cached_statements=64)
    except (OSError, sqlite3.Error) as error:
        raise translated(path, error) from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise translated(path, error) from error
    except BridgeError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    with closing(connection.execute("PRAGMA journal_mode = WAL")) as answer:
        mode = answer.fetchone()[0]
    if mode != "wal" and path != MEMORY:
        raise JournalError(
            f"The journal {path} cannot keep a write-ahead log here.", cure="Put STATE_DIR on a local file system."
        )
    for setting in (f"cache_size = -{CACHE}", f"wal_autocheckpoint = {CHECKPOINT}", f"journal_size_limit = {LOG_KEPT}"):
        connection.execute(f"PRAGMA {setting}").close()
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]  # 1 ms a thousand events
    if found != "ok":
        raise damaged(path)
    migrate(connection, path)


def open_reader(path: Path) -> sqlite3.Connection:
    """For reading alone, beside a running bridge or without one."""
    if not path.exists():
        raise JournalError(
            f"There is no journal yet ({path}).",
            cure="The bridge writes it as soon as it runs; STATE_DIR says where.",
        )
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=BUSY
        )
        try:
            refuse_other(connection, str(path))
        except (sqlite3.Error, BridgeError):
            connection.close()
            raise
    except sqlite3.Error as error:
        raise translated(str(path), error) from error
    return connection


def _make_private(path: Path) -> None:
    """SQLite gives its side files (-wal, -shm) the rights of this one."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def refuse_network(path: str, mounts: Path = MOUNTS) -> None:
    """Where the system tells what is mounted (Linux), a network file system is refused."""
    kind = file_system(Path(path).absolute().parent, mounts)
    if kind in NETWORK:
        raise JournalError(
            f"The journal {path} would lie on a network file system ({kind}), where it can be damaged.",
            cure="Set STATE_DIR to a folder on a local disk.",
        )


def file_system(folder: Path, mounts: Path = MOUNTS) -> str:
    """The type of the file system that `folder` is on; empty where that cannot be known."""
    best, kind = -1, ""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
        real = folder.resolve()
    except OSError:
        return ""
    for line in lines:
        _, _, rest = line.partition(" ")
        place, _, rest = rest.partition(" ")
        point = Path(place.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
        if real.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), rest.partition(" ")[0]
    return kind


def damaged(path: str) -> JournalError:
    """It is never put aside by itself: that would forget, in silence, what is not published yet and every cursor."""
    return JournalError(
        f"The journal {path} is damaged.",
        cure=f"Stop the bridge, move {path}* away and start again; `sqlite3 FILE .recover` saves what can be read.",
    )


_MEANING: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: (
        "The disk that holds the journal {path} is full.",
        "Free space there: nothing is accepted until then, and it goes on by itself.",
    ),
    sqlite3.SQLITE_BUSY: ("Another process keeps the journal {path} locked.", "Stop the process that uses it."),
    sqlite3.SQLITE_IOERR: ("The disk failed under the journal {path} ({name}).", "Look at the disk and its space."),
    sqlite3.SQLITE_CANTOPEN: ("The journal {path} cannot be opened.", "Check the owner and rights of its folder."),
    sqlite3.SQLITE_READONLY: ("The journal {path} cannot be written.", "Check the owner and rights of its folder."),
    sqlite3.SQLITE_PERM: ("The journal {path} cannot be opened.", "Check the owner and rights of its folder."),
}
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def primary(error: BaseException) -> int:
    """SQLite's result code without its extension; 0 where it is none of SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def translated(path: str, error: OSError | sqlite3.Error) -> JournalError:
    """What it means for whoever runs the bridge."""
    if isinstance(error, OSError):
        return JournalError(
            f"The journal {path} cannot be opened: {error.strerror}.", cure="Check the owner and rights of STATE_DIR."
        )
    code = primary(error)
    if code in DAMAGED:
        return damaged(path)
    message, cure = _MEANING.get(code, ("The journal {path} failed: {text}.", "Restart the bridge."))
    name = getattr(error, "sqlite_errorname", "")
    return JournalError(message.format(path=path, name=name, text=error), cure=cure)
