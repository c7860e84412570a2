"""Buttons in Discord, against a stand-in that speaks its protocol: a listed member's press approves, nobody else's."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mqtt_bridge.approvals import Approvals, Grant
from mqtt_bridge.approvals.ballot import Ballot
from mqtt_bridge.listeners.discord import DiscordIn
from mqtt_bridge.policy import Principal
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.listening import DiscordInSettings
from tests.approvals.making import ALICE, SETTINGS, pending, request
from tests.approvals.over_mqtt import until
from tests.approvals.test_store import audited
from tests.support.discord_gateway import CHANNEL, TOKEN, Discord
from tests.support.intakes import Remembering, running

ASKS = Principal("discord:ann (5005)", "discord", "exec")
ALICES = ALICE.discord or 0
SOMEBODY = 90000000000000009


@pytest.fixture
async def discord(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Discord]:
    async with Discord() as stand_in:
        stand_in.aim(monkeypatch)
        yield stand_in


def listener(approvals: Approvals) -> DiscordIn:
    settings = DiscordInSettings(bot_token=Secret(TOKEN), channels=(CHANNEL,))
    return DiscordIn(settings, None, Ballot(approvals))


def button(discord: Discord, label: str, which: int = -1) -> str:
    (row,) = discord.sent[which]["components"]
    custom: str = next(one["custom_id"] for one in row["components"] if one["label"] == label)
    return custom


async def test_a_listed_member_approves_by_a_button(tmp_path: Path, discord: Discord) -> None:
    intake = Remembering()
    async with Approvals(tmp_path, SETTINGS) as approvals, running(listener(approvals), intake):
        waits = await pending(approvals, ASKS)
        await until(lambda: discord.sent)
        assert "DELETE /nodes/pve1/qemu/100" in discord.sent[0]["content"]
        await discord.press(button(discord, "Approve"), SOMEBODY, "mallory")
        await until(lambda: discord.answers)
        assert "no approver" in discord.answers[-1]["content"]
        await discord.press(button(discord, "Approve"), ALICES, "whatever-she-is-called")
        await until(lambda: len(discord.answers) > 1)
        assert discord.answers[-1]["content"] == "Approved by alice."
        assert await approvals.obtain(request(approvals, ASKS), given=waits.id) == Grant(waits.id, "alice", "discord")
        await until(lambda: discord.edited)
        assert discord.edited[-1]["components"] == []
        await discord.press(button(discord, "Approve"), ALICES, "alice")  # pressed again
        await until(lambda: len(discord.answers) > 2)
        assert "used already" in discord.answers[-1]["content"]
        assert not intake.reports, "what the bot says is no event"
    refused = [str(row["who"]) for row in audited(tmp_path) if row["event"] == "approval.refused"]
    assert refused[0].startswith("mallory")


async def test_whoever_asked_cannot_press_and_anybody_may_reject(tmp_path: Path, discord: Discord) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals, running(listener(approvals), Remembering()):
        mine = Principal(f"discord:ann ({ALICES})", "discord", "exec")
        await pending(approvals, mine)
        await until(lambda: discord.sent)
        await discord.press(button(discord, "Approve"), ALICES, "ann")
        await until(lambda: discord.answers)
        assert "requester is never the approver" in discord.answers[-1]["content"]
        await discord.press(button(discord, "Reject"), SOMEBODY, "bystander")
        await until(lambda: len(discord.answers) > 1)
        assert discord.answers[-1]["content"] == f"Rejected by bystander ({SOMEBODY})."


async def test_a_button_that_was_altered_decides_nothing(tmp_path: Path, discord: Discord) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals, running(listener(approvals), Remembering()):
        first = await pending(approvals, ASKS)
        await until(lambda: discord.sent)
        second = await pending(approvals, ASKS, vmid=101)
        await until(lambda: len(discord.sent) > 1)
        mixed = button(discord, "Approve", 0).replace(first.id, second.id)
        await discord.press(mixed, ALICES, "alice")
        await until(lambda: discord.answers)
        assert "something else" in discord.answers[-1]["content"]
        assert len(await approvals.pending()) == 2
