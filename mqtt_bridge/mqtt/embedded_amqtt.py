"""amqtt inside this process, for machines without mosquitto: MQTT 3.1.1, loopback only, every user may do everything.

amqtt 0.12 has faults that matter here; each override below says which one it is for. The broker has a thread and a loop
of its own, so that neither a busy bridge holds up other clients nor they the bridge.
"""

import asyncio
import base64
import hmac
import json
import logging
import math
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker, RetainedApplicationMessage
from amqtt.errors import AMQTTError
from amqtt.mqtt.connack import BAD_USERNAME_PASSWORD, ConnackPacket

from mqtt_bridge.errors import BrokerError
from mqtt_bridge.secret import Secret
from mqtt_bridge.statedir import private_dir, write_private

log = logging.getLogger(__name__)

CONNECT_WITHIN = 10.0  # seconds from the TCP connection to CONNECT
MAX_PACKET = 1 << 20  # bytes
SAVE_EVERY = 10.0  # seconds between saves of the retained messages, if they changed
STOP_WITHIN = 1.0
FORGET_SESSIONS = 24 * 3600  # seconds that an absent durable session is kept


class _Reader(StreamReaderAdapter):  # type: ignore[misc]
    """amqtt reads whatever length a packet claims; this one hangs up instead."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        super().__init__(reader)
        self.hang_up = writer.transport.abort

    async def read(self, n: int = -1) -> bytes:
        if n > MAX_PACKET:
            self.hang_up()
            raise ConnectionResetError("the packet is too large")
        data: bytes = await super().read(n)
        return data


class _Broker(Broker):  # type: ignore[misc]
    def __init__(self, port: int, host: str, users: Mapping[str, Secret], store: Path) -> None:
        listeners = {"default": {"type": "tcp", "bind": f"{host}:{port}"}}
        super().__init__({"listeners": listeners, "plugins": {}, "session_expiry_interval": FORGET_SESSIONS})
        self._users = users
        self._store = store
        self._unsaved = False

    async def stream_connected(self, reader: StreamReader, writer: StreamWriter, listener_name: str) -> None:
        with suppress(OSError):
            await self._client_connected(listener_name, _Reader(reader, writer), StreamWriterAdapter(writer))

    async def _initialize_client_session(
        self, reader: _Reader, writer: StreamWriterAdapter, remote_address: str, remote_port: int
    ) -> tuple[Any, Any]:
        """A socket that sends no CONNECT, or a client that stopped sending, would be held for ever.

        A login is checked here, because amqtt keeps the session of every refused one.
        """
        first = super()._initialize_client_session(reader, writer, remote_address, remote_port)
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                handler, session = await first
        except TimeoutError as error:
            reader.hang_up()
            raise AMQTTError("no CONNECT in time") from error
        except Exception:
            reader.hang_up()
            raise
        if not self._knows(session):
            await ConnackPacket.build(0, BAD_USERNAME_PASSWORD).to_stream(writer)
            await writer.close()
            raise AMQTTError("wrong user name or password")
        session.keep_alive = math.ceil(session.keep_alive * 1.5)
        handler.handle_read_timeout = reader.hang_up
        return handler, session

    def _knows(self, session: Any) -> bool:
        password = self._users.get(session.username or "")
        given = (session.password or "").encode()
        return password is not None and hmac.compare_digest(password.reveal().encode(), given)

    async def _authenticate(self, session: Any, _: Any) -> bool:
        return self._knows(session)

    async def _client_message_loop(self, client_session: Any, handler: Any) -> None:
        """At a goodbye, what was acknowledged but not yet passed on was lost (Python 3.12 and later): finish it."""
        arrived = client_session.delivered_message_queue
        deliver = asyncio.create_task(self._serve(arrived.get, self._handle_message_delivery, client_session, handler))
        tasks = [
            asyncio.create_task(self._serve(get, handle, client_session, handler))
            for get, handle in (
                (handler.get_next_pending_subscription, self._handle_subscription),
                (handler.get_next_pending_unsubscription, self._handle_unsubscription),
            )
        ]
        gone = asyncio.create_task(handler.wait_disconnect())
        try:
            await asyncio.wait([gone, deliver, *tasks], return_when=asyncio.FIRST_COMPLETED)
            arrived.put_nowait(None)
            await asyncio.wait([deliver])
        finally:
            for task in (deliver, *tasks):
                task.cancel()
            if not gone.done():
                await handler.handle_connection_closed()
            await asyncio.gather(deliver, gone, *tasks, return_exceptions=True)
        await self._handle_disconnect(client_session, handler, gone)

    async def _serve(
        self, get: Callable[[], Awaitable[Any]], handle: Callable[..., Awaitable[Any]], session: Any, handler: Any
    ) -> None:
        """Hand over one thing after the other; ends at None, and where amqtt wants the connection closed."""
        while (thing := await get()) is not None:
            ready = asyncio.get_running_loop().create_future()
            ready.set_result(thing)
            if await handle(session, handler, ready) is False:
                return

    async def _publish_retained_messages_for_subscription(self, subscription: tuple[str, int], session: Any) -> None:
        """Called for every subscription of anybody when a client connects; only its own SUBSCRIBE may count."""

    async def _handle_subscription(self, client_session: Any, handler: Any, subscribe_waiter: Any) -> None:
        await super()._handle_subscription(client_session, handler, subscribe_waiter)
        for topic_filter, qos in subscribe_waiter.result().topics:
            fitting = [m for topic, m in self._retained_messages.items() if self._matches(topic, topic_filter)]
            sent = (handler.mqtt_publish(m.topic, m.data, min(qos, m.qos or 0), retain=True) for m in fitting)
            await asyncio.gather(*sent, return_exceptions=True)

    async def add_subscription(self, subscription: tuple[str, int], session: Any) -> int:
        """The old QoS would stay when a client subscribes again."""
        self._del_subscription(subscription[0], session)
        granted: int = await super().add_subscription(subscription, session)
        return granted

    async def retain_message(
        self, source_session: Any, topic_name: str | None, data: bytes | bytearray | None, qos: int | None = None
    ) -> None:
        self._unsaved = True
        await super().retain_message(source_session, topic_name, data, qos)

    async def _start_listeners(self) -> None:
        """A restart forgets retained messages: here they are back before the first client is."""
        with suppress(FileNotFoundError):
            for topic, (qos, payload) in json.loads(self._store.read_text(encoding="utf-8")).items():
                data = base64.b64decode(payload)
                self._retained_messages[topic] = RetainedApplicationMessage(None, topic, data, qos)
        await super()._start_listeners()

    def save(self) -> None:
        if self._unsaved:
            self._unsaved = False
            kept = {t: (m.qos, base64.b64encode(m.data).decode()) for t, m in self._retained_messages.items()}
            write_private(self._store, json.dumps(kept))


class AmqttThread:
    """`async with` it: listening once entered; raises BrokerError."""

    def __init__(self, directory: Path, host: str, port: int, users: Mapping[str, Secret]) -> None:
        self._directory = directory
        self._host = host
        self._port = port
        self._users = users
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread: threading.Thread | None = None

    async def __aenter__(self) -> Self:
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(
                logging.CRITICAL
            )  # it reports every client's hiccup as an error of its own
        private_dir(self._directory)
        started: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), name="amqtt", daemon=True)
        self._thread.start()
        await asyncio.wrap_future(started)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread and self._loop and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            await asyncio.to_thread(self._thread.join, STOP_WITHIN + 0.5)

    async def _serve(self, started: Future[None]) -> None:
        started.set_running_or_notify_cancel()
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _loop, context: log.debug("amqtt: %s", context.get("message")))
        broker = _Broker(self._port, self._host, self._users, self._directory / "retained.json")
        try:
            await broker.start()
        except (AMQTTError, OSError, ValueError) as error:
            started.set_exception(BrokerError(f"amqtt could not be started at {self._host}:{self._port} ({error})."))
            return
        started.set_result(None)
        while not self._stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(SAVE_EVERY):
                    await self._stop.wait()
            broker.save()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN):
                await broker.shutdown()
