"""A stand-in for a Gotify server, written after its source (api/message.go, api/stream, auth).

No build of the real one is to be had here. Ids count over all users, `since` means "below", a page says where the next
one begins, the stream pings and closes who does not answer, posts at once are told in any order.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import WSCloseCode, web

CLIENT = "CclientToken123"


def error(status: int, why: str) -> web.Response:
    return web.json_response({"error": "error", "errorCode": status, "errorDescription": why}, status=status)


@dataclass
class Gotify:
    """`apps` are names by token; what it does wrong on purpose is in the flags."""

    apps: dict[str, str] = field(default_factory=lambda: {"Aproxmox": "proxmox", "Auptime": "Uptime Kuma"})
    client: str = CLIENT
    messages: list[dict[str, Any]] = field(default_factory=list)
    last_id: int = 0
    clock: datetime = field(default_factory=lambda: datetime.now(UTC))
    port: int = 0
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    streams: set[web.WebSocketResponse] = field(default_factory=set)
    answers_pings: bool = True
    tells_apps: bool = True
    tells_stream: bool = True
    ping: float = 45.0
    status: dict[str, int] = field(default_factory=dict)
    redirect: str = ""
    _runner: web.ServerRunner | web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token_of(self, request: web.Request) -> str:
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        shown = request.query.get("token") or request.headers.get("X-Gotify-Key")
        return shown or (bearer if scheme.lower() == "bearer" else "")

    @web.middleware
    async def _before(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        self.headers.append(dict(request.headers))
        if self.redirect:
            raise web.HTTPFound(self.redirect + request.path)
        if status := self.status.get(request.path):
            return error(status, "on purpose")
        if request.method == "GET" and request.path != "/version" and self.token_of(request) != self.client:
            return error(401, "you need to provide a valid access token or user credentials to access this api")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _version(self, _request: web.Request) -> web.Response:
        return web.json_response({"version": "2.6.3", "commit": "", "buildDate": ""})

    async def _application(self, _request: web.Request) -> web.Response:
        if not self.tells_apps:
            return error(403, "session not elevated, use basic auth or call /client:elevate")
        rows = [
            {"id": number, "name": name, "token": token} for number, (token, name) in enumerate(self.apps.items(), 1)
        ]
        return web.json_response(rows)

    async def _list(self, request: web.Request) -> web.Response:
        try:
            limit, since = int(request.query.get("limit", 100)), int(request.query.get("since", 0))
        except ValueError:
            return error(400, "strconv")
        if not 1 <= limit <= 200 or since < 0:
            return error(400, "Field 'limit' must be less or equal to 200")
        rows = [one for one in sorted(self.messages, key=lambda one: -one["id"]) if not since or one["id"] < since]
        page, more = rows[:limit], len(rows) > limit
        paging: dict[str, Any] = {"size": len(page), "limit": limit, "since": page[-1]["id"] if more else 0}
        if more:
            paging = {"next": f"{self.url}/message?limit={limit}&since={paging['since']}", **paging}
        return web.json_response({"paging": paging, "messages": page})

    async def _create(self, request: web.Request) -> web.Response:
        token = self.token_of(request)
        if token not in self.apps:
            return error(401, "you need to provide a valid access token or user credentials to access this api")
        sent = await request.json()
        return web.json_response(self.post(token, **{key: sent[key] for key in sent if key != "id"}))

    def post(self, by: str = "Aproxmox", *, skip: int = 0, tell: bool = True, **sent: Any) -> dict[str, Any]:
        """As an application does; `skip` ids went to other users, `tell` false leaves it to the list."""
        self.last_id += 1 + skip
        self.clock = max(self.clock + timedelta(milliseconds=10), datetime.now(UTC))
        row = {
            "id": self.last_id,
            "appid": list(self.apps).index(by) + 1,
            "message": "",
            "title": self.apps[by],
            "priority": 0,
            **sent,
            "date": self.clock.isoformat().replace("+00:00", "123Z"),
        }
        self.messages.append(row)
        if tell and self.tells_stream:
            self.tell(row)
        return row

    def tell(self, row: dict[str, Any]) -> None:
        for stream in list(self.streams):
            asyncio.get_running_loop().create_task(self._send(stream, row))

    async def _send(self, stream: web.WebSocketResponse, row: dict[str, Any]) -> None:
        if not stream.closed:
            with suppress(ConnectionError):  # a client that is killed
                await stream.send_json(row)

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        stream = web.WebSocketResponse(autoping=self.answers_pings, max_msg_size=64, heartbeat=self.ping)
        await stream.prepare(request)
        self.streams.add(stream)
        try:
            async for _ in stream:
                pass
        finally:
            self.streams.discard(stream)
        return stream

    async def start(self) -> None:
        app = web.Application(middlewares=[self._before])
        app.router.add_get("/version", self._version)
        app.router.add_get("/application", self._application)
        app.router.add_get("/message", self._list)
        app.router.add_post("/message", self._create)
        app.router.add_get("/stream", self._stream)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def drop(self, code: int = WSCloseCode.GOING_AWAY) -> None:
        """End every stream."""
        for stream in list(self.streams):
            await stream.close(code=code)

    async def stop(self) -> None:
        await self.drop()
        if self._runner:
            await self._runner.cleanup()
        self._runner = None

    def reset(self) -> None:
        """A new database: ids start again at 1."""
        self.messages.clear()
        self.last_id = 0
        self.clock += timedelta(minutes=10)

    def shuffled(self, rows: list[dict[str, Any]]) -> None:
        """Tell these in any order, as goroutines do."""
        for row in random.sample(rows, len(rows)):
            self.tell(row)


@asynccontextmanager
async def gotify() -> AsyncIterator[Gotify]:
    server = Gotify()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
