"""The network below the API: names, TCP, TLS and one plain HTTP request, none of which can hang or send a secret."""

import asyncio
import hashlib
import socket
import ssl
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from mqtt_bridge.proxmox.threads import DaemonPool

STEP = 5.0  # seconds for each of these
_MAX_ANSWER = 256 * 1024


@dataclass(frozen=True)
class Reply:
    """An HTTP answer, as far as it is understood. `status` 0: it was not HTTP."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes

    @property
    def date(self) -> float | None:
        """The host's clock in Unix seconds."""
        try:
            return parsedate_to_datetime(self.headers["date"]).timestamp()
        except (KeyError, ValueError):
            return None


async def resolve(host: str, port: int) -> tuple[str, ...]:
    """Addresses; raises OSError (socket.gaierror) or TimeoutError. In a daemon thread: a resolver can't be stopped."""
    pool = DaemonPool(1, f"dns-{host}")
    try:
        found = pool.submit(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        async with asyncio.timeout(STEP):
            rows = await asyncio.wrap_future(found)
    finally:
        pool.close()
    return tuple(dict.fromkeys(str(row[4][0]) for row in rows))


async def reach(addresses: tuple[str, ...], port: int) -> str:
    """The first address that takes a connection; raises the last one's OSError or TimeoutError."""
    error: OSError = OSError("no address")
    for address in addresses:
        try:
            async with asyncio.timeout(STEP / len(addresses)):
                _, writer = await asyncio.open_connection(address, port)
        except OSError as raised:  # TimeoutError is one
            error = raised
        else:
            writer.close()
            return address
    raise error


async def certificate(address: str, port: int, context: ssl.SSLContext, name: str) -> bytes:
    """What the host shows (DER) once `context` accepts it; raises ssl.SSLError, OSError or TimeoutError."""
    async with asyncio.timeout(STEP):
        _, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=name)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return shown or b""


def fingerprint(shown: bytes) -> str:
    """SHA-256 as settings have it."""
    return hashlib.sha256(shown).digest().hex(":").upper()


async def get(
    address: str, port: int, path: str, *, host: str, context: ssl.SSLContext | None = None, name: str | None = None
) -> Reply:
    """GET without any credentials; `name` is the certificate's, if not `host`. Raises OSError or TimeoutError."""
    async with asyncio.timeout(STEP + 3):  # Proxmox answers an unknown caller after 3 s
        reader, writer = await asyncio.open_connection(
            address, port, ssl=context, server_hostname=(name or host) if context else None
        )
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while len(answer) < _MAX_ANSWER and (chunk := await reader.read(_MAX_ANSWER)):
                answer += chunk
                if _complete(answer):
                    break
        finally:
            writer.transport.abort()
    return _parse(answer)


def _complete(answer: bytes) -> bool:
    reply = _parse(answer)
    length = reply.headers.get("content-length", "")
    return b"\r\n\r\n" in answer and length.isdigit() and len(reply.body) >= int(length)


def _parse(answer: bytes) -> Reply:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if not words[0].startswith("HTTP/") or len(words) < 2 or not words[1].isdigit():  # noqa: PLR2004
        return Reply(0, "", {}, answer)
    headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return Reply(int(words[1]), words[2] if words[2:] else "", headers, body)
