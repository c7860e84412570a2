import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mqtt_bridge.events import pipeline as module
from mqtt_bridge.events.intake import Intake, IntakeFullError, JournalError
from mqtt_bridge.events.normalise import World, event_id
from mqtt_bridge.events.pipeline import QUEUE, Pipeline
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.model import Event
from mqtt_bridge.settings.listening import EventSettings, Filters
from tests.pipeline.world import FixedWorld, report


class Watched(Journal):
    """The real journal, whose commits can be counted, slowed down or made to fail."""

    def __init__(self, path: Path | str = ":memory:") -> None:
        super().__init__(path)
        self.commits: list[tuple[int, dict[str, str]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.refuse: Callable[[Sequence[Event]], bool] = lambda _: False

    async def commit(self, events: Sequence[Event], cursors: Mapping[str, str]) -> frozenset[str]:
        await self.gate.wait()
        if self.refuse(events):
            raise JournalError("The disk is full.", cure="Make room.")
        self.commits.append((len(events), dict(cursors)))
        return await super().commit(events, cursors)


@asynccontextmanager
async def running(
    settings: EventSettings | None = None, path: Path | str = ":memory:", world: World | None = None
) -> AsyncIterator[tuple[Pipeline, Watched, list[Event]]]:
    seen: list[Event] = []
    async with (
        Watched(path) as journal,
        Pipeline(journal, world or FixedWorld("lab"), settings or EventSettings(), seen.extend) as pipeline,
    ):
        yield pipeline, journal, seen


async def history(journal: Journal) -> list[Event]:
    return (await journal.recent(0, 100_000))[::-1]


async def test_what_was_handed_over_is_in_the_journal_when_the_call_returns() -> None:
    async with running() as (pipeline, journal, seen):
        intake: Intake = pipeline.intake("EMAIL")
        await intake([report("a", guest=100), report("b", kind="node.offline")], cursors={"INBOX": "17"})
        events = await history(journal)
        assert [event.id for event in events] == [event_id("EMAIL", "a"), event_id("EMAIL", "b")]
        assert events[0].context["name"] == "web100"
        assert events[0].correlation_id == events[0].id
        assert await intake.cursor("INBOX") == "17"
        assert await pipeline.intake("SMTP").cursor("INBOX") is None
        await asyncio.sleep(0)
        assert seen == events


async def under_way(pipeline: Pipeline) -> None:
    """Until all that was handed over was taken into a transaction."""
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        while any(pipeline.waiting.values()):
            await asyncio.sleep(0.001)


async def test_calls_that_come_meanwhile_share_a_transaction() -> None:
    async with running() as (pipeline, journal, _):
        journal.gate.clear()
        first = asyncio.create_task(pipeline.intake("EMAIL")([report("first")]))
        await under_way(pipeline)
        more = [pipeline.intake(("SMTP", "SYSLOG")[n % 2])([report(str(n))], cursors={"n": str(n)}) for n in range(100)]
        calls = [first, *map(asyncio.create_task, more)]
        await asyncio.sleep(0.05)
        assert not any(call.done() for call in calls)
        journal.gate.set()
        await asyncio.gather(*calls)
        assert [count for count, _ in journal.commits] == [1, 100]
        assert journal.commits[1][1] == {"SMTP:n": "98", "SYSLOG:n": "99"}


async def test_cursors_alone_are_committed() -> None:
    async with running() as (pipeline, journal, _):
        await pipeline.intake("EMAIL")([], cursors={"INBOX": "3"})
        await pipeline.intake("EMAIL")([])
        assert [cursors for _, cursors in journal.commits] == [{"EMAIL:INBOX": "3"}]


async def test_a_known_id_is_a_replay_also_within_one_batch_and_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    async with running(path=path) as (pipeline, _, seen):
        intake = pipeline.intake("EMAIL")
        await intake([report("a"), report("a")])
        await intake([report("a"), report("b", kind="node.offline")])
        assert (intake.accepted, intake.replays) == (2, 2)
        await asyncio.sleep(0)
        assert len(seen) == 2
    async with running(path=path) as (pipeline, journal, seen):
        await pipeline.intake("EMAIL")([report("a"), report("b", kind="node.offline")])
        assert pipeline.intake("EMAIL").replays == 2
        assert (len(await history(journal)), seen) == (2, [])


async def test_a_restart_in_the_middle_of_an_incident_keeps_the_correlation(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    async with running(path=path) as (pipeline, _, seen):
        await pipeline.intake("WEBSOCKET")([report("task", guest=101, trust="api", guests=((101, False),))])
        await asyncio.sleep(0)
        first = seen[0]
    async with running(path=path) as (pipeline, _, seen):
        await pipeline.intake("EMAIL")([report("mail", guest=101, guests=((101, False),))])
        await asyncio.sleep(0)
        assert (seen[0].correlation_id, seen[0].duplicate_of) == (first.id, first.id)


async def test_a_full_queue_refuses_at_once_and_only_this_listener() -> None:
    async with running() as (pipeline, journal, _):
        journal.gate.clear()
        flood = pipeline.intake("SYSLOG")
        calls = [asyncio.create_task(flood([report("first")]))]
        await under_way(pipeline)
        many = [[report(f"{number}-{n}") for n in range(QUEUE // 10)] for number in range(10)]
        calls += [asyncio.create_task(flood(reports)) for reports in many]
        await asyncio.sleep(0)
        async with asyncio.timeout(20):  # the journal takes nothing at present: who waits for it waits for ever
            with pytest.raises(IntakeFullError, match="10000 reports of SYSLOG wait.*Try again"):
                await flood([report("x")])
        other = asyncio.create_task(pipeline.intake("EMAIL")([report("mail")]))
        await asyncio.sleep(0)
        assert not other.done()
        journal.gate.set()
        await asyncio.gather(*calls, other)
        assert len(await history(journal)) == QUEUE + 2
        assert flood.rejected == {"queue full (to be tried again)": 1}


async def test_a_batch_that_can_never_fit_says_so() -> None:
    async with running() as (pipeline, _, _seen):
        with pytest.raises(IntakeFullError, match="Hand over 10000 at most"):
            await pipeline.intake("EMAIL")([report(str(n)) for n in range(QUEUE + 1)])


async def test_a_cancelled_caller_loses_and_doubles_nothing() -> None:
    async with running() as (pipeline, journal, seen):
        journal.gate.clear()
        intake = pipeline.intake("SYSLOG")
        calls = [asyncio.create_task(intake([report(str(n))])) for n in range(50)]
        await under_way(pipeline)
        for call in calls[::2]:
            call.cancel()
        journal.gate.set()
        await asyncio.gather(*calls, return_exceptions=True)
        for number in range(50):
            await intake([report(str(number))])
        await asyncio.sleep(0)
        assert len(seen) == len(await history(journal)) == 50
        assert (intake.accepted, intake.replays) == (50, 50)


async def test_a_journal_that_fails_is_told_to_its_callers_and_then_it_goes_on() -> None:
    async with running() as (pipeline, journal, _):
        intake = pipeline.intake("EMAIL")
        journal.refuse = lambda _: True
        calls = [asyncio.create_task(intake([report(str(n))], cursors={"c": "9"})) for n in range(3)]
        for result in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(result, JournalError)
        assert await intake.cursor("c") is None
        journal.refuse = lambda _: False
        await intake([report("0")])
        stored = await history(journal)
        assert [event.id for event in stored] == [event_id("EMAIL", "0")]
        assert stored[0].duplicate_of is None
        assert (intake.accepted, intake.rejected) == (1, {"journal problem (to be tried again)": 3})


async def test_nothing_is_called_a_duplicate_of_what_was_never_stored() -> None:
    async with running() as (pipeline, journal, _):
        journal.refuse = lambda events: any(event.source == "WEBSOCKET" for event in events)
        with pytest.raises(JournalError):
            await pipeline.intake("WEBSOCKET")([report("task", trust="api")])
        await pipeline.intake("EMAIL")([report("mail")])
        assert [event.duplicate_of for event in await history(journal)] == [None]


async def test_a_real_journal_that_is_gone() -> None:
    async with running() as (pipeline, journal, _):
        await journal.db.write(lambda connection: connection.execute("ALTER TABLE events RENAME TO away"))
        with pytest.raises(JournalError):
            await pipeline.intake("EMAIL")([report("a")])
        await journal.db.write(lambda connection: connection.execute("ALTER TABLE away RENAME TO events"))
        await pipeline.intake("EMAIL")([report("a")])
        assert len(await history(journal)) == 1


class Broken(FixedWorld):
    """A fault of ours for one guest."""

    def guest(self, site: str, vmid: int) -> None:
        if vmid == 666:
            raise ZeroDivisionError


async def test_a_fault_of_ours_is_only_its_callers(caplog: pytest.LogCaptureFixture) -> None:
    async with running(world=Broken("lab")) as (pipeline, journal, _):
        journal.gate.clear()
        hold = asyncio.create_task(pipeline.intake("EMAIL")([report("hold")]))
        await under_way(pipeline)
        good = asyncio.create_task(pipeline.intake("EMAIL")([report("good", kind="a.b")]))
        bad = asyncio.create_task(pipeline.intake("SMTP")([report("ok", kind="c.d"), report("bad", guest=666)]))
        await asyncio.sleep(0)
        journal.gate.set()
        with caplog.at_level(logging.CRITICAL):
            await asyncio.gather(hold, good)
            with pytest.raises(ZeroDivisionError):
                await bad
        assert {event.id for event in await history(journal)} == {event_id("EMAIL", "hold"), event_id("EMAIL", "good")}


@pytest.mark.parametrize(("choice", "expected"), [("mark", [None, 0]), ("drop", [None]), ("all", [None, None])])
async def test_what_becomes_of_duplicates(choice: str, expected: list[int | None]) -> None:
    async with running(EventSettings(duplicates=choice)) as (pipeline, journal, _):  # type: ignore[arg-type]
        await pipeline.intake("WEBHOOK")([report("1")])
        await pipeline.intake("EMAIL")([report("2")])
        events = await history(journal)
        ids = [event.id for event in events]
        assert [event.duplicate_of and ids.index(event.duplicate_of) for event in events] == expected
        assert len({event.correlation_id for event in events}) == 1
        assert pipeline.intake("EMAIL").duplicates == 1


@pytest.mark.parametrize(
    ("choice", "expected"), [("mark", [None, 0, 0, 0]), ("drop", [None, 0]), ("all", [None, None, None, None])]
)
async def test_what_is_trusted_more_is_never_dropped(choice: str, expected: list[int | None]) -> None:
    async with running(EventSettings(duplicates=choice)) as (pipeline, journal, _):  # type: ignore[arg-type]
        await pipeline.intake("SYSLOG")([report("1", trust="unauthenticated")])
        await pipeline.intake("WEBSOCKET")([report("2", trust="api")])
        await pipeline.intake("WEBHOOK")([report("3")])
        await pipeline.intake("SYSLOG")([report("4", trust="unauthenticated")])
        events = await history(journal)
        ids = [event.id for event in events]
        assert [event.source for event in events][:2] == ["SYSLOG", "WEBSOCKET"]
        assert [event.duplicate_of and ids.index(event.duplicate_of) for event in events] == expected


async def test_what_is_filtered_is_accepted_counted_and_nobodys_original() -> None:
    settings = EventSettings(per_listener={"WEBHOOK": Filters(min_severity="critical")})
    async with running(settings) as (pipeline, journal, _):
        await pipeline.intake("WEBHOOK")([report("1")], cursors={"c": "1"})
        await pipeline.intake("EMAIL")([report("2"), report("3", kind="noise")])
        assert [(event.source, event.duplicate_of) for event in await history(journal)] == [("EMAIL", None)]
        assert (pipeline.intake("WEBHOOK").filtered, pipeline.intake("EMAIL").filtered) == (1, 1)
        assert await pipeline.intake("WEBHOOK").cursor("c") == "1"


async def test_what_is_held_back_is_summed_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqtt_bridge.events.held.MINUTE", 0.2)
    monkeypatch.setattr(module, "TICK", 0.05)
    settings = EventSettings(filters=Filters(rate_limit=10))
    async with running(settings) as (pipeline, journal, _):
        infos = [report(f"i{n}", kind="syslog.message", severity="info", ok=None, title=f"{n}") for n in range(500)]
        errors = [report(f"e{n}", kind="task.x.failed", title=f"{n}") for n in range(20)]
        await pipeline.intake("SYSLOG")([*infos, *errors])
        async with asyncio.timeout(30):
            while not [event for event in await history(journal) if event.kind == "bridge.events.held"]:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.4)
        events = await history(journal)
        (summary,) = [event for event in events if event.kind == "bridge.events.held"]
        assert len(events) == 10 + 20 + 1
        assert (summary.severity, summary.source, summary.site) == ("warning", "SYSLOG", "lab")
        assert summary.title == "490 events of SYSLOG were held back within a minute: 490 info"
        assert summary.metadata["by_kind"] == {"syslog.message": 490}
        assert pipeline.intake("SYSLOG").held == 490


async def test_the_last_summary_is_written_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    async with running(EventSettings(filters=Filters(rate_limit=1)), path) as (pipeline, _, _seen):
        await pipeline.intake("SYSLOG")([report(str(n), severity="info", title=f"{n}") for n in range(5)])
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT count(*) FROM events WHERE kind = 'bridge.events.held'").fetchall()
    assert rows == [(1,)]


async def test_what_waits_at_the_end_is_written_and_later_calls_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GOODBYE", 30.0)
    path = tmp_path / "journal.sqlite"
    async with Watched(path) as journal:
        async with Pipeline(journal, FixedWorld("lab"), EventSettings()) as pipeline:
            journal.gate.clear()
            calls = [asyncio.create_task(pipeline.intake("EMAIL")([report(str(n))])) for n in range(3)]
            await under_way(pipeline)
            asyncio.get_running_loop().call_later(0.1, journal.gate.set)
        await asyncio.gather(*calls)
        with pytest.raises(IntakeFullError, match="shutting down"):
            await pipeline.intake("EMAIL")([report("late")])
        assert len(await history(journal)) == 3


async def test_an_end_waits_for_no_journal_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GOODBYE", 0.1)
    async with Watched() as journal:
        async with Pipeline(journal, FixedWorld("lab"), EventSettings()) as pipeline:
            journal.gate.clear()
            calls = [asyncio.create_task(pipeline.intake(name)([report("1")])) for name in ("EMAIL", "SMTP")]
            await under_way(pipeline)
            calls.append(asyncio.create_task(pipeline.intake("EMAIL")([report("2")])))
            await asyncio.sleep(0)
        for result in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(result, IntakeFullError)


async def test_the_event_loop_is_not_held() -> None:
    async with running() as (pipeline, _, _seen):
        reports = [report(str(n), title=f"{n}", guest=n % 500 + 100) for n in range(10_000)]
        longest, last = 0.0, time.thread_time()  # what others on the machine do is not in it

        async def tick() -> None:
            nonlocal longest, last
            while True:
                await asyncio.sleep(0)
                now = time.thread_time()
                longest, last = max(longest, now - last), now

        ticking = asyncio.create_task(tick())
        await pipeline.intake("SYSLOG")(reports)
        ticking.cancel()
        assert longest < 0.15  # turns are 4 ms


async def test_health_and_numbers() -> None:
    async with running() as (pipeline, _, _seen):
        intake = pipeline.intake("SYSLOG")
        assert pipeline.intake("SYSLOG") is intake
        assert (intake.info().status, intake.info().last_event_at) == ("starting", None)
        intake.unhealthy("Port 514 needs privileges: set EVENT_SYSLOG_LISTEN_PORT=5514.")
        intake.healthy("listening on 127.0.0.1:5514")
        intake.reject("too large", 3)
        for number in range(1000):
            intake.reject(f"reason {number}")
        await intake([report("1"), report("1")])
        info = intake.info()
        assert (info.status, info.detail) == ("ok", "listening on 127.0.0.1:5514")
        assert (info.accepted, info.replays) == (1, 1)
        assert (info.last_problem or "").startswith("Port 514")
        assert info.last_problem_at is not None
        assert info.last_event_at is not None
        assert info.rejected["too large"] == 3
        assert len(info.rejected) == 33
        assert sum(info.rejected.values()) == intake.numbers()["rejected"] == 1003
