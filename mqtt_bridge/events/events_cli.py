"""`mqtt-bridge events`: the journal on a terminal, or as JSON lines, while the bridge runs and when it does not."""

import argparse
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn, TextIO

from pydantic import ValidationError

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.events.history_request import Asked, HistoryRequestError
from mqtt_bridge.journal.file import translated
from mqtt_bridge.journal.journal import FILE, Stored, open_reader
from mqtt_bridge.journal.rows import from_row, page, select, select_new
from mqtt_bridge.model import SEVERITIES, Query

PAGE = 500
LOOK = 0.5  # seconds between two looks for new events
COLOURS = {"info": "36", "warning": "33", "error": "31", "critical": "1;41;97"}
_UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """The subcommand and its options."""
    events = commands.add_parser(
        "events",
        help="show earlier events from the journal",
        description="Show events from the bridge's journal, newest last. It may run meanwhile.",
    )
    events.add_argument("--since", default="24h", metavar="WHEN", help="90m, 24h, 7d, or ISO 8601 (default 24h)")
    events.add_argument("--until", metavar="WHEN", help="the same")
    events.add_argument("--severity", choices=SEVERITIES, help="this one and worse")
    events.add_argument("--kind", metavar="GLOB", help="backup.*, node.offline, …")
    events.add_argument("--site", metavar="SITE")
    events.add_argument("--node", metavar="NODE")
    events.add_argument("--guest", metavar="VMID", type=int)
    events.add_argument("--limit", metavar="N", type=int, default=200, help="the newest N (default 200; 0: all)")
    events.add_argument("--json", action="store_true", help="one JSON event a line")
    events.add_argument("--follow", action="store_true", help="go on with new ones until Ctrl-C")


def run(state_dir: Path, arguments: argparse.Namespace, out: TextIO | None = None) -> int:
    """Print them; raises BridgeError with what is wrong."""
    out = out or sys.stdout
    query = _query(arguments)
    path = state_dir / FILE
    write = _writer(out, as_json=arguments.json)
    try:
        with closing(open_reader(path)) as connection:
            newest = _newest(connection)
            found = _found(connection, query, arguments.limit)
            for stored in reversed(found):
                write(stored)
            if not found and not arguments.follow:
                sys.stderr.write("No such events.\n")
            if arguments.follow:
                _follow(connection, query.model_copy(update={"since": None}), newest, write)
    except sqlite3.Error as error:
        raise translated(str(path), error) from error
    except BrokenPipeError:  # `| head` has seen enough; Python would complain about what is still in its buffer
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _query(arguments: argparse.Namespace) -> Query:
    names = ("since", "until", "severity", "kind", "site", "node", "guest")
    try:
        return Asked.model_validate({n: getattr(arguments, n) for n in names} | {"limit": PAGE}).query(time.time())
    except ValidationError as error:
        first = error.errors()[0]
        raise BridgeError(f"--{first['loc'][0]}: {first['msg']}.") from None
    except HistoryRequestError as error:
        raise BridgeError(f"--{error.message}") from None


def _found(connection: sqlite3.Connection, query: Query, limit: int) -> list[Stored]:
    """The newest `limit` (0: all), newest first."""
    found: list[Stored] = []
    following: str | None = None
    while True:
        wanted = min(PAGE, limit - len(found)) if limit > 0 else PAGE
        sql, parameters = select(query.model_copy(update={"limit": wanted, "cursor": following}))
        some, following = page(connection.execute(sql, parameters).fetchall(), wanted)
        found += some
        if following is None or (limit > 0 and len(found) >= limit):
            return found


def _newest(connection: sqlite3.Connection) -> int:
    found = connection.execute("SELECT max(seq) FROM events").fetchone()[0]
    return int(found or 0)


def _follow(connection: sqlite3.Connection, query: Query, newest: int, write: Callable[[Stored], None]) -> NoReturn:
    """New ones by their sequence: one that tells of something earlier is new too."""
    while True:
        sql, parameters = select_new(query, newest)
        rows = connection.execute(sql, parameters).fetchall()
        for stored in map(from_row, rows):
            write(stored)
            newest = stored.seq
        if len(rows) < PAGE:
            time.sleep(LOOK)


def _writer(out: TextIO, *, as_json: bool) -> Callable[[Stored], None]:
    coloured = not as_json and out.isatty()

    def write(stored: Stored) -> None:
        text = stored.body.decode("utf-8", "replace") if as_json else line(stored, coloured=coloured)
        print(text, file=out, flush=True)

    return write


def line(stored: Stored, *, coloured: bool) -> str:
    """When, how bad, where, what: on one line, and nothing in it that a terminal would obey."""
    event = stored.event
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stored.at))
    severity = f"{event.severity:<8}"
    if coloured:
        severity = f"\033[{COLOURS[event.severity]}m{severity}\033[0m"
    place = "/".join(str(part) for part in (event.site, event.node, event.guest) if part is not None)
    again = " (again)" if event.duplicate_of else ""
    return f"{when}  {severity}  {plain(place):<20}  {plain(event.kind):<28}  {plain(event.title)}{again}"


def plain(text: str) -> str:
    """Without control characters."""
    return "".join(c if c.isprintable() else _UNPRINTABLE for c in text)
