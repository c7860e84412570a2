"""Tasks as real hosts list them."""

from typing import Any

import pytest

from mqtt_bridge.proxmox.task_book import KEPT, SHOWN, TaskBook, task_info, task_status


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
