"""A bus on an MQTT broker: it connects by itself, says why it cannot, and connects again after each loss."""

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from mqtt_bridge.errors import BrokerError, BrokerRefusedError
from mqtt_bridge.mqtt import reasons as broker_reasons
from mqtt_bridge.mqtt.bus import Message, OnMessages
from mqtt_bridge.mqtt.link import Link, gone
from mqtt_bridge.mqtt.options import BrokerOptions, Session, Version, Will

log = logging.getLogger(__name__)

__all__ = ["Broker", "BrokerOptions", "Session", "Will"]

STEADY = 10.0  # seconds that a connection must have lived to count as a good one
TOO_LARGE = "Packet too large"
_HEADERS = 64  # bytes of a PUBLISH beside topic and payload, generously
_TRY_OLDER = {broker_reasons.WRONG_VERSION, broker_reasons.NO_ANSWER}


class Broker:
    """A bus.Bus on a broker: `async with` it; it connects by itself, and again after each loss.

    `reason` says in a sentence why it is not connected. `dropped` counts messages that were larger than `max_packet`
    (bytes) or not valid; an MQTT 5 broker withholds oversized ones itself, uncounted. With a `session` it is a
    bus.DurableBus.
    """

    def __init__(
        self,
        options: BrokerOptions,
        on_messages: OnMessages | None = None,
        *,
        role: str = "client",
        will: Will | None = None,
        max_packet: int = 1 << 20,
        session: Session | None = None,
    ) -> None:
        self.options = options
        self.failure: BrokerError | None = None
        self._on_messages = on_messages
        self._will = will
        self._max_packet = max_packet
        self._session = session
        self._client_id = (
            session.client_id if session else f"{options.client_id or f'proxmox-mcp-{role}'}-{secrets.token_hex(4)}"
        )
        self._versions: tuple[Version, ...] = ("5", "3.1.1") if options.protocol == "auto" else (options.protocol,)
        self._link: Link | None = None
        self._generation = 0
        self._dropped = 0
        self._role = role
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"mqtt {self._client_id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def connected(self) -> bool:
        return self._link is not None

    @property
    def generation(self) -> int:
        return self._generation

    @property
    def reason(self) -> str | None:
        if self.connected:
            return None
        return str(self.failure) if self.failure else f"Connecting to the MQTT broker at {self.options.address}."

    @property
    def protocol(self) -> Version | None:
        """The version in use; None without a connection."""
        return self._link.version if self._link else None

    @property
    def dropped(self) -> int:
        return self._dropped + (self._link.dropped if self._link else 0)

    async def wait_connected(self, after: int = 0) -> int:
        await self._until(lambda: self.connected and self._generation > after)
        return self._generation

    async def wait_disconnected(self, generation: int) -> None:
        await self._until(lambda: not self.connected or self._generation > generation)

    async def first_attempt(self) -> None:
        """Wait for a connection, but no longer than until an attempt has failed: then raise why."""
        await self._until(lambda: self.connected or self.failure is not None)
        if not self.connected and self.failure:
            raise self.failure

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, correlation_data: bytes | None = None
    ) -> None:
        message = Message(topic, payload, qos, retain, correlation_data=correlation_data)
        (failure,) = await self.publish_many([message])
        if failure:
            raise BrokerRefusedError(
                f"The MQTT broker refused the publish to {topic} ({failure}).",
                cure="Give the user of MQTT_USERNAME the right to write there (the broker's ACL).",
                reason=failure,
            )

    async def publish_many(self, messages: Sequence[Message]) -> Sequence[str]:
        link = self._connected_link()
        large = {i for i, m in enumerate(messages) if _too_large(link, m.topic, m.payload)}
        sent = await link.publish_many([m for i, m in enumerate(messages) if i not in large] if large else messages)
        reasons = iter(sent)
        return [TOO_LARGE if i in large else next(reasons) for i in range(len(messages))] if large else sent

    async def subscribe(
        self,
        filters: Sequence[str],
        *,
        qos: int = 0,
        retain_handling: int = 0,
        retain_as_published: bool = False,
        no_local: bool = False,
    ) -> None:
        failures = await self._connected_link().subscribe(
            filters,
            qos,
            retain_handling=retain_handling,
            retain_as_published=retain_as_published,
            no_local=no_local,
        )
        refused = [(f, reason) for f, reason in zip(filters, failures, strict=False) if reason]
        if refused:
            raise BrokerRefusedError(
                f"The MQTT broker refused the subscription to {', '.join(f for f, _ in refused)} ({refused[0][1]}).",
                cure="Give the user of MQTT_USERNAME the right to read there (the broker's ACL).",
                reason=refused[0][1],
            )

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        await self._connected_link().unsubscribe(filters)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Of a durable session: these are written down, and need not come again."""
        if self._link is not None:
            self._link.acknowledge(messages)

    def _connected_link(self) -> Link:
        if self._link is None:
            raise gone(self.failure)
        return self._link

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        delays, told = _delays(), ""
        while True:
            started = clock()
            await self._connect_and_stay()
            if self.failure and str(self.failure) != told:
                told = str(self.failure)  # once, however often it is tried
                log.warning("MQTT (%s): %s", self._role, told)
            if clock() - started > STEADY:
                delays, told = _delays(), ""
            await asyncio.sleep(next(delays))

    async def _connect_and_stay(self) -> None:
        """Try each version of MQTT; stay as long as the connection of the first that works lives."""
        silent = False
        for version in self._versions:
            link = Link(self.options, version, self._client_id, self._will, self._max_packet, session=self._session)
            link.on_messages = self._on_messages
            link.start()
            try:
                error = await asyncio.shield(link.opened)
                if error is None:
                    if silent:  # it answers the older one only: the next time, do not wait for it again
                        self._versions = (version,)
                    self._up(link)
                    self.failure = await asyncio.shield(link.closed)
            finally:
                self._down(link)
                await link.close()
            if error is None:
                return
            reason = error.reason if isinstance(error, BrokerRefusedError) else ""
            if reason == broker_reasons.WRONG_VERSION and version == "5":
                self._versions = self._versions[-1:]
            silent = isinstance(error, broker_reasons.SilentBrokerError)
            if reason not in _TRY_OLDER and not silent:
                break
        self.failure = error
        self._change()

    def _up(self, link: Link) -> None:
        self._link = link
        self._generation += 1
        log.info("MQTT (%s): connected to %s, MQTT %s", self._role, self.options.address, link.version)
        self.failure = None
        self._change()

    def _down(self, link: Link) -> None:
        self._dropped += link.dropped
        if self._link is link:
            self._link = None
            self._change()


def _too_large(link: Link, topic: str, payload: bytes) -> bool:
    """An MQTT 5 broker says what it takes, and hangs up on more."""
    return link.max_outgoing is not None and len(topic.encode()) + len(payload) + _HEADERS > link.max_outgoing


def _delays() -> Iterator[float]:
    """Seconds before the next attempts: quick at first, at most half a minute, never in step with other clients."""
    dice = random.SystemRandom()
    delay = 0.1
    while True:
        yield delay * dice.uniform(0.5, 1)
        delay = min(30.0, delay * 2)
