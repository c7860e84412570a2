"""What waits for an approval, with a button for each choice. A press is the member's own: Discord vouches for that.

A button carries the id, and what exactly was shown, so that it works after a restart and never for anything else.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Sequence
from typing import Any, Literal, Protocol, cast

import discord

log = logging.getLogger(__name__)

TICK = 1.0  # seconds between two looks at what waits
RETRY = 10.0  # seconds after Discord did not take something
LONGEST = 1800  # characters of a message: Discord takes 2000
_BUTTON = re.compile(r"pve-approval:(approve|reject):([0-9a-f]{32}):([0-9a-f]{32})")
Choice = Literal["approve", "reject"]


class Shown(Protocol):
    """One that waits, as `approvals.ballot.Shown`."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def lines(self) -> Sequence[str]: ...
    @property
    def mark(self) -> str: ...


class Ballot(Protocol):
    """What is asked of approvals; `approvals.ballot.Ballot` answers."""

    async def changed(self, within: float) -> bool: ...
    async def waiting(self) -> Sequence[Shown]: ...
    async def outcome(self, given: str) -> str: ...
    async def decide(self, given: str, decision: Choice, mark: str, user: int, name: str) -> str: ...


class Buttons:
    """Posts into one channel; `pressed` takes every interaction of the bot."""

    def __init__(self, ballot: Ballot, channel: int) -> None:
        self._ballot = ballot
        self._channel = channel
        self._posted: dict[str, tuple[discord.Message, str]] = {}

    async def run(self, client: discord.Client) -> None:
        """Post what waits, take the buttons away from what does not; until cancelled."""
        await client.wait_until_ready()
        failed = False
        while True:
            if await self._ballot.changed(TICK) or failed:
                try:
                    await self._step(client)
                    failed = False
                except (discord.HTTPException, OSError) as error:
                    log.warning("Approvals are not shown in Discord: %s", type(error).__name__)
                    failed = True
                    await asyncio.sleep(RETRY)

    async def _step(self, client: discord.Client) -> None:
        waiting = {one.id: one for one in await self._ballot.waiting()}
        for given, one in waiting.items():
            if given not in self._posted:
                text = _text(one)
                self._posted[given] = (await (await self._place(client)).send(text, view=view(one)), text)
        for given in [given for given in self._posted if given not in waiting]:
            message, text = self._posted[given]
            ended = f"{text}\n{await self._ballot.outcome(given)}"
            with contextlib.suppress(discord.NotFound, discord.Forbidden):  # somebody deleted it
                await message.edit(content=ended, view=None)
            del self._posted[given]

    async def _place(self, client: discord.Client) -> Any:
        return client.get_channel(self._channel) or await client.fetch_channel(self._channel)

    async def pressed(self, interaction: discord.Interaction) -> None:
        """Somebody pressed a button, maybe one of ours; only that person sees the answer."""
        if interaction.type is not discord.InteractionType.component:
            return
        custom = cast("dict[str, Any]", interaction.data or {}).get("custom_id")
        found = _BUTTON.fullmatch(custom) if isinstance(custom, str) else None
        if found is None:
            return
        await interaction.response.defer(ephemeral=True, thinking=True)
        choice: Choice = "approve" if found[1] == "approve" else "reject"
        said = await self._ballot.decide(found[2], choice, found[3], interaction.user.id, interaction.user.name)
        await interaction.followup.send(said, ephemeral=True)


def view(one: Shown) -> discord.ui.View:
    """Two buttons. They are answered by their ids, not by this object, so it holds nothing."""
    found = discord.ui.View(timeout=None)
    choices: tuple[tuple[Choice, discord.ButtonStyle], ...] = (
        ("approve", discord.ButtonStyle.danger),
        ("reject", discord.ButtonStyle.secondary),
    )
    for choice, style in choices:
        custom = f"pve-approval:{choice}:{one.id}:{one.mark}"
        found.add_item(discord.ui.Button(label=choice.capitalize(), style=style, custom_id=custom))
    found.stop()
    return found


def _text(one: Shown) -> str:
    """As a code block that what is in it cannot leave."""
    shown = "\n".join([one.title, *one.lines]).replace("```", "'''")
    return f"```\n{shown if len(shown) <= LONGEST else shown[:LONGEST] + ' …'}\n```"
