"""Stand-ins for Discord, Gotify, ntfy and a webhook's receiver, on loopback: strict where the real ones are.

Written after their documentation and, for Gotify and ntfy, their source. What one does wrong is in `faults`, each used
once; a fault is a status, or one of SLOW, CUT, HALF, HUGE, HTML, REDIRECT.
"""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

SLOW, CUT, HALF, HUGE, HTML, REDIRECT = "slow", "cut", "half", "huge", "html", "redirect"
Fault = int | str | web.Response


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def refusal(status: int, answer: Any, **headers: str) -> web.Response:
    return web.json_response(answer, status=status, headers={name.replace("_", "-"): headers[name] for name in headers})


@dataclass
class Server:
    """Answers by `handle`; `asked` is what came, `port` where it listens."""

    faults: list[Fault] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    slow: float = 30.0
    elsewhere: str = "http://127.0.0.1:9/"
    ssl: Any = None

    @property
    def url(self) -> str:
        return f"{'https' if self.ssl else 'http'}://127.0.0.1:{self.port}"

    @property
    def last(self) -> Any:
        return self.asked[-1].json

    async def handle(self, asked: Asked) -> web.StreamResponse:
        raise NotImplementedError

    def fault_answer(self, status: int) -> web.Response:
        return web.Response(status=status, text="on purpose")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        asked = Asked(request.method, request.path, dict(request.query), dict(request.headers), body)
        self.asked.append(asked)
        if not self.faults:
            return await self.handle(asked)
        fault = self.faults.pop(0)
        if isinstance(fault, web.Response):
            return fault
        if isinstance(fault, int):
            return self.fault_answer(fault)
        return await FAULTS[fault](self, request, asked)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.ssl).start()
        self.port = runner.addresses[0][1]
        try:
            yield
        finally:
            await runner.cleanup()


async def _slow(server: Server, _request: web.Request, asked: Asked) -> web.StreamResponse:
    await asyncio.sleep(server.slow)
    return await server.handle(asked)


async def _cut(_server: Server, request: web.Request, _asked: Asked) -> web.StreamResponse:
    """A reset before the answer."""
    assert request.transport
    linger = struct.pack("ii", 1, 0)
    request.transport.get_extra_info("socket").setsockopt(1, 13, linger)  # SOL_SOCKET, SO_LINGER
    request.transport.abort()
    return web.Response()


async def _half(server: Server, request: web.Request, asked: Asked) -> web.StreamResponse:
    """The status line and some of the body, then the end."""
    whole = await server.handle(asked)
    answer = web.StreamResponse(status=whole.status, headers={"Content-Length": "5000"})
    await answer.prepare(request)
    await answer.write(b'{"id": ')
    assert request.transport
    request.transport.abort()
    return answer


async def _huge(server: Server, request: web.Request, asked: Asked) -> web.StreamResponse:
    """Does not end; whoever reads on is to blame."""
    whole = await server.handle(asked)
    answer = web.StreamResponse(status=whole.status)
    await answer.prepare(request)
    while True:
        await answer.write(b" " * 65_536)


async def _html(_server: Server, _request: web.Request, _asked: Asked) -> web.StreamResponse:
    return web.Response(text="<html>A router's page</html>", content_type="text/html")


async def _redirect(server: Server, _request: web.Request, _asked: Asked) -> web.StreamResponse:
    return web.Response(status=301, headers={"Location": server.elsewhere})


FAULTS: dict[str, Callable[[Server, web.Request, Asked], Awaitable[web.StreamResponse]]] = {
    SLOW: _slow, CUT: _cut, HALF: _half, HUGE: _huge, HTML: _html, REDIRECT: _redirect,
}  # fmt: skip


# --- Discord ---------------------------------------------------------------------------------------------------------

DISCORD_TOKEN = "sEcReT-webhook-token_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ"
EMBED_LIMITS = {"title": 256, "description": 4096}


def discord_errors(message: Any) -> dict[str, str]:
    """What Discord's API finds wrong: path and complaint. It counts code points."""
    found: dict[str, str] = {}
    embeds = message.get("embeds", [])
    content = message.get("content", "")
    if len(content) > 2000:
        found["content"] = "Must be 2000 or fewer in length."
    if not content and not embeds:
        found["content"] = "Cannot send an empty message"
    if len(embeds) > 10:
        found["embeds"] = "Must be 10 or fewer in length."
    for number, embed in enumerate(embeds):
        found |= {f"embeds.{number}.{key}": why for key, why in _embed_errors(embed).items()}
    if sum(map(_embed_size, embeds)) > 6000:
        found["embeds"] = "Embed size exceeds maximum size of 6000"
    return found


