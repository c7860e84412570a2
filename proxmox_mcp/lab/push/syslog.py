"""Journals forwarded as rsyslog would: RFC 3164 lines over UDP, or over TCP with a newline after each."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from . import loopback
from .model import Emitted

if TYPE_CHECKING:
    from proxmox_mcp.lab.state import LogEntry

    from .outbox import Outbox

WAITING = 10_000
"""Lines kept while the receiver is away; the oldest give way."""
KERNEL, DAEMON = 0, 3
PROTOCOLS = ("udp", "tcp")


def line(entry: LogEntry) -> str:
    """Write one entry; the kernel has a facility of its own and no process id."""
    facility = KERNEL if entry.tag == "kernel" else DAEMON
    at = datetime.fromtimestamp(entry.time, UTC)
    stamp = f"{at:%b} {at.day:2d} {at:%H:%M:%S}"
    pid = f"[{entry.pid}]" if entry.pid else ""
    user = f"<{entry.user}> " if entry.user else ""
    return f"<{facility * 8 + entry.pri}>{stamp} {entry.node} {entry.tag}{pid}: {user}{entry.msg}"


@dataclass(slots=True)
class Forwarder:
    """Sends what `take` was given, until it is cancelled."""

    host: str
    port: int
    protocol: str
    outbox: Outbox
    retry: float = 1.0
    """Seconds until the next attempt when the receiver is away."""
    _lines: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=WAITING))
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        loopback.require(self.host)
        if self.protocol not in PROTOCOLS:
            raise loopback.NotLoopbackError(f"'{self.protocol}' is not one of {', '.join(PROTOCOLS)}")

    def take(self, entry: LogEntry) -> None:
        self._lines.append((entry.node, line(entry)))
        self._more.set()

    async def run(self) -> None:
        send = {"udp": self._udp, "tcp": self._tcp}[self.protocol]
        while True:
            try:
                await send()
            except OSError as error:
                self._remember("", f"{self.host}:{self.port}", str(error))
                await asyncio.sleep(self.retry)

    def _remember(self, host: str, what: str, error: str = "") -> None:
        self.outbox.emitted.append(Emitted("syslog", self.protocol, host, what, error))

    async def _next(self) -> tuple[str, str]:
        while not self._lines:
            self._more.clear()
            await self._more.wait()
        return self._lines[0]

    def _done(self, host: str, text: str) -> None:
        """Forget a line that was sent; while it was, the queue may have dropped it already."""
        self._remember(host, text)
        if self._lines and self._lines[0] == (host, text):
            self._lines.popleft()

    async def _udp(self) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(self.host, self.port))
        try:
            while True:
                host, text = await self._next()
                transport.sendto(text.encode())
                self._done(host, text)
        finally:
            transport.close()

    async def _tcp(self) -> None:
        _, writer = await asyncio.open_connection(self.host, self.port)
        try:
            while True:
                host, text = await self._next()
                writer.write(f"{text}\n".encode())
                await writer.drain()
                self._done(host, text)
        finally:
            writer.close()
