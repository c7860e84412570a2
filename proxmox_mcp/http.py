"""MCP over HTTP: one Starlette app with /mcp, /health and /metrics behind one guard, and uvicorn around it.

The guard comes first and holds for every route: exact host, exact origin, body size, bearer token. Only /health is
open, and it says only ok or not.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import uvicorn
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.transport_security import RequestBodyLimitMiddleware, TransportSecuritySettings
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mqtt_bridge.errors import BridgeError, SettingsError
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import McpSettings
from proxmox_mcp import metrics
from proxmox_mcp.server import ProxmoxServer

log = logging.getLogger(__name__)

MAX_BODY: Final = 1024 * 1024  # bytes of a request
MAX_SESSIONS: Final = 200  # some clients never close one; the oldest idle out after MCP_SESSION_IDLE
SHUTDOWN = 1.5  # seconds that open streams get
OPEN_PATHS = frozenset({"/health"})
TOKEN_NAME = "default"  # noqa: S105 - the name of the one token there is
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def build_app(server: ProxmoxServer, mcp: McpSettings, *, healthy: Callable[[], bool] | None = None) -> ASGIApp:
    """The app. `healthy` is what /health says; without it, that the server runs."""
    server.metrics.sources.append(lambda: metrics.state_rows(server.services.state))
    app = server.streamable_http_app(
        session_idle_timeout=mcp.session_idle,
        max_sessions=MAX_SESSIONS,
        max_request_body_size=MAX_BODY,
        # the guard has checked both, for the other routes too
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )

    async def health(_: Request) -> Response:
        good = healthy is None or healthy()
        return PlainTextResponse("ok\n" if good else "not ok\n", status_code=200 if good else 503)

    async def prometheus(_: Request) -> Response:
        return Response(server.metrics.render(), media_type=metrics.CONTENT_TYPE)

    app.router.routes += [Route("/health", health), Route("/metrics", prometheus)]
    return _guarded(app, mcp)


def _guarded(app: Starlette, mcp: McpSettings) -> ASGIApp:
    inner: ASGIApp = _Authorized(app, mcp.auth_token)
    if mcp.allowed_origins:
        inner = CORSMiddleware(
            inner,
            allow_origins=mcp.allowed_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type", "mcp-protocol-version", "mcp-session-id", "last-event-id"],
            expose_headers=["mcp-session-id", "www-authenticate"],
        )
    return _SameSite(RequestBodyLimitMiddleware(inner, MAX_BODY), mcp)


@dataclass(frozen=True)
class _SameSite:
    """Refuses hosts and origins that are not ours: a web page must not reach us through a name that it controls."""

    app: ASGIApp
    mcp: McpSettings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := self._refusal(scope)):
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", "").lower(), headers.get("origin")
        if not self._host_ok(host, scope):
            log.warning("Refused a request for host %r: MCP_ALLOWED_HOSTS does not name it", host)
            return PlainTextResponse("Unknown host. MCP_ALLOWED_HOSTS names those that are allowed.\n", status_code=421)
        if origin is not None and not self._origin_ok(origin.lower(), host):
            log.warning("Refused a request from origin %r: MCP_ALLOWED_ORIGINS does not name it", origin)
            return PlainTextResponse("Unknown origin. MCP_ALLOWED_ORIGINS names the others.\n", status_code=403)
        return None

    def _host_ok(self, host: str, scope: Scope) -> bool:
        """A configured name; else loopback, or the very address at which the request came in: no name can fake that."""
        if any(host in {allowed.lower(), f"{allowed.lower()}:{_port(scope)}"} for allowed in self.mcp.allowed_hosts):
            return True
        address = str((scope.get("server") or ("", 0))[0])
        literal = f"[{address}]" if ":" in address else address
        names = {literal, *LOOPBACK} if is_loopback(address) else {literal}
        return host in {f"{name}:{_port(scope)}" for name in names} or (_port(scope) == "80" and host in names)

    def _origin_ok(self, origin: str, host: str) -> bool:
        return urlsplit(origin).netloc == host or origin in {allowed.lower() for allowed in self.mcp.allowed_origins}


@dataclass(frozen=True)
class _Authorized:
    """Asks for the token everywhere but on the open paths. Without a token set (loopback only), everyone may pass."""

    app: ASGIApp
    token: Secret | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self.token and scope["path"] not in OPEN_PATHS:
            if not self._known(Headers(scope=scope).get("authorization", "")):
                await _unauthorized()(scope, receive, send)
                return
            # the SDK binds a session to the user that opened it
            user = AuthenticatedUser(AccessToken(token="", client_id=TOKEN_NAME, scopes=[]))
            scope = {**scope, "user": user}
        await self.app(scope, receive, send)

    def _known(self, header: str) -> bool:
        scheme, _, given = header.partition(" ")
        wanted = self.token.reveal() if self.token else ""
        same = hmac.compare_digest(given.strip().encode(), wanted.encode())
        return scheme.lower() == "bearer" and same


def _unauthorized() -> Response:
    return PlainTextResponse(
        "Send the header `Authorization: Bearer TOKEN` with the token of MCP_AUTH_TOKEN.\n",
        status_code=401,
        headers={"WWW-Authenticate": 'Bearer realm="proxmox-mcp"'},
    )


def _port(scope: Scope) -> str:
    return str((scope.get("server") or ("", 0))[1])


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class HttpServer:
    """`async with` it; `url` is where MCP answers. Port 0: any free one. Raises BridgeError where it cannot listen."""

    def __init__(
        self,
        server: ProxmoxServer,
        *,
        host: str | None = None,
        port: int | None = None,
        healthy: Callable[[], bool] | None = None,
    ) -> None:
        self._mcp = server.services.settings.mcp
        self._server = server
        self._host = self._mcp.host if host is None else host
        self._port = self._mcp.port if port is None else port
        self._healthy = healthy
        self._uvicorn: _Uvicorn | None = None
        self._task: asyncio.Task[None] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """`http://host:port/mcp`; an address that means "all" becomes one that a client can use."""
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._host, self._host)  # noqa: S104
        literal = f"[{shown}]" if ":" in shown and not shown.startswith("[") else shown
        return f"http://{literal}:{self.port}/mcp"

    async def __aenter__(self) -> Self:
        if not is_loopback(self._host) and not self._mcp.auth_token:
            problem = f"MCP_AUTH_TOKEN is not set, and {self._host} can be reached from other machines: set a token"
            raise SettingsError([f"{problem}, or listen on 127.0.0.1 (MCP_HTTP_HOST)."])
        listener = _listen(self._host, self._port)
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            build_app(self._server, self._mcp, healthy=self._healthy),
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="on",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._uvicorn = _Uvicorn(config)
        self._task = asyncio.create_task(self._uvicorn.serve(sockets=[listener]), name="http")
        await self._started(self._uvicorn, self._task)
        return self

    async def _started(self, server: "_Uvicorn", task: asyncio.Task[None]) -> None:
        while not server.started:
            if task.done():
                task.result()
                raise BridgeError("The HTTP server did not start.", cure="The log says why.")
            await asyncio.sleep(0.005)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._uvicorn is None or self._task is None:
            return
        self._uvicorn.should_exit = True
        done, _ = await asyncio.wait([self._task], timeout=SHUTDOWN)
        if not done:
            self._uvicorn.force_exit = True
            self._task.cancel()
            await asyncio.wait([self._task], timeout=SHUTDOWN)


class _Uvicorn(uvicorn.Server):
    """Without signal handlers: the command that runs us has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # asyncio sends at once (TCP_NODELAY) only where the protocol is named; without it an answer waits 40 ms
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise BridgeError(
            f"Cannot listen on {host} port {port}: {reason}.",
            cure="Choose another with --port or MCP_HTTP_PORT (0: any free one), or --host or MCP_HTTP_HOST.",
        ) from error
    return listener
