import itertools
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_bridge.events.correlate import HAPPENINGS, Book, Correlator, Placement
from mqtt_bridge.model import Event
from mqtt_bridge.severity import TRUSTS, Trust
from tests.pipeline.happenings import NIGHT, backup_failure, place, stored, told, upid

KINDS = [
    "task.vzdump.failed", "task.vzdump.finished", "task.vzdump.started", "backup.job.failed", "backup.job.finished",
    "backup.guest.failed", "backup.guest.finished", "node.offline", "node.online", "node.fencing", "quorum.lost",
    "quorum.ok", "guest.stopped", "guest.stopped.unexpected", "guest.started", "task.qmstart.failed", "gc.failed",
    "guest.start.failed", "storage.offline", "storage.online", "storage.zfs.degraded", "auth.failed", "system.mail",
    "replication.failed", "ha.service.recovered", "verify.failed", "task.verificationjob.failed", "update.available",
]  # fmt: skip
SOURCES = ["WEBSOCKET", "EMAIL", "WEBHOOK", "SYSLOG", "SMTP"]


@st.composite
def reports(draw: st.DrawFn) -> Event:
    kind = draw(st.sampled_from(KINDS))
    about: dict[str, Any] = {"guest": draw(st.sampled_from([None, 100, 101]))}
    if kind.startswith("task.") and draw(st.booleans()):
        run = draw(st.integers(0, 2))
        about["upid"] = upid(kind.split(".")[1], str(about["guest"] or ""), at=run * 1000, pid=run)
    if kind.startswith("backup.job") and draw(st.booleans()):
        about["guests"] = {100: draw(st.booleans()), 101: draw(st.booleans())}
    return told(
        draw(st.sampled_from(SOURCES)),
        kind,
        draw(st.sampled_from([0, 1, 30, 61, 500, 900, 4000, 90_000])),
        node=draw(st.sampled_from([None, "pve1", "pve2"])),
        ok=draw(st.sampled_from([None, True, False])),
        severity=draw(st.sampled_from(["info", "warning", "error", "critical", None])),
        trust=draw(st.sampled_from(TRUSTS)),
        **about,
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(reports(), min_size=1, max_size=25))
def test_a_duplicate_says_what_was_said_before_and_is_surer_than_all_who_did_or_not(events: list[Event]) -> None:
    by_id: dict[str, Event] = {}
    sure: dict[str, set[int]] = {}
    correlator = Correlator()
    for sent in events:
        (one,) = place([sent], correlator)
        event = sent.model_copy(update={"correlation_id": one.correlation_id, "duplicate_of": one.duplicate_of})
        heard = sure.setdefault(event.duplicate_of or event.id, set())
        assert one.surer == (bool(heard) and min(heard) > TRUSTS.index(event.trust))
        heard.add(TRUSTS.index(event.trust))
        if event.duplicate_of:
            first = by_id[event.duplicate_of]
            assert (first.severity, first.ok is False) == (event.severity, event.ok is False)
            assert first.correlation_id == event.correlation_id
            assert first.duplicate_of is None
        by_id[event.id] = event


@settings(max_examples=100, deadline=None)
@given(st.lists(reports(), min_size=1, max_size=15), st.lists(reports(), max_size=15), st.randoms())
def test_what_is_trusted_less_keeps_nothing_back_and_frees_nothing(
    real: list[Event], forged: list[Event], dice: random.Random
) -> None:
    """The same of the API's events are worth telling with and without anything that others send between them."""
    real = [event.model_copy(update={"trust": "api"}) for event in real]
    forged = [event.model_copy(update={"trust": "unauthenticated"}) for event in forged]
    positions = sorted(dice.randrange(len(real) + 1) for _ in forged)
    mixed = list(real)
    for position, event in reversed(list(zip(positions, forged, strict=True))):
        mixed.insert(position, event)
    alone = dict(zip([event.id for event in real], place(real), strict=True))
    among = dict(zip([event.id for event in mixed], place(mixed), strict=True))
    for event in real:
        assert _worth(among[event.id]) == _worth(alone[event.id])


def _worth(one: Placement) -> bool:
    return one.duplicate_of is None or one.surer


@settings(max_examples=60, deadline=None)
@given(st.permutations(backup_failure()))
def test_the_order_of_channels_makes_no_difference_to_the_count(events: list[Event]) -> None:
    assert len({one.correlation_id for one in place(events)}) == 1


@settings(max_examples=60, deadline=None)
@given(st.permutations([*backup_failure(), *backup_failure(at=900, pid=2), *backup_failure(node="pve2", pid=3)]))
def test_nor_where_several_happenings_mix(events: list[Event]) -> None:
    placed = stored(events)
    assert len({one.correlation_id for one in placed}) == 3
    between = told("EMAIL", "x", 500).timestamp
    assert len({(event.node, event.timestamp > between, event.correlation_id) for event in placed}) == 3


