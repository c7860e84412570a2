"""Which events are told to which device, and how."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from mqtt_bridge.homeassistant.guest_rows import EVENTS as GUEST_EVENTS
from mqtt_bridge.homeassistant.happenings import _CLUSTER, _GUEST, _NODE, Happenings, told
from mqtt_bridge.homeassistant.node_rows import EVENTS as NODE_EVENTS
from mqtt_bridge.homeassistant.other_rows import EVENTS as CLUSTER_EVENTS
from mqtt_bridge.homeassistant.thing import Key
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.model import Event
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.mqtt.loopback import Loopback
from mqtt_bridge.topics import Topics
from tests.support.processes import until


def event(kind: str, **fields: Any) -> Event:
    return Event(
        **{"id": f"{kind}-{fields}", "kind": kind, "title": "t", "source": "s", "timestamp": "2026-01-01T00:00:00Z",
           "site": "lab", **fields}
    )  # fmt: skip


CASES = [
    (event("guest.started", guest=100, node="pve1"), [("guest_event", "started")]),
    (event("guest.stopped.unexpected", guest=100), [("guest_event", "stopped_unexpectedly")]),
    (event("guest.stopped", guest=100), [("guest_event", "stopped")]),
    (event("guest.migrated", guest=100), [("guest_event", "migrated")]),
    (event("task.vzdump.finished", guest=100, node="pve1"), [("guest_event", "backup_ok")]),
    (event("task.vzdump.failed", guest=100, node="pve1"),
     [("guest_event", "backup_failed"), ("node_event", "task_failed")]),
    (event("task.qmsnapshot.finished", guest=100), [("guest_event", "snapshot")]),
    (event("task.qmstart.failed", guest=100, node="pve1"), [("node_event", "task_failed")]),
    (event("node.offline", node="pve1"), [("node_event", "offline")]),
    (event("node.fenced", node="pve1"), [("node_event", "fenced")]),
    (event("update.available", node="pve1"), [("node_event", "update_available")]),
    (event("quorum.lost"), [("cluster_event", "quorum_lost")]),
    (event("ha.service.state", guest=100, ok=False), [("cluster_event", "ha_error")]),
    (event("ha.service.recovered", guest=100), [("cluster_event", "ha_recovered")]),
    (event("audit.approval.requested"), [("cluster_event", "approval_requested")]),
    (event("system.mail", node="pve1"), []),
]  # fmt: skip


@pytest.mark.parametrize(("one", "wanted"), CASES, ids=lambda each: getattr(each, "kind", ""))
def test_words(one: Event, wanted: list[tuple[str, str]]) -> None:
    assert [(kind, word) for kind, _, word in told(one)] == wanted


def test_a_job_of_several_is_told_to_each_guest() -> None:
    guests = [{"vmid": 100, "ok": True}, {"vmid": 101, "ok": False}, {"vmid": 102, "ok": None}, {"no": 1}, 7]
    found = list(told(event("backup.job.failed", node="pve1", metadata={"guests": guests})))
    assert [(ids.get("vmid"), word) for _, ids, word in found] == [
        (100, "backup_ok"), (101, "backup_failed"), (102, "backup_failed"), (None, "task_failed"),
    ]  # fmt: skip


def test_every_word_is_one_of_its_entity() -> None:
    assert {word for _, word in _GUEST} == set(GUEST_EVENTS)
    assert {word for _, word in _NODE} == set(NODE_EVENTS)
    assert {word for _, word in _CLUSTER} | {"ha_error", "ha_state"} == set(CLUSTER_EVENTS)


async def test_a_node_that_fits_no_topic_takes_nothing_along() -> None:
    """A mail may name one. What is told after it is told."""
    names = Topics()
    happenings = Happenings(names, lambda key: bool(names.build(key.topic, **key.ids)))
    bad = [event("node.offline", node=name) for name in ("a/b", "+", "pve#1")]
    async with Journal() as journal:
        with happenings.watch(journal):
            await journal.commit([*bad, event("node.offline", node="pve1")], {})
            await until(lambda: happenings.stats["no_name"] == len(bad))
    assert [m.topic for _, m in happenings._waiting] == ["proxmox/lab/node/pve1/event"]


async def test_they_are_published_once_and_not_retained() -> None:
    loopback, got = Loopback(), list[Message]()

    def take(messages: Sequence[Message]) -> None:
        got.extend(messages)

    happenings = Happenings(Topics(), lambda key: key != Key("lab", "guest", ("4711",)))
    async with Journal() as journal, loopback.client(take) as reader, loopback.client() as bus:
        await reader.subscribe(["proxmox/#"])
        work = asyncio.create_task(happenings.run(bus))
        with happenings.watch(journal):
            first = event(
                "guest.stopped.unexpected", guest=100, node="pve1", message="x" * 900, context={"name": "web01"}
            )
            await journal.commit([first, event("guest.started", guest=4711)], {})
            await journal.commit([first], {})
            await until(lambda: got)
            await asyncio.sleep(0.1)
        work.cancel()
    assert [(m.topic, m.retain) for m in got] == [("proxmox/lab/guest/100/event", False)]
    said = json.loads(got[0].payload)
    assert (said["event_type"], said["vmid"], said["name"]) == ("stopped_unexpectedly", 100, "web01")
    assert len(said["message"]) == 500


async def test_of_several_reports_the_first_with_a_word_counts() -> None:
    """For each device; what was first reported to an earlier run is not told again."""
    loopback, got = Loopback(), list[Message]()
    happenings = Happenings(Topics(), lambda _: True)
    guests = [{"vmid": 101, "ok": True}, {"vmid": 102, "ok": False}]
    async with Journal() as journal, loopback.client(got.extend) as reader, loopback.client() as bus:
        await reader.subscribe(["proxmox/#"])
        work = asyncio.create_task(happenings.run(bus))
        with happenings.watch(journal):
            for one in (
                event("task.qmshutdown.finished", id="a", guest=100, node="pve1"),
                event("guest.stopped", id="b", guest=100, node="pve1", duplicate_of="a"),
                event("guest.stopped", id="c", guest=100, node="pve1", duplicate_of="a"),
                event("guest.started", id="d", guest=100, duplicate_of="of an earlier run"),
                event("task.vzdump.failed", id="e", node="pve1"),
                event("backup.job.failed", id="f", node="pve1", duplicate_of="e", metadata={"guests": guests}),
                event("guest.started", id="g", guest=103),
            ):
                await journal.commit([one], {})
            await until(lambda: any("103" in m.topic for m in got))
        work.cancel()
    assert [(m.topic.removeprefix("proxmox/lab/"), json.loads(m.payload)["event_type"]) for m in got] == [
        ("guest/100/event", "stopped"),
        ("node/pve1/event", "task_failed"),
        ("guest/101/event", "backup_ok"),
        ("guest/102/event", "backup_failed"),
        ("guest/103/event", "started"),
    ]
