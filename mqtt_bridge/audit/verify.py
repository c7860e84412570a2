"""Checks the chain of an audit file: which line was changed, removed, inserted or moved."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mqtt_bridge.audit.trail import HEAD, NOTHING, Head, canonical, digest, locked, parse, read_head


@dataclass(frozen=True)
class AuditProblem:
    """What is wrong at a line (counted from 1; one past the last for what is missing at the end)."""

    line: int
    text: str


@dataclass(frozen=True)
class AuditReport:
    """The file's state. `first` and `last` are the times of its first and last record."""

    path: Path
    records: int
    problems: tuple[AuditProblem, ...]
    first: str | None = None
    last: str | None = None

    @property
    def ok(self) -> bool:
        """Nothing was found; the module `audit` says what cannot be found."""
        return not self.problems


def verify(path: Path) -> AuditReport:
    """Reads the whole file under a shared lock. A file that was never written is fine; OSError if it is unreadable."""
    head = read_head(path.with_name(HEAD))
    if not path.exists():
        return AuditReport(path, 0, _end(NOTHING, {}, head, 1))
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    with os.fdopen(file, "rb") as stream, locked(file, shared=True):
        stream.seek(0)
        head = read_head(path.with_name(HEAD))
        return _report(path, stream, head)


def _report(path: Path, stream: Iterator[bytes], head: Head | None) -> AuditReport:
    problems: list[AuditProblem] = []
    before, seen, number = NOTHING, dict[int, str](), 0
    first: str | None = None
    last: str | None = None
    for number, line in enumerate(stream, 1):
        record = parse(line)
        if record is None or not line.endswith(b"\n"):
            problems.append(AuditProblem(number, "is not a whole record: torn by a crash, damaged or foreign"))
            continue
        problems += [AuditProblem(number, text) for text in _judge(record, line, before)]
        before = Head(record["seq"], record["hash"])
        seen[before.seq] = before.hash
        last = str(record.get("time"))
        first = first or last
    problems += _end(before, seen, head, number + 1)
    return AuditReport(path, len(seen), tuple(problems), first, last)


def _judge(record: dict[str, Any], line: bytes, before: Head) -> Iterator[str]:
    if digest(record) != record["hash"] or canonical(record) + b"\n" != line:
        yield f"record {record['seq']} was changed"
    if record["prev"] == before.hash and record["seq"] == before.seq + 1:
        return
    if record["seq"] > before.seq + 1:
        yield f"{_range(before.seq + 1, record['seq'] - 1, 'is', 'are')} missing before it"
    elif record["seq"] == before.seq + 1:
        yield f"record {record['seq']} does not follow from the line before: one of the two was replaced"
    else:
        yield f"record {record['seq']} comes after record {before.seq}: it was inserted or moved"


def _end(last: Head, seen: dict[int, str], head: Head | None, line: int) -> tuple[AuditProblem, ...]:
    if head is None:
        text = f"{HEAD} is missing or damaged: whether lines were cut off the end cannot be told"
        return (AuditProblem(line, text),) if last.seq else ()
    if head.seq > last.seq:
        return (AuditProblem(line, f"{_range(last.seq + 1, head.seq, 'was', 'were')} cut off the end"),)
    if head.seq and seen.get(head.seq) != head.hash:
        return (AuditProblem(line, f"record {head.seq} is not the one that {HEAD} knows: it was replaced"),)
    return ()


def _range(first: int, last: int, one: str, several: str) -> str:
    return f"record {first} {one}" if first == last else f"records {first} to {last} {several}"
