"""Tasks as real hosts list them, and what differences of state are told as."""

from typing import Any

import pytest

from mqtt_bridge.model import GuestState, NodeState, TaskInfo
from mqtt_bridge.proxmox import changes
from mqtt_bridge.proxmox.task_book import KEPT, SHOWN, TaskBook, task_info, task_status

NOW = "2026-11-20T03:00:00Z"


class Kept:
    """A sink that keeps the last value."""

    def __init__(self) -> None:
        self.last: Any = None

    def put(self, kind: str, value: Any, **ids: str | int) -> bool:
        self.last = value
        return True

    def drop(self, kind: str, **ids: str | int) -> bool:
        return True


def upid(number: int, kind: str = "qmstart", vmid: str = "100") -> str:
    return f"UPID:pve1:{number:08X}:0007A684:6B00E89C:{kind}:{vmid}:root@pam!full:"


@pytest.mark.parametrize(
    ("status", "ended", "expected"),
    [
        ("OK", True, "ok"),
        ("WARNINGS: 2", True, "warning"),
        ("VM is locked (backup)", True, "failed"),
        (None, False, "running"),
        ("RUNNING", False, "running"),
        ("running", False, "running"),
        (None, True, "failed"),
        ("unexpected status", True, "failed"),
    ],
)
def test_task_status(status: str | None, ended: bool, expected: str) -> None:
    assert task_status(status, ended=ended) == expected


def test_both_ways_to_name_a_token_are_one_user() -> None:
    finished = {"upid": upid(1), "node": "pve1", "type": "qmstart", "id": "100", "user": "root@pam", "tokenid": "full"}
    running = {"upid": upid(1), "node": "pve1", "type": "qmstart", "id": "100", "user": "root@pam!full"}
    assert task_info(finished, "lab").user == task_info(running, "lab").user == "root@pam!full"
    assert task_info(running, "lab").guest == 100


def _row(number: int, **more: object) -> dict[str, object]:
    return {"upid": upid(number), "node": "pve1", "type": "qmstart", "id": "100", "user": "root@pam", **more} | {
        "starttime": 1795221600 + number
    }


def test_the_first_look_is_the_baseline_and_tells_nothing() -> None:
    book = TaskBook("lab", Kept())
    first = book.take([_row(1, status="OK", endtime=1795221660), _row(2)])
    assert (first.started, first.ended) == ((), ())
    second = book.take([_row(2, status="OK", endtime=1795221661), _row(3)])
    assert [t.upid for t in second.ended] == [upid(2)]
    assert [t.upid for t in second.started] == [upid(3)]
    assert book.take([_row(2, status="OK", endtime=1795221661), _row(3)]) == type(second)()


def test_lists_are_bounded_and_newest_first() -> None:
    kept = Kept()
    book = TaskBook("lab", kept)
    book.take([_row(n, status="OK", endtime=1795221600 + n) for n in range(KEPT + 100)])
    assert len(book.tasks) == KEPT
    assert len(kept.last.tasks) == SHOWN
    assert kept.last.tasks[0].upid == upid(KEPT + 99)


def _guest(**changed: Any) -> GuestState:
    plain = {"site": "lab", "vmid": 100, "type": "qemu", "name": "web01", "node": "pve1", "status": "running"}
    return GuestState.model_validate({**plain, "available": True, **changed})


@pytest.mark.parametrize(
    ("old", "new", "kind", "severity"),
    [
        ({"status": "stopped"}, {}, "guest.started", "info"),
        ({}, {"status": "stopped", "stopped_by": "root@pam"}, "guest.stopped", "info"),
        ({}, {"status": "stopped"}, "guest.stopped.unexpected", "error"),
        ({}, {"status": "stopped", "lock": "backup"}, "guest.stopped", "info"),
        ({}, {"status": "paused"}, "guest.paused", "info"),
        ({}, {"node": "pve2"}, "guest.migrated", "info"),
        ({}, {"status": "unknown", "available": False}, None, None),
        ({"status": "unknown"}, {}, None, None),
        ({"tags": ("a",)}, {}, None, None),
    ],
)
def test_what_a_guests_difference_means(
    old: dict[str, Any], new: dict[str, Any], kind: str | None, severity: str | None
) -> None:
    event = changes.guest_event(_guest(**old), _guest(**new), NOW)
    assert (event and event.kind) == kind
    assert (event and event.severity) == severity


def test_the_same_happening_has_the_same_id() -> None:
    events = [changes.guest_event(_guest(status="stopped"), _guest(), at) for at in (NOW, NOW, "2026-11-20T04:00:00Z")]
    ids = [event.id for event in events if event]
    assert ids[0] == ids[1] != ids[2]


def test_nodes_tell_of_loss_and_return_only() -> None:
    up = NodeState(site="lab", node="pve1", status="online", available=True)
    down = up.model_copy(update={"status": "offline", "available": False})
    unknown = up.model_copy(update={"status": "unknown"})
    lost = changes.node_event(up, down, NOW)
    assert lost is not None
    assert (lost.kind, lost.severity) == ("node.offline", "critical")
    back = changes.node_event(down, up, NOW)
    assert back is not None
    assert (back.kind, back.severity) == ("node.online", "info")
    assert changes.node_event(up, unknown, NOW) is None


def test_a_failed_task_is_an_error_with_its_log() -> None:
    task = TaskInfo(
        upid=upid(1, "vzdump"), site="lab", node="pve1", type="vzdump", id="100", guest=100, user="root@pam",
        status="failed", exitstatus="job errors", ended_at=NOW,
    )  # fmt: skip
    event = changes.task_event(task, ("line one", "TASK ERROR: job errors"))
    assert (event.kind, event.severity, event.ok, event.guest) == ("task.vzdump.failed", "error", False, 100)
    assert event.message.endswith("TASK ERROR: job errors")
