"""From MQTT to real services: brokers that die, services that fail, and what is told all the same."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import pytest

from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.model import Event
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.mqtt.embedded import EmbeddedBroker
from mqtt_bridge.notifying.delivering import Backoff
from mqtt_bridge.notifying.notify import Notify
from mqtt_bridge.topics import Topics
from tests.notify.making import event
from tests.notify.parts import Service, quick, running, until
from tests.support.mosquitto import Mosquitto


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "m", persistence=True) as broker:
        yield broker


@pytest.fixture
async def services() -> AsyncIterator[dict[str, Service]]:
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(Service(name)) for name in ("A", "B")}


def ports(services: dict[str, Service]) -> dict[str, int]:
    return {name: service.port for name, service in services.items()}


def now(kind: str, **given: object) -> Event:
    return event(kind, at=time.time(), **given)  # type: ignore[arg-type]


async def test_an_event_is_told_and_a_restart_tells_it_no_second_time(
    tmp_path: Path, mosquitto: Mosquitto, services: dict[str, Service]
) -> None:
    path = tmp_path / "journal.db"
    async with running(path, mosquitto.options, ports(services)) as (journal, notify):
        await journal.commit([first := now("node.offline"), now("guest.started", guest=1)], {})
        await until(lambda: all(s.got for s in services.values()))
        assert notify.info() == {"A": "ok", "B": "ok"}
    async with running(path, mosquitto.options, ports(services)) as (journal, notify):
        await journal.commit([back := now("node.online")], {})
        await until(lambda: all(len(s.got) == 2 for s in services.values()))
        await asyncio.sleep(0.5)
    for name, service in services.items():
        assert service.ids == [first.id, back.id]
        assert service.got[1].previous == f"{name}-1"
        assert service.got[1].kind == "recovery"


async def test_at_the_first_start_what_is_in_the_journal_is_history(
    tmp_path: Path, mosquitto: Mosquitto, services: dict[str, Service]
) -> None:
    async with Journal(tmp_path / "j.db") as journal:
        await journal.commit([event("node.offline", at=time.time() - 60)], {})
        await journal.published([1])
    async with running(tmp_path / "j.db", mosquitto.options, ports(services)) as (journal, _):
        await asyncio.sleep(2)
        await journal.commit([new := now("node.offline", node="pve2")], {})
        await until(lambda: services["A"].got)
        assert services["A"].ids == [new.id]


async def test_on_a_machine_of_its_own_it_needs_no_journal_of_the_bridge(
    tmp_path: Path, mosquitto: Mosquitto, services: dict[str, Service]
) -> None:
    """The session keeps what happens while it is away."""
    away = now("node.fencing", node="pve3")
    options = mosquitto.options
    async with running(tmp_path / "own.db", options, ports(services), publishes=False) as (_, notify):
        await until(lambda: notify.listening)
        await publish(mosquitto, first := now("node.offline"))
        await until(lambda: services["B"].got)
    await publish(mosquitto, away)
    async with running(tmp_path / "own.db", options, ports(services), publishes=False):
        await until(lambda: len(services["B"].got) == 2)
        await asyncio.sleep(0.3)
    assert services["B"].ids == [first.id, away.id]


async def publish(broker: Mosquitto, *events: Event) -> None:
    async with Broker(broker.options) as bus:
        await bus.wait_connected()
        for one in events:
            await bus.publish(Topics().event(one.site, one), one.payload())


async def test_a_dead_broker_does_not_silence_alerts(
    tmp_path: Path, mosquitto: Mosquitto, services: dict[str, Service]
) -> None:
    """It runs in a guest on the very node that fails."""
    async with running(tmp_path / "j.db", mosquitto.options, ports(services)) as (journal, _):
        await journal.commit([before := now("guest.agent.timeout", guest=1)], {})
        await until(lambda: services["A"].got)
        await mosquitto.kill()
        await asyncio.sleep(0.2)
        await journal.commit(
            [lost := now("node.offline", node="pve3"), small := now("guest.agent.timeout", guest=2)], {}
        )
        await until(lambda: all(len(s.got) == 2 for s in services.values()))
        await journal.commit([worse := now("quorum.lost", node=None)], {})
        await until(lambda: all(len(s.got) == 3 for s in services.values()))
        await mosquitto.start()
        await until(lambda: all(len(s.got) == 4 for s in services.values()))
        await asyncio.sleep(2.5)
    for service in services.values():
        assert service.ids == [before.id, lost.id, worse.id, small.id], "and nothing twice"


async def test_what_the_broker_forgot_is_read_in_the_journal(
    tmp_path: Path, mosquitto: Mosquitto, services: dict[str, Service]
) -> None:
    """It was published and acknowledged, while nobody was subscribed any more."""
    path = tmp_path / "j.db"
    async with running(path, mosquitto.options, ports(services)):
        pass
    await mosquitto.kill()
    (tmp_path / "m" / "mosquitto.db").unlink(missing_ok=True)
    await mosquitto.start()
    async with Journal(path) as journal:
        await journal.commit([lost := now("guest.agent.timeout", guest=7)], {})
        await journal.published([1])
    patient = quick(patience=60)
    async with running(path, mosquitto.options, ports(services), publishes=False, tuning=patient) as (journal, notify):
        await until(lambda: services["A"].got)
        assert services["A"].ids == [lost.id]
        await mosquitto.kill()
        await until(lambda: not notify.listening)
        await journal.commit([again := now("guest.agent.timeout", guest=8)], {})
        await journal.published([2])
        await mosquitto.start()
        await until(lambda: len(services["A"].got) == 2)
        assert services["A"].ids == [lost.id, again.id], "after each new connection"


async def test_what_the_broker_dropped_while_we_were_connected_is_found_a_little_later(
    tmp_path: Path, mosquitto: Mosquitto, services: dict[str, Service]
) -> None:
    async with running(tmp_path / "j.db", mosquitto.options, ports(services), publishes=False) as (journal, _):
        await asyncio.sleep(0.5)
        await journal.commit([dropped := now("guest.agent.timeout", guest=7)], {})
        await journal.published([1])
        await until(lambda: services["A"].got)
        assert services["A"].ids == [dropped.id]


async def test_one_dead_channel_delays_no_other_and_gets_everything_later(
    tmp_path: Path, mosquitto: Mosquitto, services: dict[str, Service]
) -> None:
    services["A"].status = 503
    async with running(tmp_path / "j.db", mosquitto.options, ports(services)) as (journal, notify):
        happened = [now("guest.oom", guest=vmid) for vmid in range(50)]
        await journal.commit(happened, {})
        await until(lambda: len(services["B"].got) == 50)
        await until(lambda: notify.problems)
        assert notify.problems == ["A: A says 503."]
        services["A"].status = 200
        await until(lambda: len(services["A"].got) == 50)
        assert sorted(services["A"].ids) == sorted(one.id for one in happened)
        assert notify.problems == []


async def test_a_service_that_asks_for_time_gets_it(
    tmp_path: Path, mosquitto: Mosquitto, services: dict[str, Service]
) -> None:
    services["A"].status, services["A"].retry_after = 429, "1.5"
    async with running(tmp_path / "j.db", mosquitto.options, ports(services)) as (journal, _):
        await journal.commit([now("guest.oom", guest=vmid) for vmid in range(5)], {})
        await until(lambda: services["A"].requests)
        services["A"].status = 200
        asked = await journal.rows("SELECT max(next_at - first_at) FROM deliveries WHERE notifier = 'A'", [])
        assert asked[0][0] >= 1.5, "a restart would not forget it"
        await until(lambda: len(services["A"].got) == 5)
        assert services["A"].at[1] - services["A"].at[0] >= 1.4


async def test_a_refusal_is_parked_told_through_the_others_and_shown(
    tmp_path: Path, mosquitto: Mosquitto, services: dict[str, Service]
) -> None:
    services["A"].status = 404
    async with running(tmp_path / "j.db", mosquitto.options, ports(services)) as (journal, notify):
        await journal.commit([one := now("guest.oom", guest=1), two := now("guest.oom", guest=2)], {})
        await until(lambda: len(services["B"].got) == 3 and services["A"].requests == 2)
        await asyncio.sleep(0.3)
        assert services["A"].requests == 2, "it is not tried again"
        assert {one.id, two.id} < set(services["B"].ids)
        assert "Notifier A is refused by its service" in [got.title for got in services["B"].got]
        assert notify.info()["A"] == "A says 404. Correct its address."
        assert await journal.rows("SELECT notice, answer FROM deliveries WHERE state = 2 ORDER BY seq", []) == [
            (one.id, "A says 404. Correct its address."),
            (two.id, "A says 404. Correct its address."),
        ]
    async with running(tmp_path / "j.db", mosquitto.options, ports(services)) as (journal, notify):
        await until(lambda: len(notify.problems) == 2)
        assert notify.problems[0] == "A: A says 404. Correct its address."
        assert notify.problems[1].startswith("A: 2 notices were given up within 24 h.")
        assert (await notify.counts())["A"] == {"parked": 2}
        services["A"].status = 200
        await journal.commit([now("guest.oom", guest=3)], {})
        await until(lambda: services["A"].got)
        assert notify.info()["A"] == "ok"


async def test_what_fails_for_too_long_is_parked(
    tmp_path: Path, mosquitto: Mosquitto, services: dict[str, Service]
) -> None:
    services["A"].status = 500
    short = quick(backoff=Backoff(first=0.05, longest=0.1, limit=0.5))
    async with running(tmp_path / "j.db", mosquitto.options, ports(services), tuning=short) as (journal, _):
        await journal.commit([now("guest.oom", guest=1)], {})
        await until(lambda: services["B"].got and services["A"].requests > 3)
        async with asyncio.timeout(15):
            while not await journal.rows("SELECT 1 FROM deliveries WHERE state = 2 AND answer LIKE 'Given up%'", []):
                await asyncio.sleep(0.05)


async def outcomes(notify: Notify) -> dict[str, str]:
    return {name: one.status for name, one in (await notify.message("Hello", "from a person", "info")).items()}


async def test_a_message_says_what_became_of_it_at_each_service(
    tmp_path: Path, mosquitto: Mosquitto, services: dict[str, Service]
) -> None:
    async with running(tmp_path / "j.db", mosquitto.options, ports(services)) as (_, notify):
        assert await outcomes(notify) == {"A": "delivered", "B": "delivered"}
        services["A"].status, services["B"].status = 503, 401
        assert await outcomes(notify) == {"A": "waiting", "B": "refused"}
        services["A"].status = 200
        await until(lambda: len(services["A"].got) >= 2)
        only = await notify.message("Hello", "", only=["A"])
        assert list(only) == ["A"]
        with pytest.raises(KeyError, match="Z"):
            await notify.message("Hello", "", only=["Z"])


async def test_a_silence_and_an_acknowledgement_survive_a_restart(
    tmp_path: Path, mosquitto: Mosquitto, services: dict[str, Service]
) -> None:
    path = tmp_path / "j.db"
    async with running(path, mosquitto.options, ports(services)) as (_, notify):
        silence = await notify.silence("node", "lab", "pve1", 3600, "new disks", "ann")
    async with running(path, mosquitto.options, ports(services)) as (journal, notify):
        assert await notify.silences() == [silence]
        await journal.commit([now("node.offline"), other := now("node.offline", node="pve2")], {})
        await until(lambda: services["A"].got)
        assert services["A"].ids == [other.id]
        assert {one.last.node for one in await notify.incidents()} == {"pve1", "pve2"}
        assert await notify.unsilence(silence.id)
        await until(lambda: len(services["A"].got) == 2)
        assert services["A"].got[1].title == "Still wrong after the silence: node.offline pve1"
        found = await notify.acknowledge(other.id, "ann")
        assert found is not None
    async with running(path, mosquitto.options, ports(services)) as (_, notify):
        assert [i.acknowledged for i in await notify.incidents() if i.last.node == "pve2"] == ["ann"]


async def test_what_is_no_event_is_counted_and_holds_nothing_up(
    tmp_path: Path, mosquitto: Mosquitto, services: dict[str, Service]
) -> None:
    async with running(tmp_path / "j.db", mosquitto.options, ports(services)) as (journal, notify):
        await until(lambda: notify.listening)
        async with Broker(mosquitto.options) as stranger:
            await stranger.wait_connected()
            for _ in range(30):
                await stranger.publish("proxmox/lab/event/error/x", b"no event")
        await journal.commit([now("guest.oom", guest=1)], {})
        await until(lambda: services["A"].got)
        assert notify.rejected == 30


async def test_leaving_is_quick_whatever_the_services_do(
    tmp_path: Path, mosquitto: Mosquitto, services: dict[str, Service]
) -> None:
    services["A"].gate = asyncio.Event()
    async with running(tmp_path / "j.db", mosquitto.options, ports(services)) as (journal, _):
        await journal.commit([now("guest.oom", guest=1)], {})
        await until(lambda: services["A"].requests)
        started = time.monotonic()
    assert time.monotonic() - started < 10
    services["A"].gate.set()


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
async def test_on_the_brokers_of_our_own(
    tmp_path: Path, services: dict[str, Service], kind: Literal["mosquitto", "amqtt"]
) -> None:
    """What an embedded broker forgets with its restart is in the journal."""
    path = tmp_path / "j.db"
    told = [now("guest.oom", guest=vmid) for vmid in range(60)]
    async with EmbeddedBroker(tmp_path, port=0, prefer=kind) as options:
        async with running(path, options, ports(services)) as (journal, _):
            await journal.commit(told[:30], {})
            await until(lambda: all(len(s.got) == 30 for s in services.values()))
        async with Journal(path) as journal:
            await journal.commit(told[30:50], {})
            await journal.published(range(31, 51))
    async with (
        EmbeddedBroker(tmp_path, port=0, prefer=kind) as options,
        running(path, options, ports(services)) as (journal, _),
    ):
        await journal.commit(told[50:], {})
        await until(lambda: all(len(s.got) == 60 for s in services.values()))
    for service in services.values():
        assert sorted(service.ids) == sorted(one.id for one in told)
