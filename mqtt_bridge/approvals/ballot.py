"""Approvals for a chat whose service vouches for its members: what to show, and what a press of a button does."""

from collections.abc import Sequence
from dataclasses import dataclass

from mqtt_bridge.approvals import words
from mqtt_bridge.approvals.approvals import Approvals
from mqtt_bridge.approvals.deciders import Deciders
from mqtt_bridge.approvals.types import Decision
from mqtt_bridge.errors import BridgeError, PolicyError

MARK = 32  # characters of the digest that a button carries


@dataclass(frozen=True)
class Shown:
    """One that waits. `mark` says what exactly is shown: it goes back with the press."""

    id: str
    title: str
    lines: tuple[str, ...]
    mark: str


class Ballot:
    """What a chat needs of approvals."""

    def __init__(self, approvals: Approvals) -> None:
        self._approvals = approvals
        self._deciders = Deciders(approvals)
        self._watch = approvals.watch()

    async def changed(self, within: float) -> bool:
        """Wait so long for news; says whether there is any."""
        return await self._watch.changed(within)

    async def waiting(self) -> Sequence[Shown]:
        """What nobody has decided yet."""
        return [
            Shown(row.id, f"Approval wanted: {words.headline(row)}", tuple(words.lines(row)), row.digest[:MARK])
            for row in await self._approvals.pending()
        ]

    async def outcome(self, given: str) -> str:
        """What has become of one, in a sentence."""
        row = await self._approvals.get(given)
        return "It waits for a decision." if row and row.state == "pending" else words.ended(row) if row else "Gone."

    async def decide(self, given: str, decision: Decision, mark: str, user: int, name: str) -> str:
        """What is said to the member who pressed a button: every refusal is an answer too."""
        try:
            row = await self._approvals.get(given)
            if row is None:
                return "There is no such approval here any more."
            if row.digest[:MARK] != mark:
                error = PolicyError("The button is about something else than what is asked now.")
                await self._approvals.refused(given, decision, f"{name} ({user})", error, how="discord")
                return error.message
            decider = await self._deciders.by_discord(given, decision, user, name)
            done = await self._approvals.decide(given, decision, decider, digest=row.digest)
        except BridgeError as error:
            return str(error)
        return f"{done.state.capitalize()} by {done.by}."
