import json
import math
import time
import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_bridge.events.enrich import RELATED, Related, context_of
from mqtt_bridge.events.intake import Report
from mqtt_bridge.events.normalise import NAMESPACE, event_id, event_of, iso, moment
from mqtt_bridge.model import Event
from mqtt_bridge.wording.verdict import Verdict
from tests.pipeline.happenings import told
from tests.pipeline.world import FixedWorld, report

NOW = 1_795_140_000.0


def made(one: Report, world: FixedWorld | None = None) -> Event:
    return event_of(one, "EMAIL", world or FixedWorld(), NOW)


def test_an_id_is_the_listener_and_the_identity() -> None:
    assert event_id("EMAIL", "x") == str(uuid.uuid5(NAMESPACE, "EMAIL\x1fx"))
    assert event_id("EMAIL", "x") != event_id("SMTP", "x")
    assert uuid.UUID(event_id("EMAIL", "half \ud800")).version == 5


@pytest.mark.parametrize(("one", "site"), [
    (report(site="other"), "other"),
    (report(site="nowhere"), "unassigned"),
    (report(node="pve9"), "other"),
    (report(node="pve1"), "unassigned"),
    (report(node="pve1", guest=900), "other"),
    (report(node="pve1", guest=100), "unassigned"),
    (report(node="pve1", guests=((100, True), (101, False))), "lab"),
    (report(node=None, guest=101), "lab"),
    (report(node=None, guest=100), "unassigned"),
    (report(node=None, guests=((100, True), (900, False))), "other"),
    (report(node=None), "unassigned"),
    (report(node="unknown"), "unassigned"),
])  # fmt: skip
def test_the_site(one: Report, site: str) -> None:
    assert made(one).site == site


@pytest.mark.parametrize(("one", "sender", "expected"), [
    (report(node=None), "10.0.0.2", ("lab", "PVE-Two")),
    (report(node=None), "::ffff:10.0.9.9", ("other", "pve9")),
    (report(node=None, site="lab"), "10.0.0.2", ("lab", "PVE-Two")),
    (report(node=None, site="lab"), "10.0.9.9", ("lab", None)),
    (report(node=None, guest=900), "10.0.0.2", ("other", None)),
    (report(node=None, guest=100), "10.0.0.1", ("lab", "pve1")),
    (report(node="pve9"), "10.0.0.2", ("other", "pve9")),
    (report(node=None), "192.0.2.1", ("unassigned", None)),
    (report(node=None), "127.0.0.1", ("unassigned", None)),
    (report(node=None, kind="node.fencing"), "10.0.0.2", ("unassigned", None)),
    (report(node=None), 5, ("unassigned", None)),
])  # fmt: skip
def test_a_text_that_names_no_node_is_of_the_one_that_sent_it(one: Report, sender: Any, expected: object) -> None:
    event = made(replace(one, metadata={"sender": sender}))
    assert (event.site, event.node) == expected


def test_where_there_is_one_site_everything_is_of_it() -> None:
    assert made(report(node="stranger"), FixedWorld("lab")).site == "lab"


def test_a_nodes_own_spelling() -> None:
    assert made(report(node="pve-two", site="lab")).node == "PVE-Two"
    assert made(report(node="stranger", site="lab")).node == "stranger"


@pytest.mark.parametrize(("told_at", "read_at", "expected"), [
    (NOW - 50, NOW - 5, NOW - 50),
    (None, NOW - 5, NOW - 5),
    (None, None, NOW),
    (NOW + 4000, NOW - 5, NOW - 5),
    (math.nan, math.inf, NOW),
    (0, -1, NOW),
    (NOW + 200, None, NOW + 200),
])  # fmt: skip
def test_when_it_happened(told_at: float | None, read_at: float | None, expected: float) -> None:
    assert moment(told_at, read_at, NOW) == expected


def test_times_are_iso_in_utc() -> None:
    assert iso(1_795_140_000) == "2026-11-20T02:00:00Z"


