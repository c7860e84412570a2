"""The messages of the configured channels, each once and in order, whatever happens to the connection."""

import asyncio
import json
from collections import deque
from typing import Any

import discord

from mqtt_bridge.events.intake import Intake, IntakeFullError, JournalError, Report
from mqtt_bridge.settings.listening import DiscordInSettings
from mqtt_bridge.wording import classify

PREFIX = "!pve"
WAITING = 1000  # messages that wait for the intake; what exceeds it is read again over REST
RETRY = 2.0  # seconds until a refused hand-over is tried again
LONGEST_RAW = 64 * 1024


class Reader:
    """The channels' messages, each once and in order."""

    def __init__(self, settings: DiscordInSettings, intake: Intake) -> None:
        self.settings = settings
        self._intake = intake
        self._waiting: deque[discord.Message] = deque()
        self._wake = asyncio.Event()
        self._behind = False
        self._hold = True  # what is told live has to wait: there may be older messages that we have not seen
        self._done: dict[int, int] = {}

    def connected(self) -> None:
        """There may be messages that we have not been told of."""
        self._behind = True
        self._wake.set()

    def lost(self) -> None:
        """What comes next may not be the next message."""
        self._hold = True
        self._intake.unhealthy("The connection to Discord was lost; it is tried again.")

    def take(self, message: discord.Message) -> None:
        """One that was told live."""
        if len(self._waiting) >= WAITING:
            self._waiting.clear()
            self._behind = True
        self._waiting.append(message)
        self._wake.set()

    async def run(self, client: discord.Client) -> None:
        """Hand over until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._behind:
                self._behind = self._hold = False
                await self._catch_up(client)
            while self._waiting and not (self._behind or self._hold):
                await self._hand_over(self._waiting.popleft())

    async def _catch_up(self, client: discord.Client) -> None:
        problems = [why for number in self.settings.channels if (why := await self._channel(client, number))]
        if problems:
            self._intake.unhealthy(" ".join(problems))
        else:
            self._intake.healthy(f"{len(self.settings.channels)} channels, as {client.user}")

    async def _channel(self, client: discord.Client, number: int) -> str | None:
        """Read what is newer than the cursor; at the very first start only note where the channel is."""
        try:
            channel: Any = client.get_channel(number) or await client.fetch_channel(number)
            cursor = await self._intake.cursor(str(number))
            if cursor is None:
                last = [message async for message in channel.history(limit=1)]
                await self._commit([], number, last[0].id if last else 0)
                return None
            self._done[number] = max(int(cursor), self._done.get(number, 0))
            after = discord.Object(self._done[number])
            async for message in channel.history(limit=None, after=after, oldest_first=True):
                await self._hand_over(message)
        except discord.NotFound:
            return f"There is no channel {number}: correct DISCORD_IN_CHANNELS."
        except discord.Forbidden:
            return f"The bot may not read channel {number}: give it View Channel and Read Message History there."
        except (discord.HTTPException, OSError) as error:
            asyncio.get_running_loop().call_later(RETRY * 5, self.connected)
            return f"Channel {number} cannot be read: {type(error).__name__}."
        return None

    async def _hand_over(self, message: discord.Message) -> None:
        if message.id <= self._done.get(message.channel.id, 0):
            return
        report = None if is_command(message) or self._is_ours(message) else _report(message)
        await self._commit([report] if report else [], message.channel.id, message.id)

    def _is_ours(self, message: discord.Message) -> bool:
        """What we said ourselves, as the bot or through DISCORD_OUT, must not come back as an event."""
        state = message._state  # noqa: SLF001 -- the message's own way to its client
        said_by_bot = state.user is not None and message.author.id == state.user.id
        return said_by_bot or message.webhook_id in self.settings.own_webhooks

    async def _commit(self, reports: list[Report], channel: int, last: int) -> None:
        while True:
            try:
                await self._intake(reports, cursors={str(channel): str(last)})
            except (IntakeFullError, JournalError):
                await asyncio.sleep(RETRY)
            else:
                self._done[channel] = last
                return


def is_command(message: discord.Message) -> bool:
    return message.content.split(" ", 1)[0].lower() == PREFIX


def _report(message: discord.Message) -> Report | None:
    """As Discord's webhook would write it, so that one rule reads both. None: nothing in words, e.g. a picture."""
    embeds = [
        {
            "title": e.title,
            "description": e.description,
            "fields": [{"name": f.name, "value": f.value} for f in e.fields],
        }
        for e in message.embeds
    ]
    if not message.content and not embeds:
        return None
    raw = json.dumps({"content": message.content, "embeds": embeds, "username": message.author.name})
    at = message.created_at.timestamp()
    return Report(
        identity=f"{message.channel.id}/{message.id}",
        verdict=classify("discord", raw[:LONGEST_RAW], now=at),
        trust="authenticated" if message.webhook_id or message.author.bot else "unauthenticated",
        at=at,
        metadata={"channel": str(message.channel.id), "author": message.author.name},
    )
