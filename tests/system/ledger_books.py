"""The two books that have to agree: what a durable subscriber got from the broker, and what the journal has."""

import json
import re
import sqlite3
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.system.ledger_happenings import FIRST_GUEST, UNACKNOWLEDGED, Channel, Happening

PUBLISHED = 1
_MARK = re.compile(r"ledger-(\d{5})")
_CHANNELS: Mapping[tuple[str, str], Channel] = {
    ("WEBHOOK", "webhook"): "webhook",
    ("WEBHOOK", "gotify"): "gotify",
    ("SMTP", ""): "smtp",
    ("EMAIL", ""): "imap",
    ("GOTIFY_IN", ""): "gotify_in",
    ("SYSLOG", "tcp"): "syslog_tcp",
    ("SYSLOG", "udp"): "syslog_udp",
    ("WEBSOCKET", ""): "task",
}


class Collector:
    """`with` it: mosquitto_sub in a process of its own, with a session that the broker keeps for it.

    It is ours in nothing: neither its MQTT nor its idea of what an event is. `login` are further words for it.
    """

    def __init__(self, port: int, file: Path, *login: str) -> None:
        self._file = file
        where = ["-h", "127.0.0.1", "-p", str(port), *login]
        durable = ["-V", "mqttv311", "-c", "-i", "ledger", "-q", "1"]
        self._words = ["mosquitto_sub", *where, *durable, "-v", "-t", "proxmox/+/event/#"]

    def __enter__(self) -> Self:
        with self._file.open("wb") as out:
            self._process = subprocess.Popen(self._words, stdout=out, stderr=subprocess.STDOUT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(10)

    def messages(self) -> list[tuple[str, dict[str, Any]]]:
        """Topic and event, in the order of receipt; the same event may have come twice (QoS 1)."""
        lines = self._file.read_text(encoding="utf-8").splitlines(keepends=True)
        rows = (line.split(" ", 1) for line in lines if line.startswith("proxmox/") and line.endswith("\n"))
        return [(topic, json.loads(body)) for topic, body in rows]


def journal(state: Path) -> list[tuple[str, int, dict[str, Any]]]:
    """Id, state and event of every row, in order."""
    with closing(sqlite3.connect(f"file:{state}/journal.db?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT id, state, CAST(body AS TEXT) FROM events ORDER BY seq").fetchall()
    return [(identity, published, json.loads(body)) for identity, published, body in rows]


def cursors(state: Path) -> set[str]:
    try:
        with closing(sqlite3.connect(f"file:{state}/journal.db?mode=ro", uri=True)) as connection:
            return {row[0] for row in connection.execute("SELECT name FROM cursors")}
    except sqlite3.OperationalError:  # there is none yet
        return set()


def channel_of(event: Mapping[str, Any]) -> Channel | None:
    found = event["metadata"]
    how = {"WEBHOOK": found.get("format", ""), "SYSLOG": found.get("transport", "")}.get(event["source"], "")
    return _CHANNELS.get((event["source"], how))


def number_of(event: Mapping[str, Any]) -> int | None:
    """Which happening it tells of."""
    if (event["guest"] or 0) >= FIRST_GUEST:
        return int(event["guest"]) - FIRST_GUEST
    found = _MARK.search(json.dumps([event["title"], event["message"], event["metadata"]]))
    return int(found[1]) if found else None


@dataclass
class Account:
    """Events by id, sorted by what they tell of. What is wrong is in `never_sent` and the properties: all empty."""

    events: Mapping[str, dict[str, Any]]
    ids: dict[tuple[int, Channel], set[str]] = field(default_factory=lambda: defaultdict(set))
    correlations: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    never_sent: list[dict[str, Any]] = field(default_factory=list)

    @property
    def by_channel(self) -> Counter[Channel]:
        return Counter(channel for _, channel in self.ids)

    def lost(self, sent: Sequence[Happening]) -> list[tuple[int, Channel]]:
        """Accepted, and not there."""
        every = ((one.number, channel) for one in sent for channel in one.channels if channel not in UNACKNOWLEDGED)
        return [report for report in every if report not in self.ids]

    @property
    def astray(self) -> list[dict[str, Any]]:
        """Duplicates of what is no report of the same happening."""
        marked = [event for event in self.events.values() if event["duplicate_of"]]
        return [one for one in marked if number_of(self.events.get(one["duplicate_of"], one)) != number_of(one)
                or one["duplicate_of"] not in self.events]  # fmt: skip

    @property
    def doubled(self) -> dict[tuple[int, Channel], set[str]]:
        return {report: ids for report, ids in self.ids.items() if len(ids) > 1}

    @property
    def torn(self) -> dict[int, set[str]]:
        """Happenings with several correlations."""
        return {number: found for number, found in self.correlations.items() if len(found) > 1}

    @property
    def merged(self) -> dict[str, list[int]]:
        """Correlations of several happenings."""
        owners: dict[str, list[int]] = defaultdict(list)
        for number, found in self.correlations.items():
            for correlation in found:
                owners[correlation].append(number)
        return {correlation: numbers for correlation, numbers in owners.items() if len(numbers) > 1}

    def story(self, number: int) -> Iterator[str]:
        """All that is known of a happening."""
        for event in self.events.values():
            if number_of(event) == number:
                shown = (
                    "timestamp",
                    "source",
                    "kind",
                    "site",
                    "node",
                    "guest",
                    "trust",
                    "correlation_id",
                    "duplicate_of",
                )
                yield f"{event['id']} " + " ".join(str(event[key]) for key in shown) + f" {event['title']!r}"


def account(events: Sequence[dict[str, Any]], sent: Mapping[int, Happening]) -> Account:
    """Sort events by what they tell of."""
    made = Account({event["id"]: event for event in events})
    for event in made.events.values():
        number, channel = number_of(event), channel_of(event)
        if number is None or channel is None or channel not in getattr(sent.get(number), "channels", ()):
            made.never_sent.append(event)
            continue
        made.ids[number, channel].add(event["id"])
        made.correlations[number].add(event["correlation_id"])
    return made
