"""What a problem goes through, and what is said of it."""

from typing import Any

import pytest

from mqtt_bridge.notifying import incidents
from tests.notify.making import Desk, desk, event, loud


def test_the_first_report_goes_out_at_once_and_duplicates_never() -> None:
    it = desk()
    first = it.on("node.offline", same="i")
    it.on("node.offline", same="i", duplicate_of=first.id, source="SYSLOG")
    it.take(first)
    assert [(n.id, n.kind, n.incident, n.previous) for n in it.sent("A")] == [(first.id, "event", "i", None)]
    assert it.words("B") == [("event", "node.offline pve1")]


def test_a_repeated_report_that_is_trusted_more_is_told() -> None:
    it = desk()
    first = it.on("storage.offline", same="i", trust="unauthenticated", source="SYSLOG", metadata={"storage": "x"})
    for trust, source in (("api", "WEBSOCKET"), ("authenticated", "EMAIL"), ("api", "X"), ("unauthenticated", "SMTP")):
        it.on("storage.offline", same="i", duplicate_of=first.id, trust=trust, source=source, metadata={"storage": "x"})
    (told, sure) = it.sent("A")
    assert (told.kind, sure.kind, sure.previous) == ("event", "update", "ref-1")
    it.later(300)
    it.on("storage.online", trust="unauthenticated", source="SYSLOG", metadata={"storage": "x"})
    assert it.sent("A") == [], "the API told of the problem: not anyone can end it"


def test_a_real_recovery_counts_although_a_forged_one_said_the_same_before() -> None:
    it = desk()
    it.on("node.offline", same="i")
    it.later(300)
    forged = it.on("node.online", same="i", trust="unauthenticated", source="SYSLOG")
    assert it.words() == [("event", "node.offline pve1")]
    it.on("node.online", same="i", duplicate_of=forged.id)
    assert it.words() == [("recovery", "node.online pve1")]


def test_info_is_silent_and_warnings_are_told() -> None:
    it = desk()
    for kind in ("guest.started", "guest.stopped", "backup.guest.finished", "node.online", "update.available"):
        it.on(kind, guest=100)
    it.on("guest.agent.timeout", guest=100)
    assert it.words() == [("event", "guest.agent.timeout 100")]


@pytest.mark.parametrize(
    ("bad", "well", "given"),
    [
        ("node.offline", "node.online", {}),
        ("node.fencing", "node.online", {}),
        ("quorum.lost", "quorum.ok", {}),
        ("site.offline", "site.online", {}),
        ("storage.offline", "storage.online", {"metadata": {"storage": "nfs"}}),
        ("storage.usage.high", "storage.usage.ok", {"metadata": {"storage": "nfs"}}),
        ("datastore.error", "datastore.ok", {"metadata": {"datastore": "main"}}),
        ("backup.guest.failed", "backup.guest.finished", {"guest": 100}),
        ("task.vzdump.failed", "task.vzdump.finished", {"guest": 100}),
        ("backup.guest.failed", "task.vzdump.finished", {"guest": 100}),
        ("backup.stale", "backup.guest.finished", {"guest": 100}),
        ("backup.uncovered", "backup.covered", {"guest": 100}),
        ("backup.job.failed", "backup.job.finished", {}),
        ("gc.failed", "gc.finished", {"metadata": {"datastore": "main"}}),
        ("verify.failed", "verify.finished", {"metadata": {"datastore": "main"}}),
        ("guest.stopped.unexpected", "guest.started", {"guest": 100}),
        ("guest.start.failed", "guest.started", {"guest": 100}),
        ("task.qmstart.failed", "guest.started", {"guest": 100}),
        ("task.qmsnapshot.failed", "task.qmsnapshot.finished", {"guest": 100}),
        ("network.link.down", "network.link.up", {"metadata": {"interface": "eno1"}}),
        ("corosync.link.down", "corosync.link.up", {"metadata": {"peer": "pve2"}}),
        ("ceph.health.warn", "ceph.health.cleared", {}),
    ],
)
def test_a_recovery_is_told(bad: str, well: str, given: dict[str, object]) -> None:
    it = desk()
    told = it.on(bad, **given)
    it.later(120)
    over = it.on(well, **given)
    first, last = it.sent()
    assert (first.id, first.kind, last.id, last.kind) == (told.id, "event", over.id, "recovery")
    assert last.incident == first.incident
    assert ("Lasted", "2 min") in last.facts
    assert last.previous == "ref-1"


