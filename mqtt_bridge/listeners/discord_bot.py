"""The bot: what discord.py tells goes to the reader, what members order goes to the chat."""

import contextlib
import time
from collections import defaultdict, deque
from typing import Protocol

import discord
from discord import app_commands

from mqtt_bridge.listeners.discord_buttons import Buttons
from mqtt_bridge.listeners.discord_reader import PREFIX, Reader, is_command

COMMANDS_A_MINUTE = 20  # of one member
LONGEST = 1900  # characters of an answer: Discord takes 2000


class Chat(Protocol):
    """Answers a command; `chat.Chat` does."""

    async def answer(self, who: str, channel: str, text: str) -> str: ...


class Bot(discord.Client):
    """`chat` None: commands are not taken; `buttons` None: there are none."""

    def __init__(self, reader: Reader, chat: Chat | None, buttons: Buttons | None = None) -> None:
        intents = discord.Intents(guilds=True, guild_messages=True, message_content=True)
        super().__init__(intents=intents, allowed_mentions=discord.AllowedMentions.none(), max_messages=None)
        self.reader = reader
        self._chat = chat
        self._buttons = buttons
        self._gate = Gate(reader.settings.roles)
        self._tree = app_commands.CommandTree(self)
        self._synced = chat is None
        if chat is not None:
            self._tree.add_command(_slash(chat, self._gate))

    async def on_ready(self) -> None:
        """Connected with a new session."""
        self.reader.connected()
        if not self._synced:
            self._synced = True
            with contextlib.suppress(discord.HTTPException):  # slash commands are a convenience
                for guild in self.guilds:
                    self._tree.copy_global_to(guild=guild)
                    await self._tree.sync(guild=guild)

    async def on_resumed(self) -> None:
        """Connected again with the old one."""
        self.reader.connected()

    async def on_disconnect(self) -> None:
        """discord.py tries again by itself."""
        self.reader.lost()

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """Slash commands have their tree; the rest is buttons."""
        if self._buttons is not None:
            await self._buttons.pressed(interaction)

    async def on_message(self, message: discord.Message) -> None:
        """Somebody wrote."""
        if message.channel.id not in self.reader.settings.channels:
            return
        self.reader.take(message)
        if self._chat is not None and is_command(message) and not message.author.bot:
            text = self._gate.refusal(message.author) or await self._chat.answer(
                _who(message.author), "discord", message.content[len(PREFIX) :]
            )
            await message.reply(_block(text), mention_author=False)


def _slash(chat: Chat, gate: "Gate") -> app_commands.Command[app_commands.Group, ..., None]:
    """`/pve command:status`: one slash command that takes the same words."""

    async def pve(interaction: discord.Interaction, command: str) -> None:
        refusal = gate.refusal(interaction.user)
        await interaction.response.defer(ephemeral=True, thinking=True)
        text = refusal or await chat.answer(_who(interaction.user), "discord", command)
        await interaction.followup.send(_block(text), ephemeral=True)

    return app_commands.Command(name="pve", description="Proxmox: status, guests, start 100, …", callback=pve)


class Gate:
    """Who may give commands, and how often."""

    def __init__(self, roles: tuple[str, ...]) -> None:
        self._roles = frozenset(role.casefold() for role in roles)
        self._times: defaultdict[int, deque[float]] = defaultdict(lambda: deque(maxlen=COMMANDS_A_MINUTE))

    def refusal(self, member: discord.Member | discord.User) -> str | None:
        """Why not, or None. Outside a server nobody has a role."""
        roles = member.roles if isinstance(member, discord.Member) else []
        held = {text.casefold() for role in roles for text in (str(role.id), role.name)}
        if not self._roles & held:
            return "You have none of the roles that may give commands here (DISCORD_IN_ROLES)."
        times, now = self._times[member.id], time.monotonic()
        if len(times) == COMMANDS_A_MINUTE and now - times[0] < 60:  # noqa: PLR2004 -- a minute
            return f"That is more than {COMMANDS_A_MINUTE} commands a minute: wait a little."
        times.append(now)
        return None


def _who(member: discord.Member | discord.User) -> str:
    return f"{member.name} ({member.id})"


def _block(text: str) -> str:
    """As a code block that what is in it cannot leave."""
    shown = text.replace("```", "'''")
    return f"```\n{shown if len(shown) <= LONGEST else shown[:LONGEST] + ' …'}\n```"
