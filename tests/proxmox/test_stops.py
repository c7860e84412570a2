"""What explains that a guest is down: tasks in whatever order, and not those that a start has followed."""

from typing import Any

import pytest

from mqtt_bridge.proxmox.task_book import TaskBook, task_info
from mqtt_bridge.retained import Retained
from mqtt_bridge.topics import Topics

START = 1795221600


def upid(number: int, kind: str, user: str) -> str:
    return f"UPID:pve1:{number:08X}:0007A684:{START + number:08X}:{kind}:100:{user}:"


def row(number: int, kind: str, user: str = "root@pam", status: str | None = "OK") -> dict[str, Any]:
    text = upid(number, kind, user)
    plain = {"upid": text, "node": "pve1", "type": kind, "id": "100", "user": user, "starttime": START + number}
    return plain if status is None else plain | {"status": status, "endtime": START + number + 5}


@pytest.mark.parametrize(
    ("rows", "asked"),
    [
        ([row(1, "qmstop", "op@pve")], "op@pve"),
        ([row(1, "qmshutdown", "op@pve", None)], "op@pve"),
        ([row(1, "qmshutdown", "op@pve", "VM quit/powerdown failed - got timeout")], None),
        ([row(1, "qmstop", "op@pve"), row(2, "qmstart")], None),
        ([row(1, "qmstart"), row(2, "qmstop", "op@pve")], "op@pve"),
        ([row(2, "qmstop", "op@pve"), row(1, "qmstart")], "op@pve"),
        ([row(1, "hastop", "op@pve"), row(30, "qmshutdown", "root@pam")], "op@pve"),
        ([row(1, "hastop", "op@pve"), row(900, "qmshutdown", "root@pam")], "root@pam"),
        ([row(1, "hastop", "op@pve"), row(30, "qmstop", "other@pve")], "other@pve"),
        ([row(1, "vzdump", "op@pve")], None),
        ([row(1, "qmreboot", "op@pve")], None),
    ],
)
def test_who_asked_for_a_stop(rows: list[dict[str, Any]], asked: str | None) -> None:
    book = TaskBook("lab", Retained(Topics()))
    book.take(rows)
    task = book.explains_stop(100)
    assert (task.user if task else None) == asked


@pytest.mark.parametrize(("started", "explained"), [("0007A685", False), ("0007A683", True)])
def test_what_began_in_the_same_second_is_told_apart_by_the_nodes_own_count(started: str, explained: bool) -> None:
    stop, start = row(1, "qmstop", "op@pve"), row(1, "qmstart")
    start["upid"] = start["upid"].replace("0007A684", started)
    book = TaskBook("lab", Retained(Topics()))
    book.take([start, stop])
    assert (book.explains_stop(100) is not None) is explained


def test_a_task_that_fails_in_the_end_explains_nothing() -> None:
    book = TaskBook("lab", Retained(Topics()))
    book.take([row(1, "qmshutdown", "op@pve", None)])
    assert book.explains_stop(100) is not None
    book.take([row(1, "qmshutdown", "op@pve", "got timeout")])
    assert book.explains_stop(100) is None


def test_who_destroyed_a_guest_is_known_when_it_is_gone_and_nothing_else_is() -> None:
    book = TaskBook("lab", Retained(Topics()))
    book.take([row(1, "qmstop", "op@pve"), row(2, "qmdestroy", "op@pve")])
    book.forget(100)
    assert book.explains_stop(100) is None
    destroyed = book.last(100, "destroy")
    assert destroyed is not None
    assert destroyed.user == "op@pve"


def test_the_guest_of_a_backup_servers_task() -> None:
    text = "UPID:pbs:0000031A:000004F5:00000A12:68D88F00:backup:main\\x3avm-100:root@pam:"
    task = task_info({"upid": text, "node": "pbs", "worker_type": "backup", "worker_id": "main:vm/100"}, "pbs1")
    assert (task.type, task.guest) == ("backup", 100)
