"""The only paho user: one connection to an MQTT broker, from CONNECT to its loss, with a network thread of its own.

paho has the connection: login, will, keep-alive, subscriptions, what is received. What is published is written and
counted by `broker_batch`, between paho's packets (`broker_wire`).

paho's own reconnect is not used. Each connection is a fresh client, so that nothing of a lost one (queued publishes,
message ids) reaches the next, and the asyncio side alone (`broker`) decides when to try again.
"""

import asyncio
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from mqtt_bridge.errors import BrokerError, BrokerUnreachableError
from mqtt_bridge.mqtt import reasons as broker_reasons
from mqtt_bridge.mqtt.batch import IN_FLIGHT, MOST, Batches
from mqtt_bridge.mqtt.bus import Message, OnMessages
from mqtt_bridge.mqtt.options import BrokerOptions, Session, Version, Will, tls_context
from mqtt_bridge.mqtt.wire import Wire

READ = 1 << 12  # bytes of wake-up calls taken at once
BURST = 200  # packets read before the event loop is told
UNREAD = 20_000  # messages between the network thread and the loop before the thread stops reading
GOODBYE = 1.0  # seconds that a broker gets to take our DISCONNECT
# Mosquitto drops what exceeds a client's queue, acknowledgements too: one that has not come by then never will
GRANTED = 5.0  # seconds for subscriptions, which hold all the same
PUBLISHED = 30.0  # seconds without any for publishes: then everything is sent again, over a new connection
LOOK = 1.0  # seconds between two looks whether the connection lives


Transport = Literal["tcp", "websockets"]


@dataclass(frozen=True, slots=True)
class _Ack:
    """An acknowledgement: per item the reason code's name if it is a failure, else empty."""

    mid: int
    failures: tuple[str, ...]


class _Client(Client):
    """paho on a Wire; this is the one method of its inside that is relied on."""

    def __init__(
        self, version: Version, client_id: str, transport: Transport, batches: Batches, *, durable: bool
    ) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTv5 if version == "5" else MQTTv311,
            transport=transport,
            reconnect_on_failure=False,
            manual_ack=durable,
            clean_session=None if version == "5" else not durable,
        )
        self._batches = batches

    def _create_socket(self) -> Wire:  # type: ignore[override]
        inner = super()._create_socket()
        if isinstance(inner, socket.socket):  # else Nagle and the broker's delayed acknowledgements cost 40 ms
            inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Wire(inner, self._batches.acknowledge)