def _embed_errors(embed: dict[str, Any]) -> dict[str, str]:
    fields = [
        (f"fields.{at}.{key}", each[key], limit)
        for at, each in enumerate(embed.get("fields", []))
        for key, limit in {"name": 256, "value": 1024}.items()
    ]
    texts = [(key, embed[key], limit) for key, limit in EMBED_LIMITS.items() if key in embed]
    texts.append(("footer.text", embed.get("footer", {}).get("text", "x"), 2048))
    rows = [(path, len(text) <= limit, f"Must be {limit} or fewer in length.") for path, text, limit in texts + fields]
    rows += [(path, bool(text.strip()), "This field is required") for path, text, _ in texts + fields]
    url = embed.get("url", "https://x")
    rows += [
        ("fields", len(embed.get("fields", [])) <= 25, "Must be 25 or fewer in length."),
        ("color", 0 <= embed.get("color", 0) <= 0xFFFFFF, "int value should be less than or equal to 16777215."),
        ("url", urlsplit(url).scheme in {"http", "https"} and len(url) <= 2048, "Not a well formed URL."),
        ("timestamp", _is_time(embed.get("timestamp", "2026-01-01")), "Could not parse. Should be ISO8601."),
    ]
    return {path: why for path, good, why in rows if not good}


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _embed_size(embed: dict[str, Any]) -> int:
    texts = [embed.get("title", ""), embed.get("description", ""), embed.get("footer", {}).get("text", "")]
    texts += [each[key] for each in embed.get("fields", []) for key in ("name", "value")]
    return sum(len(text.strip()) for text in texts)