def test_facts_of_text_and_listener() -> None:
    verdict = Verdict("backup.job.failed", "error", upid="UPID:x", job="nightly", guests=((100, True), (101, None)),
                      fields={"pool": "rpool"})  # fmt: skip
    event = made(Report("1", verdict, "api", metadata={"folder": "INBOX"}, context={"stopped_by": "vzdump"}))
    assert event.metadata == {
        "pool": "rpool", "folder": "INBOX", "upid": "UPID:x", "job": "nightly",
        "guests": [{"vmid": 100, "ok": True}, {"vmid": 101, "ok": None}],
    }  # fmt: skip
    assert event.context == {"stopped_by": "vzdump"}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20)
    | st.text(st.characters(categories=["Cs", "Cf", "Cc"]), max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(), anything, max_size=8), st.text(), st.text(), st.text(), st.integers() | st.none())
def test_an_event_of_anything_is_json_and_reads_back(
    facts: dict[str, Any], title: str, node: str, kind: str, guest: int | None
) -> None:
    verdict = Verdict(kind, "error", node=node, guest=guest, title=title, message=title * 50)
    event = made(Report(title, verdict, "api", metadata=facts, context=facts))
    text = event.model_dump_json()
    assert Event.model_validate_json(text) == event
    assert Event.model_validate(event.model_dump()) == event
    assert json.loads(text)["title"] == event.title


def test_bounds() -> None:
    deep: Any = "end"
    for _ in range(1000):
        deep = {"a": deep}
    big = {f"k{n}": "x" * 100_000 for n in range(1000)} | {"deep": deep}
    guests = tuple((vmid, True) for vmid in range(100, 50_000))
    verdict = Verdict("k" * 9999, "error", node="n" * 9999, title="t" * 99_999, message="m" * 999_999,
                      guests=guests, job="j" * 9999, upid="u" * 99_999)  # fmt: skip
    began = time.process_time()
    event = made(Report("i" * 1_000_000, verdict, "api", metadata={"deep": deep}, context=big))
    assert time.process_time() - began < 5
    assert len(event.model_dump_json()) < 250_000
    assert len(event.context) == 64


def test_the_context_from_state() -> None:
    event = told("WEBSOCKET", "guest.stopped", guest=100).model_copy(update={"context": {"status": "mine"}})
    assert context_of(event, FixedWorld()) == {
        "name": "web100", "type": "qemu", "status": "mine", "node": "pve1", "tags": ["prod"], "stopped_by": "root@pam",
        "node_status": "online",
    }  # fmt: skip
    assert context_of(told("EMAIL", "backup.job.failed", guest=55, node="x"), FixedWorld()) == {}
    assert "stopped_by" not in context_of(told("EMAIL", "backup.guest.failed", guest=100), FixedWorld())


def test_related_are_the_last_of_the_same_target_the_trusted_first() -> None:
    related = Related()
    seen = [told("WEBSOCKET", f"a.{n}", n, guest=100) for n in range(4)]
    forged = [told("SYSLOG", f"b.{n}", n, guest=100) for n in range(50)]
    for event in [*seen, *forged, told("WEBSOCKET", "x", 5, guest=101)]:
        related.remember(event)
    now = told("EMAIL", "c", 60, guest=100)
    assert related.of(now) == (seen[3].id, seen[2].id, seen[1].id, seen[0].id, forged[49].id)
    assert len(related.of(now)) == RELATED
    assert related.of(told("EMAIL", "c", 60, guest=100, site="other")) == ()
    assert related.of(told("EMAIL", "c", 200_000, guest=100)) == ()
    assert related.of(told("EMAIL", "c", 60, node=None)) == ()


def test_duplicates_are_not_related_and_memory_is_bounded() -> None:
    related = Related(targets=10)
    head = told("SYSLOG", "a", guest=200)
    related.remember(head)
    confirmed, *again = (
        told(source, "a", guest=200).model_copy(update={"duplicate_of": head.id})
        for source in ("EMAIL", "EMAIL", "SYSLOG")
    )
    related.remember(confirmed)
    for one in again:
        related.remember(one)
    assert related.of(told("EMAIL", "b", guest=200)) == (confirmed.id, head.id)
    assert related.of(told("EMAIL", "b", guest=100)) == ()
    for number in range(100):
        related.remember(told("EMAIL", "a", guest=1000 + number))
    assert len(related._seen["authenticated"]) == 10


def test_every_field_of_an_event_is_set() -> None:
    event = made(report())
    assert set(event.__dict__) == set(Event.model_fields)
    assert event == Event.model_construct(**event.__dict__)
    assert event.model_copy(update={"node": "x"}).node == "x"
