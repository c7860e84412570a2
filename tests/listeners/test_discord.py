"""DISCORD_IN against a stand-in that speaks Discord's own protocol: discord.py itself is the client."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mqtt_bridge.events.intake import IntakeFullError
from mqtt_bridge.listeners.discord import DiscordIn
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.listening import DiscordInSettings
from tests.support.discord_gateway import CHANNEL, ROLE, TOKEN, Discord, user
from tests.support.intakes import Remembering, running, until

FAILED = "vzdump backup status (pve1.example.org): backup failed"


class Echo:
    """Answers a command with what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def answer(self, who: str, channel: str, text: str) -> str:
        self.asked.append((who, text.strip()))
        return f"you said {text.strip()} ``` end"


@pytest.fixture
async def discord(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Discord]:
    async with Discord() as stand_in:
        stand_in.aim(monkeypatch)
        yield stand_in


def listener(chat: Echo | None = None, *, token: str = TOKEN, roles: tuple[str, ...] = ("operators",)) -> DiscordIn:
    settings = DiscordInSettings(bot_token=Secret(token), channels=(CHANNEL,), roles=roles)
    return DiscordIn(settings, chat)


async def test_a_post_of_proxmox_becomes_an_event_and_the_past_none(discord: Discord) -> None:
    intake = Remembering()
    discord.message("what was said before the first start")
    async with running(listener(), intake):
        await discord.post(FAILED)
        await until(lambda: intake.reports)
    (report,) = intake.reports
    assert (report.verdict.kind, report.verdict.severity, report.verdict.node) == ("backup.job.failed", "error", "pve1")
    assert report.trust == "authenticated"
    assert intake.cursors[str(CHANNEL)] == discord.messages[-1]["id"]
    assert discord.acknowledged >= 1, "heartbeats"


async def test_what_discord_out_posts_there_is_no_news(discord: Discord) -> None:
    intake = Remembering()
    settings = DiscordInSettings(bot_token=Secret(TOKEN), channels=(CHANNEL,), own_webhooks=frozenset({778}))
    async with running(DiscordIn(settings), intake):
        await discord.say(FAILED, webhook_id="778", author=user(778, "Proxmox", bot=True))
        await discord.post("of another webhook")
        await until(lambda: intake.reports)
    assert ["of another webhook" in (r.verdict.message or r.verdict.title) for r in intake.reports] == [True]
    assert intake.cursors[str(CHANNEL)] == discord.messages[-1]["id"]


async def test_an_embed_is_read_and_a_person_is_trusted_less(discord: Discord) -> None:
    intake = Remembering()
    async with running(listener(), intake):
        await discord.say("", embeds=[{"type": "rich", "title": FAILED, "description": "Details"}])
        await until(lambda: intake.reports)
    assert intake.reports[0].verdict.kind == "backup.job.failed"
    assert intake.reports[0].trust == "unauthenticated"


async def test_what_was_said_while_we_were_away_is_caught_up_in_order(discord: Discord) -> None:
    intake = Remembering()
    async with running(listener(), intake):
        await discord.post("first")
        await until(lambda: len(intake.reports) == 1)
    for number in range(230):
        discord.message(f"missed {number}")
    intake.health.clear()
    async with running(listener(), intake):
        await until(lambda: len(intake.reports) == 231)
    messages = [report.verdict.message or report.verdict.title for report in intake.reports]
    assert [m for m in messages if "missed" in m] == messages[1:]
    assert len({report.identity for report in intake.reports}) == 231
    assert "missed 0" in messages[1]
    assert "missed 229" in messages[-1]


@pytest.mark.parametrize("how", ["reconnect", "cut", "session lost"])
async def test_a_lost_connection_loses_no_message(discord: Discord, how: str) -> None:
    intake = Remembering()
    async with running(listener(), intake):
        await discord.post("before")
        await until(lambda: len(intake.reports) == 1)
        discord.refuse_resume = how == "session lost"
        discord.open.clear()
        await (discord.cut() if how == "cut" else discord.reconnect())
        await until(lambda: not discord.live)
        discord.message("between")
        discord.open.set()
        await until(lambda: discord.live, 15)
        await discord.post("after")
        await until(lambda: len(intake.reports) == 3, 15)
    assert discord.resumed == (0 if how == "session lost" else 1)
    assert [r.verdict.message or r.verdict.title for r in intake.reports] == ["before", "between", "after"]


async def test_a_full_intake_is_tried_again(discord: Discord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqtt_bridge.listeners.discord_reader.RETRY", 0.05)
    intake = Remembering()
    async with running(listener(), intake):
        intake.fails = [IntakeFullError("full")] * 3
        await discord.post("one")
        await discord.post("two")
        await until(lambda: len(intake.reports) == 2)


async def test_commands_are_answered_and_are_no_events(discord: Discord) -> None:
    intake, chat = Remembering(), Echo()
    async with running(listener(chat), intake):
        await discord.say("!pve start 100")
        await until(lambda: discord.sent)
        await discord.say("!pvestatd is what people talk about")
        await until(lambda: intake.reports)
    assert chat.asked == [("ann (5005)", "start 100")]
    assert discord.sent[0]["content"] == "```\nyou said start 100 ''' end\n```"
    assert len(intake.reports) == 1
    assert [c["name"] for c in discord.commands] == ["pve"]


async def test_who_has_no_role_may_not(discord: Discord) -> None:
    intake, chat = Remembering(), Echo()
    async with running(listener(chat, roles=("admins", "999")), intake):
        await discord.say("!pve stop 100")
        await until(lambda: discord.sent)
        await discord.slash("stop 100", [str(ROLE)])
        await until(lambda: discord.answers)
    assert chat.asked == []
    assert "none of the roles" in discord.sent[0]["content"]
    assert "none of the roles" in discord.answers[0]["content"]


async def test_webhooks_and_bots_give_no_commands(discord: Discord) -> None:
    chat = Echo()
    async with running(listener(chat), Remembering()):
        await discord.post("!pve stop 100")
        await discord.say("!pve status")
        await until(lambda: discord.sent)
    assert chat.asked == [("ann (5005)", "status")]


async def test_the_slash_command(discord: Discord) -> None:
    chat = Echo()
    async with running(listener(chat, roles=(str(ROLE),)), Remembering()):
        await discord.slash("guests web", [str(ROLE)])
        await until(lambda: discord.answers)
    assert chat.asked == [("ann (5005)", "guests web")]


async def test_a_refused_token_is_told_and_not_hammered(discord: Discord) -> None:
    intake = Remembering()
    task = asyncio.create_task(listener(token="wrong-token-of-the-test").run(intake))
    await until(lambda: intake.health and not intake.well)
    await asyncio.sleep(0.2)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
    assert "DISCORD_IN_BOT_TOKEN" in intake.said
    assert "wrong-token" not in intake.said


async def test_an_intent_that_is_not_granted_is_told(discord: Discord) -> None:
    intake = Remembering()
    discord.close_code = 4014
    task = asyncio.create_task(listener().run(intake))
    await until(lambda: any("Message Content Intent" in said for _, said in intake.health), 60)
    task.cancel()
    await asyncio.wait([task])
    assert not intake.well


async def test_a_channel_that_is_not_there_is_named(discord: Discord) -> None:
    settings = DiscordInSettings(bot_token=Secret(TOKEN), channels=(CHANNEL, 12345678))
    intake = Remembering()
    task = asyncio.create_task(DiscordIn(settings).run(intake))
    await until(lambda: intake.health and not intake.well)
    task.cancel()
    await asyncio.wait([task])
    assert "12345678" in intake.said
