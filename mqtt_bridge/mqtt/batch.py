"""Publishes on their way over one connection: in order, no more at once than the broker takes, one wait for many.

The network thread takes them as packets and tells what was acknowledged, so that 200 of them wake the event loop once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

from mqtt_bridge.errors import BrokerError
from mqtt_bridge.mqtt.bus import Message

IN_FLIGHT = 20  # publishes without an acknowledgement, where a broker does not say how many it takes: most ask for so
MOST = 200  # the same, however many it takes
CHUNK = 1 << 16  # bytes after which packets are sent
FIRST_ID, LAST_ID = 1 << 10, (1 << 16) - 1  # message ids of publishes; paho counts its subscriptions from 1
REFUSED = 0x80  # reason codes from here on are failures
_LARGEST = (1 << 28) - (1 << 17)  # bytes of a payload: MQTT's limit, less a topic and properties
_TOPIC = (1 << 16) - 1


@dataclass(slots=True, eq=False)
class _Batch:
    messages: Sequence[Message]
    done: asyncio.Future[None]
    left: int
    sent: int = 0
    failures: dict[int, str] = field(default_factory=dict)


class Batches:
    """The publishes of one connection. `packets` and `acknowledge` are the network thread's, the rest the loop's."""

    def __init__(self, *, modern: bool, wake: Callable[[], None], reason: Callable[[int], str]) -> None:
        self.window = IN_FLIGHT
        self.most_under_way = 0
        self.open: set[_Batch] = set()  # somebody waits for these
        self._loop = asyncio.get_running_loop()
        self._modern, self._wake, self._reason = modern, wake, reason
        self._queue: deque[_Batch] = deque()
        self._waiting: dict[int, tuple[_Batch, int]] = {}
        self._last_id = LAST_ID
        self._settled = 0

    async def publish(self, messages: Sequence[Message], patience: float) -> list[str]:
        """For each message why it was refused, or "".

        Raises TimeoutError when for `patience` seconds the broker acknowledges nothing, BrokerError when the connection
        is lost, ValueError for what MQTT cannot carry.
        """
        for message in messages:
            _checked(message)
        batch = _Batch(messages, self._loop.create_future(), len(messages))
        if messages:
            await self._all(batch, patience)
        return [batch.failures.get(index, "") for index in range(len(messages))]

    async def _all(self, batch: _Batch, patience: float) -> None:
        self.open.add(batch)
        self._queue.append(batch)
        self._wake()
        try:
            while not batch.done.done():
                before = self._settled
                await asyncio.wait((batch.done,), timeout=patience)
                if self._settled == before and not batch.done.done():
                    raise TimeoutError
            batch.done.result()
        finally:
            self.open.discard(batch)
            batch.done.cancel()  # of one that is given up nothing more is sent; what is under way still counts

    def lost(self, error: BrokerError) -> None:
        """The connection is gone: nothing more will be acknowledged."""
        for batch in self.open:
            if not batch.done.done():
                batch.done.set_exception(error)

    # --- the network thread ------------------------------------------------------------------------------------------

    def packets(self) -> bytes:
        """What may be sent now; empty when nothing waits, or enough is under way."""
        chunk: list[bytes] = []
        size, queue = 0, self._queue
        while queue and size < CHUNK and len(self._waiting) < self.window:
            batch = queue[0]
            if batch.done.done():
                queue.popleft()
                continue
            index, batch.sent = batch.sent, batch.sent + 1
            if batch.sent == len(batch.messages):
                queue.popleft()
            chunk.append(self._packet(batch, index))
            size += len(chunk[-1])
        self.most_under_way = max(self.most_under_way, len(self._waiting))
        return b"".join(chunk)

    def _packet(self, batch: _Batch, index: int) -> bytes:
        message = batch.messages[index]
        if not message.qos:
            self._settle(batch)
            return packet(message, 0, modern=self._modern)
        message_id = self._last_id + 1 if self._last_id < LAST_ID else FIRST_ID
        while message_id in self._waiting:
            message_id = message_id + 1 if message_id < LAST_ID else FIRST_ID
        self._last_id = message_id
        self._waiting[message_id] = (batch, index)
        return packet(message, message_id, modern=self._modern)

    def acknowledge(self, message_id: int, code: int) -> None:
        """The broker has answered for one."""
        found = self._waiting.pop(message_id, None)
        if found is None:
            return
        batch, index = found
        if code >= REFUSED:
            batch.failures[index] = self._reason(code)
        self._settle(batch)

    def _settle(self, batch: _Batch) -> None:
        self._settled += 1
        batch.left -= 1
        if not batch.left:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(_finish, batch.done)


def packet(message: Message, message_id: int, *, modern: bool) -> bytes:
    """A PUBLISH of MQTT 5 (`modern`) or 3.1.1."""
    topic, payload = _topic(message.topic), message.payload
    head = message_id.to_bytes(2, "big") if message.qos else b""
    if modern:
        head += _properties(message)
    kind = 0x30 | message.qos << 1 | message.retain
    return b"".join((bytes((kind,)), _length(len(topic) + len(head) + len(payload)), topic, head, payload))


def _properties(message: Message) -> bytes:
    """Of MQTT 5, with their length before them."""
    found, data = b"", message.correlation_data
    if message.expiry is not None:
        found += b"\x02" + message.expiry.to_bytes(4, "big")
    if data is not None:
        found += b"\x09" + len(data).to_bytes(2, "big") + data
    return _length(len(found)) + found


@lru_cache(4096)
def _length(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    if number < 0x80:  # noqa: PLR2004 -- what one byte holds
        return bytes((number,))
    return bytes((number & 0x7F | 0x80,)) + _length(number >> 7)


@lru_cache(4096)
def _topic(topic: str) -> bytes:
    """With its length before it. Raises ValueError for what is no topic to publish to."""
    encoded = topic.encode()
    if not encoded or len(encoded) > _TOPIC or "+" in topic or "#" in topic:
        raise ValueError("a topic to publish to has 1 to 65 535 bytes and no wildcards")
    return len(encoded).to_bytes(2, "big") + encoded


def _checked(message: Message) -> None:
    _topic(message.topic)
    if len(message.payload) > _LARGEST or len(message.correlation_data or b"") > _TOPIC:
        raise ValueError("a payload is at most 256 MiB, correlation data 64 KiB")


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
