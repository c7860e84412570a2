"""What can be asked of the journal, and that paging misses and repeats nothing."""

import asyncio
import json
import time
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mqtt_bridge.events.history import LARGEST_ANSWER, History
from mqtt_bridge.events.history_request import HistoryRequestError, moment, read_request
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.journal.rows import position, select
from mqtt_bridge.model import SEVERITIES, Event, HistoryAnswer, HistoryRequest, Query
from mqtt_bridge.topics import Topics
from tests.journal.making import event, ids

BASE = 1_790_000_000
KINDS = ("backup.job.failed", "backup.job.finished", "guest.stopped", "node.offline")

made = st.builds(
    lambda number, at, severity, kind, site, node, guest: event(
        number, at=BASE + at, severity=severity, kind=kind, site=site, node=node, guest=guest
    ),
    st.integers(0, 10_000),
    st.integers(0, 20),
    st.sampled_from(SEVERITIES),
    st.sampled_from(KINDS),
    st.sampled_from(["a", "b"]),
    st.sampled_from([None, "pve1", "pve2"]),
    st.sampled_from([None, 100, 101]),
)
asked = st.builds(
    Query,
    since=st.none() | st.integers(BASE, BASE + 20).map(float),
    until=st.none() | st.integers(BASE, BASE + 20).map(float),
    severity=st.none() | st.sampled_from(SEVERITIES),
    kind=st.none() | st.sampled_from(["backup.*", "*", "*.job.f*", "guest.stopped", "?ode.*", "x*"]),
    site=st.none() | st.sampled_from(["a", "c"]),
    node=st.none() | st.just("pve1"),
    guest=st.none() | st.just(100),
    limit=st.integers(1, 7),
)


def fits(one: Event, query: Query) -> bool:
    at = moment(one.timestamp, 0)
    return (
        (query.since is None or at >= query.since)
        and (query.until is None or at <= query.until)
        and (query.severity is None or SEVERITIES.index(one.severity) >= SEVERITIES.index(query.severity))
        and (query.kind is None or fnmatchcase(one.kind, query.kind))
        and all(getattr(query, n) in (None, getattr(one, n)) for n in ("site", "node", "guest"))
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(made, max_size=25, unique_by=lambda one: one.id), asked)
def test_pages_have_everything_once_newest_first(some: list[Event], query: Query) -> None:
    async def paged() -> list[Event]:
        async with Journal() as journal:
            await journal.commit(some, {})
            found: list[Event] = []
            following, pages = query, 0
            while pages <= len(some):
                page = await journal.history(following)
                assert len(page.events) <= query.limit
                found += page.events
                if page.next_cursor is None:
                    return found
                assert page.events, "a page that goes on has something in it"
                following, pages = query.model_copy(update={"cursor": page.next_cursor}), pages + 1
            raise AssertionError("it never ends")

    wanted = [(moment(one.timestamp, 0), seq, one.id) for seq, one in enumerate(some) if fits(one, query)]
    assert ids(asyncio.run(paged())) == [identity for *_, identity in sorted(wanted, reverse=True)]


async def test_new_events_do_not_disturb_paging() -> None:
    async with Journal() as journal:
        await journal.commit([event(n) for n in range(10)], {})
        first = await journal.history(Query(limit=4))
        await journal.commit([event(n) for n in range(10, 15)], {})
        second = await journal.history(Query(limit=10, cursor=first.next_cursor))
        assert ids([*first.events, *second.events]) == ids([event(n) for n in reversed(range(10))])
        assert second.next_cursor is None


async def test_the_big_questions_are_decided_in_an_index() -> None:
    every = Query(since=1, until=2, severity="error", kind="*", site="a", node="b", guest=1, cursor="1:1")
    async with Journal() as journal:

        async def plan(sql: str, parameters: list[Any]) -> str:
            return str(await journal.rows(f"EXPLAIN QUERY PLAN {sql}", parameters))

        for query in (Query(), every):
            told = await plan(*select(query))
            assert "INDEX history" in told
            assert "TEMP B-TREE" not in told
        waiting = await plan("SELECT * FROM events WHERE state = 0 AND seq > ? ORDER BY seq LIMIT ?", [1, 1])
        assert "INDEX waiting" in waiting
        assert "TEMP B-TREE" not in waiting


