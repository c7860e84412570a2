"""What every request meets before a route: exact host, exact origin, a token, a bound on what one token has open.

The same for plain requests and for WebSockets. Only /health is open. What is refused is counted by reason.
"""

import ipaddress
import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.transport_security import RequestBodyLimitMiddleware
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from mqtt_bridge.policy import Principal
from mqtt_bridge.settings import McpSettings
from proxmox_mcp.server import PRINCIPAL
from proxmox_mcp.tokens import Keyring

log = logging.getLogger(__name__)

MAX_BODY: Final = 1024 * 1024  # bytes of a request
MAX_OPEN: Final = 64  # requests and streams that one token may have open at once
OPEN_PATHS = frozenset({"/health"})
WS_PATH = "/ws"
BEARER = "bearer."  # what the subprotocol of a WebSocket begins with that carries a token
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
IN_URL = frozenset({"token", "access_token", "auth", "authorization", "bearer", "api_key"})
ALLOWED_HEADERS = (
    "accept",
    "authorization",
    "content-type",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
)
Refused: TypeAlias = Counter[str]


def guarded(app: ASGIApp, mcp: McpSettings, keyring: Keyring, refused: Refused) -> ASGIApp:
    """`app` behind the guard. `refused` counts by reason."""
    bounded = RequestBodyLimitMiddleware(AuthContextMiddleware(app), MAX_BODY)  # it reads a body: not a stranger's
    inner: ASGIApp = Authorized(bounded, keyring, refused)
    if mcp.allowed_origins:
        inner = CORSMiddleware(
            inner,
            allow_origins=mcp.allowed_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=ALLOWED_HEADERS,
            expose_headers=["mcp-session-id", "www-authenticate"],
        )
    return SameSite(inner, mcp, refused)


@dataclass(frozen=True)
class SameSite:
    """Refuses hosts and origins that are not ours: a web page must not reach us through a name that it controls."""

    app: ASGIApp
    mcp: McpSettings
    refused: Refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"} and (refusal := self._refusal(scope)):
            await refuse(refusal, scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", "").lower(), headers.get("origin")
        if len(headers.getlist("host")) != 1 or not self._host_ok(host, scope):
            self.refused["host"] += 1
            log.warning("Refused a request for host %r: MCP_ALLOWED_HOSTS does not name it", host[:200])
            return PlainTextResponse("Unknown host. MCP_ALLOWED_HOSTS names those that are allowed.\n", status_code=421)
        if origin is not None and not self._origin_ok(origin.lower(), host):
            self.refused["origin"] += 1
            log.warning("Refused a request from origin %r: MCP_ALLOWED_ORIGINS does not name it", origin[:200])
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
class Authorized:
    """Finds out who asks, and puts the principal into the scope. Everywhere but on the open paths.

    A WebSocket at /ws that brings no token may still send it as its first message, since a browser cannot set headers;
    until then it has no principal.
    """

    app: ASGIApp
    keyring: Keyring
    refused: Refused
    in_use: Counter[str] = field(default_factory=Counter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"} or (scope["type"] == "http" and scope["path"] in OPEN_PATHS):
            await self.app(scope, receive, send)
            return
        if IN_URL.intersection(key.lower() for key, _ in parse_qsl(scope["query_string"].decode("latin-1"))):
            self.refused["token_in_url"] += 1
            await refuse(_in_url(), scope, receive, send)
            return
        token = given(scope)
        principal = self.keyring.anybody if self.keyring.open else self.keyring.find(token) if token else None
        if principal is None and (token is not None or scope["type"] == "http" or scope["path"] != WS_PATH):
            self.refused["token"] += 1
            await refuse(_unauthorized(), scope, receive, send)
            return
        await self._bounded(principal, scope, receive, send)

    async def _bounded(self, principal: Principal | None, scope: Scope, receive: Receive, send: Send) -> None:
        if principal is None or scope["type"] == "websocket":  # /ws has bounds of its own
            await self.app({**scope, PRINCIPAL: principal}, receive, send)
            return
        if self.in_use[principal.name] >= MAX_OPEN:
            self.refused["too_many"] += 1
            await refuse(_too_many(), scope, receive, send)
            return
        self.in_use[principal.name] += 1
        try:
            await self.app(self._scope(principal, scope), receive, send)
        finally:
            self.in_use[principal.name] -= 1

    def _scope(self, principal: Principal, scope: Scope) -> Scope:
        """The SDK binds a session, and what a client carries between two rounds of a call, to this user."""
        if self.keyring.open:
            return {**scope, PRINCIPAL: principal}
        user = AuthenticatedUser(AccessToken(token="", client_id=principal.name, scopes=[]))
        return {**scope, PRINCIPAL: principal, "user": user}


def given(scope: Scope) -> str | None:
    """The token that came with a request: `Authorization: Bearer`, for a WebSocket also a subprotocol. None: none."""
    headers = Headers(scope=scope)
    if (header := headers.get("authorization")) is not None:
        scheme, _, token = header.partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""
    if scope["type"] != "websocket":
        return None
    return next((p.removeprefix(BEARER) for p in scope.get("subprotocols", ()) if p.startswith(BEARER)), None)


async def refuse(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with it; a WebSocket is refused before it is one."""
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)


def _unauthorized() -> Response:
    return PlainTextResponse(
        "Send the header `Authorization: Bearer TOKEN` with a token of this server: that of MCP_AUTH_TOKEN, or one "
        "that `proxmox-mcp token add` made.\n",
        status_code=401,
        headers={"WWW-Authenticate": 'Bearer realm="proxmox-mcp"'},
    )


def _in_url() -> Response:
    return PlainTextResponse(
        "A token in a URL ends up in logs and histories, so it is not taken: send it in the header `Authorization`.\n",
        status_code=400,
    )


def _too_many() -> Response:
    return PlainTextResponse(
        f"This token has {MAX_OPEN} requests open already: close some, or wait.\n",
        status_code=429,
        headers={"Retry-After": "5"},
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
