"""Good backups are told once, in the morning."""

from mqtt_bridge.model import GuestState, utc
from tests.notify.making import Desk, desk

HOUR = 3600.0


def night(it: Desk, *, failed: tuple[int, ...] = ()) -> None:
    for vmid in range(100, 140):
        kind = "backup.guest.failed" if vmid in failed else "backup.guest.finished"
        it.on(kind, guest=vmid, context={"name": f"web{vmid}"})


def guest(vmid: int, *, covered: bool = True, template: bool = False, last: float | None = None) -> GuestState:
    return GuestState(
        site="lab", vmid=vmid, type="qemu", name=f"web{vmid}", node="pve1", status="running", available=True,
        backup_covered=covered, template=template, last_backup=utc(last),
    )  # fmt: skip


def morning(it: Desk) -> list[tuple[str, str]]:
    it.later(8 * HOUR, 60)
    return [(n.title, n.text) for n in it.sent() if n.kind == "digest"]


def evening(**settings: str) -> Desk:
    """At midnight, when the day's digest was made."""
    it = desk(routing={"min_severity": settings.pop("least", "warning")}, digest_at="08:00", **settings)
    it.later(12 * HOUR, HOUR)
    return it


def test_thirty_eight_of_forty() -> None:
    it = evening()
    night(it, failed=(105, 117))
    assert [n.kind for n in it.sent()] == ["event", "event"], "failures are told at once, what is good is not"
    assert morning(it) == [("38 of 40 backed up", "Failed: web105 (105), web117 (117).")]
    assert it.decider.morning_due(it.connection, it.now) is False


def test_guests_that_the_inventory_knows_are_counted_too() -> None:
    it = evening()
    night(it)
    known = [guest(vmid) for vmid in range(100, 141)] + [guest(141, last=it.now), guest(142, covered=False)]
    it.guests = [*known, guest(143, covered=False), guest(900, template=True)]
    assert morning(it) == [("41 of 42 backed up, 2 exempt", "None within a day: web140 (140).")]


def test_good_backups_are_not_told_one_by_one_even_to_who_wants_everything() -> None:
    it = evening(least="info")
    night(it)
    it.on("task.vzdump.finished")
    it.on("guest.started", guest=100)
    assert [n.title for n in it.sent()] == ["guest.started 100"]
    assert morning(it) == [("40 of 40 backed up", "")]


def test_no_backups_no_digest_and_a_restart_repeats_none() -> None:
    it = evening()
    assert morning(it) == []
    it.later(16 * HOUR, HOUR)
    night(it)
    assert len(morning(it)) == 1
    it.restart()
    it.later(2 * HOUR, 60)
    assert it.words() == []


def test_a_later_success_counts_and_one_that_anyone_could_claim_does_not() -> None:
    it = evening()
    night(it, failed=(105, 117))
    it.now += 600
    it.on("backup.guest.finished", guest=105)
    it.on("backup.guest.finished", guest=117, trust="unauthenticated")
    assert morning(it) == [("39 of 40 backed up", "Failed: web117 (117).")]


def test_a_job_tells_of_its_guests() -> None:
    it = evening()
    guests = [{"vmid": vmid, "ok": vmid != 3} for vmid in range(1, 5)]
    it.on("backup.job.failed", metadata={"guests": guests})
    assert morning(it) == [("3 of 4 backed up", "Failed: 3.")]


def test_when_nobody_ran_at_its_time_it_comes_a_little_later() -> None:
    it = evening()
    night(it)
    it.sent()
    it.now += 10 * HOUR
    it.restart()
    it.later(2)
    assert it.words() == [("digest", "40 of 40 backed up")]
