"""DISCORD_IN: a bot on Discord's gateway. Messages in the configured channels become events; members give commands.

discord.py (extra `discord`) keeps the connection: heartbeat, resume, reconnect with backoff. What was said while we
were away is read over REST from the cursor of each channel, the id of the last message that was committed.
"""

import asyncio
from typing import TYPE_CHECKING

from mqtt_bridge.events.intake import Intake
from mqtt_bridge.settings.listening import DiscordInSettings

if TYPE_CHECKING:
    from mqtt_bridge.listeners.discord_bot import Chat
    from mqtt_bridge.listeners.discord_buttons import Ballot

NO_EXTRA = "The package discord.py is missing: install the extra, pip install 'proxmox-mcp[discord]'."
BAD_TOKEN = "Discord refuses DISCORD_IN_BOT_TOKEN: copy the bot's token anew from the developer portal."  # noqa: S105
NO_INTENT = "The bot may not read what is written: switch on Message Content Intent in the developer portal, under Bot."
REFUSED_PAUSE = 300.0  # seconds before a refused token is shown again


class DiscordIn:
    """The listener. `chat` None: commands are not taken; `ballot` None: nothing is approved by buttons."""

    name = "DISCORD_IN"

    def __init__(self, settings: DiscordInSettings, chat: "Chat | None" = None, ballot: "Ballot | None" = None) -> None:
        self._settings = settings
        self._chat = chat
        self._ballot = ballot

    async def run(self, intake: Intake) -> None:
        """Until cancelled."""
        try:
            import discord  # noqa: F401, PLC0415 -- heavy, and an extra
        except ImportError:
            intake.unhealthy(NO_EXTRA)
            await asyncio.get_running_loop().create_future()
        await self._connected(intake)

    async def _connected(self, intake: Intake) -> None:
        import discord  # noqa: PLC0415

        from mqtt_bridge.listeners.discord_bot import Bot  # noqa: PLC0415
        from mqtt_bridge.listeners.discord_buttons import Buttons  # noqa: PLC0415
        from mqtt_bridge.listeners.discord_reader import Reader  # noqa: PLC0415

        token = self._settings.bot_token
        channel = next(iter(self._settings.channels), None)
        buttons = Buttons(self._ballot, channel) if self._ballot and channel else None
        client = Bot(Reader(self._settings, intake), self._chat, buttons)
        try:
            async with client, asyncio.TaskGroup() as group:
                reading = group.create_task(client.reader.run(client))
                showing = group.create_task(buttons.run(client)) if buttons else None
                try:
                    await client.start(token.reveal() if token else "")
                finally:
                    reading.cancel()
                    if showing:
                        showing.cancel()
        except* discord.LoginFailure:
            await _refused(intake, BAD_TOKEN)
        except* discord.PrivilegedIntentsRequired:
            await _refused(intake, NO_INTENT)
        except* discord.ConnectionClosed as closed:
            codes = ", ".join(str(e.code) for e in closed.exceptions if isinstance(e, discord.ConnectionClosed))
            await _refused(intake, f"Discord closed the connection for good (code {codes}).")


async def _refused(intake: Intake, reason: str) -> None:
    """Shown again after a while only: Discord blocks bots that hammer it."""
    intake.unhealthy(reason)
    await asyncio.sleep(REFUSED_PAUSE)
