"""The connection to a real broker: losing it, getting it back, and how many messages it carries."""

import asyncio
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from mqtt_bridge.errors import BrokerUnreachableError
from mqtt_bridge.mqtt.batch import IN_FLIGHT, MOST
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions, Will
from mqtt_bridge.mqtt.bus import Message
from tests.broker.inbox import Inbox, until
from tests.support.mosquitto import Mosquitto


async def test_a_restart_of_the_broker_is_a_new_generation(mosquitto: Mosquitto) -> None:
    async with Broker(mosquitto.options) as bus, asyncio.timeout(10):
        first = await bus.wait_connected()
        await mosquitto.stop()
        await bus.wait_disconnected(first)
        assert not bus.connected
        with pytest.raises(BrokerUnreachableError):
            await bus.publish("t", b"x")
        await until(lambda: f"No MQTT broker listens at {mosquitto.options.address}" in (bus.reason or ""))
        await mosquitto.start()
        assert await bus.wait_connected(after=first) == first + 1
        assert bus.reason is None
        await bus.publish("t", b"x")


async def test_it_waits_for_a_broker_that_comes_later(mosquitto: Mosquitto) -> None:
    await mosquitto.stop()
    async with Broker(mosquitto.options) as bus, asyncio.timeout(10):
        with pytest.raises(BrokerUnreachableError, match="MQTT_PORT"):
            await bus.first_attempt()
        await mosquitto.start()
        assert await bus.wait_connected() == 1


async def test_a_frozen_broker_is_noticed_and_pending_publishes_fail(mosquitto: Mosquitto) -> None:
    async with Broker(replace(mosquitto.options, keepalive=1)) as bus:
        generation = await bus.wait_connected()
        mosquitto.freeze()
        pending = [asyncio.create_task(bus.publish("t", b"x", qos=qos)) for qos in (0, 1, 1)]
        async with asyncio.timeout(15):
            await bus.wait_disconnected(generation)
        outcomes = await asyncio.gather(*pending, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes[1:]] == [BrokerUnreachableError] * 2
        await until(lambda: "does not answer" in (bus.reason or ""))
        mosquitto.thaw()
        async with asyncio.timeout(10):
            await bus.wait_connected(after=generation)


async def test_leaving_a_frozen_broker_is_quick(mosquitto: Mosquitto) -> None:
    async with Broker(mosquitto.options) as bus:
        await bus.wait_connected()
        mosquitto.freeze()
        stuck = [asyncio.create_task(bus.publish("t", b"x" * 100_000)) for _ in range(200)]  # fills every buffer
        await asyncio.sleep(0.2)
        started = time.monotonic()
    assert time.monotonic() - started < 10
    outcomes = await asyncio.gather(*stuck, return_exceptions=True)
    assert all(isinstance(outcome, BrokerUnreachableError) for outcome in outcomes)


async def test_leaving_while_it_connects_to_nobody_is_quick() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        async with Broker(BrokerOptions("127.0.0.1", silent.getsockname()[1])) as bus:
            await asyncio.sleep(0.2)
            assert not bus.connected
            started = time.monotonic()
        assert time.monotonic() - started < 10


async def test_the_will_is_for_the_lost_only(mosquitto: Mosquitto) -> None:
    inbox = Inbox()
    async with Broker(mosquitto.options, inbox.put) as watcher:
        await watcher.wait_connected()
        await watcher.subscribe(["will/#"])
        async with Broker(mosquitto.options, will=Will("will/clean", b"offline")) as leaves:
            await leaves.wait_connected()
        async with Broker(mosquitto.options, will=Will("will/lost", b"offline")) as lost:
            await lost.wait_connected()
            assert lost._link
            assert lost._link.wire
            sock = lost._link.wire.inner
            assert isinstance(sock, socket.socket)
            sock.shutdown(socket.SHUT_RDWR)
            await inbox.has(1)
        assert inbox.topics == ["will/lost"]