def test_a_recovery_is_told_to_exactly_those_who_told_the_failure() -> None:
    it = desk("A", "B", "C")
    it.settings.routing["B"] = loud("B", min_severity="critical")["B"]
    it.settings.routing["C"] = loud("C", kinds=("backup.*",))["C"]
    it.restart()
    it.on("storage.offline", metadata={"storage": "nfs"})
    it.on("node.offline", node="pve2")
    it.later(100)
    it.on("storage.online", metadata={"storage": "nfs"})
    it.on("node.online", node="pve2")
    assert [kind for kind, _ in it.words("A")] == ["event", "event", "recovery", "recovery"]
    assert it.words("B") == [("event", "node.offline pve2"), ("recovery", "node.online pve2")]
    assert it.words("C") == []


def test_of_a_job_each_guest_recovers_for_itself() -> None:
    it = desk()
    it.on("backup.job.failed", metadata={"guests": [{"vmid": v, "ok": v == 100} for v in (100, 101, 102)]})
    it.later(100)
    it.on("backup.guest.finished", guest=101)
    assert [kind for kind, _ in it.words()] == ["event"], "102 is still without"
    it.on("backup.guest.finished", guest=102)
    assert [kind for kind, _ in it.words()] == ["recovery"]


def test_what_changes_is_an_update_and_what_does_not_is_nothing() -> None:
    it = desk()
    it.on("node.offline", same="i")
    it.on("node.fencing", same="i")
    it.on("node.fencing", same="i", source="SYSLOG")
    it.on("node.fenced", same="i")
    kinds = [(n.kind, n.previous) for n in it.sent()]
    assert kinds == [("event", None), ("update", "ref-1"), ("update", "ref-3")]


def test_updates_can_be_left_out_but_not_what_is_worse() -> None:
    it = desk(routing={"updates": "omit"})
    it.on("storage.usage.high", same="i", metadata={"storage": "x"})
    it.on("storage.usage.high", same="i", metadata={"storage": "x"}, ok=False)
    it.on("storage.usage.high", same="i", metadata={"storage": "x"}, severity="error")
    it.on("network.link.down", same="i")
    assert [(n.kind, n.severity) for n in it.sent()] == [("event", "warning"), ("update", "error")]


def test_who_did_not_want_the_first_report_may_want_a_worse_one() -> None:
    it = desk(routing={"min_severity": "error"})
    it.on("storage.usage.high", same="i", metadata={"storage": "x"})
    it.on("storage.usage.high", same="i", metadata={"storage": "x"}, severity="error")
    assert [(n.kind, n.severity) for n in it.sent()] == [("event", "error")]


def flap(it: Desk, times: int, every: float) -> None:
    for _ in range(times):
        it.on("node.offline", node="pve1")
        it.later(every)
        it.on("node.online", node="pve1")
        it.later(every)


def test_flapping_is_told_at_once_and_then_in_one_word_when_it_settles() -> None:
    it = desk()
    flap(it, 4, 10)
    assert it.words() == [("event", "node.offline pve1")]
    it.later(49)
    assert it.words() == []
    it.later(3)
    (word,) = it.sent()
    assert (word.kind, word.title) == ("recovery", "node.online pve1")
    assert "changed 7 times" in word.text
    it.later(600)
    assert it.words() == []


