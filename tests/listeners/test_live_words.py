"""What differences are called, what is remembered, and how reports are handed over: without any Proxmox."""

import asyncio
from typing import Any

import pytest

from mqtt_bridge.events.intake import IntakeFullError, JournalError, Report
from mqtt_bridge.listeners import live_facts, live_words
from mqtt_bridge.listeners.live_delivery import Delivery
from mqtt_bridge.listeners.live_memory import SHARDS, GuestKnown, Memory
from mqtt_bridge.model import GuestState, GuestStatus, NodeState, TaskInfo
from mqtt_bridge.proxmox.changes import Feed, QuorumChanged, Snapshot, Why
from mqtt_bridge.settings.listening import LiveSettings
from mqtt_bridge.wording.verdict import Verdict
from tests.listeners.live_support import Taken

AT = 1795221600.0


def guest(**changed: Any) -> GuestState:
    plain = {"site": "lab", "vmid": 100, "type": "qemu", "name": "web01", "node": "pve1", "status": "running"}
    return GuestState.model_validate({**plain, "available": True, **changed})


@pytest.mark.parametrize(
    ("was", "new", "why", "kind", "severity"),
    [
        ("stopped", "running", None, "guest.started", "info"),
        ("running", "stopped", Why("task", "op@pve"), "guest.stopped", "info"),
        ("running", "stopped", Why("restart", "op@pve"), "guest.stopped", "info"),
        ("running", "stopped", Why("lock", detail="backup"), "guest.stopped", "info"),
        ("running", "stopped", Why("migration"), "guest.stopped", "info"),
        ("running", "stopped", Why("node", detail="pve1"), "guest.stopped", "info"),
        ("paused", "stopped", None, "guest.stopped.unexpected", "error"),
        ("running", "stopped", None, "guest.stopped.unexpected", "error"),
        ("running", "paused", None, "guest.paused", "info"),
        ("paused", "running", None, "guest.resumed", "info"),
        ("suspended", "running", None, "guest.resumed", "info"),
        ("running", "suspended", None, "guest.suspended", "info"),
        ("running", "running", None, None, None),
        ("running", "unknown", None, None, None),
        ("unknown", "running", None, None, None),
        ("unknown", "stopped", None, None, None),
    ],
)
def test_what_a_guests_difference_means(
    was: GuestStatus, new: GuestStatus, why: Why | None, kind: str | None, severity: str | None
) -> None:
    told = live_words.guest_status("lab", guest(status=new), was, why, AT)
    assert (told and told.verdict.kind) == kind
    assert (told and told.verdict.severity) == severity


def test_a_stop_while_nobody_saw_the_tasks_is_no_alarm() -> None:
    told = live_words.guest_status("lab", guest(status="stopped"), "running", None, AT, away=True, sure=False)
    assert told is not None
    assert (told.verdict.kind, told.verdict.severity) == ("guest.stopped", "warning")


def test_the_same_happening_has_one_identity_and_the_next_another() -> None:
    told = [live_words.guest_status("lab", guest(), "stopped", None, at) for at in (AT, AT, AT + 60)]
    first, again, later = [t.identity for t in told if t]
    assert first == again != later


def test_text_from_outside_is_made_harmless() -> None:
    task = TaskInfo(
        upid="UPID:pve1:00000001:0007A684:6B00E89C:qmclone:100:root@pam:", site="lab", node="pve1", type="qmclone",
        id="100", guest=100, user="root@pam", status="failed", exitstatus="no\u202e space\x1b[31m left",
        ended_at="2026-11-20T03:00:00Z",
    )  # fmt: skip
    told = live_words.task(task, ("a" * 9000, "the \x00end\u200b"))
    assert "\u202e" not in told.verdict.title
    assert "\x1b" not in told.verdict.title
    assert told.verdict.message.endswith("the end")
    assert len(told.verdict.message) <= 4000


