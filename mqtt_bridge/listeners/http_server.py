"""An HTTP server for what strangers can reach: one request a connection, bounded in number and time.

aiohttp alone waits for ever for the head of a request, and takes connections until no files are left. So connections
are accepted here. When all places are taken, who is silent makes room (`places`); those who wait meanwhile get their
turn by what their source has already, so that a crowd from one address does not stand before the others.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from mqtt_bridge.listeners.places import Places, Seat

log = logging.getLogger(__name__)

BACKLOG = 1024  # connections that wait in the kernel
GRACE = 1.0  # seconds that a silent connection may keep its place while others wait
WAITING = 256  # accepted connections that wait for a place; further ones wait in the kernel
LOOK = 0.02  # seconds between two looks for a place while somebody waits
_NO_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Handler = Callable[[web.BaseRequest], Awaitable[web.Response]]
Reject = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """Times are seconds."""

    connections: int = 200
    head: float = 5.0  # until the head of the request is there, the TLS handshake included
    body: float = 10.0  # for reading the body
    life: float = 30.0  # of a connection, whatever it does


@dataclass(eq=False, slots=True)
class _Connection:
    peer: socket.socket
    seat: Seat | None = None
    task: asyncio.Task[None] | None = None
    transport: asyncio.BaseTransport | None = None
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    begun: bool = False
    served: bool = False

    @property
    def busy(self) -> bool:
        return self.seat is not None and self.seat.busy

    def occupy(self, busy: bool) -> None:
        """Whether we are at work for it."""
        if self.seat:
            self.seat.busy = busy

    def abort(self) -> None:
        """Close it without another word; before the TLS handshake is done there is only its task."""
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()
        elif self.task:
            self.task.cancel()
            if not self.begun:  # a task that never ran closes nothing
                self.peer.close()


class _Protocols(web.Server):
    """Makes aiohttp's protocol for each connection, and hears when one is over."""

    on_lost: Callable[[Any], None]

    def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.on_lost(handler)


class HttpServer:
    """`async with` it, then `await serve()`. `reject` counts connections that brought no request."""

    def __init__(
        self,
        handler: Handler,
        host: str,
        port: int,
        *,
        reject: Reject,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._handler = handler
        self._host, self._port = host, port
        self._reject = reject
        self._tls = tls
        self._sockets: list[socket.socket] = []
        self._open: dict[_Connection, None] = {}
        self._places = Places(self.limits.connections)
        self._waiting: deque[tuple[socket.socket, str]] = deque()
        self._by_protocol: dict[Any, _Connection] = {}
        self._protocols: _Protocols

    async def __aenter__(self) -> Self:
        """Listen; raises OSError."""
        self._protocols = _Protocols(
            self._handle, access_log=None, logger=_quiet(), lingering_time=1.0, auto_decompress=False
        )
        self._protocols.on_lost = self._lost
        try:
            await self._listen()
        except OSError:
            self._close_sockets()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_sockets()
        for connection in list(self._open):
            if not connection.busy:
                connection.abort()
        await self._protocols.shutdown(1.0)
        for connection in list(self._open):
            connection.abort()
            self._forget(connection)

    @property
    def port(self) -> int:
        """The port that is listened on, also where 0 was asked for."""
        return int(self._sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        return len(self._open)

    async def serve(self) -> None:
        """Accept until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look())
            for listening in self._sockets:
                group.create_task(self._accept(listening))

    async def _listen(self) -> None:
        found = await asyncio.get_running_loop().getaddrinfo(
            self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, proto, _, address in dict.fromkeys(found):
            listening = socket.socket(family, kind, proto)
            self._sockets.append(listening)
            listening.setblocking(False)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            listening.listen(BACKLOG)

    def _close_sockets(self) -> None:
        for listening in self._sockets:
            listening.close()
        while self._waiting:
            self._waiting.pop()[0].close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while len(self._waiting) >= WAITING:  # noqa: ASYNC110 -- bounded by LOOK, and rare
                await asyncio.sleep(LOOK)
            try:
                peer, address = await loop.sock_accept(listening)
            except OSError as error:  # the peer is gone already, or there are no files left
                await asyncio.sleep(0.5 if error.errno in _NO_FILES else 0)
                continue
            self._waiting.append((peer, str(address[0])))
            self._admit()

    async def _look(self) -> None:
        """Places also become free by time alone."""
        while True:
            await asyncio.sleep(LOOK)
            self._admit()

    def _admit(self) -> None:
        """Who waits, as long as there are places: whose source has fewest, of those the first."""
        while self._waiting:
            peer, source = min(self._waiting, key=lambda one: self._places.held(one[1]))
            if self._places.find(source):
                return
            self._waiting.remove((peer, source))
            connection = _Connection(peer)
            connection.seat = Seat(source, lambda it=connection: self._drop(it, "too many connections"), grace=GRACE)  # type: ignore[misc]
            self._places.seat(connection.seat)
            self._open[connection] = None
            connection.task = asyncio.create_task(self._take(connection))

    async def _take(self, connection: _Connection) -> None:
        connection.begun = True
        loop = asyncio.get_running_loop()
        limits = self.limits
        connection.timers = [
            loop.call_later(limits.head, self._no_head, connection),
            loop.call_later(limits.life, connection.abort),
        ]
        protocol: Any = None

        def made() -> Any:
            nonlocal protocol
            protocol = self._protocols()
            self._by_protocol[protocol] = connection
            return protocol

        try:
            more = {"ssl_handshake_timeout": limits.head} if self._tls else {}
            connection.transport, _ = await loop.connect_accepted_socket(made, connection.peer, ssl=self._tls, **more)
        except OSError:  # the TLS handshake failed; TimeoutError is one
            self._reject("no TLS")
        finally:
            if connection.transport is None:
                if protocol is None:  # else its transport owns the socket
                    connection.peer.close()
                self._by_protocol.pop(protocol, None)
                self._forget(connection)

    def _no_head(self, connection: _Connection) -> None:
        if not connection.served:
            self._drop(connection, "no request in time")

    def _drop(self, connection: _Connection, reason: str) -> None:
        """Its place is free at once, also where the transport takes its time to end."""
        self._reject(reason)
        connection.served = True
        self._forget(connection)
        connection.abort()

    def _lost(self, protocol: Any) -> None:
        connection = self._by_protocol.pop(protocol, None)
        if connection is None:
            return
        if not connection.served:
            self._reject("no request")
        self._forget(connection)

    def _forget(self, connection: _Connection) -> None:
        self._open.pop(connection, None)
        if connection.seat:
            self._places.leave(connection.seat)
        for timer in connection.timers:
            timer.cancel()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = self._by_protocol.get(request.protocol)
        if connection:
            connection.served = True
            connection.occupy(True)
        try:
            response = await self._handler(request)
        except ConnectionError:  # the sender went away
            raise
        except Exception:
            log.exception("A request failed")
            response = web.Response(status=500)
        response.force_close()
        return response

    def idle(self, request: web.BaseRequest) -> None:
        """Count the connection of `request` among the silent ones again: its answer is held back on purpose."""
        connection = self._by_protocol.get(request.protocol)
        if connection:
            connection.occupy(False)


def _quiet() -> logging.Logger:
    """For aiohttp: it logs what senders did wrong with all that they sent, tokens too."""
    quiet = logging.getLogger(f"{__name__}.aiohttp")
    quiet.setLevel(logging.CRITICAL + 1)
    return quiet