def test_stages_of_a_node_incident_in_any_order() -> None:
    stages = [
        told("WEBSOCKET", "node.offline", 0, severity="critical"),
        told("EMAIL", "node.fencing", 60, severity="critical", ok=False),
        told("SYSLOG", "node.fencing", 60, severity="critical", ok=False),
        told("WEBHOOK", "node.fenced", 130, severity="critical", ok=True),
    ]
    for order in itertools.permutations(stages):
        assert len({one.correlation_id for one in place(order)}) == 1


def test_the_same_reports_have_the_same_places() -> None:
    events = [*backup_failure(), *backup_failure(at=900, pid=2)]
    assert place(events) == place(events)


@pytest.mark.parametrize("flood", ["unauthenticated", "authenticated"])
def test_a_flood_evicts_nothing_that_is_trusted_more(flood: Trust) -> None:
    correlator = Correlator(happenings=64)
    first = told("WEBSOCKET", "node.offline", severity="critical")
    place([first], correlator)
    for number in range(2000):
        place([told("SYSLOG", "syslog.message", number % 60, title=f"{number}", trust=flood)], correlator)
    place(
        [told("SYSLOG", "node.offline", severity="critical", node=f"n{n}", trust=flood) for n in range(500)], correlator
    )
    assert len(correlator) <= 64 + 1
    again = place([told("EMAIL", "node.offline", 30, severity="critical")], correlator)
    assert again[0].duplicate_of == first.id


def test_a_book_is_bounded_by_keys_and_clean_after() -> None:
    book = Book(most=1000, keys=500)
    correlator = Correlator()
    correlator._books = dict.fromkeys(TRUSTS, book)
    for number in range(50):
        guests = dict.fromkeys(range(100 + number * 100, 200 + number * 100), False)
        correlator.place(told("SMTP", "backup.job.failed", number * 2000, node=f"n{number}", guests=guests))
    assert book._entries <= 500
    assert sum(len(row) for row in book._index.values()) == book._entries
    assert sum(len(one.keys) for one in book._happenings) == book._entries


def test_reports_of_thousands_of_guests_stay_cheap() -> None:
    correlator = Correlator()
    guests = dict.fromkeys(range(100, 1100), False)
    many = [told("SMTP", "backup.job.failed", 900 * n, node=None, guests=guests) for n in range(60)]
    began = time.process_time()
    placed = place(many, correlator)
    assert time.process_time() - began < 60 * 0.1
    assert len({one.correlation_id for one in placed}) == 60


def test_memory_is_bounded_whatever_comes() -> None:
    correlator = Correlator()
    for number in range(HAPPENINGS + 2000):
        correlator.place(told("SYSLOG", "guest.agent.timeout", 0, guest=number + 100, ok=False, severity="warning"))
    assert len(correlator) == HAPPENINGS


def test_what_could_not_be_stored_is_nobodys_original() -> None:
    correlator = Correlator()
    lost, *rest = backup_failure()
    place([lost], correlator)
    correlator.forget([lost])
    assert len(correlator) == 0
    assert place(rest, correlator)[0].duplicate_of is None


def test_a_recovery_that_is_filtered_still_ends_the_happening() -> None:
    correlator = Correlator()
    place([told("WEBSOCKET", "node.offline", 0, severity="critical")], correlator)
    correlator.observe(told("WEBSOCKET", "node.online", 10, ok=True))
    again = told("WEBSOCKET", "node.offline", 20, severity="critical")
    assert place([again], correlator)[0].correlation_id == again.id


def test_a_start_that_is_filtered_still_ends_the_stop() -> None:
    correlator = Correlator()
    place([told("WEBSOCKET", "guest.stopped", 0, guest=100, ok=True)], correlator)
    correlator.observe(told("WEBSOCKET", "guest.started", 5, guest=100, ok=True))
    again = told("WEBSOCKET", "guest.stopped", 10, guest=100, ok=True)
    assert place([again], correlator)[0].duplicate_of is None


@pytest.mark.parametrize("metadata", [
    {"upid": 5}, {"upid": "UPID:x"}, {"guests": "all"}, {"guests": [5, {"vmid": "x"}, {"vmid": 100}]},
    {"job": ["a"]}, {"storage": {"a": 1}}, {"rhost": [1]}, {"datastore": None},
])  # fmt: skip
@pytest.mark.parametrize(
    "kind", ["backup.job.failed", "storage.offline", "auth.failed", "gc.failed", "task", "a.b", ""]
)
def test_facts_of_any_shape(kind: str, metadata: dict[str, Any]) -> None:
    event = told("SMTP", kind).model_copy(update={"metadata": metadata})
    assert place([event])[0].correlation_id == event.id


def test_the_night_is_where_the_task_ids_say() -> None:
    assert f"{NIGHT:08X}" in upid("vzdump")