def test_the_states_of_the_ha_manager() -> None:
    def kind(old: str, new: str) -> tuple[str, str] | None:
        told = live_words.ha_service("lab", guest(), old, new, AT)
        return (told.verdict.kind, told.verdict.severity) if told else None

    assert kind("started", "error") == ("ha.service.state", "error")
    assert kind("started", "fence") == ("ha.service.state", "warning")
    assert kind("recovery", "started") == ("ha.service.recovered", "warning")
    assert kind("started", "migrate") == ("ha.service.state", "info")
    assert kind("", "started") is None
    assert kind("started", "") is None
    assert kind("", "error") == ("ha.service.state", "error")


def test_thresholds_with_hysteresis() -> None:
    settings, level, levels = LiveSettings(storage_warning=85, storage_error=95), "", []
    for used in (80, 85, 84, 83.1, 82.9, 96, 94, 93.5, 92.9, 84, 83, 82):
        level = live_facts.level(used, level, settings)
        levels.append(level)
    assert levels == [
        "", "warning", "warning", "warning", "", "error", "error", "error", "warning", "warning", "warning", "",
    ]  # fmt: skip


def node(**changed: Any) -> NodeState:
    plain = {"site": "lab", "node": "pve1", "status": "online", "available": True}
    return NodeState.model_validate(plain | changed)


def test_nodes_tell_of_loss_return_fencing_and_updates() -> None:
    memory = Memory("lab")

    def kinds(**changed: Any) -> list[str]:
        return [r.verdict.kind for r in live_facts.node(memory, node(**changed), AT)]

    assert kinds(updates=3) == []
    assert kinds(status="unknown") == []
    assert kinds(status="offline") == ["node.offline"]
    assert kinds(status="offline") == []
    assert kinds(status="offline", ha_state="fence") == ["node.fencing"]
    assert kinds(status="offline", ha_state="unknown") == ["node.fenced"]
    assert kinds(ha_state="online") == ["node.online"]
    assert kinds(updates=2) == []
    assert kinds(updates=4) == ["update.available"]
    assert kinds(ha_state="maintenance") == ["ha.lrm.state"]
    assert kinds(ha_state="online") == ["ha.lrm.state"]
    assert kinds(certificate_expires="2020-01-01T00:00:00Z") == ["certificate.expiring"]
    assert kinds(certificate_expires="2020-01-01T00:00:00Z") == []
    assert kinds(certificate_expires="2126-01-01T00:00:00Z") == []


def test_many_guests_without_a_backup_job_are_one_event() -> None:
    memory = Memory("lab")
    guests = [guest(vmid=v, backup_covered=True) for v in range(100, 130)]
    for each in guests:
        memory.set_guest(each.vmid, GuestKnown("running", "pve1"))
    assert list(live_facts.backups(memory, guests, AT, covered=True, max_age=60)) == []
    lost = [g.model_copy(update={"backup_covered": False}) for g in guests]
    assert len(list(live_facts.backups(memory, lost[:3], AT, covered=True, max_age=60))) == 3
    (one,) = live_facts.backups(memory, lost, AT, covered=True, max_age=60)
    assert (one.verdict.kind, len(one.verdict.guests)) == ("backup.uncovered", 27)
    assert list(live_facts.backups(memory, lost, AT, covered=False, max_age=60)) == []


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "known",
    [GuestKnown("running", "pve1"), GuestKnown("suspended", "a-b", "started", covered=True, stale=True)],
)
def test_a_guest_survives_being_written_down(known: GuestKnown) -> None:
    assert GuestKnown.parse(known.text()) == known


async def test_what_was_told_is_known_after_a_restart() -> None:
    taken, memory = Taken(), Memory("lab")
    await memory.load(taken)
    assert memory.first_start
    for vmid in range(100, 400):
        memory.set_guest(vmid, GuestKnown("running", "pve1"))
    memory.set_fact("quorum", "lost")
    await taken((), cursors=memory.cursors())
    assert memory.cursors() == {}
    memory.set_guest(105, None)
    changed = memory.cursors()
    assert set(changed) == {"site/lab", f"guests/lab/{105 % SHARDS}"}
    await taken((), cursors=changed)
    again = Memory("lab")
    await again.load(taken)
    assert not again.first_start
    assert set(again.vmids) == set(range(100, 400)) - {105}
    assert again.guest(399) == GuestKnown("running", "pve1")
    assert again.fact("quorum") == "lost"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"100": 7}', '"x"', "null"])
