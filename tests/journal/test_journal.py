import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from mqtt_bridge.events.intake import IntakeFullError, JournalError
from mqtt_bridge.journal.journal import Journal, Stored
from mqtt_bridge.model import Event
from tests.journal.making import event, events, ids, until


async def test_what_was_committed_is_there_after_opening_again(tmp_path: Path) -> None:
    written = event(
        1,
        node="pve1",
        guest=100,
        severity="error",
        ok=False,
        message="Grüße, \u4e16\u754c",
        metadata={"upid": "UPID:…", "n": [1, None]},
    )
    async with Journal(tmp_path / "journal.db") as journal:
        assert await journal.commit([written], {"WEBSOCKET:pve1": "17"}) == {written.id}
    async with Journal(tmp_path / "journal.db") as journal:
        (stored,) = await journal.unpublished(0, 10)
        assert stored.event == written
        assert stored.body == written.payload()
        assert await journal.cursor("WEBSOCKET:pve1") == "17"
        assert await journal.cursor("WEBSOCKET:pve2") is None
        assert journal.stats.stored == journal.stats.unpublished == 1
        assert journal.stats.size > 0


async def test_an_id_is_stored_once(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal.db") as journal:
        assert len(await journal.commit(events(0, 3), {})) == 3
        twice = [event(2), event(3), event(3, title="the same id, another text"), event(1)]
        assert await journal.commit(twice, {"A:b": "1"}) == {event(3).id}
        assert await journal.cursor("A:b") == "1"
        assert [s.event.title for s in await journal.unpublished(0, 9)] == [f"Guest {n} started" for n in range(4)]
        assert await journal.known([event(2).id, event(9).id, "x' OR 1=1"]) == {event(2).id}
        assert journal.stats.stored == 4


async def test_a_replay_of_known_events_still_moves_the_cursor(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal.db", max_events=2) as journal:
        await journal.commit(events(0, 2), {})
        assert await journal.commit(events(0, 2), {"A:b": "2"}) == frozenset()
        assert await journal.commit([], {"A:c": "3"}) == frozenset()
        assert [await journal.cursor(name) for name in ("A:b", "A:c")] == ["2", "3"]


@pytest.mark.parametrize("count", [1, 49, 50, 51, 523])
async def test_batches_of_any_size_keep_their_order(count: int) -> None:
    async with Journal() as journal:
        told: list[Stored] = []
        journal.watch(told.extend)
        await journal.commit(events(0, count), {})
        await journal.commit(events(count, count + 2), {})
        stored = await journal.unpublished(0, 1000)
        assert [s.id for s in stored] == ids(events(0, count + 2))
        await until(lambda: len(told) == count + 2)
        assert told == stored


async def test_marks_and_reading_on(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal.db") as journal:
        await journal.commit(events(0, 6), {})
        await journal.published([1, 2, 4])
        await journal.refused([3])
        assert [s.seq for s in await journal.unpublished(0, 10)] == [5, 6]
        assert [s.seq for s in await journal.unpublished(5, 10)] == [6]
        assert (journal.stats.unpublished, journal.stats.refused) == (2, 1)
        await journal.published([1, 2, 3])  # again, and one that was refused: as before
        assert (journal.stats.unpublished, journal.stats.refused) == (2, 1)
        assert await journal.retry() == 1
        assert [s.seq for s in await journal.unpublished(0, 10)] == [3, 5, 6]
    async with Journal(tmp_path / "journal.db") as journal:
        assert (journal.stats.stored, journal.stats.unpublished, journal.stats.refused) == (6, 3, 0)


async def left(journal: Journal) -> list[int]:
    return [row[0] for row in await journal.rows("SELECT seq FROM events ORDER BY seq", [])]


async def test_retention_takes_published_info_first_and_never_what_is_unpublished() -> None:
    def severity(number: int) -> str:
        return "error" if number in {0, 1} else "info"

    async with Journal(max_events=6) as journal:
        await journal.commit([event(n, severity=severity(n)) for n in range(6)], {})
        await journal.published([1, 2, 4, 5])
        await journal.commit([event(6)], {})
        assert await left(journal) == [1, 2, 3, 5, 6, 7]  # 4, the oldest published info
        await journal.commit(events(7, 9), {})
        assert await left(journal) == [2, 3, 6, 7, 8, 9]  # 5, then the oldest published error
        assert journal.stats.dropped == 3
        await journal.commit(events(9, 10), {})
        assert await left(journal) == [3, 6, 7, 8, 9, 10]
        with pytest.raises(IntakeFullError, match="JOURNAL_MAX_EVENTS"):
            await journal.commit(events(20, 22), {"A:b": "1"})
        assert await journal.cursor("A:b") is None, "nothing of a batch that was not accepted"
        assert journal.stats.stored == journal.stats.unpublished == 6
        await journal.published([3])
        assert len(await journal.commit(events(20, 22), {"A:b": "1"})) == 2


async def test_a_refused_event_may_be_dropped_and_is_counted_right(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal.db", max_events=2) as journal:
        await journal.commit(events(0, 2), {})
        await journal.refused([1])
        await journal.commit(events(2, 3), {})
        assert (journal.stats.stored, journal.stats.refused, journal.stats.dropped) == (2, 0, 1)


async def test_a_sequence_is_never_used_twice(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal.db", max_events=1) as journal:
        await journal.commit([event(1)], {})
        await journal.published([1])
        await journal.commit([event(2)], {})
        await journal.published([2])
        await journal.db.write(lambda connection: connection.execute("DELETE FROM events"))
    async with Journal(tmp_path / "journal.db") as journal:
        await journal.commit([event(3)], {})
        assert [s.seq for s in await journal.unpublished(2, 9)] == [3]


async def test_recent_is_by_receipt(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal.db") as journal:
        await journal.commit([event(1, at=time.time() + 9999)], {})
        await asyncio.sleep(0.05)
        border = time.time()
        await journal.commit([event(2, at=1_000_000_000), event(3)], {})
        assert ids(await journal.recent(border, 10)) == [event(3).id, event(2).id]
        assert ids(await journal.recent(0, 2)) == [event(3).id, event(2).id]
        assert ids(await journal.recent(0, 10))[-1] == event(1).id


async def test_latest_of_each_site() -> None:
    async with Journal() as journal:
        await journal.commit([event(n, site="a" if n % 3 else "b") for n in range(9)], {})
        latest = await journal.latest(2)
        assert {site: [s.seq for s in found] for site, found in latest.items()} == {"a": [9, 8], "b": [7, 4]}


@pytest.mark.parametrize(
    "odd",
    [
        event(1, title="half a character \ud800", kind="k\udfff", site="s\ud800", node="n\ud800", source="\ud800"),
        event(1, title="half a character \ud800", metadata={"a\ud800": [{"b": "\ud800", "nan": float("inf")}]}),
        event(1, metadata={"number": float("nan"), "large": 10**40}),
        event(1, guest=10**30),
        event(1, timestamp="yesterday"),
        event(1, timestamp="9999-12-31T23:59:59-14:00"),
        event(1, kind="", site="a/b+#", node="x\0y"),
    ],
)
async def test_odd_events_spoil_no_batch(odd: Event) -> None:
    async with Journal() as journal:
        assert len(await journal.commit([event(0), odd, event(2)], {})) == 3
        stored = await journal.unpublished(0, 9)
        assert [s.event.id for s in stored] == ids([event(0), odd, event(2)])


async def test_a_watcher_is_told_though_whoever_committed_has_gone() -> None:
    async with Journal() as journal:
        told: list[Stored] = []
        unwatch = journal.watch(told.extend)
        for n in range(200):
            task = asyncio.create_task(journal.commit([event(n)], {}))
            await asyncio.sleep(0)
            task.cancel()
        await journal.commit([event(1000)], {})
        await until(lambda: told and told[-1].id == event(1000).id)
        assert [s.id for s in told] == [s.id for s in await journal.unpublished(0, 999)]
        unwatch()
        await journal.commit([event(1001)], {})
        assert told[-1].id == event(1000).id


async def test_commits_from_many_tasks_are_all_there(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal.db") as journal:
        batches = [events(n * 10, n * 10 + 10) for n in range(40)]
        found: Sequence[frozenset[str]] = await asyncio.gather(*(journal.commit(batch, {}) for batch in batches))
        assert sum(map(len, found)) == journal.stats.stored == 400


async def test_closed_is_said() -> None:
    async with Journal() as journal:
        pass
    with pytest.raises(JournalError, match="closed"):
        await journal.commit([event(1)], {})
