"""A durable session: what is not acknowledged comes again, through our restarts and the broker's."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from mqtt_bridge.mqtt.broker import Broker, BrokerOptions, Session
from mqtt_bridge.mqtt.embedded import EmbeddedBroker
from tests.broker.inbox import Inbox
from tests.support.mosquitto import Mosquitto

SESSION = Session("durable", expiry=60)
Protocol = Literal["5", "3.1.1"]


@pytest.fixture(params=["5", "3.1.1"])
def protocol(request: pytest.FixtureRequest) -> Protocol:
    found: Protocol = request.param
    return found


async def publish(options: BrokerOptions, *payloads: bytes) -> None:
    async with Broker(options) as sender:
        await sender.wait_connected()
        for payload in payloads:
            await sender.publish("t/x", payload)


async def sent(bus: Broker) -> None:
    """Wait until the broker has what we acknowledged: it answers in order."""
    await bus.subscribe(["fence"], qos=1)


async def subscribed(bus: Broker) -> None:
    await bus.wait_connected()
    await bus.subscribe(["t/#"], qos=1)


async def test_what_is_not_acknowledged_comes_again(mosquitto: Mosquitto, protocol: Protocol) -> None:
    options = replace(mosquitto.options, protocol=protocol)
    first, second, third = Inbox(), Inbox(), Inbox()
    async with Broker(options, first.put, session=SESSION) as bus:
        await subscribed(bus)
        await publish(options, b"1", b"2", b"3")
        bus.acknowledge((await first.has(3))[:2])
        await sent(bus)
    await publish(options, b"4")
    async with Broker(options, second.put, session=SESSION) as bus:
        await bus.wait_connected()
        assert [m.payload for m in await second.has(2)] == [b"3", b"4"]
        bus.acknowledge(first.messages)  # of the connection before: their numbers mean others now
        await sent(bus)
    async with Broker(options, third.put, session=SESSION) as bus:
        await bus.wait_connected()
        assert [m.payload for m in await third.has(2)] == [b"3", b"4"]
        bus.acknowledge(third.messages)
        await sent(bus)
    async with Broker(options, third.put, session=SESSION) as bus:
        await bus.wait_connected()
        assert len(await third.has(2)) == 2, "nothing is left to send"


async def test_more_than_the_broker_sends_at_once_comes_as_it_is_acknowledged(mosquitto: Mosquitto) -> None:
    inbox = Inbox()
    async with Broker(mosquitto.options, inbox.put, session=SESSION) as bus:
        await subscribed(bus)
        await publish(mosquitto.options, *(b"%d" % number for number in range(100)))
        done = 0
        while done < 100:
            await inbox.has(done + 1)
            bus.acknowledge(inbox.messages[done:])
            done = len(inbox.messages)
    assert inbox.payloads == [b"%d" % number for number in range(100)]


async def test_what_is_dropped_holds_nothing_up(mosquitto: Mosquitto) -> None:
    """MQTT 3.1.1: the broker does not know what is too large for us, and sends at most 20 that are not acknowledged."""
    options = replace(mosquitto.options, protocol="3.1.1")
    inbox = Inbox()
    async with Broker(options, inbox.put, session=SESSION, max_packet=1000) as bus:
        await subscribed(bus)
        await publish(options, *[b"x" * 2000] * 30, b"small")
        assert [m.payload for m in await inbox.has(1)] == [b"small"]
        assert bus.dropped == 30


async def test_a_persistent_broker_keeps_it_through_its_restart(tmp_path: Path, protocol: Protocol) -> None:
    inbox, later = Inbox(), Inbox()
    async with Mosquitto(tmp_path / "m", persistence=True) as broker:
        options = replace(broker.options, protocol=protocol)
        async with Broker(options, inbox.put, session=SESSION) as bus:
            await subscribed(bus)
        await publish(options, b"1")
        await broker.restart()
        async with Broker(options, later.put, session=SESSION) as bus:
            await bus.wait_connected()
            assert [m.payload for m in await later.has(1)] == [b"1"]


async def test_the_embedded_broker_in_this_process_takes_acknowledgements(tmp_path: Path) -> None:
    inbox = Inbox()
    async with EmbeddedBroker(tmp_path, port=0, prefer="amqtt") as options:
        async with Broker(options, inbox.put, session=SESSION) as bus:
            await subscribed(bus)
            await publish(options, *(b"%d" % number for number in range(30)))
            await inbox.has(30)
            bus.acknowledge(inbox.messages)
            await publish(options, b"last")
            await inbox.has(31)
        assert inbox.payloads[-1] == b"last"