def test_flapping_that_ends_badly_says_so() -> None:
    it = desk()
    flap(it, 3, 10)
    it.on("node.offline")
    it.sent()
    it.later(59)
    assert it.words() == []
    it.later(2)
    assert [n.kind for n in it.sent()] == ["update"], "it was told as offline, and is"


def test_down_again_right_after_it_was_told_as_back() -> None:
    it = desk()
    it.on("node.offline")
    it.later(300)
    it.on("node.online")
    it.later(10)
    it.on("node.offline")
    assert [kind for kind, _ in it.words()] == ["event", "recovery"]
    it.later(61)
    assert [kind for kind, _ in it.words()] == ["event"]


def test_flapping_without_an_end_is_not_silent_for_ever() -> None:
    it = desk()
    flap(it, 60, 15)
    assert 3 <= len(it.words()) <= 5


def test_a_failure_later_on_is_a_new_incident() -> None:
    it = desk()
    first = it.on("node.offline", same="i")
    it.later(300)
    it.on("node.online", same="i")
    it.later(300)
    again = it.on("node.offline", same="i")
    notices = it.sent()
    assert [n.kind for n in notices] == ["event", "recovery", "event"]
    assert notices[0].incident == "i"
    assert (notices[2].incident, notices[2].previous) == (again.id, None)
    assert first.id != again.id


def test_an_unchanged_problem_is_told_again_after_a_day_and_not_for_ever() -> None:
    it = desk()
    it.on("node.offline")
    it.later(86390, 600)
    assert [k for k, _ in it.words()] == ["event"]
    it.later(20)
    (reminder,) = it.sent()
    assert (reminder.kind, reminder.text) == ("reminder", "It has lasted 1 d.")
    it.later(12 * 86400, 3600)
    assert [k for k, _ in it.words()] == ["reminder"] * 6


def test_what_is_reported_again_and_again_is_told_once_a_day() -> None:
    it = desk()
    for _ in range(24):
        it.on("storage.zfs.degraded", metadata={"pool": "tank"})
        it.later(3600, 600)
    assert [k for k, _ in it.words()] == ["event", "reminder"]


def test_a_backup_that_fails_every_night_is_told_every_night() -> None:
    it = desk()
    for night in range(3):
        it.on("backup.guest.failed", guest=100)
        it.later(86400 - 600 * night, 600)
    assert [k for k, _ in it.words()] == ["event", "reminder", "reminder"]


def test_each_out_of_memory_is_news() -> None:
    it = desk()
    for _ in range(3):
        it.on("guest.oom", guest=100)
        it.later(600, 60)
    assert [k for k, _ in it.words()] == ["event"] * 3


def test_a_lost_nodes_guests_are_folded_into_its_incident() -> None:
    it = desk()
    it.on("node.offline", same="i")
    for vmid in (100, 101, 102):
        it.on("guest.stopped.unexpected", guest=vmid, context={"name": f"web{vmid}"})
    it.on("ha.service.state", guest=100, severity="warning", ok=False, context={"name": "web100"})
    it.on("guest.stopped.unexpected", guest=200, node="pve2")
    assert it.words() == [("event", "node.offline pve1"), ("event", "guest.stopped.unexpected 200")]
    it.later(61)
    (update,) = it.sent()
    assert update.kind == "update"
    assert update.text == "Affected: web100 (100), web101 (101), web102 (102)."
    it.later(300)
    it.on("node.online", same="i")
    (back,) = it.sent()
    assert back.kind == "recovery"
    assert "web101 (101)" in back.text


def test_who_is_trusted_less_ends_nothing() -> None:
    it = desk()
    it.on("node.offline")
    it.later(300)
    it.on("node.online", trust="unauthenticated", source="SYSLOG")
    it.on("node.online", trust="authenticated", source="WEBHOOK")
    assert [k for k, _ in it.words()] == ["event"]
    it.on("node.online")
    assert [k for k, _ in it.words()] == ["recovery"]


