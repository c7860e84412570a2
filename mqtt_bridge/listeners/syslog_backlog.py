"""What was read and is not yet committed: bounded by number and bytes, so that readers stop before it grows."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

MESSAGES = 20_000
BYTES = 16 * 1024 * 1024
_OVERHEAD = 250  # bytes of a message beside its text


class Message(NamedTuple):
    """One message as it came: `at` is when we read it, in Unix seconds."""

    text: bytes
    sender: str
    transport: str
    at: float
    cut: bool


class Backlog:
    """First in, first out. It is full by its own opinion: what was read is taken all the same, never dropped."""

    def __init__(self, messages: int = MESSAGES, size: int = BYTES) -> None:
        self.total = 0  # messages ever put
        self.on_room: list[Callable[[], None]] = []  # called when half of it is free again after it was full
        self._limits = (messages, size)
        self._waiting: deque[Message] = deque()
        self._size = 0
        self._full = False
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        return self._full

    def put(self, messages: Iterable[Message]) -> None:
        """Readers that see `full` afterwards stop, and wait for `on_room`."""
        for message in messages:
            self._waiting.append(message)
            self._size += len(message.text) + _OVERHEAD
            self.total += 1
        self._full = self._full or len(self._waiting) >= self._limits[0] or self._size >= self._limits[1]
        if self._waiting:
            self._some.set()

    def take(self, most: int) -> list[Message]:
        """Up to so many, oldest first."""
        taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        self._size -= sum(len(message.text) + _OVERHEAD for message in taken)
        if not self._waiting:
            self._some.clear()
        if self._full and len(self._waiting) <= self._limits[0] // 2 and self._size <= self._limits[1] // 2:
            self._full = False
            for tell in self.on_room:
                tell()
        return taken

    def nudge(self) -> None:
        """Wake who waits for `some`, although there may be nothing."""
        self._some.set()

    async def some(self, within: float) -> None:
        """Until there is something, so many seconds have passed, or a nudge."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._some.wait()
        if not self._waiting:
            self._some.clear()