async def test_ten_thousand_publishes_are_paced(mosquitto: Mosquitto) -> None:
    async with Broker(mosquitto.options) as bus:
        await bus.wait_connected()
        most = 0

        async def publish(number: int) -> None:
            nonlocal most
            await bus.publish(f"p/{number}", b"x" * 300, retain=True)
            assert bus._link
            most = max(most, bus._link.batches.most_under_way)

        async with asyncio.TaskGroup() as group:
            for number in range(10_000):
                group.create_task(publish(number))
        assert 0 < most <= IN_FLIGHT

        inbox = Inbox()
        async with Broker(mosquitto.options, inbox.put) as reader:
            await reader.wait_connected()
            await reader.subscribe(["p/#"], qos=0)
            assert len({m.topic for m in await inbox.has(10_000, 10)}) == 10_000


async def test_a_broker_that_stops_under_load_fails_what_it_had_not_taken(mosquitto: Mosquitto) -> None:
    async with Broker(mosquitto.options) as bus, asyncio.timeout(60):
        generation = await bus.wait_connected()
        first = [asyncio.create_task(bus.publish(f"p/{n}", b"x" * 300)) for n in range(10_000)]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        mosquitto.freeze()
        later = [asyncio.create_task(bus.publish(f"later/{n}", b"x" * 300)) for n in range(10_000)]
        await asyncio.sleep(0)
        await mosquitto.kill()
        taken = await asyncio.gather(*first, return_exceptions=True)
        assert None in taken
        lost = await asyncio.gather(*later, return_exceptions=True)
        assert all(isinstance(outcome, BrokerUnreachableError) for outcome in [*lost, *filter(None, taken)])
        await mosquitto.start()
        await bus.wait_connected(after=generation)
        await bus.publish("again", b"x")


async def test_a_cancelled_publish_gives_its_turn_back(mosquitto: Mosquitto) -> None:
    async with Broker(mosquitto.options) as bus:
        await bus.wait_connected()
        for _ in range(MOST + 10):
            task = asyncio.create_task(bus.publish("t", b"x"))
            await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        async with asyncio.timeout(15):
            await bus.publish("t", b"x")
        assert bus._link
        assert not bus._link.batches.open


async def test_a_reader_that_raises_loses_no_acknowledgement(mosquitto: Mosquitto) -> None:
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context["exception"]))

    def fail(_: Sequence[Message]) -> None:
        raise LookupError("a bug of the reader")

    async with Broker(mosquitto.options, fail) as bus, asyncio.timeout(15):
        await bus.wait_connected()
        await bus.subscribe(["t"])
        for _ in range(20):
            await bus.publish("t", b"x")
        await until(lambda: bool(problems))
        assert bus.connected


async def test_request_and_response_properties_cross_in_mqtt_5(mosquitto: Mosquitto) -> None:
    inbox = Inbox()
    async with Broker(mosquitto.options, inbox.put) as bus:
        await bus.wait_connected()
        assert bus.protocol == "5"
        await bus.subscribe(["t"])
        await bus.publish("t", b"x", correlation_data=b"\x01\x02")
        assert [m.correlation_data for m in await inbox.has(1)] == [b"\x01\x02"]


async def test_subscription_options_of_mqtt_5(mosquitto: Mosquitto) -> None:
    inbox = Inbox()
    async with Broker(mosquitto.options, inbox.put) as bus, Broker(mosquitto.options) as other:
        await bus.wait_connected()
        await other.wait_connected()
        await other.publish("t", b"stored", retain=True)
        await bus.subscribe(["t"], retain_handling=2, retain_as_published=True, no_local=True)
        await bus.publish("t", b"own")
        await other.publish("t", b"live", retain=True)
        assert [(m.payload, m.retain) for m in await inbox.has(1)] == [(b"live", True)]


async def test_clients_never_share_an_id(mosquitto: Mosquitto) -> None:
    options = replace(mosquitto.options, client_id="same")
    async with Broker(options) as one, Broker(options) as two:
        await one.wait_connected()
        await two.wait_connected()
        await asyncio.sleep(0.3)
        assert (one.generation, two.generation) == (1, 1)
    assert mosquitto.log.count("as same-") == 2
