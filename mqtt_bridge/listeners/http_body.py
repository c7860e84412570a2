"""The body of a request, within a size and a time, whatever its framing, type and compression."""

import asyncio
import zlib

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


async def read_body(request: web.BaseRequest, max_size: int, seconds: float) -> bytes:
    """All of it, decompressed; raises BodyError, or ConnectionError when the sender went away."""
    coding = request.headers.get("Content-Encoding", "").strip().casefold()
    if coding not in _PLAIN | _DEFLATED:
        raise BodyError(415, "unknown compression", "send it without compression, or with gzip or deflate")
    if (request.content_length or 0) > max_size:
        raise _too_large(max_size)
    try:
        async with asyncio.timeout(seconds):
            await _encourage(request)
            body = await _collect(request, max_size)
    except TimeoutError:
        raise BodyError(408, "body too slow", f"the body took longer than {seconds:g} seconds") from None
    except (ClientPayloadError, HttpProcessingError, web.RequestPayloadError) as error:
        raise BodyError(400, "broken body", "the body is not framed as HTTP wants it") from error
    return _inflate(body, max_size) if coding in _DEFLATED else body


async def _encourage(request: web.BaseRequest) -> None:
    """A sender that asks first (curl) waits a second for this before it sends a large body."""
    if request.headers.get("Expect", "").casefold() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def _collect(request: web.BaseRequest, max_size: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > max_size:
            raise _too_large(max_size)
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
