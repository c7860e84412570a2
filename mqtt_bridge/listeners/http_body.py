"""The body of a request, within a size and a time, whatever its framing, type and compression."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

_DEFLATED = frozenset({"gzip", "x-gzip", "deflate"})
_PLAIN = frozenset({"", "identity"})
_ANY_WINDOW = 32 + zlib.MAX_WBITS  # finds out by itself whether it is gzip or zlib


class BodyError(Exception):
    """Not read: the HTTP status, the short reason for the counter, and a sentence for the sender."""

    def __init__(self, status: int, reason: str, sentence: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.sentence = sentence


class Room:
    """Bytes of bodies that are in memory at once, over all listeners. One alone may have more than all of it."""

    def __init__(self, size: int) -> None:
        self.used = 0
        self._size = size

    def take(self, size: int, own: int) -> None:
        """So much more for one who has `own` already; raises BodyError."""
        if self.used + size > self._size and self.used > own:
            raise BodyError(503, "too much at once", "too many large bodies at once: try again in a few seconds")
        self.used += size

    def leave(self, size: int) -> None:
        self.used -= size


ROOM = Room(64 * 1024 * 1024)


@dataclass
class _Share:
    """What one request has of it."""

    room: Room
    own: int = 0

    def take(self, size: int) -> None:
        self.room.take(size, self.own)
        self.own += size


@asynccontextmanager
async def body_of(
    request: web.BaseRequest, max_size: int, seconds: float, room: Room | None = None
) -> AsyncIterator[bytes]:
    """All of it, decompressed, in memory within the block; raises BodyError, or ConnectionError: the sender left."""
    share = _Share(room or ROOM)
    try:
        yield await _read(request, max_size, seconds, share)
    finally:
        share.room.leave(share.own)


async def _read(request: web.BaseRequest, max_size: int, seconds: float, share: _Share) -> bytes:
    coding = request.headers.get("Content-Encoding", "").strip().casefold()
    if coding not in _PLAIN | _DEFLATED:
        raise BodyError(415, "unknown compression", "send it without compression, or with gzip or deflate")
    if (request.content_length or 0) > max_size:
        raise _too_large(max_size)
    try:
        async with asyncio.timeout(seconds):
            await _encourage(request)
            body = await _collect(request, max_size, share)
    except TimeoutError:
        raise BodyError(408, "body too slow", f"the body took longer than {seconds:g} seconds") from None
    except (ClientPayloadError, HttpProcessingError, web.RequestPayloadError) as error:
        raise BodyError(400, "broken body", "the body is not framed as HTTP wants it") from error
    if coding not in _DEFLATED:
        return body
    plain = _inflate(body, max_size)
    share.take(len(plain))
    return plain


async def _encourage(request: web.BaseRequest) -> None:
    """A sender that asks first (curl) waits a second for this before it sends a large body."""
    if request.headers.get("Expect", "").casefold() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def _collect(request: web.BaseRequest, max_size: int, share: _Share) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        if len(body) + len(chunk) > max_size:
            raise _too_large(max_size)
        share.take(len(chunk))
        body += chunk
    return bytes(body)


def _inflate(body: bytes, max_size: int) -> bytes:
    try:
        plain = zlib.decompressobj(_ANY_WINDOW).decompress(body, max_size + 1)
    except zlib.error as error:
        raise BodyError(400, "broken compression", "the body cannot be decompressed") from error
    if len(plain) > max_size:
        raise _too_large(max_size)
    return plain


def _too_large(max_size: int) -> BodyError:
    return BodyError(413, "too large", f"the body is larger than {max_size} bytes (EVENT_WEBHOOK_MAX_SIZE)")
