"""Many publishes with one wait for all of them: a task, a time-out and a turn of the loop for each cost more than it.

Acknowledgements are counted in the network thread, so that 500 of them wake the event loop once.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mqtt_bridge.bus import Message
from mqtt_bridge.errors import BrokerError


@dataclass(slots=True, eq=False)
class _Batch:
    done: asyncio.Future[None]
    failures: list[str]
    left: int


class Batches:
    """The batches under way on one connection. `acknowledge` may be called by any thread, the rest by the loop's."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[_Batch, int]] = {}

    async def publish(self, messages: Sequence[Message], send: Callable[[Message], int]) -> list[str]:
        """For each message why it was refused, or "". `send` gives the message id, and raises without a connection."""
        batch = _Batch(self._loop.create_future(), [""] * len(messages), len(messages))
        try:
            for index, message in enumerate(messages):
                self._waiting[send(message)] = (batch, index)
            if messages:
                await batch.done
        finally:
            self._forget(batch)
        return batch.failures

    def acknowledge(self, mid: int, failure: str) -> bool:
        """The broker has answered for one message; False: it belongs to no batch, or not yet."""
        with self._lock:
            found = self._waiting.pop(mid, None)
            if found is None:
                return False
            batch, index = found
            batch.failures[index] = failure
            batch.left -= 1
            last = not batch.left
        if last:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(_finish, batch.done, None)
        return True

    def lost(self, error: BrokerError) -> None:
        """The connection is gone: nothing more will be acknowledged."""
        with self._lock:
            batches = {batch for batch, _ in self._waiting.values()}
        for batch in batches:
            self._forget(batch)
            _finish(batch.done, error)

    def _forget(self, batch: _Batch) -> None:
        with self._lock:
            for mid in [mid for mid, (other, _) in self._waiting.items() if other is batch]:
                del self._waiting[mid]


def _finish(done: asyncio.Future[None], error: BrokerError | None) -> None:
    if done.done():
        return
    if error:
        done.set_exception(error)
    else:
        done.set_result(None)
