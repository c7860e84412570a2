"""Maintenance: what is held back, and the one line at its end."""

from typing import Any

import pytest

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.notifying import silences
from mqtt_bridge.notifying.silences import Scope, Silence
from tests.notify.making import Desk, desk


def silence(it: Desk, scope: Scope, target: str, length: float = 3600, site: str = "lab") -> Silence:
    one = silences.silence(scope, site, target, it.now, length, "new disks", "ann")
    silences.add(it.connection, one)
    return one


@pytest.mark.parametrize(
    ("scope", "target", "kind", "given", "silent"),
    [
        ("site", "", "node.offline", {}, True),
        ("node", "pve1", "node.offline", {}, True),
        ("node", "PVE1", "node.offline", {}, True),
        ("node", "pve2", "node.offline", {}, False),
        ("node", "pve1", "guest.oom", {"guest": 100}, True),
        ("node", "pve1", "quorum.lost", {"node": None}, False),
        ("guest", "100", "guest.oom", {"guest": 100}, True),
        ("guest", "100", "guest.oom", {"guest": 101}, False),
        ("tag", "test", "guest.oom", {"guest": 100, "context": {"tags": ["Test"]}}, True),
        ("tag", "test", "guest.oom", {"guest": 100}, False),
        ("site", "", "node.offline", {"site": "other"}, False),
    ],
)
def test_what_a_silence_covers(scope: Scope, target: str, kind: str, given: dict[str, Any], silent: bool) -> None:
    it = desk()
    silence(it, scope, target)
    it.on(kind, **given)
    assert (it.words() == []) is silent


def test_what_is_still_wrong_at_the_end_is_told_in_one_notice() -> None:
    it = desk()
    it.on("backup.guest.failed", guest=99)
    it.sent()
    silence(it, "node", "pve1", 1800)
    it.on("storage.offline", metadata={"storage": "nfs"})
    it.on("guest.stopped.unexpected", guest=100)
    it.on("guest.stopped.unexpected", guest=101)
    it.later(600, 10)
    it.on("guest.started", guest=100)
    it.on("backup.guest.finished", guest=99)
    assert it.words() == [("recovery", "backup.guest.finished 99")], "they were told that it failed"
    it.restart()
    it.later(1190, 10)
    assert it.words() == []
    it.later(20)
    (digest,) = it.sent()
    assert digest.kind == "digest"
    assert digest.title.startswith("Still wrong after the silence: 2 problems")
    assert "101" in digest.text
    assert "100" not in digest.text
    it.on("guest.started", guest=101)
    it.on("storage.online", metadata={"storage": "nfs"})
    assert [k for k, _ in it.words()] == ["recovery", "recovery"], "now they know of them"


def test_one_problem_that_is_left_is_one_line() -> None:
    it = desk()
    silence(it, "node", "pve1", 60)
    it.on("node.offline")
    it.later(61)
    assert it.words() == [("digest", "Still wrong after the silence: node.offline pve1")]


def test_nothing_wrong_means_nothing_said() -> None:
    it = desk()
    one = silence(it, "site", "", 3600)
    it.on("node.offline")
    it.later(100)
    it.on("node.online")
    assert silences.end(it.connection, one.id, it.now)
    it.later(200)
    assert it.words() == []
    assert silences.every(it.connection) == []
    assert not silences.end(it.connection, one.id, it.now)


def test_a_restart_that_was_asked_for_is_told_without_what_it_takes_along() -> None:
    it = desk()
    it.on("node.shutdown", title="The node restarts", same="i")
    it.later(20)
    it.on("node.offline", same="i")
    for vmid in (100, 101):
        it.on("guest.stopped.unexpected", guest=vmid)
    it.later(120)
    it.on("node.online", same="i")
    it.later(600)
    assert it.words() == [("event", "The node restarts"), ("recovery", "node.online pve1")]
    assert silences.every(it.connection) == []


@pytest.mark.parametrize(("trust", "after"), [("api", 900), ("unauthenticated", 300)])
def test_a_node_that_does_not_come_back_from_its_restart_is_told(trust: str, after: int) -> None:
    it = desk()
    it.on("node.shutdown", trust=trust)
    it.later(30)
    it.on("node.offline")
    it.later(after - 35)
    assert it.words() == [("event", "node.shutdown pve1")]
    it.on("node.shutdown", trust=trust, source="SYSLOG")  # says no more than before
    it.later(10)
    (digest,) = it.sent()
    assert digest.title == "Still wrong after the silence: node.offline pve1"
    assert digest.severity == "critical"


@pytest.mark.parametrize(("text", "length"), [("90", 90), ("30m", 1800), ("2 h", 7200), ("1d", 86400), ("1W", 604800)])
def test_durations(text: str, length: float) -> None:
    assert silences.duration(text) == length


@pytest.mark.parametrize("text", ["", "0", "5x", "-3", "9999d", "1.5h", "m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(BridgeError, match="30m"):
        silences.duration(text)
