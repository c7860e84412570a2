"""The socket below paho: it reads ahead, takes the acknowledgements of publishes out, and carries our own packets.

paho reads each packet with three system calls, and takes 40 µs for a publish and its acknowledgement; here a thousand
of them share a few calls. Whatever else MQTT is stays with paho, which sees an ordinary non-blocking socket.
"""

import ssl
from collections.abc import Callable
from typing import Protocol

PUBACK = 0x40
READ = 1 << 16  # bytes asked for at once
SHORTEST, LONGEST = 2, 1 << 17  # bytes of an acknowledgement's body: any other is paho's to judge
_BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Acknowledged = Callable[[int, int], None]  # message id, reason code


class Inner(Protocol):
    """A socket as paho makes them: TCP, TLS or WebSocket."""

    def recv(self, size: int, /) -> bytes: ...
    def send(self, data: bytes, /) -> int: ...
    def fileno(self) -> int: ...
    def setblocking(self, flag: bool, /) -> None: ...
    def close(self) -> None: ...


class Wire:
    """Used by the network thread, but for `close`."""

    def __init__(self, inner: Inner, acknowledged: Acknowledged) -> None:
        self.inner = inner
        self.fileno = inner.fileno
        self.setblocking = inner.setblocking
        self.close = inner.close
        self._acknowledged = acknowledged
        self._held, self._at = b"", 0  # what was read ahead, and how much of it is done with
        self._left = 0  # bytes of the packet that paho is reading
        self._short = False  # the last reading has emptied the socket
        self._ours = b""  # begun and not yet sent
        self._theirs = False  # paho has begun a packet
        self._broken = False

    # --- in ----------------------------------------------------------------------------------------------------------

    def pending(self) -> int:
        """Bytes that `select` does not see: TLS has read them already. What lies here is taken before one selects."""
        pending: Callable[[], int] | None = getattr(self.inner, "pending", None)
        return pending() if pending else 0

    @property
    def ready(self) -> bool:
        """Whether paho has something to read without asking the socket."""
        return self._at < len(self._held) and bool(self._left or self._next())

    def recv(self, size: int) -> bytes:
        """For paho; raises BlockingIOError where there is nothing at present."""
        if not self._left:
            self._next()
        if not self._left or self._at == len(self._held):
            if not self._read():
                return b""
            if not self._left:
                self._next()
        data = self._held[self._at : self._at + min(size, self._left)]
        if not data:
            raise BlockingIOError
        self._at += len(data)
        self._left -= len(data)
        return data

    def _read(self) -> bool:
        if self._short:
            self._short = False
            raise BlockingIOError
        data = self.inner.recv(READ)
        self._short = 0 < len(data) < READ
        self._held, self._at = self._held[self._at :] + data, 0
        return bool(data)

    def _next(self) -> int:
        """Tell the acknowledgements that come next; then how long the packet behind them is, 0 while that is open."""
        held, at = self._held, self._at
        while header := _header(held, at):
            start, end = header
            if held[at] != PUBACK or not SHORTEST <= end - start <= LONGEST:
                self._left = end - at
                break
            if end > len(held):
                break
            self._acknowledged(held[start] << 8 | held[start + 1], held[start + 2] if end - start > SHORTEST else 0)
            at = end
        self._at = at
        return self._left

    # --- out ---------------------------------------------------------------------------------------------------------

    @property
    def unsent(self) -> bool:
        """Whether something of ours waits until the socket takes more."""
        return bool(self._ours) and not self._broken

    def send(self, data: bytes) -> int:
        """For paho: not in the middle of a packet of ours."""
        if self._ours:
            raise BlockingIOError
        self._theirs = True
        sent = self.inner.send(data)
        self._theirs = sent < len(data)
        return sent

    def flush(self, more: Callable[[], bytes]) -> None:
        """Send what `more` gives, as far as the socket takes it. That a connection is lost is found by reading."""
        while not (self._theirs or self._broken):
            self._ours = self._ours or more()
            if not self._ours:
                return
            try:
                sent = self.inner.send(self._ours)
            except _BLOCKED:
                return
            except OSError:
                self._broken = True
                return
            if not sent:
                return
            self._ours = self._ours[sent:]


def _header(held: bytes, at: int) -> tuple[int, int] | None:
    """Where the body of the packet at `at` starts and ends; None while its length is not all there."""
    length = 0
    for place in range(4):
        if at + 1 + place >= len(held):
            return None
        byte = held[at + 1 + place]
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:  # noqa: PLR2004 -- the last byte of a length
            break
    start = at + 2 + place
    return start, start + length
