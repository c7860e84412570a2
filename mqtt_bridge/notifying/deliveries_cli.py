"""`mqtt-bridge deliveries`: what was told, what waits, what was given up and is to be tried again."""

import argparse
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO

from mqtt_bridge.events.account import seconds
from mqtt_bridge.events.events_cli import plain
from mqtt_bridge.journal.file import BUSY, translated
from mqtt_bridge.journal.journal import FILE, open_reader
from mqtt_bridge.model import SEVERITIES, utc
from mqtt_bridge.notifying import deliveries

_SQL = """SELECT d.seq, d.notice, d.notifier, d.kind, d.severity, d.state, d.hold, d.created_at, d.next_at, d.attempts,
    d.settled_at, d.answer, json_extract(n.body, '$.title')
    FROM deliveries AS d LEFT JOIN notices AS n ON n.id = d.notice WHERE (? IS NULL OR d.state = ?)
    ORDER BY d.seq DESC LIMIT ?"""
_FIELDS = (
    "number", "notice", "notifier", "kind", "severity", "state", "hold", "created_at", "next_at", "attempts",
    "settled_at", "answer", "title",
)  # fmt: skip
_TIMES = ("created_at", "next_at", "settled_at")


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """The subcommand and its options."""
    parser = commands.add_parser(
        "deliveries",
        help="show what notifiers told, and retry what was given up",
        description="Show what was told to whom, newest last, from the journal. The bridge may run meanwhile. Parked "
        "is what a service refused, or what failed for a day.",
    )
    parser.add_argument("--parked", action="store_true", help="only what was given up")
    parser.add_argument("--retry", metavar="ID", help="try again: a number, a notice's id, or `all` that is parked")
    parser.add_argument("--limit", metavar="N", type=int, default=50, help="the newest N (default 50; 0: all)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(state_dir: Path, arguments: argparse.Namespace, out: TextIO | None = None) -> int:
    """Print or retry; 1 where there was nothing to retry. Raises BridgeError with what is wrong."""
    out = out or sys.stdout
    path = state_dir / FILE
    try:
        if arguments.retry:
            return _retry(path, arguments.retry, out)
        with closing(open_reader(path)) as connection:
            rows = list(_rows(connection, parked=arguments.parked, limit=arguments.limit))
    except sqlite3.Error as error:
        raise translated(str(path), error) from error
    try:
        for row in reversed(rows):
            print(json.dumps(row, ensure_ascii=False) if arguments.json else _line(row), file=out)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not rows:
        sys.stderr.write("No such deliveries.\n")
    return 0


def _rows(connection: sqlite3.Connection, *, parked: bool, limit: int) -> Iterator[dict[str, Any]]:
    state = deliveries.PARKED if parked else None
    for values in connection.execute(_SQL, [state, state, limit if limit > 0 else -1]):
        row = dict(zip(_FIELDS, values, strict=True))
        row["state"], row["severity"] = deliveries.STATES[row["state"]], SEVERITIES[row["severity"]]
        yield row | {name: utc(row[name]) for name in _TIMES}


def _line(row: dict[str, Any]) -> str:
    created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds(row["created_at"])))
    state = row["state"] + (f" ({row['hold']})" if row["hold"] and row["state"] == "held" else "")
    words = [f"{row['number']:>6}", created, f"{row['notifier']:<12}", f"{state:<12}", f"{row['severity']:<8}"]
    answer = f"  [{plain(row['answer'])}]" if row["answer"] and row["state"] != "sent" else ""
    tries = f" after {row['attempts']} attempts" if row["attempts"] > 1 else ""
    return f"{'  '.join(words)}  {plain(row['title'] or row['notice'])}{tries}{answer}"


def _retry(path: Path, which: str, out: TextIO) -> int:
    """Beside a running bridge, which looks for it every few seconds."""
    with closing(open_reader(path)):
        pass  # says what is wrong with the file in our words
    with closing(sqlite3.connect(path, isolation_level=None, timeout=BUSY)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        count = deliveries.retry(connection, which, time.time())
        connection.execute("COMMIT")
    print(f"{count} {'delivery is' if count == 1 else 'deliveries are'} tried again.", file=out)
    return 0 if count else 1
