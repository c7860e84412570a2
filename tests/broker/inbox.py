"""Collects what a bus delivers, and waits for it."""

import asyncio
from collections.abc import Callable, Sequence

from mqtt_bridge.mqtt.bus import Message


class Inbox:
    """Give `put` to a bus."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.batches = 0

    def put(self, messages: Sequence[Message]) -> None:
        self.messages += messages
        self.batches += 1

    @property
    def topics(self) -> list[str]:
        return [message.topic for message in self.messages]

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages]

    async def has(self, count: int, within: float = 15.0) -> list[Message]:
        """Wait for at least `count` messages, then a moment longer for one too many."""
        await until(lambda: len(self.messages) >= count, within)
        await asyncio.sleep(0.1)
        return self.messages


async def until(condition: Callable[[], bool], within: float = 15.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)
