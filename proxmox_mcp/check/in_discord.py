"""The DISCORD_IN listener: is its package there, is the bot let in, may it read what is written in each channel."""

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mqtt_bridge.listeners.discord import BAD_TOKEN, NO_EXTRA, NO_INTENT
from mqtt_bridge.settings import Settings
from mqtt_bridge.settings.listening import DiscordInSettings
from proxmox_mcp.check.findings import Finding

if TYPE_CHECKING:
    import discord

_SUBJECT = "listener DISCORD_IN"
_HIDDEN = "Give the bot View Channel and Read Message History there, or correct DISCORD_IN_CHANNELS."


async def check_discord(settings: Settings, limit: float) -> list[Finding]:
    """[] when it is not enabled. Asks over REST only, so that a bot that runs keeps its connection."""
    if "DISCORD_IN" not in settings.events.enabled:
        return []
    if find_spec("discord") is None:
        return [Finding(_SUBJECT, "package", False, *_halves(NO_EXTRA))]
    own = settings.listen.discord
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(limit):
            await _ask(own, findings)
    except TimeoutError:
        detail = f"Discord did not answer everything within {limit:g} seconds"
        findings.append(Finding(_SUBJECT, "connect", False, detail, "Is discord.com reachable from here?"))
    return [*findings, _roles(own, settings)]


async def _ask(own: DiscordInSettings, findings: list[Finding]) -> None:
    import aiohttp  # noqa: PLC0415 -- heavy, as discord is, which is an extra
    import discord  # noqa: PLC0415

    async with discord.Client(intents=discord.Intents.none()) as client:
        try:
            await client.login(own.bot_token.reveal() if own.bot_token else "")
        except discord.LoginFailure:
            findings.append(Finding(_SUBJECT, "login", False, *_halves(BAD_TOKEN)))
            return
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            detail = f"Discord cannot be asked: {type(error).__name__}"
            findings.append(Finding(_SUBJECT, "connect", False, detail, "Is discord.com reachable from here?"))
            return
        findings += [Finding(_SUBJECT, "login", True, f"the bot is {client.user}"), _intent(client)]
        findings += [await _channel(client, number) for number in own.channels]


def _intent(client: "discord.Client") -> Finding:
    flags = client.application.flags if client.application else None
    if flags and (flags.gateway_message_content or flags.gateway_message_content_limited):
        return Finding(_SUBJECT, "intent", True, "Message Content Intent is on")
    return Finding(_SUBJECT, "intent", False, *_halves(NO_INTENT))


async def _channel(client: "discord.Client", number: int) -> Finding:
    import aiohttp  # noqa: PLC0415
    import discord  # noqa: PLC0415

    what = f"channel {number}"
    try:
        channel = await client.fetch_channel(number)
        if not isinstance(channel, discord.abc.Messageable):
            return Finding(_SUBJECT, what, False, "it takes no messages", "Choose a text channel or a thread.")
        newest = [message async for message in channel.history(limit=1)]
    except discord.NotFound:
        return Finding(_SUBJECT, what, False, "there is none of this number", "Correct DISCORD_IN_CHANNELS.")
    except discord.Forbidden:
        return Finding(_SUBJECT, what, False, "the bot may not read it", _HIDDEN)
    except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
        return Finding(_SUBJECT, what, False, f"it cannot be read: {type(error).__name__}", "Try again in a minute.")
    if not newest:
        cure = "If it has any, the bot needs Read Message History there."
        return Finding(_SUBJECT, what, None, f"#{channel} is there and shows no message", cure)
    return Finding(_SUBJECT, what, True, f"#{channel} can be read")


def _roles(own: DiscordInSettings, settings: Settings) -> Finding:
    if not own.roles:
        cure = "Set DISCORD_IN_ROLES if members shall."
        return Finding(_SUBJECT, "commands", None, "nobody may give commands", cure)
    level = settings.permission.discord_allow
    detail = f"members with the role {' or '.join(own.roles)} may give commands up to DISCORD_ALLOW={level}"
    return Finding(_SUBJECT, "commands", None, detail)


def _halves(sentence: str) -> tuple[str, str]:
    """Cause and cure of one of the listener's own sentences."""
    cause, _, cure = sentence.partition(": ")
    return cause, cure[:1].upper() + cure[1:]