class Link:
    """One connection, never used twice. Callbacks run in its thread, everything else on the loop."""

    def __init__(
        self,
        options: BrokerOptions,
        version: Version,
        client_id: str,
        will: Will | None,
        max_packet: int,
        *,
        session: Session | None = None,
    ) -> None:
        self.version = version
        self.dropped = 0
        self.max_outgoing: int | None = None
        self.batches = Batches(modern=version == "5", wake=self._wake, reason=_failure)
        self._options = options
        self._max_packet = max_packet
        self._session = session
        self._loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[BrokerError | None] = self._loop.create_future()
        self.closed: asyncio.Future[BrokerError] = self._loop.create_future()
        self.on_messages: OnMessages | None = None
        self._pending: dict[int, asyncio.Future[tuple[str, ...]]] = {}
        self._inbox: deque[Message | _Ack] = deque()
        self._drain_planned = False
        self._drained = threading.Event()
        self._abandoned = threading.Event()
        self._accepted = False
        self._error: BrokerError | None = None
        self._client = self._new_client(client_id, will)
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        name = f"mqtt-{options.address}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _new_client(self, client_id: str, will: Will | None) -> Client:
        client = _Client(
            self.version, client_id, self._options.transport, self.batches, durable=self._session is not None
        )
        if self._options.username is not None:
            password = self._options.password
            client.username_pw_set(self._options.username, password.reveal() if password else None)
        if will:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_subscribe = lambda _c, _u, mid, codes, _p: self._inbox.append(_Ack(mid, _failures(codes)))
        client.on_unsubscribe = lambda _c, _u, mid, codes, _p: self._inbox.append(_Ack(mid, _failures(codes)))
        client.on_socket_register_write = _leave_writing_to_the_thread
        return client

    # --- the network thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._connect()
            if self._abandoned.is_set():
                self._client.disconnect()
            while wire := self.wire:
                self._turn(wire)
        except BrokerError as error:
            self._error = error
        except (OSError, ValueError) as error:
            self._error = broker_reasons.from_exception(self._options.address, error)
        finally:
            self._call(self._finish)

    def _turn(self, wire: Wire) -> None:
        """Read what is there, write what can be written. What is left unwritten after that waits for the socket."""
        client = self._client
        blocked: list[Wire | socket.socket] = [wire] if wire.unsent or client.want_write() else []
        either: list[Wire | socket.socket] = [wire, self._woken]
        seconds = 0 if wire.pending() else LOOK
        readable, _, _ = select.select(either, blocked, [], seconds)
        if self._woken in readable:
            self._woken.recv(READ)
        if wire in readable or not seconds:
            self._read(wire)
        if client.want_write():
            client.loop_write()
        wire.flush(self.batches.packets)
        client.loop_misc()

    def _read(self, wire: Wire) -> None:
        """Read what is there, and then wake the loop once."""
        self._client.loop_read()
        for _ in range(BURST):
            if not wire.ready:
                break
            self._client.loop_read()
        self._plan_drain()

    def _wake(self) -> None:
        """Have the network thread look what there is to write. For any thread."""
        with suppress(OSError):  # awake already, or gone
            self._waker.send(b"\0")

    @property
    def wire(self) -> Wire | None:
        """While it is connected."""
        wire = self._client.socket()
        return wire if isinstance(wire, Wire) else None

    def _connect(self) -> None:
        options = self._options
        if options.tls:
            self._client.tls_set_context(tls_context(options))
        if self.version == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = self._max_packet
            if self._session:
                properties.SessionExpiryInterval = self._session.expiry
            fresh = self._session is None
            self._client.connect(
                options.host, options.port, options.keepalive, clean_start=fresh, properties=properties
            )
        else:
            self._client.connect(options.host, options.port, options.keepalive)

    def _on_connect(
        self, _client: Client, _userdata: object, _flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._error = broker_reasons.refused(self._options.address, str(code))
            return
        self._accepted = True
        self.max_outgoing = getattr(properties, "MaximumPacketSize", None)
        self.batches.window = min(getattr(properties, "ReceiveMaximum", IN_FLIGHT), MOST)
        self._call(self._set_opened)

    def _on_disconnect(
        self, _client: Client, _userdata: object, flags: DisconnectFlags, code: ReasonCode, _p: Properties | None
    ) -> None:
        if self._error is not None or self._abandoned.is_set():
            return
        address, reason = self._options.address, str(code)
        if self._accepted:
            self._error = broker_reasons.lost(address, reason, by_broker=flags.is_disconnect_packet_from_server)
        elif reason == "Keep alive timeout":
            self._error = broker_reasons.silent(address)
        else:
            self._error = broker_reasons.refused(address, broker_reasons.NO_ANSWER)

    def _drop(self, message: MQTTMessage) -> None:
        """What is never handed on is acknowledged here: a broker stops after a number of open ones."""
        self.dropped += 1
        self._client.ack(message.mid, message.qos)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return self._drop(message)
        if len(message.payload) + len(topic) > self._max_packet:
            return self._drop(message)
        self._inbox.append(
            Message(
                topic,
                bytes(message.payload),
                message.qos,
                message.retain,
                getattr(message.properties, "ResponseTopic", None),
                getattr(message.properties, "CorrelationData", None),
                (self, message.mid) if self._session and message.qos else None,
            )
        )
        while len(self._inbox) > UNREAD and not self._abandoned.is_set():
            self._plan_drain()
            self._drained.clear()
            self._drained.wait(0.1)
        return None

    def _plan_drain(self) -> None:
        if self._inbox and not self._drain_planned:
            self._drain_planned = True
            self._call(self._drain)

    def _call(self, function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: an abandoned link that ended after it
            self._loop.call_soon_threadsafe(function)

    # --- the event loop ----------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        self._drain_planned = False
        batch: list[Message] = []
        while self._inbox:
            item = self._inbox.popleft()
            if isinstance(item, Message):
                batch.append(item)
            else:
                self._acknowledge(item)
        self._drained.set()
        if batch and self.on_messages:
            self.on_messages(batch)

    def _acknowledge(self, ack: _Ack) -> None:
        future = self._pending.get(ack.mid)
        if future is not None and not future.done():
            future.set_result(ack.failures)

    def _set_opened(self) -> None:
        if not self.opened.done():
            self.opened.set_result(None)

    def _finish(self) -> None:
        self._drain()
        error = self._error or broker_reasons.refused(self._options.address, broker_reasons.NO_ANSWER)
        if not self.opened.done():
            self.opened.set_result(error)
        if not self.closed.done():
            self.closed.set_result(error)
        for future in self._pending.values():
            if not future.done():
                future.set_exception(gone(error))
        self.batches.lost(gone(error))
        self._woken.close()
        self._waker.close()

    async def publish_many(self, messages: Sequence[Message]) -> list[str]:
        """For each message why it was refused, or ""."""
        if self.closed.done():
            raise gone(self._error)
        try:
            return await self.batches.publish(messages, PUBLISHED)
        except TimeoutError as error:
            self._error = broker_reasons.unacknowledged(self._options.address)
            self._disconnect()
            raise gone(self._error) from error

    async def subscribe(
        self, filters: Sequence[str], qos: int, *, retain_handling: int, retain_as_published: bool, no_local: bool
    ) -> tuple[str, ...]:
        if self.version == "5":
            options = SubscribeOptions(
                qos, noLocal=no_local, retainAsPublished=retain_as_published, retainHandling=retain_handling
            )
            return await self._granted(lambda: self._client.subscribe([(f, options) for f in filters])[1])
        return await self._granted(lambda: self._client.subscribe([(f, qos) for f in filters])[1])

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Of a durable session: these need not come again. What came over another connection is left out."""
        if self.closed.done():
            return
        for message in messages:
            if isinstance(message.ticket, tuple) and message.ticket[0] is self:
                self._client.ack(message.ticket[1], message.qos)
        self._wake()

    async def unsubscribe(self, filters: Sequence[str]) -> tuple[str, ...]:
        return await self._granted(lambda: self._client.unsubscribe(list(filters))[1])

    async def _granted(self, send: Callable[[], int | None]) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(GRANTED):
                return await self._acknowledged(send)
        except TimeoutError:
            return ()

    async def _acknowledged(self, send: Callable[[], int | None]) -> tuple[str, ...]:
        mid = None if self.closed.done() else send()
        if mid is None:
            raise gone(self._error)
        self._wake()
        future: asyncio.Future[tuple[str, ...]] = self._loop.create_future()
        self._pending[mid] = future
        try:
            return await future
        finally:
            self._pending.pop(mid, None)

    async def close(self) -> None:
        """Say goodbye, so that no will is sent; a broker that does not take it in time is left without."""
        self._abandoned.set()
        if not self.closed.done():
            self._disconnect()
            await asyncio.wait([self.closed], timeout=GOODBYE)
        if not self.closed.done():
            self._finish()
            if wire := self.wire:
                wire.close()

    def _disconnect(self) -> None:
        self._client.disconnect()
        self._wake()


def _failures(codes: Sequence[ReasonCode]) -> tuple[str, ...]:
    return tuple(str(code) if code.is_failure else "" for code in codes)


def _failure(code: int) -> str:
    """The name of the reason that a PUBACK tells."""
    try:
        return str(ReasonCode(PacketTypes.PUBACK, identifier=code))
    except KeyError:
        return f"reason code {code}"


def gone(error: BrokerError | None) -> BrokerUnreachableError:
    if error is None:
        return BrokerUnreachableError("There is no connection to the MQTT broker.", cure="It is tried again.")
    return BrokerUnreachableError(error.message, cure=error.cure)


def _leave_writing_to_the_thread(_client: Client, _userdata: object, _socket: object) -> None:
    """With this callback set, paho never writes to the socket in the caller's thread."""