async def test_damaged_cursors_are_begun_anew(text: str) -> None:
    taken = Taken(cursors={"site/lab": text, "guests/lab/4": text})
    memory = Memory("lab")
    await memory.load(taken)
    assert list(memory.vmids) == []


def test_a_damaged_guest_is_not_known() -> None:
    memory = Memory("lab")
    memory._shards[100 % SHARDS][100] = "?"
    assert memory.guest(100) is None


# --- handing over ----------------------------------------------------------------------------------------------------


def reports(number: int) -> list[Report]:
    return [Report(f"{n}", Verdict("syslog.message", "info"), "api") for n in range(number)]


async def test_an_intake_that_takes_little_at_a_time_gets_it_all_in_order() -> None:
    taken = Taken(most=3)
    await Delivery(taken, 0.05)(reports(200), {"a": "1"})
    assert [r.identity for r in taken.reports] == [f"{n}" for n in range(200)]
    assert taken.cursors == {"a": "1"}


async def test_cursors_come_with_the_last_of_the_reports() -> None:
    seen: list[tuple[int, bool]] = []

    class Watched(Taken):
        async def __call__(self, reports: Any, *, cursors: Any = None) -> None:
            seen.append((len(reports), cursors is not None))
            await super().__call__(reports, cursors=cursors)

    await Delivery(Watched(), 0.05)(reports(250), {"a": "1"})
    assert seen == [(100, False), (100, False), (50, True)]


async def test_one_that_cannot_be_made_into_an_event_holds_up_no_other() -> None:
    class Strict(Taken):
        async def __call__(self, reports: Any, *, cursors: Any = None) -> None:
            if any(r.identity == "7" for r in reports):
                raise KeyError("a fault of ours")
            await super().__call__(reports, cursors=cursors)

    taken = Strict()
    await Delivery(taken, 0.05)(reports(20), {"a": "1"})
    assert [r.identity for r in taken.reports] == [f"{n}" for n in range(20) if n != 7]
    assert taken.rejected == {"could not be made into an event": 1}
    assert taken.cursors == {"a": "1"}


async def test_a_journal_that_fails_is_told_once_until_it_works_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mqtt_bridge.listeners.live_delivery")
    taken = Taken(refuse=JournalError("disk full"))
    deliver = Delivery(taken, 0.01)
    for number in range(2):
        handing = asyncio.create_task(deliver(reports(3), {"a": f"{number}"}))
        taken.refuse, before = JournalError("disk full"), taken.refused
        async with asyncio.timeout(20):
            while taken.refused < before + 5:
                await asyncio.sleep(0.01)
        taken.refuse = None
        await handing
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"] * 2


async def test_nothing_to_hand_over_asks_nobody() -> None:
    taken = Taken(refuse=IntakeFullError("full"))
    await Delivery(taken, 0.05)((), {})
    assert taken.refused == 0


def test_a_feed_begins_with_a_snapshot() -> None:
    feed = Feed()
    got: list[object] = []
    snapshot = Snapshot("lab", (), (), (), (), None, complete=True, at=AT)
    with feed.subscribe(got.append):
        feed.ready(lambda: snapshot)
        feed.ready(lambda: snapshot)
        feed.tell(QuorumChanged("lab", quorate=False, at=AT))
    feed.tell(QuorumChanged("lab", quorate=True, at=AT))
    assert got == [snapshot, QuorumChanged("lab", quorate=False, at=AT)]
    late: list[object] = []
    with feed.subscribe(late.append):
        assert late == [snapshot]