def test_a_recovery_that_comes_late_does_not_end_what_came_after_it() -> None:
    """Without a broker a critical event overtakes what is less urgent."""
    it = desk()
    it.now += 100
    it.on("node.offline", at=it.now)
    it.on("node.online", at=it.now - 50)
    it.later(120)
    assert [k for k, _ in it.words()] == ["event"]


def test_acknowledged_means_silent_until_it_is_over_or_worse() -> None:
    it = desk()
    first = it.on("storage.usage.high", same="i", metadata={"storage": "x"})
    it.sent()
    found = it.decider.acknowledge(it.connection, first.id, "ann", it.now)
    assert found is not None
    assert found.acknowledged == "ann"
    it.on("storage.usage.high", same="i", metadata={"storage": "x"}, ok=False)
    it.later(2 * 86400, 600)
    assert it.words() == []
    it.restart()
    it.on("storage.usage.high", same="i", metadata={"storage": "x"}, severity="error")
    it.later(100)
    it.on("storage.usage.ok", same="i", metadata={"storage": "x"})
    assert [k for k, _ in it.words()] == ["update", "recovery"]
    assert it.decider.acknowledge(it.connection, "nothing like that", "ann", it.now) is None


def test_a_restart_in_between_changes_nothing() -> None:
    def run(*, restarts: bool) -> list[tuple[str, str]]:
        it = desk()
        said: list[tuple[str, str]] = []
        for kind in ("node.offline", "node.online", "node.offline", "node.fencing", "node.online"):
            it.on(kind, same="i")
            for _ in range(30):
                it.later(3)
                said += it.words()
                if restarts:
                    it.restart()
        return said

    assert run(restarts=True) == run(restarts=False)
    assert len(run(restarts=False)) == 5


def test_one_storage_missed_by_three_nodes_is_one_incident_until_the_last_has_it_back() -> None:
    it = desk()
    for node in ("pve1", "pve2", "pve3"):
        it.on("storage.offline", node=node, same="i", metadata={"storage": "nfs"})
    it.later(200)
    for node in ("pve1", "pve2", "pve3"):
        it.on("storage.online", node=node, same="i", metadata={"storage": "nfs"})
    notices = it.sent()
    assert [n.kind for n in notices] == ["event", "update", "update", "recovery"]
    assert {n.incident for n in notices} == {"i"}


def test_events_that_anyone_could_have_written_are_bounded() -> None:
    it = desk()
    it.take(event("node.offline", title="x" * 5000 + "\x1b[31m", message="\u202e" + "y" * 90_000, at=it.now))
    (notice,) = it.sent()
    assert len(notice.title) <= 200
    assert len(notice.text) <= 4000
    assert "\u202e" not in notice.text


def test_what_cannot_be_decided_is_told_plainly_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """No database takes such a number."""
    it = desk()
    it.on("backup.guest.failed", guest=10**30)
    it.on("backup.guest.failed", guest=100)
    assert [n.title for n in it.sent()] == [f"backup.guest.failed {10**30}", "backup.guest.failed 100"]
    assert "could not be decided" in caplog.text


def test_a_broken_incident_stops_no_other(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    it = desk()
    it.on("node.offline", node="pve1")
    it.on("node.offline", node="pve2")
    it.sent()
    act = incidents.act

    def wrong(incident: incidents.Incident, *rest: Any) -> incidents.Step:
        if incident.last.node == "pve1":
            raise ZeroDivisionError
        return act(incident, *rest)

    monkeypatch.setattr(incidents, "act", wrong)
    it.later(86401, 600)
    assert it.words() == [("reminder", "node.offline pve2")]
    assert caplog.text.count("could not be decided") == 1


def test_what_anyone_could_have_sent_says_so() -> None:
    it = desk()
    it.on("node.offline", trust="unauthenticated", source="SYSLOG")
    it.on("node.offline", node="pve2")
    first, second = it.sent()
    assert ("Told by", "SYSLOG, unauthenticated") in first.facts
    assert "Told by" not in dict(second.facts)
