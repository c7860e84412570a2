"""MQTT inside one process, without a broker: the interface of `bus`, for a mirror beside its own bridge."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from mqtt_bridge.mqtt.bus import Message, OnMessages

_NOT_IN_TOPICS = frozenset("+#\0")


@dataclass(frozen=True)
class _Subscription:
    qos: int
    retain_as_published: bool
    no_local: bool


def matches(topic_filter: str, topic: str) -> bool:
    """MQTT's rule: `+` is one level, `#` the level itself and all below, and neither begins into a `$` topic."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in {"+", "#"}:
        return False
    for i, level in enumerate(wanted):
        if level == "#":
            return True
        if i >= len(levels) or level not in {"+", levels[i]}:
            return False
    return len(wanted) == len(levels)


class Loopback:
    """The hub: keeps retained messages and hands out connections. It lives on one event loop and is not a thread's."""

    def __init__(self) -> None:
        self.retained: dict[str, Message] = {}
        self._clients: dict[LoopbackClient, None] = {}

    def client(self, on_messages: OnMessages | None = None) -> "LoopbackClient":
        return LoopbackClient(self, on_messages)

    def join(self, client: "LoopbackClient") -> None:
        self._clients[client] = None

    def leave(self, client: "LoopbackClient") -> None:
        self._clients.pop(client, None)

    def accept(self, sender: "LoopbackClient", message: Message) -> None:
        """Store what is retained (an empty payload clears) and pass the message to whoever subscribed."""
        if message.retain and message.payload:
            self.retained[message.topic] = message
        elif message.retain:
            self.retained.pop(message.topic, None)
        for client in self._clients:
            client.offer(message, own=client is sender)


class LoopbackClient:
    """A bus.Bus that is always connected, in generation 1. Batches arrive in the loop's next turn."""

    def __init__(self, hub: Loopback, on_messages: OnMessages | None) -> None:
        self._hub = hub
        self._on_messages = on_messages
        self._subscriptions: dict[str, _Subscription] = {}
        self._inbox: deque[Message] = deque()
        self._handle: asyncio.Handle | None = None

    async def __aenter__(self) -> Self:
        self._hub.join(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hub.leave(self)
        if self._handle:
            self._handle.cancel()

    @property
    def connected(self) -> bool:
        return True

    @property
    def generation(self) -> int:
        return 1

    async def wait_connected(self, after: int = 0) -> int:
        if after >= 1:
            await _never()
        return 1

    async def wait_disconnected(self, generation: int) -> None:
        if generation >= 1:
            await _never()

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, correlation_data: bytes | None = None
    ) -> None:
        await self.publish_many([Message(topic, payload, qos, retain, None, correlation_data)])

    async def publish_many(self, messages: Sequence[Message]) -> Sequence[str]:
        for message in messages:
            if not message.topic or not _NOT_IN_TOPICS.isdisjoint(message.topic):
                raise ValueError(f"{message.topic!r} is not a topic to publish to")
            self._hub.accept(self, message)
        await asyncio.sleep(0)  # a burst must not starve its readers
        return [""] * len(messages)

    async def subscribe(
        self,
        filters: Sequence[str],
        *,
        qos: int = 0,
        retain_handling: int = 0,
        retain_as_published: bool = False,
        no_local: bool = False,
    ) -> None:
        for topic_filter in filters:
            known = topic_filter in self._subscriptions
            self._subscriptions[topic_filter] = _Subscription(qos, retain_as_published, no_local)
            if retain_handling == 0 or (retain_handling == 1 and not known):
                self._replay(topic_filter, qos)

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        for topic_filter in filters:
            self._subscriptions.pop(topic_filter, None)

    def offer(self, message: Message, *, own: bool) -> None:
        """One delivery however many filters match, with the retain flag as MQTT has it for a live message."""
        fitting = [s for f, s in self._subscriptions.items() if matches(f, message.topic) and not (own and s.no_local)]
        if fitting:
            retain = message.retain and any(s.retain_as_published for s in fitting)
            self._deliver(replace(message, qos=min(message.qos, max(s.qos for s in fitting)), retain=retain))

    def _replay(self, topic_filter: str, qos: int) -> None:
        for message in self._hub.retained.values():
            if matches(topic_filter, message.topic):
                self._deliver(replace(message, qos=min(message.qos, qos)))

    def _deliver(self, message: Message) -> None:
        self._inbox.append(message)
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._handle = None
        batch = list(self._inbox)
        self._inbox.clear()
        if self._on_messages:
            self._on_messages(batch)


async def _never() -> None:
    await asyncio.get_running_loop().create_future()
