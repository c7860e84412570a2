"""Syslog over TCP: connections with limits. Reading stops while the backlog is full, which slows the senders down."""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from mqtt_bridge.listeners.places import Places, Seat
from mqtt_bridge.listeners.sources import Sources
from mqtt_bridge.listeners.syslog_backlog import Backlog, Message
from mqtt_bridge.listeners.syslog_frames import Frame, Framer

SETTLED = 60.0  # seconds that a connection which has brought a message may be silent while others want its place


@dataclass(frozen=True)
class Limits:
    """Numbers of connections; seconds without any message (rsyslog keeps its connection), and within one message."""

    connections: int = 256
    per_source: int = 32
    idle: float = 3600
    unfinished: float = 30


class Streams:
    """`async with` it: serves listening sockets. `reject(reason, count)` is told of what was refused."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        sources: Sources,
        backlog: Backlog,
        reject: Callable[[str, int], None],
        limits: Limits | None = None,
    ) -> None:
        self.reject = reject
        self.limits = limits or Limits()
        self._sockets = sockets
        self._sources = sources
        self._backlog = backlog
        self._servers: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()
        self._places = Places(self.limits.connections, self.limits.per_source)
        self._sweep: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for each in self._sockets:
            self._servers.append(await loop.create_server(lambda: _Connection(self), sock=each))
        self._backlog.on_room.append(self._resume)
        self._sweeping()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sweep:
            self._sweep.cancel()
        self._backlog.on_room.remove(self._resume)
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.close()

    def __len__(self) -> int:
        return len(self._connections)

    def admit(self, connection: "_Connection", sender: str) -> Seat | None:
        """Its place; None, and counted, when it may not stay."""
        reason = self._places.find(sender) if self._sources.allows(sender) else "source not allowed"
        if reason:
            self.reject(reason, 1)
            return None
        seat = Seat(sender, lambda: self._oust(connection))
        self._places.seat(seat)
        self._connections.add(connection)
        return seat

    def leave(self, connection: "_Connection", seat: Seat) -> None:
        self._connections.discard(connection)
        self._places.leave(seat)

    def _oust(self, connection: "_Connection") -> None:
        self.reject("too many connections", 1)
        connection.close()

    def take(self, frames: Sequence[Frame], sender: str) -> None:
        """When that fills the backlog, no connection is read until there is room."""
        now = time.time()
        self._backlog.put(Message(text, sender, "tcp", now, cut) for text, cut in frames)
        if self._backlog.full:
            for connection in self._connections:
                connection.pause()

    def _resume(self) -> None:
        for connection in self._connections:
            connection.resume()

    def _sweeping(self) -> None:
        loop = asyncio.get_running_loop()
        for connection in list(self._connections):
            connection.look(loop.time())
        every = min(5.0, self.limits.unfinished / 4, self.limits.idle / 4)
        self._sweep = loop.call_later(every, self._sweeping)


class _Connection(asyncio.Protocol):
    """One sender."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._framer = Framer()
        self._clock = asyncio.get_running_loop().time
        self._transport: asyncio.Transport | None = None  # None: not admitted, or gone
        self._seat: Seat | None = None
        self._sender = ""
        self._heard = self._begun = self._clock()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- that is what servers of streams make
        peer = transport.get_extra_info("peername")
        self._sender = str(peer[0]) if peer else ""
        self._seat = self._streams.admit(self, self._sender)
        if self._seat is None:
            transport.abort()
            return
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._streams.take((), self._sender)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._seat is None:
            return
        self._heard = self._clock()
        was = self._framer.unfinished
        frames = self._framer.feed(data)
        if frames or not was:
            self._begun = self._heard
        if frames:
            self._seat.rank, self._seat.grace = 1, SETTLED
            self._seat.heard()
        self._streams.take(frames, self._sender)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # a connection that breaks ends a message as one that is closed
        self._finish()

    def pause(self) -> None:
        if self._transport and self._transport.is_reading():
            self._transport.pause_reading()

    def resume(self) -> None:
        """There is room again; the time that we did not listen is not the sender's."""
        if self._transport and not self._transport.is_closing():
            self._heard = self._begun = self._clock()
            self._transport.resume_reading()

    def look(self, now: float) -> None:
        """Close a connection that says nothing, or never comes to the end of its message."""
        if self._transport is None or not self._transport.is_reading():
            return
        if self._framer.unfinished and now - self._begun > self._streams.limits.unfinished:
            self._streams.reject("unfinished message", 1)
            self.close()
        elif now - self._heard > self._streams.limits.idle:
            self.close()

    def close(self) -> None:
        """Take what there is of an unfinished message, and end it."""
        if self._transport:
            self._transport.abort()
        self._finish()

    def _finish(self) -> None:
        if self._transport is None or self._seat is None:
            return
        self._transport = None
        self._streams.leave(self, self._seat)
        self._streams.take(self._framer.end(), self._sender)
