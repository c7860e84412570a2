"""The HTTPS servers: one per host, each with a port of its own on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from aiohttp import web

from .call import Empty, Page, Raw
from .errors import ApiError, bad_parameters
from .record import Ask, Request

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from .record import RequestLog

    Answer = Callable[[Ask], Awaitable[Any]]

PREFIX = "/api2/json"
MAX_BODY = 512 * 1024
JSON = "application/json;charset=UTF-8"
KEEPALIVE = 5.0
"""Seconds after which Proxmox closes an idle connection."""


@dataclass(slots=True)
class Gate:
    """Faults of all API servers together."""

    latency: float = 0.0
    error: int = 0
    hanging: bool = False


@dataclass(slots=True)
class Host:
    """One API server."""

    name: str
    product: str
    answer: Answer
    gate: Gate
    requests: RequestLog
    tls: ssl.SSLContext
    hang_timeout: float
    stuck: Callable[[], bool] = lambda: False
    """Whether this host alone gives no answers."""
    port: int = 0
    _server: web.Server | None = None
    _runner: web.ServerRunner | None = None
    _site: web.SockSite | None = None
    _closing: asyncio.Event = field(default_factory=asyncio.Event)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def listening(self) -> bool:
        return self._site is not None

    async def up(self) -> None:
        """Listen; after the first time on the same port again."""
        async with self._turn:
            if self._site is None:
                self._site = await self._listen()

    async def _listen(self) -> web.SockSite:
        if self._runner is None:
            self._server = web.Server(self._handle, keepalive_timeout=KEEPALIVE, access_log=None)
            self._runner = web.ServerRunner(self._server, shutdown_timeout=0.1)
            await self._runner.setup()
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self.port))
        self.port = sock.getsockname()[1]
        site = web.SockSite(self._runner, sock, ssl_context=self.tls)
        await site.start()
        return site

    async def down(self) -> None:
        """Refuse connections from now on and cut those that are open."""
        async with self._turn:
            site, self._site = self._site, None
            if site is None or self._server is None:
                return
            await site.stop()
            for connection in list(self._server.connections):
                if (transport := connection.transport) is not None:
                    transport.abort()

    async def close(self) -> None:
        self._closing.set()
        await self.down()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path.removeprefix(PREFIX) or "/"
        self.requests.add(Request(self.name, request.method, path))
        if self.gate.latency:
            await asyncio.sleep(self.gate.latency)
        if self.gate.hanging or self.stuck():
            await self._hang(request)
        if self.gate.error:
            return self._refusal(ApiError(self.gate.error, _PHRASES.get(self.gate.error, "Error")))
        if not request.path.startswith(PREFIX):
            return self._refusal(ApiError(404, "Not Found"))
        try:
            given = await parameters(request)
            data = await self.answer(Ask(request.method, path, given, request.headers.get("Authorization")))
        except ApiError as error:
            return self._refusal(error)
        return self._success(data)

    async def _hang(self, request: web.BaseRequest) -> None:
        """Keep the client waiting; when nobody lets go in time, close the connection without a word."""
        deadline = asyncio.get_running_loop().time() + self.hang_timeout
        while (self.gate.hanging or self.stuck()) and not self._closing.is_set():
            if asyncio.get_running_loop().time() > deadline:
                if request.transport is not None:
                    request.transport.abort()
                return
            await asyncio.sleep(0.05)

    def _headers(self) -> dict[str, str]:
        return {
            "Cache-Control": "max-age=0",
            "Pragma": "no-cache",
            "Expires": formatdate(usegmt=True),
            "Server": self.product,
        }

    def _success(self, data: Any) -> web.Response:
        if isinstance(data, Empty):
            return web.Response(body=b"", headers=self._headers() | {"Content-Type": "application/json"})
        text = render(data)
        return web.Response(body=text.encode(), headers=self._headers() | {"Content-Type": JSON})

    def _refusal(self, error: ApiError) -> web.Response:
        headers = self._headers()
        if not error.body:
            return web.Response(status=error.status, reason=error.reason, headers=headers)
        if self.product == "proxmox-backup-api":
            headers["Content-Type"] = "text/plain"
            phrase = _PHRASES.get(error.status, "Error")
            return web.Response(status=error.status, reason=phrase, body=error.reason.encode(), headers=headers)
        newline = "" if error.status == 501 else "\n"  # noqa: PLR2004 - the one answer without
        body: dict[str, Any] = {"data": None, "message": error.reason + newline}
        if error.errors is not None:
            body["errors"] = error.errors
        reason = error.reason.replace("\n", " ").encode("ascii", "replace").decode()
        return web.Response(
            status=error.status, reason=reason, body=json.dumps(body).encode(), headers=headers | {"Content-Type": JSON}
        )


_PHRASES = {
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 429: "Too Many Requests",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout", 595: "Connection refused", 596: "Connection timed out", 599: "Too many redirections",
}  # fmt: skip


def render(data: Any) -> str:
    if isinstance(data, Raw):
        return f'{{"data":{data.text}}}'
    if isinstance(data, Page):
        total = {"total": data.total} if data.total else {}
        return json.dumps({"data": data.data} | total, separators=(",", ":"))
    return json.dumps({"data": data}, separators=(",", ":"))


async def parameters(request: web.BaseRequest) -> dict[str, Any]:
    """Query and body together; a name that comes several times is an array."""
    found = parse_qs(request.query_string, keep_blank_values=True)
    if (request.content_length or 0) > MAX_BODY:
        raise ApiError(501, "for data too large")
    body = await request.read()
    if body and request.content_type == "application/json":
        try:
            return {key: values[0] for key, values in found.items()} | dict(json.loads(body))
        except ValueError as error:
            raise bad_parameters({"": "invalid JSON"}) from error
    found |= parse_qs(body.decode(errors="replace"), keep_blank_values=True)
    return {key: values[0] if len(values) == 1 else values for key, values in found.items()}
