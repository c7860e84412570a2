"""One request over HTTP: bounded in time and size, no redirect, no proxy, no cookie. The only aiohttp user here.

Imported when a notifier starts, as aiohttp takes a tenth of a second.
"""

import asyncio
import ssl
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Self

import aiohttp
from certifi import where

from mqtt_bridge.notifiers.reply import NoReply, Reply

CONNECT = 5.0  # seconds, the TLS handshake too
TOTAL = 15.0
MAX_ANSWER = 64 * 1024


class Wire:
    """`async with` it. A connection for each request: notices are rare, and an idle connection dies unseen."""

    def __init__(self, *, verify: bool, ca_file: Path | None) -> None:
        self._verify = verify
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        context = await asyncio.to_thread(_context, self._ca_file) if self._verify else False
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, force_close=True),
            timeout=aiohttp.ClientTimeout(total=TOTAL, connect=CONNECT, sock_connect=CONNECT),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Reply | NoReply:
        """Raises nothing of aiohttp's: its errors carry the URL, which may be a secret."""
        deadline = asyncio.get_running_loop().time() + TOTAL
        headers = {"Accept-Encoding": "identity", **headers}
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._session.request(method, url, data=body, headers=headers, allow_redirects=False)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            return _failure(error)
        async with answer:
            content, whole = await _content(answer, deadline)
            return Reply(
                answer.status, {name.lower(): value for name, value in answer.headers.items()}, content, whole=whole
            )


async def _content(answer: aiohttp.ClientResponse, deadline: float) -> tuple[bytes, bool]:
    """What came in time, and whether that is all: the status is known already, and says what came of it."""
    body = bytearray()
    try:
        async with asyncio.timeout_at(deadline):
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > MAX_ANSWER:
                    break
            else:
                return bytes(body), True
    except (aiohttp.ClientError, OSError):
        pass
    answer.close()
    return bytes(body[:MAX_ANSWER]), False


@cache
def _public() -> ssl.SSLContext:
    """Trusts the usual public CAs and the system's; loading them takes a moment."""
    return _trusting(where())


def _trusting(ca_file: str) -> ssl.SSLContext:
    """Raises OSError (ssl.SSLError is one) where `ca_file` cannot be used."""
    context = ssl.create_default_context()
    context.load_verify_locations(ca_file)
    # A home's own CA seldom has what Python 3.13 made strict; a server's certificate alone may be the anchor.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _context(ca_file: Path | None) -> ssl.SSLContext:
    return _trusting(str(ca_file)) if ca_file else _public()


_FAILURES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], NoReply], ...] = (
    (
        (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError),
        NoReply("is not reached: its certificate is not trusted", certificate=True),
    ),
    (
        (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError),
        NoReply("cannot be asked: that is no http or https URL", final=True),
    ),
    (aiohttp.ClientConnectorDNSError, NoReply("is not reached: its name is not found")),
    (aiohttp.ConnectionTimeoutError, NoReply(f"is not reached within {CONNECT:.0f} s")),
    (TimeoutError, NoReply(f"does not answer within {TOTAL:.0f} s")),
    (aiohttp.ClientConnectorError, NoReply("is not reached: no connection")),
    ((aiohttp.ClientError, OSError), NoReply("broke the connection before it answered")),
    (ValueError, NoReply("cannot be asked: the URL or the token has a character that HTTP does not carry", final=True)),
)


def _failure(error: Exception) -> NoReply:
    found = next(row for kind, row in _FAILURES if isinstance(error, kind))
    reason = getattr(error, "os_error", None)
    strerror = reason.strerror if isinstance(reason, ConnectionError) else None
    return NoReply(f"is not reached: {strerror.lower()}") if strerror else found
