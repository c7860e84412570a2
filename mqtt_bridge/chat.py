"""What people may say in a chat: looks answered from cached state, and orders that go through the policy."""

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mqtt_bridge.actions import ActionResult
from mqtt_bridge.errors import BridgeError
from mqtt_bridge.model import GuestState, NodeState
from mqtt_bridge.policy import Principal
from mqtt_bridge.settings import Level
from mqtt_bridge.targets import GuestRef

LISTED = 40  # guests in one answer
ORDERS = ("start", "shutdown", "reboot", "stop", "suspend", "resume", "hibernate", "reset")
_APPROVAL = "approval="
_VMID = re.compile(r"\d{3,9}")


class Looks(Protocol):
    """Cached state, as `world.InventoryWorld` has it."""

    @property
    def sites(self) -> Sequence[str]: ...
    def guests(self, site: str) -> Iterator[GuestState]: ...
    def nodes(self, site: str) -> Iterator[NodeState]: ...
    def status(self, site: str) -> str | None: ...


class Orders(Protocol):
    """What carries an order out, as `actions.Actions` does."""

    async def perform(
        self, principal: Principal, action: str, target: GuestRef, *, approval: str | None = None
    ) -> ActionResult: ...


@dataclass(frozen=True)
class Word:
    """One command: how it is written, what it does, who answers it; `order`: it changes something."""

    usage: str
    help: str
    run: "Callable[[Chat, Principal, list[str]], Awaitable[str]]"
    order: bool = False


class Chat:
    """`answer` takes what was said after the prefix, and returns plain text."""

    def __init__(self, looks: Looks, orders: Orders, level: Level) -> None:
        self.level = level
        self._looks = looks
        self._orders = orders

    async def answer(self, who: str, channel: str, text: str) -> str:
        """`who` goes into the audit file. Every mistake and refusal is an answer too."""
        words = text.split()[:8]
        name, rest = (words[0].lower(), words[1:]) if words else ("help", [])
        word = WORDS.get(name)
        if word is None:
            return f"{name[:32]} is no command. {_usage()}"
        principal = Principal(f"{channel}:{who}", "discord", self.level)
        try:
            return await word.run(self, principal, rest)
        except BridgeError as error:
            return str(error)

    async def help(self, _principal: Principal, _rest: list[str]) -> str:
        """What can be said."""
        width = max(len(word.usage) for word in WORDS.values())
        return "\n".join(f"{word.usage:<{width}}  {word.help}" for word in WORDS.values())

    async def status(self, _principal: Principal, _rest: list[str]) -> str:
        """A line for each site, and one for each node that is not online."""
        lines = []
        for site in self._looks.sites:
            nodes, guests = list(self._looks.nodes(site)), [g for g in self._looks.guests(site) if not g.template]
            online = sum(node.status == "online" for node in nodes)
            running = sum(guest.status == "running" for guest in guests)
            said = f"{site}: {self._looks.status(site) or 'not read yet'}, {online} of {len(nodes)} nodes online"
            lines.append(f"{said}, {running} of {len(guests)} guests running" if guests else said)
            lines += [f"  node {node.node} is {node.status}" for node in nodes if node.status != "online"]
        return "\n".join(lines)

    async def guests(self, _principal: Principal, rest: list[str]) -> str:
        """The guests, or those whose name, node, tag or status is the given word."""
        word = rest[0].casefold() if rest else ""
        found = [g for site in self._looks.sites for g in self._looks.guests(site) if _fits(g, word)]
        lines = [f"{g.vmid:<6} {g.status:<9} {g.type:<5} {g.node:<12} {g.name}" for g in found[:LISTED]]
        if len(found) > LISTED:
            lines.append(f"and {len(found) - LISTED} more: add a name, node, tag or status")
        return "\n".join(lines) or "No such guest."

    async def order(self, principal: Principal, action: str, rest: list[str]) -> str:
        """Carry out a power action and say what was seen of it."""
        given = [word.removeprefix(_APPROVAL) for word in rest if word.startswith(_APPROVAL)]
        rest = [word for word in rest if not word.startswith(_APPROVAL)]
        if not rest or not _VMID.fullmatch(rest[0]):
            return f"Which guest? Say for example: {action} 100"
        target = GuestRef(int(rest[0]), rest[1] if len(rest) > 1 else None)
        done = await self._orders.perform(principal, f"guest.{action}", target, approval=given[0] if given else None)
        wait = f"Then say: {action} {' '.join(rest)} {_APPROVAL}{done.approval.id}" if done.approval else ""
        log = [f"  {line}" for line in done.log_tail]
        return "\n".join(part for part in (done.message, done.hint, wait, *log) if part)


def _fits(guest: GuestState, word: str) -> bool:
    tags = {tag.casefold() for tag in guest.tags}
    return not word or word in guest.name.casefold() or word in {guest.node.casefold(), guest.status, *tags}


def _order(action: str) -> Word:
    async def run(chat: Chat, principal: Principal, rest: list[str]) -> str:
        return await chat.order(principal, action, rest)

    return Word(f"{action} VMID [SITE]", f"{action} a guest", run, order=True)


WORDS: dict[str, Word] = {
    "help": Word("help", "what can be said", Chat.help),
    "status": Word("status", "sites and nodes", Chat.status),
    "guests": Word("guests [WORD]", "guests; WORD is part of a name, or a node, tag or status", Chat.guests),
    **{action: _order(action) for action in ORDERS},
}


def _usage() -> str:
    return f"There are: {', '.join(WORDS)}."
