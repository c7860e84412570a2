"""UDP read in bursts: a callback per datagram costs more than reading it. What the kernel dropped can be asked for."""

import asyncio
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

Datagram = tuple[bytes, str]  # what was sent, and from which address
Take = Callable[[list[Datagram]], bool]  # False: no more for now

BURST = 256  # datagrams per turn of the event loop and socket
BURST_BYTES = 256 * 1024  # after which a turn ends, too: large ones take longer to be understood
_SO_MEMINFO, _MEMINFO = 55, struct.Struct("9I")  # Linux: what a socket holds; the ninth figure is what it dropped
_DROPS = 8


class Datagrams:
    """`async with` it: reads bound sockets until `take` says that it has enough, and again after `resume`.

    A datagram longer than `size` comes with `size` + 1 bytes, so that the receiver sees that it was cut. While nothing
    is read the kernel's buffer fills, and then drops: nothing that was read is lost here.
    """

    def __init__(self, sockets: Sequence[socket.socket], take: Take, *, size: int, burst: int = BURST) -> None:
        self._sockets = sockets
        self._take = take
        self._size = size
        self._burst = burst
        self._paused = True
        self._dropped = 0

    async def __aenter__(self) -> Self:
        self.resume()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()
        for each in self._sockets:
            each.close()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            loop = asyncio.get_running_loop()
            for each in self._sockets:
                loop.add_reader(each, self._readable, each)

    def pause(self) -> None:
        if not self._paused:
            self._paused = True
            loop = asyncio.get_running_loop()
            for each in self._sockets:
                loop.remove_reader(each)

    def newly_dropped(self) -> int:
        """Datagrams that the kernel dropped since the last question; 0 where it does not tell (other than Linux)."""
        total = sum(_dropped(each) for each in self._sockets)
        new, self._dropped = max(0, total - self._dropped), total
        return new

    def _readable(self, source: socket.socket) -> None:
        found: list[Datagram] = []
        receive, size, read = source.recvfrom, self._size + 1, 0
        for _ in range(self._burst):
            try:
                data, address = receive(size)
            except OSError:  # nothing more, or a network error that the next turn meets again or not
                break
            found.append((data, address[0]))
            read += len(data)
            if read > BURST_BYTES:
                break
        if found and not self._take(found):
            self.pause()


def _dropped(source: socket.socket) -> int:
    if sys.platform != "linux":
        return 0
    try:
        told = source.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    except OSError:  # before Linux 4.12
        return 0
    return int(_MEMINFO.unpack(told)[_DROPS]) if len(told) == _MEMINFO.size else 0
