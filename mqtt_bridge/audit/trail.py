"""`STATE_DIR/audit.jsonl`: who asked for what, what was decided, what Proxmox answered. Append-only, hash-chained.

Each line is one record as canonical JSON; `hash` is SHA-256 over the record without it, `prev` the hash of the record
before, `seq` counts from 1. Several processes append under a lock on the file; a record is on disk (fsync) before its
action is sent to Proxmox, and an action whose record cannot be written is refused.

`audit.head` beside it has the last record's `seq` and `hash`. It shows that lines were cut off the end, and the next
record then continues from the head, so that the gap stays visible for ever. What this cannot show: someone who may
write to STATE_DIR can cut the end *and* turn the head back, or compute the whole chain anew. The audit events on MQTT
are the copy elsewhere.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.redact import redact

FILE = "audit.jsonl"
HEAD = "audit.head"
START = "0" * 64
MAX_LINE = 64 * 1024  # bytes
LOCK_WAIT = 5.0  # seconds


class AuditError(BridgeError):
    """The audit file cannot be written, so nothing that needs a record is done."""


@dataclass(frozen=True)
class Head:
    """The end of the chain."""

    seq: int
    hash: str


NOTHING = Head(0, START)


class Audit:
    """Appends records. Opens the file anew for each: no state is kept, so any number of processes may write."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FILE

    async def write(self, event: str, **fields: Any) -> None:
        """Returns once the record is on disk; raises AuditError otherwise. Secrets in `fields` become stars."""
        await asyncio.to_thread(self.append, event, **fields)

    def append(self, event: str, **fields: Any) -> None:
        """The same, blocking."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = {**redact(fields), "event": event, "time": now, "pid": os.getpid()}
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _opened(self.path) as file:
                _append(file, self.path.with_name(HEAD), record)
        except OSError as error:
            raise AuditError(
                f"The audit file {self.path} cannot be written: {error.strerror or error}.",
                cure="Free space there or correct its owner; until then nothing is done that needs a record.",
            ) from error


def canonical(record: Mapping[str, Any]) -> bytes:
    """The one way to write a record: what is hashed, and what a line must look like byte for byte."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest(record: Mapping[str, Any]) -> str:
    """SHA-256 over the record without its `hash`."""
    return sha256(canonical({key: value for key, value in record.items() if key != "hash"})).hexdigest()


def parse(line: bytes) -> dict[str, Any] | None:
    """A line as a record with a place in the chain, or None: damaged, torn or foreign."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("seq"), int):
        return None
    return record if isinstance(record.get("hash"), str) and isinstance(record.get("prev"), str) else None


def read_head(path: Path) -> Head | None:
    """What `audit.head` says; None if it is not there or not readable as one."""
    try:
        stored = json.loads(path.read_bytes())
        return Head(int(stored["seq"]), str(stored["hash"]))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        return None


@contextlib.contextmanager
def locked(file: int, *, shared: bool = False) -> Iterator[None]:
    """Holds the lock on the open audit file; raises TimeoutError if another process keeps it for LOCK_WAIT."""
    deadline = time.monotonic() + LOCK_WAIT
    while not _try_lock(file, shared=shared):
        if time.monotonic() > deadline:
            raise TimeoutError(0, f"another process held its lock for {LOCK_WAIT:.0f} s")
        time.sleep(0.005)
    try:
        yield
    finally:
        _unlock(file)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    file = os.open(path, flags, 0o600)
    try:
        with locked(file):
            yield file
    finally:
        os.close(file)


def _append(file: int, head_path: Path, record: dict[str, Any]) -> None:
    size = os.fstat(file).st_size
    tail, torn = _tail(file, size)
    head = read_head(head_path) or NOTHING
    last = tail if tail.seq >= head.seq else head
    record = {**record, "seq": last.seq + 1, "prev": last.hash}
    record["hash"] = digest(record)
    line = canonical(record) + b"\n"
    if len(line) > MAX_LINE:
        raise AuditError(f"The audit record would be {len(line)} bytes long, more than the {MAX_LINE} that are kept.")
    try:
        _write_all(file, b"\n" + line if torn else line)
        os.fsync(file)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(file, size)
        raise
    _write_head(head_path, Head(record["seq"], record["hash"]))


def _tail(file: int, size: int) -> tuple[Head, bool]:
    """The last whole record, and whether the file ends in the middle of a line (a crash; the bytes are kept)."""
    start = max(0, size - 2 * MAX_LINE)
    os.lseek(file, start, os.SEEK_SET)
    block = _read_all(file)
    for line in reversed(block.split(b"\n")):
        if record := parse(line):
            return Head(record["seq"], record["hash"]), not block.endswith(b"\n")
    return NOTHING, bool(block) and not block.endswith(b"\n")


def _read_all(file: int) -> bytes:
    parts = []
    while part := os.read(file, MAX_LINE):
        parts.append(part)
    return b"".join(parts)


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _write_head(path: Path, head: Head) -> None:
    fresh = path.with_suffix(".head.new")
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        _write_all(file, canonical({"seq": head.seq, "hash": head.hash}))
        os.fsync(file)
    finally:
        os.close(file)
    fresh.replace(path)


if sys.platform == "win32":
    import msvcrt

    FAR = 1 << 30  # a byte that no record reaches: locks are mandatory there and would stop readers

    def _try_lock(file: int, *, shared: bool) -> bool:
        del shared
        os.lseek(file, FAR, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: int) -> None:
        os.lseek(file, FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(file: int, *, shared: bool) -> bool:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
