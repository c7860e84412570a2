"""A stand-in for Discord, by its documented protocol: REST beside a gateway with hello, identify, heartbeat, dispatch,
resume and reconnect, zlib-stream compressed. `say` writes a message into a channel as a member or webhook would."""

import asyncio
import itertools
import json
import time
import zlib
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import discord.gateway
import discord.http
import pytest
import yarl
from aiohttp import WSMsgType, web

GUILD, CHANNEL, BOT, ROLE, MEMBER = 1001, 200200200200200200, 3003, 4004, 5005  # the settings know how long one is
EPOCH = 1420070400000  # Discord's, in milliseconds
TOKEN = "bot-token-of-the-test"
DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, INVALID, HELLO, ACK = 0, 1, 2, 6, 7, 9, 10, 11


def user(number: int, name: str, *, bot: bool = False) -> dict[str, Any]:
    return {"id": str(number), "username": name, "discriminator": "0", "avatar": None, "bot": bot, "global_name": None}


def answer(data: Any, status: int = 200) -> web.Response:
    """JSON with the bare content type that discord.py compares with."""
    return web.Response(body=json.dumps(data).encode(), status=status, headers={"Content-Type": "application/json"})


@dataclass(eq=False)
class Connection:
    """One gateway connection: its compressor, and what the client sent."""

    socket: web.WebSocketResponse
    deflate: Any = field(default_factory=zlib.compressobj)
    beats: int = 0

    async def send(self, op: int, data: Any = None, name: str | None = None, seq: int | None = None) -> None:
        text = json.dumps({"op": op, "d": data, "t": name, "s": seq}).encode()
        await self.socket.send_bytes(self.deflate.compress(text) + self.deflate.flush(zlib.Z_SYNC_FLUSH))


