"""Discord's REST and Telegram's Bot API, as far as n8n uses them, and as strict as the real ones."""

import asyncio
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import ClientSession, web

from tests.support.processes import until

Raw = dict[str, Any]
LONGEST_DISCORD, LONGEST_TELEGRAM = 2000, 4096
BOT = {"id": "999", "username": "n8n", "bot": True}
TOKEN = "999:bot-token"
IDS = itertools.count(1_400_000_000_000_000_000)  # of messages: none twice in a run
TAG = re.compile(r"</?(b|i|u|s|code|pre|a)\b[^>]*>")


@dataclass
class Discord:
    """A channel. `links` are those of the buttons of the last message to it, by label."""

    sent: list[tuple[str, Raw]] = field(default_factory=list)
    there: list[Raw] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    refuse: bool = False
    refuse_deleting: bool = False
    looked: int = 0

    @property
    def links(self) -> dict[str, str]:
        rows = [row for row in self.sent[-1][1].get("components", ()) if row] if self.sent else []
        return {button["label"]: button["url"] for row in rows for button in row["components"]}

    @property
    def text(self) -> str:
        return json.dumps(self.sent, ensure_ascii=False)

    @property
    def replies(self) -> list[tuple[str, str]]:
        """Which message was answered, and with what."""
        bodies = [body for _, body in self.sent if body.get("message_reference")]
        return [(body["message_reference"]["message_id"], body["content"]) for body in bodies]

    def write(self, text: str, user: str = "42", **more: Any) -> str:
        """Somebody writes there; gives the message's id."""
        return self._put({"author": {"id": user, "username": f"user{user}"}, "content": text, **more})

    def _put(self, message: Raw) -> str:
        given = str(next(IDS))
        now = datetime.now(UTC).isoformat()
        self.there.insert(0, {"id": given, "channel_id": "2002", "type": 0, "timestamp": now, **message})
        return given

    def _denied(self, request: web.Request) -> web.Response | None:
        if self.refuse or not request.headers.get("Authorization", "").startswith("Bot "):
            return web.json_response({"message": "401: Unauthorized", "code": 0}, status=401)
        return None

    async def post(self, request: web.Request) -> web.Response:
        if denied := self._denied(request):
            return denied
        body = await request.json()
        if len(body.get("content") or "") > LONGEST_DISCORD:
            return web.json_response({"message": "Invalid Form Body", "code": 50035}, status=400)
        self.sent.append((request.path, body))
        given = self._put({"author": BOT, "content": "", **body})
        return web.json_response({"id": given, "channel_id": "2002"})

    async def read(self, request: web.Request) -> web.Response:
        self.looked += 1
        return self._denied(request) or web.json_response(self.there[: int(request.query.get("limit", "50"))])

    async def delete(self, request: web.Request) -> web.Response:
        if denied := self._denied(request):
            return denied
        if self.refuse_deleting:
            return web.json_response({"message": "Missing Permissions", "code": 50013}, status=403)
        given = request.match_info["message"]
        if given not in [one["id"] for one in self.there]:
            return web.json_response({"message": "Unknown Message", "code": 10008}, status=404)
        self.there = [one for one in self.there if one["id"] != given]
        self.deleted.append(given)
        return web.Response(status=204)

    def app(self) -> web.Application:
        app = web.Application()
        messages = "/api/v10/channels/{channel}/messages"
        app.router.add_post(messages, self.post)
        app.router.add_get(messages, self.read)
        app.router.add_delete(messages + "/{message}", self.delete)
        return app


