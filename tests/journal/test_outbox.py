"""From the journal to a real broker, and to readers in this process."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import pytest

from mqtt_bridge.events.intake import JournalError
from mqtt_bridge.events.lists import LARGEST, SHOWN
from mqtt_bridge.events.outbox import FRESH, HUNG_UP, WINDOW, Outbox, event_topic
from mqtt_bridge.journal.journal import Journal, Stored
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.mqtt.bus import Bus, Message
from mqtt_bridge.mqtt.loopback import Loopback
from mqtt_bridge.mqtt.options import Version
from mqtt_bridge.retained import Retained
from mqtt_bridge.topics import Topics
from tests.journal.making import event, events, ids, until
from tests.support.mosquitto import Mosquitto

NAMES = Topics()
ALL = "proxmox/+/event/#"


@asynccontextmanager
async def feeding(outbox: Outbox, bus: Bus) -> AsyncIterator[None]:
    task = asyncio.create_task(outbox.feed(bus))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def subscriber(options: object) -> AsyncIterator[list[Message]]:
    got: list[Message] = []
    async with Broker(options, got.extend, role="subscriber") as bus:  # type: ignore[arg-type]
        await bus.wait_connected()
        await bus.subscribe([ALL], qos=1)
        yield got


def told(got: list[Message]) -> list[str]:
    return [json.loads(message.payload)["id"] for message in got]


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with Journal(tmp_path / "journal.db") as opened:
        yield opened


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_in_order_marked_and_not_twice(journal: Journal, mosquitto: Mosquitto, protocol: Version) -> None:
    options = replace(mosquitto.options, protocol=protocol)
    waiting, live = events(0, 2 * WINDOW + 7), events(1000, 1030)
    await journal.commit(waiting, {})
    async with subscriber(options) as got, Outbox(journal, Retained(NAMES)) as outbox, Broker(options) as bus:
        async with feeding(outbox, bus):
            await until(lambda: not journal.stats.unpublished)
            for one in live:
                await journal.commit([one], {})
            await until(lambda: len(got) == len(waiting) + len(live) and not journal.stats.unpublished)
        assert told(got) == ids([*waiting, *live])
        assert got[0].payload == waiting[0].payload()
        assert got[0].topic == NAMES.event("lab", waiting[0]) == "proxmox/lab/event/info/guest/started"
        assert not any(message.retain for message in got)
        async with feeding(outbox, bus):  # a feed that begins anew finds nothing to do
            await asyncio.sleep(0.3)
        assert len(got) == len(waiting) + len(live)
        assert outbox.stats["published"] == len(got)
        assert outbox.problem == ""


async def test_what_was_acknowledged_is_marked_at_the_end(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with Journal(tmp_path / "a.db") as journal, Broker(mosquitto.options) as bus:
        async with Outbox(journal, Retained(NAMES)) as outbox, feeding(outbox, bus):
            await journal.commit(events(0, 100), {})
            await until(lambda: outbox.stats["published"] == 100)
        assert journal.stats.unpublished == 0


async def test_a_broker_that_comes_later_and_goes_meanwhile(journal: Journal, tmp_path: Path) -> None:
    async with Mosquitto(tmp_path / "m", persistence=True) as mosquitto:
        await mosquitto.stop()
        async with Outbox(journal, Retained(NAMES)) as outbox, Broker(mosquitto.options) as bus, feeding(outbox, bus):
            await journal.commit(events(0, 50), {})
            await asyncio.sleep(0.3)
            assert journal.stats.unpublished == 50
            await mosquitto.start()
            await until(lambda: not journal.stats.unpublished)
            await mosquitto.kill()
            await journal.commit(events(50, 60), {})
            await mosquitto.start()
            async with subscriber(mosquitto.options) as got:
                await journal.commit(events(60, 70), {})
                await until(lambda: not journal.stats.unpublished)
                await until(lambda: set(ids(events(60, 70))) <= set(told(got)))


@pytest.mark.parametrize("protocol", ["5"])
async def test_a_refused_event_holds_nothing_up_and_goes_with_a_later_connection(
    journal: Journal, tmp_path: Path, protocol: Version
) -> None:
    everything = "user reader\ntopic read #\nuser bridge\ntopic readwrite #\n"
    partly = "user reader\ntopic read #\nuser bridge\ntopic write proxmox/lab/event/info/#\n"
    users = {"bridge": "b", "reader": "r"}
    async with Mosquitto(tmp_path / "m", users=users, acl=partly) as mosquitto:
        options = replace(mosquitto.options_for("bridge"), protocol=protocol)
        async with Outbox(journal, Retained(NAMES)) as outbox, Broker(options) as bus, feeding(outbox, bus):
            async with subscriber(mosquitto.options_for("reader")) as got:
                await journal.commit([event(n, severity="error" if n == 3 else "info") for n in range(6)], {})
                await until(lambda: not journal.stats.unpublished and len(got) == 5)
                assert journal.stats.refused == outbox.stats["refused"] == 1
                assert "Not authorized" in outbox.problem
                assert set(told(got)) == set(ids(events(0, 6))) - {event(3).id}
            mosquitto.acl = everything
            await mosquitto.restart()
            await until(lambda: not journal.stats.refused and not journal.stats.unpublished)
            assert outbox.problem == ""
            assert outbox.stats["published"] == 6


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_an_event_that_the_broker_finds_too_large_holds_nothing_up(
    journal: Journal, tmp_path: Path, protocol: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqtt_bridge.mqtt.broker._delays", lambda: repeat(0.1))
    async with Mosquitto(tmp_path / "m", config=["max_packet_size 20000"]) as mosquitto:
        options = replace(mosquitto.options, protocol=protocol)
        async with subscriber(mosquitto.options) as got, Outbox(journal, Retained(NAMES)) as outbox:
            await journal.commit([event(n, message="x" * (30_000 if n == 150 else 5)) for n in range(300)], {})
            async with Broker(options) as bus, feeding(outbox, bus):
                await until(lambda: not journal.stats.unpublished, within=60)
                wanted = set(ids(events(0, 300))) - {event(150).id}
                await until(lambda: set(told(got)) == wanted)
                assert journal.stats.refused == 1
                assert ("too large" if protocol == "5" else HUNG_UP) in outbox.problem
                await journal.commit(events(300, 310), {})
                await until(lambda: not journal.stats.unpublished)


@pytest.mark.parametrize(
    ("site", "kind"), [("a/b", "x"), ("a", "x+y"), ("a", ""), ("", "x"), ("a", "x\x01"), ("a#", "x")]
)
async def test_an_event_that_fits_no_topic_holds_nothing_up(
    journal: Journal, mosquitto: Mosquitto, site: str, kind: str
) -> None:
    assert event_topic(NAMES, site, "info", kind) is None
    odd = event(1, kind=kind, site=site)
    async with Outbox(journal, Retained(NAMES)) as outbox, Broker(mosquitto.options) as bus, feeding(outbox, bus):
        await journal.commit([event(0), odd, event(2)], {})
        await until(lambda: not journal.stats.unpublished)
        assert (outbox.stats["published"], outbox.stats["refused"]) == (2, 1)


async def test_marks_that_cannot_be_written_are_written_later(
    journal: Journal, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqtt_bridge.events.outbox.PAUSE", 0.05)
    published = journal.published
    failing = True

    async def sometimes(seqs: object) -> None:
        if failing:
            raise JournalError("The disk is full.")
        await published(seqs)  # type: ignore[arg-type]

    monkeypatch.setattr(journal, "published", sometimes)
    async with subscriber(mosquitto.options) as got, Outbox(journal, Retained(NAMES)) as outbox:
        async with Broker(mosquitto.options) as bus, feeding(outbox, bus):
            await journal.commit(events(0, 10), {})
            await until(lambda: "full" in outbox.problem and len(got) == 10)
            await journal.commit(events(10, 20), {})
            await until(lambda: len(got) == 20)
            failing = False
            await until(lambda: not journal.stats.unpublished and not outbox.problem)
        assert told(got) == ids(events(0, 20))


async def test_a_loopback_gets_what_is_new_and_marks_nothing(journal: Journal) -> None:
    await journal.commit(events(0, 3), {})
    hub, got = Loopback(), list[Message]()
    async with hub.client(got.extend) as reader, hub.client() as writer, Outbox(journal, Retained(NAMES)) as outbox:
        await reader.subscribe([ALL])
        task = asyncio.create_task(outbox.feed_live(writer))
        await asyncio.sleep(0)
        await journal.commit(events(3, 9), {})
        await until(lambda: len(got) == 6)
        assert told(got) == ids(events(3, 9))
        assert journal.stats.unpublished == 9
        await journal.commit(events(100, 1600), {})
        await until(lambda: outbox.stats["missed"] > 0 and told(got)[-1] == event(1599).id)
        assert len(got) + outbox.stats["missed"] == 6 + 1500
        task.cancel()
        await asyncio.wait([task])


async def test_in_memory_a_loopback_can_be_what_publishes() -> None:
    """A process of its own without a broker: retention may then take what its own reader has got."""
    hub, got = Loopback(), list[Message]()
    async with Journal(max_events=100) as journal, Outbox(journal, Retained(NAMES)) as outbox:
        async with hub.client(got.extend) as reader, hub.client() as writer, feeding(outbox, writer):
            await reader.subscribe([ALL])
            for first in range(0, 500, 50):
                await journal.commit(events(first, first + 50), {})
                await until(lambda: not journal.stats.unpublished)
        assert told(got) == ids(events(0, 500))
        assert (journal.stats.stored, journal.stats.dropped) == (100, 400)


async def test_the_list_of_a_site_is_filled_at_start_and_kept(journal: Journal) -> None:
    await journal.commit([*events(0, 60), event(100, site="other")], {})
    retained = Retained(NAMES)
    topic = "proxmox/lab/events"

    def shown() -> list[str]:
        return [one["id"] for one in json.loads(retained.held[topic][0])["events"]]

    async with Outbox(journal, retained):
        assert shown() == ids(events(60 - SHOWN, 60))[::-1]
        assert len(json.loads(retained.held["proxmox/other/events"][0])["events"]) == 1
        changes = 0
        before = retained.held[topic][0]
        for number in range(200, 400):
            await journal.commit([event(number)], {})
            changes += retained.held[topic][0] != before
            before = retained.held[topic][0]
        assert changes <= 2
        await until(lambda: shown() == ids(events(350, 400))[::-1])
        await asyncio.sleep(1.05)
        await journal.commit([event(500)], {})
        await until(lambda: shown()[0] == event(500).id)
        await journal.commit([event(501)], {})
        await asyncio.sleep(0)
    assert shown()[0] == event(501).id, "what waited for its second is published at the end"


async def test_a_list_of_long_events_is_shorter(journal: Journal) -> None:
    retained = Retained(NAMES)
    async with Outbox(journal, retained):
        await journal.commit([event(n, message="x" * 60_000) for n in range(20)], {})
        await until(lambda: "proxmox/lab/events" in retained.held)
    payload = retained.held["proxmox/lab/events"][0]
    assert LARGEST - 61_000 < len(payload) < LARGEST + 100
    assert json.loads(payload)["events"][0]["id"] == event(19).id


async def test_what_was_stored_a_moment_ago_is_not_read_again(
    journal: Journal, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From memory where it follows on what is published; from the journal where memory was too short."""
    asked: list[int] = []
    unpublished = journal.unpublished

    async def noted(after: int, limit: int) -> list[Stored]:
        asked.append(after)
        return await unpublished(after, limit)

    monkeypatch.setattr(journal, "unpublished", noted)
    async with (
        Outbox(journal, Retained(NAMES)) as outbox,
        Broker(mosquitto.options) as bus,
        feeding(outbox, bus),
    ):
        every = events(0, 10 + 300 + FRESH + 700)
        await journal.commit(every[:10], {})
        await until(lambda: outbox.stats["published"] == 10)
        read = len(asked)
        await journal.commit(every[10:310], {})
        await until(lambda: outbox.stats["published"] == 310)
        assert set(asked[read:]) <= {310}, "only whether there is more"
        await journal.commit(every[310:], {})
        await until(lambda: outbox.stats["published"] == len(every))
        assert 310 in asked
    assert journal.stats.unpublished == 0
