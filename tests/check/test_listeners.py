"""The listeners in a whole `check`: each has a row; DISCORD_IN on a stand-in for Discord; beside a bridge that runs."""

import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from mqtt_bridge.app import Bridge
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import Settings, load
from mqtt_bridge.settings.listening import DiscordInSettings, EventSettings, ListenerSettings
from mqtt_bridge.ways_in import LISTENERS
from proxmox_mcp.check import CHECKS, run_checks
from proxmox_mcp.check.in_discord import check_discord
from proxmox_mcp.lab import Lab
from tests.check.support import Check, Checked
from tests.support.discord_gateway import BOT, CHANNEL, GUILD, TOKEN, Discord, answer, user
from tests.support.https_host import free_port
from tests.support.watched import fast

CONTENT = 1 << 19  # the flag of an unverified bot with the Message Content Intent
WATCHED = "WEBSOCKET"  # what it needs is checked as the hosts
EMPTY, SECRET, NOWHERE = CHANNEL + 1, CHANNEL + 2, CHANNEL + 3


class Portal(Discord):
    """With the developer portal's flags, and channels of which one is empty and one is closed to the bot."""

    flags = CONTENT

    async def _application(self, _: web.Request) -> web.Response:
        told = json.loads((await super()._application(_)).body or b"")  # type: ignore[arg-type]
        return answer({**told, "flags": self.flags})

    async def _channel(self, request: web.Request) -> web.Response:
        number = int(request.match_info["channel"])
        if number == SECRET:
            return answer({"message": "Missing Access", "code": 50001}, status=403)
        if number == NOWHERE:
            return await super()._channel(request)
        return answer(
            {"id": str(number), "type": 0, "guild_id": str(GUILD), "name": "proxmox", "position": 0, "nsfw": False,
             "permission_overwrites": [], "parent_id": None, "topic": None, "last_message_id": None}
        )  # fmt: skip

    async def _read(self, request: web.Request) -> web.Response:
        return answer([]) if int(request.match_info["channel"]) == EMPTY else await super()._read(request)


@pytest.fixture
async def portal(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Portal]:
    async with Portal() as stand_in:
        stand_in.aim(monkeypatch)
        stand_in.message("hello", author=user(BOT, "x", bot=True))
        yield stand_in


async def discord(*channels: int, token: str = TOKEN, limit: float = 5, **more: Any) -> Checked:
    own = DiscordInSettings(bot_token=Secret(token), channels=channels or (CHANNEL,), **more)
    settings = Settings(events=EventSettings(enabled=frozenset({"DISCORD_IN"})), listen=ListenerSettings(discord=own))
    checked = Checked(await check_discord(settings, limit))
    assert token not in str(checked)
    return checked


NAME = "listener DISCORD_IN"


async def test_a_bot_that_may_read(portal: Portal) -> None:
    checked = await discord(roles=("Operators",))
    assert checked.failed == []
    assert [checked.one(NAME, what).ok for what in ("login", "intent", f"channel {CHANNEL}")] == [True] * 3
    assert "pve-bot" in checked.one(NAME, "login").detail
    assert "Operators" in checked.one(NAME, "commands").detail
    assert "DISCORD_ALLOW=read" in checked.one(NAME, "commands").detail
    assert portal.identified == 0, "a bot that runs keeps its connection"


async def test_each_channel_is_told_of(portal: Portal) -> None:
    checked = await discord(CHANNEL, EMPTY, SECRET, NOWHERE)
    assert checked.failed == [f"{NAME} channel {SECRET}", f"{NAME} channel {NOWHERE}"]
    assert checked.one(NAME, f"channel {EMPTY}").ok is None
    assert "Read Message History" in checked.one(NAME, f"channel {SECRET}").cure
    assert "DISCORD_IN_CHANNELS" in checked.one(NAME, f"channel {NOWHERE}").cure


async def test_a_wrong_token(portal: Portal) -> None:
    checked = await discord(token="wrong-token-of-the-test")
    assert checked.failed == [f"{NAME} login"]
    assert "DISCORD_IN_BOT_TOKEN" in checked.one(NAME, "login").detail


async def test_an_intent_that_is_not_granted(portal: Portal) -> None:
    portal.flags = 0
    checked = await discord()
    assert checked.failed == [f"{NAME} intent"]
    assert "developer portal" in checked.one(NAME, "intent").cure


async def test_a_discord_that_cannot_be_reached_or_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("discord.http.Route.BASE", "http://127.0.0.1:1/api/v10")
    assert (await discord()).failed == [f"{NAME} connect"]
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        monkeypatch.setattr("discord.http.Route.BASE", f"http://127.0.0.1:{mute.getsockname()[1]}/api/v10")
        assert (await discord(limit=0.3)).failed == [f"{NAME} connect"]


async def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxmox_mcp.check.in_discord.find_spec", lambda _: None)
    checked = await discord()
    assert checked.failed == [f"{NAME} package"]
    assert "pip install" in checked.one(NAME, "package").cure


def test_every_listener_has_a_row() -> None:
    short = {"GOTIFY_IN": "gotify", "DISCORD_IN": "discord"}
    wanted = {f"check_{short.get(name, name.lower())}" for name in LISTENERS if name != WATCHED}
    assert wanted <= {check.__name__ for check in CHECKS}


async def test_what_is_off_is_not_spoken_of(check: Check, lab: Lab) -> None:
    checked = await check(dict(lab.env))
    assert not [f for f in checked.findings if f.subject.startswith("listener")]


async def test_beside_a_bridge_that_runs(tmp_path: Path, lab: Lab) -> None:
    """It holds the ports, as it should: no problem, and what the check does makes no event."""
    ports = {
        key: str(free_port())
        for key in ("EVENT_WEBHOOK_LISTEN_PORT", "EVENT_SMTP_LISTEN_PORT", "EVENT_SYSLOG_LISTEN_PORT",
                    "EVENT_METRICS_LISTEN_PORT")
    }  # fmt: skip
    env = {
        **lab.env,
        **ports,
        "STATE_DIR": str(tmp_path / "state"),
        "MCP_HTTP_PORT": "0",
        "MQTT_EMBEDDED_PORT": "0",
        "ENABLED_EVENT_LISTENERS": "WEBSOCKET,WEBHOOK,SMTP,SYSLOG,METRICS",
        "EVENT_WEBHOOK_TOKEN": "a-token-of-the-webhook",
        "EVENT_METRICS_TOKEN": "a-token-of-the-metrics",
    }
    settings = fast(load(env, search=False))
    before = Checked(await run_checks(settings))
    assert [f for f in before.failed if f.startswith("listener")] == []
    async with Bridge(settings) as bridge:
        await bridge.ready()
        while any(info.status == "starting" for info in bridge.events.info().values()):
            await bridge.events.journal.known([])
        assert {info.status for info in bridge.events.info().values()} == {"ok"}
        beside = Checked(await run_checks(settings))
        assert [f for f in beside.failed if f.startswith("listener")] == []
        told = [f for f in beside.findings if f.subject.startswith("listener")]
        assert {f.subject for f in told} >= {f"listener {n}" for n in ("WEBHOOK", "SMTP", "SYSLOG", "METRICS")}
        numbers = [bridge.events.pipeline.intake(n).numbers() for n in ("WEBHOOK", "SMTP", "SYSLOG", "METRICS")]
        assert [(n["accepted"], n["rejected"]) for n in numbers] == [(0, 0)] * 4
