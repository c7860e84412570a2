"""The part of InfluxDB's HTTP API that Proxmox speaks: `/api/v2/write` and `/health`; and `/write` of version 1."""

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qsl

from aiohttp import web

from mqtt_bridge.listeners.http_body import BodyError, body_of
from mqtt_bridge.listeners.http_token import WrongTokens
from mqtt_bridge.secret import Secret

MAX_BODY = 25_000_000  # bytes, decompressed: what Proxmox sends at most in one request
BODY_TIME = 20.0  # seconds
_UNITS = {"ns": 1e-9, "n": 1e-9, "us": 1e-6, "u": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_HEALTH = {
    "name": "proxmox-mcp", "message": "ready for queries and writes", "status": "pass", "checks": [],
}  # fmt: skip


class Write(Protocol):
    """Takes lines whose times are in units of so many seconds; answers how many of them are Proxmox's."""

    def __call__(self, body: bytes, unit: float) -> Awaitable[int]: ...


@dataclass(frozen=True)
class InfluxApi:
    """Answers requests. `reject` counts what was refused."""

    token: Secret | None
    write: Write
    reject: Callable[[str], None]
    wrong: WrongTokens = field(default_factory=lambda: WrongTokens("METRICS", "EVENT_METRICS_TOKEN"))

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Every answer is final, and says in words what is wrong."""
        methods = _ROUTES.get(request.path.rstrip("/") or "/")
        if methods is None:
            return self._refuse(
                404, "unknown path", "Proxmox writes to /api/v2/write: leave its API path prefix empty."
            )
        if request.method not in methods:
            return self._refuse(405, "wrong method", f"Allowed here: {', '.join(methods)}.")
        if request.method == "POST":
            return await self._write(request)
        if self.token and request.headers.get("Authorization") and not self._admits(request):
            return self._unauthorized(request)  # Proxmox asks with its token before it saves a metric server
        return web.json_response(_HEALTH)

    async def _write(self, request: web.BaseRequest) -> web.Response:
        if not self._admits(request):
            return self._unauthorized(request)
        unit = _UNITS.get(_query(request).get("precision", "ns"))
        if unit is None:
            return self._refuse(400, "unknown precision", f"precision is one of {', '.join(_UNITS)}.")
        try:
            async with body_of(request, MAX_BODY, BODY_TIME) as body:
                taken = not body.strip() or await self.write(body, unit)
        except BodyError as error:
            sentence = f"the body is larger than {MAX_BODY} bytes" if error.status == _TOO_LARGE else error.sentence
            return self._refuse(error.status, error.reason, sentence)
        if not taken:
            return self._refuse(400, "no Proxmox metrics", "Not one line is a metric as Proxmox sends them.")
        return web.Response(status=204)

    def _admits(self, request: web.BaseRequest) -> bool:
        """Compares in constant time with all that was shown."""
        if not self.token:
            return True
        right = self.token.reveal().encode()
        return any([hmac.compare_digest(shown.encode(errors="replace"), right) for shown in _shown(request)])  # noqa: C419 -- all are compared

    def _unauthorized(self, request: web.BaseRequest) -> web.Response:
        self.wrong.note(request)
        return self._refuse(401, "wrong token", "The metric server's token is not EVENT_METRICS_TOKEN.")

    def _refuse(self, status: int, reason: str, sentence: str) -> web.Response:
        self.reject(reason)
        return web.json_response({"code": _CODES.get(status, "invalid"), "message": sentence}, status=status)


_TOO_LARGE = 413
_CODES = {
    401: "unauthorized",
    404: "not found",
    405: "method not allowed",
    413: "request too large",
    503: "unavailable",
}
_READ = ("GET", "HEAD")
_ROUTES: dict[str, tuple[str, ...]] = {
    "/api/v2/write": ("POST",),
    "/write": ("POST",),
    "/health": _READ,
    "/ping": _READ,
}


def _query(request: web.BaseRequest) -> dict[str, str]:
    try:
        return dict(parse_qsl(request.raw_path.partition("?")[2], max_num_fields=20))
    except ValueError:  # too many fields
        return {}


def _shown(request: web.BaseRequest) -> list[str]:
    """Every secret that a request shows: as a token (`user:password` for version 1), as a login, in the query."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    given = given.strip()
    found = [_query(request).get("p", "")]
    if scheme.casefold() in ("token", "bearer"):
        found += [given, given.partition(":")[2]]
    elif scheme.casefold() == "basic":
        found.append(_password(given))
    return [each for each in found if each]


def _password(given: str) -> str:
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
