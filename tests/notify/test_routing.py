"""Who tells what, and when it is quiet."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from mqtt_bridge.errors import SettingsError
from mqtt_bridge.notifying.routing import QuietHours, Route, next_time
from mqtt_bridge.settings.notifying import NotifySettings, Routing
from tests.notify.making import NOON, Desk, desk, event

TAGGED = {"context": {"tags": ["prod", "web"]}}


@pytest.mark.parametrize(
    ("routing", "given", "wanted"),
    [
        ({}, {}, True),
        ({"min_severity": "critical"}, {}, False),
        ({"min_severity": "error"}, {}, True),
        ({"kinds": ("guest.*",)}, {}, True),
        ({"kinds": ("guest.*", "!guest.oom")}, {}, False),
        ({"kinds": ("node.*",)}, {}, False),
        ({"nodes": ("pve2",)}, {}, False),
        ({"nodes": ("PVE*",)}, {}, True),
        ({"nodes": ("!pve1",)}, {}, False),
        ({"guests": ("100-199",)}, {}, True),
        ({"guests": ("!100",)}, {}, False),
        ({"guests": ("200",)}, {}, False),
        ({"tags": ("prod",)}, TAGGED, True),
        ({"tags": ("PROD",)}, TAGGED, True),
        ({"tags": ("test",)}, TAGGED, False),
        ({"tags": ("prod", "!web")}, TAGGED, False),
        ({"tags": ("prod",)}, {}, False),
        ({"tags": ("prod",)}, {"guest": None}, True),
    ],
)
def test_filters(routing: dict[str, Any], given: dict[str, Any], wanted: bool) -> None:
    happened = event("guest.oom", **{"guest": 100, **given})
    assert Route.of("A", Routing(**routing)).wants(happened) is wanted


BERLIN = ZoneInfo("Europe/Berlin")


def moment(text: str, zone: Any = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-11-20 21:59", None),
        ("2026-11-20 22:00", "2026-11-21 07:00"),
        ("2026-11-21 03:00", "2026-11-21 07:00"),
        ("2026-11-21 07:00", None),
        ("2026-03-29 01:30", "2026-03-29 07:00"),  # the clock is put forward in between
        ("2026-10-24 23:00", "2026-10-25 07:00"),  # and back
    ],
)
def test_quiet_hours_over_midnight(now: str, until: str | None) -> None:
    quiet = QuietHours.of("22:00-07:00", BERLIN)
    assert quiet is not None
    assert quiet.until(moment(now)) == (moment(until) if until else None)


def test_quiet_hours_within_a_day_and_none() -> None:
    quiet = QuietHours.of("13:00-14:30", UTC)
    assert quiet is not None
    assert quiet.until(moment("2026-01-01 13:10", UTC)) == moment("2026-01-01 14:30", UTC)
    assert quiet.until(moment("2026-01-01 14:30", UTC)) is None
    assert QuietHours.of("", UTC) is None
    assert next_time(8 * 60, moment("2026-01-01 08:00", UTC), UTC) == moment("2026-01-02 08:00", UTC)


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ({"quiet_hours": "22-7"}, "NOTIFY_QUIET_HOURS"),
        ({"quiet_hours": "22:00"}, "NOTIFY_QUIET_HOURS"),
        ({"quiet_hours": "25:00-07:00"}, "NOTIFY_QUIET_HOURS"),
        ({"timezone": "Europe/Nowhere"}, "TZ"),
        ({"digest_at": "8 o'clock"}, "NOTIFY_DIGEST_AT"),
    ],
)
def test_settings_that_cannot_be_understood_are_named(setting: dict[str, str], key: str) -> None:
    with pytest.raises(SettingsError, match=key):
        Desk(NotifySettings(**setting))  # type: ignore[arg-type]


def test_in_quiet_hours_only_critical_passes_and_the_rest_is_one_digest_afterwards() -> None:
    it = desk(quiet_hours="11:00-13:00")
    it.on("backup.guest.failed", guest=100)
    it.on("backup.guest.failed", guest=101)
    it.on("node.offline")
    it.later(300, 10)
    it.on("node.online")
    it.on("backup.guest.finished", guest=101)
    assert it.words() == [("event", "node.offline pve1"), ("recovery", "node.online pve1")]
    it.restart()
    it.later(3600 - 310, 10)
    assert it.words() == []
    it.later(20)
    (digest,) = it.sent()
    assert digest.kind == "digest"
    assert digest.title == "3 notices during the quiet hours: 2 error, 1 info"
    assert [line.split(" ", 2)[2] for line in digest.text.splitlines()] == [
        "error: backup.guest.failed 100",
        f"error: backup.guest.failed 101 → {clock(NOON + 300)} backup.guest.finished 101",
    ]
    assert len(digest.events) == 2


def clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M")


def test_a_single_notice_of_the_quiet_hours_goes_as_it_is() -> None:
    it = desk(quiet_hours="11:00-13:00")
    happened = it.on("backup.guest.failed", guest=100)
    it.later(3700, 100)
    assert [(n.id, n.kind) for n in it.sent()] == [(happened.id, "event")]


def test_a_flood_becomes_one_digest_and_what_is_critical_passes() -> None:
    it = desk(routing={"rate_limit": 10})
    for vmid in range(100, 400):
        it.on("guest.oom", guest=vmid)
        it.now += 0.05
    it.on("node.offline")
    words = it.words()
    assert len(words) == 11
    assert words[-1] == ("event", "node.offline pve1")
    it.later(61)
    (digest,) = it.sent()
    assert digest.title == "290 notices within a minute: 290 error"
    assert len(digest.text.splitlines()) == 41
    assert digest.text.endswith("and 250 more")
    assert len(digest.events) == 50
    it.later(61)
    it.on("guest.oom", guest=900, node="pve2")
    assert it.words() == [("event", "guest.oom 900")], "the flood is over"


def test_a_flood_of_critical_ones_is_a_digest_too() -> None:
    it = desk(routing={"rate_limit": 3})
    for number in range(10):
        it.on("node.offline", node=f"n{number}")
    assert len(it.words()) == 3
    it.later(61)
    assert [n.title for n in it.sent()] == ["7 notices within a minute: 7 critical"]


def test_what_happened_long_ago_becomes_one_digest() -> None:
    it = desk(max_age=3600)
    for vmid in (100, 101, 102):
        it.on("backup.guest.failed", guest=vmid, at=it.now - 7200)
    it.on("backup.guest.failed", guest=103, at=it.now - 3000)
    assert it.words() == [("event", "backup.guest.failed 103")]
    it.later(11)
    assert [(n.kind, n.title) for n in it.sent()] == [("digest", "3 notices of what happened earlier: 3 error")]


def test_no_digest_wakes_anybody_unless_something_in_it_is_critical() -> None:
    it = desk(quiet_hours="11:00-13:00", routing={"rate_limit": 1})
    for vmid in (100, 101):
        it.on("backup.guest.failed", guest=vmid, at=it.now - 7200)
    it.later(60)
    assert it.words() == []
    it.later(3600 - 50, 10)
    assert [n.title for n in it.sent()] == ["2 notices during the quiet hours: 2 error"]
    it = desk(quiet_hours="11:00-13:00")
    for kind in ("backup.guest.failed", "node.offline"):
        it.on(kind, guest=100, at=it.now - 7200)
    it.later(60)
    assert [n.severity for n in it.sent()] == ["critical"]


def test_a_refusal_is_told_by_the_others_but_not_at_night() -> None:
    it = desk("A", "B", "C", quiet_hours="11:00-13:00")
    it.decider.posting.refused(it.connection, "A", "wrong token", it.now)
    it.decider.posting.refused(it.connection, "A", "wrong token", it.now)
    it.decider.posting.refused(it.connection, "B", "gone", it.now)
    assert [it.words(name) for name in "ABC"] == [[], [], []]
    it.later(3610, 10)
    assert [[kind for kind, _ in it.words(name)] for name in "ABC"] == [["message"], ["message"], ["digest"]]
    assert it.decider.posting.trouble(it.connection, "A") == "wrong token"
    it.decider.posting.works(it.connection, "A")
    assert it.decider.posting.trouble(it.connection, "A") == ""


def test_a_notifier_that_is_switched_off_gets_nothing_later() -> None:
    it = desk("A", "B")
    it.on("node.offline")
    it.names = ("A",)
    it.restart()
    it.decider.begin(it.connection, it.now)
    assert it.words("A") == [("event", "node.offline pve1")]
    assert it.words("B") == []
    rows = it.connection.execute("SELECT notifier, state, answer FROM deliveries ORDER BY notifier").fetchall()
    assert rows[1] == ("B", 2, "This notifier is switched off.")
