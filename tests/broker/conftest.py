"""A real Mosquitto, and the five kinds of bus that must behave alike."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.bus import Bus, OnMessages
from mqtt_bridge.mqtt.embedded import EmbeddedBroker
from mqtt_bridge.mqtt.loopback import Loopback
from tests.support.mosquitto import Mosquitto

Connect = Callable[[OnMessages | None], AbstractAsyncContextManager[Bus]]
KINDS = ("mosquitto 5", "mosquitto 3.1.1", "child", "amqtt", "loopback")


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


@dataclass
class Hub:
    """One kind of bus: `connect` opens a connection to what all of a test's connections share."""

    kind: str
    connect: Connect


@pytest.fixture(params=KINDS)
async def hub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hub]:
    kind: str = request.param
    if kind == "loopback":
        loopback = Loopback()
        yield Hub(kind, loopback.client)
        return
    async with AsyncExitStack() as stack:
        options = await _options(kind, tmp_path, stack)
        yield Hub(kind, lambda on_messages: Broker(options, on_messages))


async def _options(kind: str, path: Path, stack: AsyncExitStack) -> BrokerOptions:
    if kind == "child":
        return await stack.enter_async_context(EmbeddedBroker(path, port=0, prefer="mosquitto"))
    if kind == "amqtt":
        return await stack.enter_async_context(EmbeddedBroker(path, port=0, prefer="amqtt"))
    broker = await stack.enter_async_context(Mosquitto(path))
    return replace(broker.options, protocol="5" if kind.endswith("5") else "3.1.1")
