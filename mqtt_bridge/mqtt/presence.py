"""What a process says of itself on MQTT: `bridge/<name>/state` with a last will, and `bridge/<name>/info`."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from mqtt_bridge.errors import BrokerError
from mqtt_bridge.model import BridgeInfo
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions, Will
from mqtt_bridge.retained import Retained
from mqtt_bridge.topics import Topics

EVERY = 2.0  # seconds between two looks at what there is to say
GOODBYE = 1.5  # seconds for the last publish, `offline`


class Presence:
    """`async with` it, and `run` it supervised. `info` is asked every few seconds; only what changed is published."""

    def __init__(self, options: BrokerOptions, names: Topics, name: str, info: Callable[[], BridgeInfo]) -> None:
        self._name = name
        self._info = info
        self._retained = Retained(names)
        will = Will(names.build("bridge_state", bridge=name), b"offline")
        self._broker = Broker(options, role="presence", will=will)

    async def __aenter__(self) -> Self:
        await self._broker.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A clean goodbye sends no will, so it is said."""
        topic = self._retained.names.build("bridge_state", bridge=self._name)
        if self._broker.connected:
            with suppress(TimeoutError, BrokerError):
                async with asyncio.timeout(GOODBYE):
                    await self._broker.publish(topic, b"offline", retain=True)
        await self._broker.__aexit__(kind, error, trace)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._retained.feed(self._broker))
            group.create_task(self._tell())

    async def _tell(self) -> None:
        while True:
            self._retained.put("bridge_state", "online", bridge=self._name)
            self._retained.put("bridge_info", self._info(), bridge=self._name)
            await asyncio.sleep(EVERY)
