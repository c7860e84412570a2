"""Listening sockets: bound at every address of a host, and in plain words why that does not work.

Sockets are bound to one port for UDP and TCP together. A port that is taken, or that needs privileges, is tried again.
"""

import asyncio
import errno
import os
import random
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.events.intake import Intake

Protocol = Literal["udp", "tcp"]

RECEIVE_BUFFER = 8 * 1024 * 1024  # bytes asked of the kernel per UDP socket; without privileges it caps at rmem_max
PENDING = 128  # TCP connections that wait to be accepted
FIRST, LONGEST = 1.0, 60.0  # seconds between two attempts to bind
_ANY_PORT_TRIES = 10
_TYPES = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_SO_RCVBUFFORCE = 33  # Linux; needs CAP_NET_ADMIN, and goes beyond net.core.rmem_max


class CannotListenError(BridgeError):
    """The port or address is not to be had; the cure names its settings."""


@dataclass(frozen=True)
class Place:
    """Where to listen, and the settings that say so. Port 0 takes any free one."""

    host: str
    port: int
    host_key: str
    port_key: str

    @property
    def text(self) -> str:
        return shown(self.host, self.port)


def shown(host: str, port: int) -> str:
    """`127.0.0.1:514`, `[::1]:514`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def bind_patiently(place: Place, protocols: Sequence[Protocol], intake: Intake) -> list[socket.socket]:
    """As `bind`, again and again until it works; meanwhile the intake is told why not."""
    for pause in pauses():
        try:
            return await bind(place, protocols)
        except CannotListenError as error:
            intake.unhealthy(str(error))
        await asyncio.sleep(pause)
    raise AssertionError


def pauses() -> Iterator[float]:
    """Seconds between attempts, for ever: longer each time, with jitter."""
    pause = FIRST
    while True:
        yield pause * random.uniform(0.8, 1.2)  # noqa: S311 -- jitter
        pause = min(LONGEST, pause * 2)


async def bind(place: Place, protocols: Sequence[Protocol]) -> list[socket.socket]:
    """One non-blocking socket per address and protocol, all on one port, TCP ones listening.

    Raises CannotListenError.
    """
    addresses = await _addresses(place)
    for attempt in range(_ANY_PORT_TRIES):
        try:
            return _bind_all(addresses, place.port, protocols)
        except OSError as error:
            if place.port or error.errno != errno.EADDRINUSE or attempt == _ANY_PORT_TRIES - 1:
                raise explained(error, place) from error
    raise AssertionError


async def _addresses(place: Place) -> list[tuple[int, str]]:
    loop = asyncio.get_running_loop()
    try:
        rows = await loop.getaddrinfo(place.host or None, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotListenError(
            f"The name {place.host} cannot be resolved.", cure=f"Check {place.host_key}: an address of this machine."
        ) from error
    return list(dict.fromkeys((int(family), str(address[0])) for family, _, _, _, address in rows))


def _bind_all(addresses: list[tuple[int, str]], port: int, protocols: Sequence[Protocol]) -> list[socket.socket]:
    """An address family that this machine lacks is left out where another one works."""
    found: list[socket.socket] = []
    with ExitStack() as undo:
        refused: OSError | None = None
        for family, address in addresses:
            try:
                for protocol in protocols:
                    made = _bind_one(family, address, port, protocol, both=len(addresses) == 1)
                    undo.callback(made.close)
                    found.append(made)
                    port = port or int(made.getsockname()[1])
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                refused = error
        if not found and refused:
            raise refused
        undo.pop_all()
    return found


def _bind_one(family: int, address: str, port: int, protocol: Protocol, *, both: bool) -> socket.socket:
    # the protocol is named, or asyncio leaves Nagle's algorithm on, and SMTP's answers come 40 ms late
    made = socket.socket(family, _TYPES[protocol], socket.IPPROTO_TCP if protocol == "tcp" else 0)
    try:
        made.setblocking(False)
        if family == socket.AF_INET6:  # `::` alone serves IPv4 too
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
        if protocol == "udp":
            _widen(made)
        elif os.name == "posix":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        if protocol == "tcp":
            made.listen(PENDING)
    except BaseException:
        made.close()
        raise
    return made


def _widen(made: socket.socket) -> None:
    """As large a receive buffer as we may have: what it cannot hold while we are busy, the kernel drops."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    if sys.platform == "linux":
        try:
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:
            return


def explained(error: OSError, place: Place) -> CannotListenError:
    """What stands in the way, and what can be done about it."""
    if error.errno in (errno.EACCES, errno.EPERM):
        python = os.path.realpath(sys.executable)
        return CannotListenError(
            f"Port {place.port} needs privileges.",
            cure=f"Either `setcap cap_net_bind_service=+ep {python}`, or {place.port_key}={place.port + 10_000} and "
            f"send there (or redirect {place.port} to it), or AmbientCapabilities=CAP_NET_BIND_SERVICE in its unit.",
        )
    if error.errno == errno.EADDRINUSE:
        return CannotListenError(
            f"Another program listens at {place.text}.",
            cure=f"Stop it (ss -lntup shows it), or choose another {place.port_key}.",
        )
    if error.errno in _NOT_HERE:
        return CannotListenError(
            f"{place.host} is no address of this machine.",
            cure=f"Write one that is (ip address shows them), or 127.0.0.1, into {place.host_key}.",
        )
    return CannotListenError(
        f"Cannot listen at {place.text}: {error.strerror or type(error).__name__}.",
        cure=f"Check {place.host_key} and {place.port_key}.",
    )
