"""One request on its way: what the event loop and the thread that carries it out share."""

import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from mqtt_bridge.proxmox import segments as paths

Method = Literal["GET", "POST", "PUT", "DELETE"]
Purpose = Literal["poll", "tool", "urgent"]  # urgent: as a tool's, and PROXMOX_RATE_LIMIT does not hold it up
# Why there is no answer. busy: no thread was free; lost: the connection ended in the middle.
Fault = Literal["", "busy", "connect", "timeout", "tls", "lost", "protocol"]


@dataclass(frozen=True, slots=True)
class Answer:
    """`data` of an answer, and `total` of a list that was cut (task logs)."""

    data: Any
    total: int | None = None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What an observer is told about each request to a host. `status` 0: no answer. `path` has `*` for names."""

    host: str
    method: str
    path: str
    seconds: float
    status: int
    purpose: Purpose


@dataclass(slots=True, eq=False)
class Call:
    """A request to one host. `until` is monotonic time; `connect` and `read` are seconds for each step."""

    method: Method
    segments: tuple[paths.Segment, ...]
    params: Mapping[str, Any]
    purpose: Purpose
    until: float
    connect: float
    read: float
    path: str = field(init=False)
    started: bool = False
    sent: bool = False  # the request may have reached the host: a write must not be repeated
    fresh: bool = False  # on a connection of its own
    want_fresh: bool = False
    aborted: bool = False
    fault: Fault = ""
    status: int = 0
    sock: socket.socket | None = None

    def __post_init__(self) -> None:
        self.path = paths.build(self.segments)
        self.want_fresh = self.method != "GET"

    @property
    def node(self) -> str | None:
        return paths.node_of(self.segments)

    @property
    def remaining(self) -> float:
        return max(0.0, self.until - time.monotonic())

    def abort(self) -> None:
        """From another thread: wake the one that waits for this answer. The socket stays open until that one ends."""
        self.aborted = True
        if self.sock is not None:
            with suppress(OSError):
                # not SSLSocket.shutdown: that one takes the TLS state away under the reading thread
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