class Discord:
    """`async with` it, then `aim` discord.py at it."""

    def __init__(self, *, heartbeat: float = 0.3) -> None:
        self.heartbeat = heartbeat
        self.messages: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []  # what the bot wrote
        self.edited: list[dict[str, Any]] = []
        self.commands: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []  # to interactions
        self.identified = 0
        self.resumed = 0
        self.acknowledged = 0
        self.live: list[Connection] = []
        self.refuse_resume = False
        self.close_code: int | None = None
        self.open = asyncio.Event()  # cleared: nobody gets through to the gateway
        self.open.set()
        self._history: list[tuple[int, str, Any]] = []
        self._numbers = itertools.count(1)
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        base = "/api/v10"
        app.add_routes(
            [
                web.get("/", self._gateway),
                web.get(f"{base}/users/@me", self._me),
                web.get(f"{base}/oauth2/applications/@me", self._application),
                web.get(f"{base}/channels/{{channel}}", self._channel),
                web.get(f"{base}/channels/{{channel}}/messages", self._read),
                web.post(f"{base}/channels/{{channel}}/messages", self._write),
                web.patch(f"{base}/channels/{{channel}}/messages/{{message}}", self._edit),
                web.put(f"{base}/applications/{{app}}/guilds/{{guild}}/commands", self._commands),
                web.post(f"{base}/interactions/{{id}}/{{token}}/callback", self._callback),
                web.post(f"{base}/webhooks/{{app}}/{{token}}", self._followup),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner:
            await self._runner.cleanup()

    def aim(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let discord.py speak to this instead of to Discord."""
        monkeypatch.setattr(discord.http.Route, "BASE", f"http://127.0.0.1:{self.port}/api/v10")
        gateway = yarl.URL(f"ws://127.0.0.1:{self.port}/")
        monkeypatch.setattr(discord.gateway.DiscordWebSocket, "DEFAULT_GATEWAY", gateway)

    # --- what happens on Discord ------------------------------------------------------------------------------------

    def message(self, content: str, **more: Any) -> dict[str, Any]:
        """Somebody writes; nobody is told yet."""
        number = (int(time.time() * 1000) - EPOCH << 22) + next(self._numbers)
        message = {
            "id": str(number),
            "channel_id": str(CHANNEL),
            "guild_id": str(GUILD),
            "author": user(MEMBER, "ann"),
            "member": {"roles": [str(ROLE)], "joined_at": "2026-01-01T00:00:00+00:00", "deaf": False, "mute": False,
                       "flags": 0},
            "content": content,
            "timestamp": "2026-11-20T03:00:00.000000+00:00",
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": [],
            "embeds": [],
            "pinned": False,
            "type": 0,
        } | more  # fmt: skip
        self.messages.append(message)
        return message

    async def say(self, content: str, **more: Any) -> None:
        """Somebody writes, and who is connected is told."""
        await self.dispatch("MESSAGE_CREATE", self.message(content, **more))

    async def post(self, content: str, **more: Any) -> None:
        """A webhook posts, as Proxmox's does."""
        await self.say(content, webhook_id="777", author=user(777, "Proxmox", bot=True), **more)

    async def slash(self, command: str, roles: list[str]) -> None:
        """A member gives the slash command."""
        member = {"user": user(MEMBER, "ann"), "roles": roles, "joined_at": "2026-01-01T00:00:00+00:00",
                  "permissions": "0", "deaf": False, "mute": False, "flags": 0}  # fmt: skip
        data = {"id": "9", "name": "pve", "type": 1, "guild_id": str(GUILD),
                "options": [{"name": "command", "type": 3, "value": command}]}  # fmt: skip
        await self.dispatch(
            "INTERACTION_CREATE",
            {"id": "8", "application_id": str(BOT), "type": 2, "token": "tok", "version": 1, "data": data,
             "guild_id": str(GUILD), "channel_id": str(CHANNEL), "channel": {"id": str(CHANNEL), "type": 0},
             "member": member, "locale": "en-US", "entitlements": [], "authorizing_integration_owners": {},
             "app_permissions": "0", "attachment_size_limit": 1024},
        )  # fmt: skip

    async def press(self, custom_id: str, number: int, name: str) -> None:
        """A member presses a button under the bot's last message."""
        member = {"user": user(number, name), "roles": [], "joined_at": "2026-01-01T00:00:00+00:00",
                  "permissions": "0", "deaf": False, "mute": False, "flags": 0}  # fmt: skip
        await self.dispatch(
            "INTERACTION_CREATE",
            {"id": "8", "application_id": str(BOT), "type": 3, "token": "tok", "version": 1,
             "data": {"custom_id": custom_id, "component_type": 2}, "message": self.messages[-1],
             "guild_id": str(GUILD), "channel_id": str(CHANNEL), "channel": {"id": str(CHANNEL), "type": 0},
             "member": member, "locale": "en-US", "entitlements": [], "authorizing_integration_owners": {},
             "app_permissions": "0", "attachment_size_limit": 1024},
        )  # fmt: skip

    async def dispatch(self, name: str, data: Any) -> None:
        seq = len(self._history) + 1
        self._history.append((seq, name, data))
        for connection in list(self.live):
            await connection.send(DISPATCH, data, name, seq)

    async def reconnect(self) -> None:
        """Ask every client to reconnect and resume."""
        for connection in list(self.live):
            await connection.send(RECONNECT)

    async def cut(self) -> None:
        """Drop every connection, as a network does."""
        for connection in list(self.live):
            if connection.socket._req and connection.socket._req.transport:
                connection.socket._req.transport.abort()

    # --- the gateway ------------------------------------------------------------------------------------------------

    async def _gateway(self, request: web.Request) -> web.StreamResponse:
        assert request.query["compress"] == "zlib-stream", "discord.py found a zstd package: take it out"
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        connection = Connection(socket)
        await self.open.wait()
        await connection.send(HELLO, {"heartbeat_interval": int(self.heartbeat * 1000)})
        try:
            async for frame in socket:
                if frame.type is WSMsgType.TEXT:
                    await self._received(connection, json.loads(frame.data))
        finally:
            if connection in self.live:
                self.live.remove(connection)
        return socket

    async def _received(self, connection: Connection, frame: dict[str, Any]) -> None:
        op, data = frame["op"], frame.get("d") or {}
        if op == HEARTBEAT:
            connection.beats += 1
            self.acknowledged += 1
            await connection.send(ACK)
        elif op in (IDENTIFY, RESUME) and self.close_code:
            await connection.socket.close(code=self.close_code)
        elif op == IDENTIFY:
            await self._identify(connection, data)
        elif op == RESUME and self.refuse_resume:
            await connection.send(INVALID, data=False)
        elif op == RESUME:
            await self._resume(connection, data)

    async def _identify(self, connection: Connection, data: dict[str, Any]) -> None:
        assert data["token"] == TOKEN
        assert data["intents"] & (1 << 15), "message content is asked for"
        self.identified += 1
        guild = {"id": str(GUILD), "unavailable": True}
        ready = {"v": 10, "user": user(BOT, "pve-bot", bot=True), "guilds": [guild], "session_id": "s1",
                 "resume_gateway_url": f"ws://127.0.0.1:{self.port}/", "application": {"id": str(BOT), "flags": 0},
                 "private_channels": [], "relationships": []}  # fmt: skip
        start = len(self._history)
        self._history += [(start + 1, "READY", ready), (start + 2, "GUILD_CREATE", _guild())]
        for seq, name, payload in self._history[start:]:
            await connection.send(DISPATCH, payload, name, seq)
        self.live.append(connection)

    async def _resume(self, connection: Connection, data: dict[str, Any]) -> None:
        self.resumed += 1
        for seq, name, payload in self._history[data["seq"] :]:
            await connection.send(DISPATCH, payload, name, seq)
        self.live.append(connection)
        await self.dispatch("RESUMED", {})

    # --- REST -------------------------------------------------------------------------------------------------------

    async def _me(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bot {TOKEN}":
            return answer({"message": "401: Unauthorized", "code": 0}, status=401)
        return answer(user(BOT, "pve-bot", bot=True))

    async def _application(self, _: web.Request) -> web.Response:
        owner = user(1, "owner")
        return answer(
            {"id": str(BOT), "name": "pve", "icon": None, "description": "", "bot_public": False, "owner": owner,
             "bot_require_code_grant": False, "verify_key": "00", "flags": 0, "team": None, "rpc_origins": []}
        )  # fmt: skip

    async def _channel(self, request: web.Request) -> web.Response:
        return answer({"message": "Unknown Channel", "code": 10003}, status=404)

    async def _read(self, request: web.Request) -> web.Response:
        after, limit = int(request.query.get("after", 0)), int(request.query["limit"])
        newer = [m for m in self.messages if int(m["id"]) > after]
        page = newer[:limit] if "after" in request.query else newer[-limit:]
        return answer(page[::-1])

    async def _write(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.sent.append(body)
        message = self.message(body["content"], author=user(BOT, "pve-bot", bot=True))
        await self.dispatch("MESSAGE_CREATE", message)
        return answer(message)

    async def _edit(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.edited.append(body)
        found = next(m for m in self.messages if m["id"] == request.match_info["message"])
        found["content"] = body["content"]
        return answer(found)

    async def _commands(self, request: web.Request) -> web.Response:
        self.commands = await request.json()
        return answer([{**c, "id": "9", "application_id": str(BOT), "version": "1"} for c in self.commands])

    async def _callback(self, request: web.Request) -> web.Response:
        await request.read()
        return answer({"interaction": {"id": "8", "type": 2}})

    async def _followup(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.answers.append(body)
        return answer(self.message(body["content"], author=user(BOT, "pve-bot", bot=True)))


def _guild() -> dict[str, Any]:
    role = {"id": str(ROLE), "name": "Operators", "color": 0, "hoist": False, "position": 1, "permissions": "0",
            "managed": False, "mentionable": False, "flags": 0, "colors": {"primary_color": 0,
            "secondary_color": None, "tertiary_color": None}}  # fmt: skip
    everyone = role | {"id": str(GUILD), "name": "@everyone", "position": 0, "permissions": str((1 << 53) - 1)}
    channel = {"id": str(CHANNEL), "type": 0, "name": "proxmox", "position": 0, "permission_overwrites": [],
               "nsfw": False, "parent_id": None, "topic": None, "rate_limit_per_user": 0,
               "last_message_id": None}  # fmt: skip
    return {
        "id": str(GUILD), "name": "Lab", "icon": None, "owner_id": "1", "roles": [everyone, role],
        "channels": [channel], "members": [], "threads": [], "emojis": [], "stickers": [], "features": [],
        "member_count": 2, "large": False, "unavailable": False, "voice_states": [], "presences": [],
        "stage_instances": [], "guild_scheduled_events": [], "soundboard_sounds": [], "afk_timeout": 60,
        "verification_level": 0, "default_message_notifications": 0, "explicit_content_filter": 0, "mfa_level": 0,
        "premium_tier": 0, "nsfw_level": 0, "system_channel_flags": 0, "preferred_locale": "en-US",
        "premium_progress_bar_enabled": False, "afk_channel_id": None, "application_id": None,
    }  # fmt: skip
