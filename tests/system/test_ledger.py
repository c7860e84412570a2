"""The ledger: nothing accepted is lost, doubled, or torn from what it belongs to, whatever dies in between.

Things happen on the hosts of a lab, numbered, and each is told over one to three channels, rendered as Proxmox does.
Meanwhile the bridge is killed with SIGKILL ten times and the broker stopped and started five times. Afterwards every
accepted report is on MQTT, as a subscriber with a durable session of its own (mosquitto_sub) has it.

- The senders try again until they are accepted (2xx, 250). Proxmox's do not: what they send while the bridge is down is
  gone, as far as the channel goes. A mail relay that stands between does.
- A mail in a mailbox, a message on a Gotify server and a task in a node's list are accepted for good once they are
  there: the bridge is to fetch them.
- Syslog has no acknowledgement, so a line is sent once, and accepted is what the journal has: what was on its way, read
  but not committed, or sent while nobody listened died with the process. Nothing of the journal may be missing on MQTT.
- The broker is stopped in order: what a Mosquitto that is killed has acknowledged in its last second is its own loss.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.system.ledger_books import account
from tests.system.ledger_happenings import UNACKNOWLEDGED, Channel, Happening, channels_of
from tests.system.ledger_run import KILLS, RESTARTS, Ledger, run

HAPPENINGS = 5000


@pytest.mark.timeout(400)
async def test_the_ledger(tmp_path: Path) -> None:
    ledger = await run(tmp_path, HAPPENINGS)
    print(ledger.table())  # noqa: T201 -- shown by -s and when it fails
    agrees(ledger)


def agrees(ledger: Ledger) -> None:
    """Whatever is wrong is shown with its story."""
    sent, mqtt = ledger.sent, ledger.mqtt
    assert (ledger.kills, ledger.restarts) == (KILLS, RESTARTS)
    assert mqtt.lost(list(sent.values())) == [], "accepted, and not on MQTT"
    assert [list(mqtt.story(number)) for number, _ in mqtt.doubled] == [], "one report, several ids"
    assert [list(mqtt.story(number)) for number in mqtt.torn] == [], "one happening, several correlations"
    assert [list(map(list, map(mqtt.story, numbers))) for numbers in mqtt.merged.values()] == [], "several, one"
    assert mqtt.never_sent == []
    assert mqtt.astray == []
    assert [topic for topic, event in ledger.messages if topic != _topic(event)] == []
    assert ledger.differing == [], "the same id with two contents"
    assert wrong(ledger) == []
    assert set(mqtt.events) == set(ledger.journal.events), "broker and journal"
    assert ledger.unpublished == 0
    spread = ledger.mqtt.by_channel
    assert all(spread[one] > 0.8 * count for one, count in ledger.reports.items()), "most syslog lines came through"
    assert set(ledger.accepted) == set(ledger.reports)
    assert set(ledger.repeated) == {"webhook", "gotify", "smtp", "imap"}


def _topic(event: dict[str, Any]) -> str:
    return f"proxmox/lab/event/{event['severity']}/{event['kind'].replace('.', '/')}"


def wrong(ledger: Ledger) -> list[str]:
    """What a report says of its happening has to be so."""
    found = []
    for (number, channel), ids in ledger.mqtt.ids.items():
        one, event = ledger.sent[number], ledger.mqtt.events[min(ids)]
        severity = "error" if one.failed and one.kind != "system mail" else "info"
        if (event["site"], event["severity"]) != ("lab", severity) or event["node"] not in (one.node, None):
            found.append(f"{channel}: {list(ledger.mqtt.story(number))}")
    return found


# --- whether it would notice -----------------------------------------------------------------------------------------


def event(identity: str, number: int, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": identity, "title": f"ledger-{number:05d}", "message": "", "guest": None, "source": "SMTP", "metadata": {},
        "correlation_id": f"c{number}", "duplicate_of": None,
    }  # fmt: skip
    return made | more


def test_what_the_books_notice() -> None:
    mailed: tuple[Channel, ...] = ("smtp", "imap")
    sent = {number: Happening(number, mailed) for number in (1, 2, 3)}
    good = [event(f"{source}{number}", number, source=source) for number in sent for source in ("SMTP", "EMAIL")]
    clean = account([*good, *good], sent)
    assert (clean.lost(list(sent.values())), clean.doubled, clean.torn, clean.merged) == ([], {}, {}, {})
    assert (clean.never_sent, clean.astray) == ([], [])
    assert account(good[1:], sent).lost(list(sent.values())) == [(1, "smtp")]
    assert account([*good, event("again", 2)], sent).doubled == {(2, "smtp"): {"SMTP2", "again"}}
    assert account([*good[:-1], event("x", 3, source="EMAIL", correlation_id="cx")], sent).torn == {3: {"c3", "cx"}}
    assert account([*good[:-2], event("x", 3, correlation_id="c1")], sent).merged == {"c1": [1, 3]}
    assert [one["id"] for one in account([*good, event("x", 4)], sent).never_sent] == ["x"]
    assert [one["id"] for one in account([*good, event("x", 1, source="WEBHOOK")], sent).never_sent] == ["x"]
    astray = account([*good, event("x", 1, duplicate_of="SMTP2"), event("y", 1, duplicate_of="gone")], sent).astray
    assert [one["id"] for one in astray] == ["x", "y"]
    lines = {1: replace(sent[1], channels=("syslog_tcp",))}
    assert account([], lines).lost(list(lines.values())) == []


def test_every_channel_is_told_over() -> None:
    told = [channels_of(number) for number in range(HAPPENINGS)]
    assert {len(channels) for channels in told} == {1, 2, 3}
    assert all(len(set(channels)) == len(channels) for channels in told)
    assert sum(len(set(channels) - UNACKNOWLEDGED) > 1 for channels in told) > HAPPENINGS / 3