def test_what_is_documented_is_what_is_taken() -> None:
    full = HistoryRequest(since="24h", until="2026-11-20T03:00:00+01:00", severity="error", kind="backup.*", site="lab")
    query = read_request(full.model_dump_json().encode()).query(1_000_000)
    assert (query.since, query.until) == (1_000_000 - 86400, 1_795_140_000)
    assert (query.severity, query.kind, query.site, query.limit) == ("error", "backup.*", "lab", 50)
    assert read_request(b"").query(0) == Query()
    assert read_request(b'{"guest": "100"}').query(0).guest == 100


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", -5400), ("1.5h", -5400), ("7d", -604800), ("30s", -30), ("2w", -1209600), ("1970-01-01", -(10**6)),
     ("1970-01-12T13:46:40Z", 0), ("1970-01-12T13:46:40", 0), ("1970-01-12 14:46:40+01:00", 0)],
)  # fmt: skip
def test_moments(text: str, seconds: float) -> None:
    assert moment(text, 10**6) == 10**6 + seconds


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        (b"[]", "not a JSON object"),
        (b"{", "not a JSON object"),
        (b"\xff", "not a JSON object"),
        (b"[" * 4000, "not a JSON object"),
        (b" " * 5000, "larger than 4096 bytes"),
        (b'{"limit": 0}', "limit"),
        (b'{"limit": 501}', "limit"),
        (b'{"limit": true}', "limit"),
        (b'{"severity": "bad"}', "severity.*'critical'"),
        (b'{"since": "yesterday"}', "since: give a time like .*24h"),
        (b'{"until": "9999999999d99"}', "until"),
        (b'{"kind": "a b"}', "kind"),
        (b'{"kind": "*a*a*a*a*a*a*"}', "kind: at most 5 stars"),
        (b'{"kind": ""}', "kind"),
        (b'{"site": "a\\u0000b"}', "site"),
        (b'{"guest": -1}', "guest"),
        (b'{"guest": 1e400}', "guest"),
        (b'{"cursor": "1:1; DROP TABLE events"}', "cursor"),
        (b'{"colour": "red"}', "colour: no such field; there are since"),
        (b'{"\\u001b[31m": 1}', "no such field"),
    ],
)
def test_wrong_requests_are_named(request_: bytes, names: str) -> None:
    with pytest.raises(HistoryRequestError, match=names) as raised:
        read_request(request_).query(time.time())
    assert str(raised.value).isprintable()


def test_the_id_comes_back_with_the_error() -> None:
    with pytest.raises(HistoryRequestError) as raised:
        read_request(b'{"limit": 0, "id": "mine"}')
    assert raised.value.identity == "mine"
    with pytest.raises(HistoryRequestError) as raised:
        read_request(b'{"since": "x", "id": "mine"}').query(0)
    assert raised.value.identity == "mine"
    with pytest.raises(HistoryRequestError) as raised:
        read_request(json.dumps({"id": "x" * 129}).encode())
    assert raised.value.identity is None


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
fields = st.dictionaries(st.sampled_from(list(HistoryRequest.model_fields)), anything, max_size=4)
near = st.fixed_dictionaries(
    {},
    optional={
        "since": st.sampled_from(["24h", "0s", "2026-01-01", "999999999w", "0001-01-01", "9999-12-31T23:59:59-12:00"]),
        "cursor": st.from_regex(r"-?\d{1,16}(\.\d{1,10})?:\d{1,19}", fullmatch=True),
        "kind": st.text("ab.*?-", min_size=1, max_size=20),
        "limit": st.integers(0, 501),
        "guest": st.integers() | st.text("0123456789-", max_size=12),
        "id": st.text(max_size=130),
    },
)
payloads = st.binary(max_size=200) | (fields | near).map(lambda one: json.dumps(one).encode())


@settings(max_examples=100, deadline=None)
@given(st.lists(payloads, min_size=1, max_size=10))
def test_any_request_gets_an_answer(requests: list[bytes]) -> None:
    async def ask() -> None:
        async with Journal() as journal:
            await journal.commit([event(n) for n in range(3)], {})
            history = History(journal, Topics(), "main")
            for request in requests:
                answer = HistoryAnswer.model_validate_json(await history.answer(request))
                assert answer.error is None or (answer.error.isprintable() and not answer.events)
            assert history.stats["answered"] + history.stats["refused"] == len(requests)

    asyncio.run(ask())


@given(st.floats(-1e9, 1e11).map(lambda at: round(at, 5)), st.integers(1, 10**17))
def test_a_cursor_is_read_as_it_was_written(at: float, seq: int) -> None:
    assert position(f"{at:.5f}:{seq}") == (at, seq)


async def test_an_answer_has_at_most_256_kib_and_goes_on() -> None:
    async with Journal() as journal:
        long = [event(n, message="x" * 20_000) for n in range(30)]
        huge = event(100, at=BASE + 15, message="\u00e9" * 400_000, metadata={"much": "y" * 300_000}, title="t" * 3000)
        await journal.commit([*long, huge], {})
        history, found, cursor, pages = History(journal, Topics(), "main"), list[Event](), None, 0
        while pages == 0 or cursor:
            payload = await history.answer(json.dumps({"limit": 500, "cursor": cursor, "id": "page"}).encode())
            assert len(payload) <= LARGEST_ANSWER
            answer = HistoryAnswer.model_validate_json(payload)
            found, cursor, pages = [*found, *answer.events], answer.next_cursor, pages + 1
        assert sorted(ids(found)) == sorted(ids([*long, huge]))
        assert pages >= 3
        (short,) = (one for one in found if one.id == huge.id)
        assert short.metadata == {"shortened": True}
        assert huge.message.startswith(short.message)