def _form_errors(found: dict[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, why in found.items():
        node = tree
        for key in path.split("."):
            node = node.setdefault(key, {})
        node.setdefault("_errors", []).append({"code": "BASE_TYPE_MAX_LENGTH", "message": why})
    return tree


@dataclass
class DiscordServer(Server):
    """`messages` by id. `bucket`: so many requests are left before X-RateLimit-Remaining says 0."""

    messages: dict[str, Any] = field(default_factory=dict)
    bucket: int = 1000
    reset_after: float = 1.0
    last_id: int = 1_180_000_000_000_000_000

    @property
    def webhook(self) -> str:
        return f"{self.url}/api/webhooks/223704706495545344/{DISCORD_TOKEN}"

    async def handle(self, asked: Asked) -> web.StreamResponse:
        message = asked.path.partition("/messages/")[2]
        if asked.method == "GET" and not self._unknown(asked.path):
            return web.json_response({"id": "223704706495545344", "type": 1, "name": "Proxmox", "channel_id": "1"})
        if wrong := self._wrong(asked, message):
            return refusal(*wrong)
        self.bucket -= 1
        headers = {"X-RateLimit-Limit": "5", "X-RateLimit-Remaining": str(max(self.bucket, 0))}
        headers["X-RateLimit-Reset-After"] = str(self.reset_after)
        if not message:
            self.last_id += 1
            message = str(self.last_id)
        self.messages[message] = asked.json
        if asked.method == "POST" and asked.query.get("wait") != "true":
            return web.Response(status=204, headers=headers)
        return web.json_response({"id": message, **asked.json}, headers=headers)

    def _wrong(self, asked: Asked, message: str) -> tuple[int, Any] | None:
        if unknown := self._unknown(asked.path):
            return unknown
        if wrong := discord_errors(asked.json):
            return 400, {"message": "Invalid Form Body", "code": 50035, "errors": _form_errors(wrong)}
        if asked.method == "PATCH" and message not in self.messages:
            return 404, {"message": "Unknown Message", "code": 10008}
        return None

    def _unknown(self, path: str) -> tuple[int, Any] | None:
        found = re.fullmatch(r"/api/webhooks/(\d+)/([\w-]+)(?:/messages/(\d+))?", path)
        if not found or found[1] != "223704706495545344":
            return 404, {"message": "Unknown Webhook", "code": 10015}
        if found[2] != DISCORD_TOKEN:
            return 401, {"message": "Invalid Webhook Token", "code": 50027}
        return None

    def limited(self, after: float, *, header: bool = True) -> web.Response:
        body = {"message": "You are being rate limited.", "retry_after": after, "global": False}
        headers = {"Retry-After": str(int(after) + 1), "X-RateLimit-Scope": "user"} if header else {}
        return web.json_response(body, status=429, headers=headers)


# --- Gotify ----------------------------------------------------------------------------------------------------------

GOTIFY_TOKEN = "AppSecret.Token1"


@dataclass
class GotifyServer(Server):
    """Under a path too, as behind a proxy."""

    base: str = ""
    messages: list[Any] = field(default_factory=list)

    async def handle(self, asked: Asked) -> web.StreamResponse:
        if asked.path == f"{self.base}/health" and asked.method == "GET":
            return web.json_response({"health": "green", "database": "green"})
        if asked.path != f"{self.base}/message" or asked.method != "POST":
            return self._error(404, "page not found")
        if asked.headers.get("X-Gotify-Key") != GOTIFY_TOKEN:
            return self._error(401, "you need to provide a valid access token or user credentials to access this api")
        sent = asked.json
        if not isinstance(sent.get("message"), str) or not sent["message"]:
            return self._error(400, "Field 'message' is required")
        if not isinstance(sent.get("priority", 0), int) or not isinstance(sent.get("extras", {}), dict):
            return self._error(400, "json: cannot unmarshal")
        self.messages.append(sent)
        answer = {"id": len(self.messages), "appid": 5, "date": "2026-11-21T08:00:00.123456789+01:00", **sent}
        return web.json_response(answer)

    def fault_answer(self, status: int) -> web.Response:
        return self._error(status, "on purpose")

    def _error(self, status: int, why: str) -> web.Response:
        return refusal(status, {"error": "Error", "errorCode": status, "errorDescription": why})


# --- ntfy ------------------------------------------------------------------------------------------------------------

NTFY_TOKEN = "tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2"


@dataclass
class NtfyServer(Server):
    """`shown` is what a subscriber of ntfy 2.16 has: by sequence id the last one. `old`: before 2.16."""

    topics: tuple[str, ...] = ("homelab",)
    old: bool = False
    shown: dict[str, Any] = field(default_factory=dict)
    messages: list[Any] = field(default_factory=list)
    size_limit: int = 4096

    async def handle(self, asked: Asked) -> web.StreamResponse:
        if asked.path != "/" or asked.method not in {"POST", "PUT"}:
            health = asked.path == "/v1/health" and asked.method == "GET"
            return web.json_response({"healthy": True}) if health else self._error(404, 40401, "page not found")
        if asked.headers.get("Authorization") != f"Bearer {NTFY_TOKEN}":
            return self._error(403, 40301, "forbidden")
        if len(asked.body) > 2 * self.size_limit:
            return self._error(413, 41303, "JSON body too large")
        sent = asked.json
        if wrong := self._wrong(sent):
            return self._error(400, *wrong)
        if len(sent["message"].encode()) >= self.size_limit:
            return self._error(400, 40014, "invalid request: attachments not allowed")
        message = f"msg{len(self.messages):09}"
        self.messages.append(sent)
        known = {} if self.old else {"sequence_id": sent.get("sequence_id", message)}
        self.shown[known.get("sequence_id", message)] = sent
        return web.json_response({"id": message, "time": 1763712000, "event": "message", **known})

    def _wrong(self, sent: dict[str, Any]) -> tuple[int, str] | None:
        actions = sent.get("actions", [])
        rows = (
            (not re.fullmatch(r"[-_A-Za-z0-9]{1,64}", sent.get("topic", "")), 40009, "topic invalid"),
            (sent.get("topic") not in self.topics, 40010, "topic name is not allowed"),
            (not 0 <= sent.get("priority", 0) <= 5, 40007, "invalid priority parameter"),
            (len(actions) > 3, 40018, "actions invalid; too many actions"),
            (any(not each.get("label") or not each.get("url") for each in actions), 40018, "actions invalid"),
            (len(sent.get("title", "")) > 200, 40041, "title too long"),
            (
                not self.old and not re.fullmatch(r"[-_A-Za-z0-9]{1,64}", sent.get("sequence_id", "x")),
                40049,
                "sequence ID invalid",
            ),
        )
        return next(((code, f"invalid request: {why}") for wrong, code, why in rows if wrong), None)

    def fault_answer(self, status: int) -> web.Response:
        return self._error(status, status * 100 + 1, "on purpose")

    def _error(self, status: int, code: int, why: str) -> web.Response:
        return refusal(status, {"code": code, "http": status, "error": why, "link": "https://ntfy.sh/docs/"})


# --- a webhook's receiver --------------------------------------------------------------------------------------------


@dataclass
class Receiver(Server):
    """As n8n: repeats the path where nothing lives."""

    path: str = "/webhook/hidden-part-of-the-path"

    @property
    def webhook(self) -> str:
        return f"{self.url}{self.path}?key=hidden-key"

    async def handle(self, asked: Asked) -> web.StreamResponse:
        if asked.path != self.path:
            return refusal(
                404, {"code": 404, "message": f'The requested webhook "POST {asked.path}" is not registered.'}
            )
        return web.json_response({"message": "Workflow was started"})
