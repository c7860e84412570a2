"""MCP over HTTP: one Starlette app with /mcp, /ws, /health and /metrics behind one guard, and uvicorn around it.

The guard (`http_guard`) comes first and holds for every route. Only /health is open, and it says only ok or not.
"""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Self

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from mqtt_bridge.errors import BridgeError, SettingsError
from mqtt_bridge.settings import Settings
from proxmox_mcp import metrics
from proxmox_mcp.http_guard import MAX_BODY, WS_PATH, guarded, is_loopback
from proxmox_mcp.http_patience import WHOLE, patient
from proxmox_mcp.server import ProxmoxServer
from proxmox_mcp.tokens import Keyring, required
from proxmox_mcp.ws import MAX_MESSAGE, Stream
from proxmox_mcp.ws_hub import Hub

MAX_SESSIONS: Final = 200  # some clients never close one; the oldest idle out after MCP_SESSION_IDLE
MAX_CONNECTIONS: Final = 1000  # and requests, together; what is more gets a 503
SHUTDOWN = 1.5  # seconds that open streams get
PING = 20.0  # seconds between two pings of a WebSocket, and for its answer


def build_app(
    server: ProxmoxServer,
    settings: Settings,
    *,
    healthy: Callable[[], bool] | None = None,
    refused: Counter[str] | None = None,
) -> ASGIApp:
    """The app. `healthy` is what /health says; without it, that the server runs. `refused` counts, for /metrics."""
    refused = Counter() if refused is None else refused
    keyring, mcp = Keyring.of(settings), settings.mcp
    hub = Hub(server.services.state)
    server.metrics.sources += [
        lambda: metrics.state_rows(server.services.state),
        lambda: refusals(refused),
        hub.rows,
    ]
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

    app.router.routes += [
        Route("/health", health),
        Route("/metrics", prometheus),
        WebSocketRoute(WS_PATH, Stream(hub, keyring)),
    ]
    return guarded(app, mcp, keyring, refused)


def refusals(refused: Counter[str]) -> Iterator[metrics.Row]:
    """What the guard sent away, for /metrics."""
    text = "Requests that the guard refused"
    for reason in ("host", "origin", "token", "token_in_url", "too_many", "slow"):
        yield metrics.Row("proxmox_mcp_refused_total", "counter", text, refused[reason], {"reason": reason})


class HttpServer:
    """`async with` it; `url` is where MCP answers. Port 0: any free one. Raises BridgeError where it cannot listen."""

    def __init__(
        self,
        server: ProxmoxServer,
        *,
        host: str | None = None,
        port: int | None = None,
        healthy: Callable[[], bool] | None = None,
        whole: float = WHOLE,
    ) -> None:
        self._settings = server.services.settings
        self._mcp = self._settings.mcp
        self._server = server
        self._whole = whole  # seconds within which a request must have come in
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
        if not is_loopback(self._host) and not required(self._mcp):
            problem = f"MCP_AUTH_TOKEN is not set, and {self._host} can be reached from other machines: set a token"
            raise SettingsError([f"{problem}, or listen on 127.0.0.1 (MCP_HTTP_HOST)."])
        listener = _listen(self._host, self._port)
        self.port = listener.getsockname()[1]
        refused: Counter[str] = Counter()
        config = uvicorn.Config(
            build_app(self._server, self._settings, healthy=self._healthy, refused=refused),
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="on",
            http=patient(self._whole, refused),
            ws="websockets-sansio",
            ws_max_size=MAX_MESSAGE,
            ws_ping_interval=PING,
            ws_ping_timeout=PING,
            proxy_headers=False,  # nobody may say under which address it came
            limit_concurrency=MAX_CONNECTIONS,
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
