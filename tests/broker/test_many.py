"""Publishing many at once: refusals, losses, cancellations and brokers that take few."""

import asyncio
from pathlib import Path

import pytest

from mqtt_bridge.errors import BrokerUnreachableError
from mqtt_bridge.mqtt.broker import TOO_LARGE, Broker
from mqtt_bridge.mqtt.bus import Message
from tests.broker.inbox import Inbox
from tests.support.mosquitto import Mosquitto

ACL = "user writer\ntopic readwrite t/#\n"


def messages(count: int, prefix: str = "t") -> list[Message]:
    return [Message(f"{prefix}/{n}", b"x" * 300, qos=1) for n in range(count)]


async def test_each_refusal_is_told_and_the_others_arrive(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path / "m", users={"writer": "secret"}, acl=ACL) as mosquitto,
        Broker(mosquitto.options) as bus,
    ):
        await bus.wait_connected()
        mixed = [m for pair in zip(messages(50), messages(50, "other"), strict=True) for m in pair]
        assert await bus.publish_many(mixed) == ["", "Not authorized"] * 50


async def test_what_is_too_large_does_not_stop_the_others(tmp_path: Path) -> None:
    inbox = Inbox()
    async with (
        Mosquitto(tmp_path / "m", config=["max_packet_size 5000"]) as mosquitto,
        Broker(mosquitto.options, inbox.put) as bus,
    ):
        await bus.wait_connected()
        await bus.subscribe(["t/#"])
        large = Message("t/large", b"x" * 6000, qos=1)
        few = messages(2)
        assert await bus.publish_many([few[0], large, few[1]]) == ["", TOO_LARGE, ""]
        assert await bus.publish_many([large]) == [TOO_LARGE]
        await inbox.has(2)
        assert inbox.topics == ["t/0", "t/1"]


async def test_a_broker_that_takes_few_at_once(tmp_path: Path) -> None:
    inbox = Inbox()
    async with (
        Mosquitto(tmp_path / "m", config=["max_inflight_messages 3"]) as mosquitto,
        Broker(mosquitto.options, inbox.put) as bus,
    ):
        await bus.wait_connected()
        await bus.subscribe(["t/#"])
        assert await bus.publish_many(messages(300)) == [""] * 300
        await inbox.has(300)
        assert (bus.connected, bus.generation) == (True, 1)


async def test_a_broker_that_dies_in_the_middle(mosquitto: Mosquitto) -> None:
    async with Broker(mosquitto.options) as bus, asyncio.timeout(20):
        generation = await bus.wait_connected()
        mosquitto.freeze()
        task = asyncio.create_task(bus.publish_many(messages(400)))
        await asyncio.sleep(0.1)
        await mosquitto.kill()
        with pytest.raises(BrokerUnreachableError):
            await task
        with pytest.raises(BrokerUnreachableError):
            await bus.publish_many(messages(3))
        await mosquitto.start()
        await bus.wait_connected(after=generation)
        assert await bus.publish_many(messages(3)) == [""] * 3


async def test_a_cancelled_one_leaves_the_connection_usable(mosquitto: Mosquitto) -> None:
    async with Broker(mosquitto.options) as bus:
        await bus.wait_connected()
        for _ in range(20):
            task = asyncio.create_task(bus.publish_many(messages(100)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        async with asyncio.timeout(10):
            assert await bus.publish_many(messages(100)) == [""] * 100
            await bus.publish("t", b"x")