@dataclass
class Telegram:
    """A bot's side. `inside` turns the public address that n8n registers into the one on loopback."""

    inside: Callable[[str], str] = str
    calls: list[tuple[str, Raw]] = field(default_factory=list)
    hook: Raw = field(default_factory=dict)
    number: int = 100

    def of(self, method: str) -> list[Raw]:
        return [body for name, body in self.calls if name == method]

    @property
    def said(self) -> list[str]:
        return [body["text"] for body in self.of("sendMessage") if not body.get("reply_markup")]

    @property
    def buttons(self) -> dict[str, str]:
        """What the buttons of the last message with some send back, by label."""
        asked = [body for body in self.of("sendMessage") if body.get("reply_markup")]
        rows = asked[-1]["reply_markup"]["inline_keyboard"] if asked else []
        return {one["text"]: one.get("callback_data") or one["url"] for row in rows for one in row}

    async def write(self, text: str, user: int = 42, chat: int = 42, secret: str | None = None) -> int:
        """Somebody writes to the bot; gives n8n's answer."""
        self.number += 1
        person = {"id": user, "is_bot": False, "first_name": f"User{user}"}
        message = {"message_id": self.number, "from": person, "chat": {"id": chat, "type": "private"}, "text": text}
        return await self._update({"message": message}, secret)

    async def press(self, label: str, user: int = 42, chat: int = 42) -> int:
        asked = [body for body in self.of("sendMessage") if body.get("reply_markup")][-1]
        message = {"message_id": self.number, "chat": {"id": chat, "type": "private"}, "text": asked["text"]}
        query = {"id": "7", "from": {"id": user, "is_bot": False, "first_name": f"User{user}"}, "message": message}
        return await self._update({"callback_query": {**query, "data": self.buttons[label]}}, None)

    async def _update(self, update: Raw, secret: str | None) -> int:
        await until(lambda: self.hook, 60, lambda: "n8n does not tell Telegram where to send messages")
        assert set(update) <= set(self.hook["allowed_updates"]), "Telegram would not send it"
        self.number += 1
        headers = {"X-Telegram-Bot-Api-Secret-Token": self.hook["secret_token"] if secret is None else secret}
        async with ClientSession() as session:
            for _ in range(100):  # published a moment ago
                answer = await session.post(
                    self.inside(self.hook["url"]), json={"update_id": self.number, **update}, headers=headers
                )
                if answer.status != 404:
                    break
                await asyncio.sleep(0.2)
        return answer.status

    async def answer(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        body = await request.json() if request.can_read_body else {}
        if request.match_info["token"] != TOKEN:
            return web.json_response({"ok": False, "error_code": 401, "description": "Unauthorized"}, status=401)
        if problem := next(_problems(method, body), None):
            return web.json_response({"ok": False, "error_code": 400, "description": problem}, status=400)
        self.calls.append((method, body))
        return web.json_response({"ok": True, "result": self._result(method, body)})

    def _result(self, method: str, body: Raw) -> Any:
        if method == "setWebhook":
            self.hook = body
        elif method == "deleteWebhook":
            self.hook = {}
        elif method == "getWebhookInfo":
            return {"url": self.hook.get("url", ""), "allowed_updates": self.hook.get("allowed_updates", [])}
        elif method == "sendMessage":
            self.number += 1
            return {"message_id": self.number, "chat": {"id": body["chat_id"]}}
        return True

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/bot{token}/{method}", self.answer)
        return app


def _problems(method: str, body: Raw) -> Iterator[str]:
    """What Telegram refuses of a message."""
    if method == "setWebhook" and not body["url"].startswith("https://"):
        yield "Bad Request: bad webhook: An HTTPS URL must be provided for webhook"
    if method not in {"sendMessage", "editMessageText"}:
        return
    text, mode = body["text"], body.get("parse_mode", "")
    if not text.strip():
        yield "Bad Request: message text is empty"
    if mode == "HTML" and "<" in TAG.sub("", text):
        yield "Bad Request: can't parse entities: Unsupported start tag"
    outside = "".join(re.split(r"```.*?```", text, flags=re.DOTALL))
    if mode == "Markdown" and any(outside.replace(f"\\{sign}", "").count(sign) % 2 for sign in "_*`"):
        yield "Bad Request: can't parse entities: Can't find end of the entity"
    shown = TAG.sub("", text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    if len(shown) > LONGEST_TELEGRAM:
        yield "Bad Request: message is too long"
