"""Words that are no action of Proxmox: maintenance and acknowledgement, which hold back what is told to people.

A node's maintenance may move its guests away too: `evacuation` does that, by the entry for actions.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import voluptuous as vol

from mqtt_bridge.commanding.order import Order
from mqtt_bridge.commanding.refusal import CommandError
from mqtt_bridge.commanding.words import TargetKind, Word
from mqtt_bridge.evacuation import Evacuation
from mqtt_bridge.model import utc
from mqtt_bridge.notifying.maintenance import About, Maintenance, about

DURATION = "2h"  # where none is given: a word alone must end by itself too
_TARGETS: tuple[TargetKind, ...] = ("site", "node", "guest")


Known = Callable[[About], bool]


def anything(_what: About) -> bool:
    """Where nobody can say what there is."""
    return True


@dataclass(frozen=True)
class Hands:
    """What has it done. `known`: whether the bridge has seen such a node or guest."""

    maintenance: Maintenance
    evacuation: Evacuation | None = None
    known: Known = anything


Run = Callable[[Hands, Order, About, Mapping[str, Any]], Awaitable[str]]


@dataclass(frozen=True)
class OwnWord:
    """One row. `args`: what its `args` may hold."""

    text: str
    title: str
    args: vol.Schema
    run: Run


def _by(order: Order) -> str:
    return f"{order.asked.who} (MQTT)" if order.asked.who else "MQTT"


async def _begin(hands: Hands, order: Order, what: About, args: Mapping[str, Any]) -> str:
    asked = order.asked
    moves = await _moves(hands, what, args)
    one = await hands.maintenance.begin(what, args.get("duration", DURATION), reason=asked.reason, by=_by(order))
    text = f"Maintenance of {what} until {utc(one.until)}."
    if not hands.known(what):
        text += f" The bridge has not seen a {what.scope} {what.target} there: is it spelt right?"
    if moves is None:
        return text
    local = args.get("local_disks", False)
    await moves.begin(what.site, what.target, by=_by(order), reason=asked.reason, local_disks=local)
    return f"{text} Its running guests are moved away; the node's topic `upkeep` says how far that is."


async def _moves(hands: Hands, what: About, args: Mapping[str, Any]) -> Evacuation | None:
    """What moves the guests, where that is asked for and may be done; else why not, before anything is noted."""
    if not args.get("evacuate", False):
        if "local_disks" in args:
            raise CommandError(
                "args.local_disks: it belongs to evacuate.", "wrong", cure="Send evacuate: true with it."
            )
        return None
    if what.scope != "node" or hands.evacuation is None:
        raise CommandError(f"The {what.scope} cannot be evacuated.", "wrong", cure="Send it to a node's topic.")
    await hands.evacuation.check(what.site, what.target)
    return hands.evacuation


async def _end(hands: Hands, order: Order, what: About, _args: Mapping[str, Any]) -> str:
    await hands.maintenance.end(what, by=_by(order))
    return f"Maintenance of {what} is over."


async def _acknowledge(hands: Hands, order: Order, what: About, args: Mapping[str, Any]) -> str:
    found = await hands.maintenance.acknowledge(what, by=_by(order), incident=args.get("incident"))
    return f"{len(found)} incidents at {what} are acknowledged." if found else f"Passed on: {what} is acknowledged."


def _duration(value: Any) -> str | float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise vol.Invalid("it must be a duration like 30m, 2h or 1d")
    return value


_TAG: dict[str, Any] = {"tag": str}
_BEGIN: dict[str, Any] = {"duration": _duration, "evacuate": bool, "local_disks": bool}
ROWS: tuple[OwnWord, ...] = (
    OwnWord("maintenance", "Maintenance", vol.Schema({**_BEGIN, **_TAG}), _begin),
    OwnWord("maintenance_end", "The end of the maintenance", vol.Schema(_TAG), _end),
    OwnWord("acknowledge", "Acknowledgement", vol.Schema({"incident": str, **_TAG}), _acknowledge),
)
_BY_NAME = {row.text: row for row in ROWS}
WORDS: tuple[tuple[TargetKind, Word], ...] = tuple(
    (target, Word(row.text, row.text, "operate")) for target in _TARGETS for row in ROWS
)


def is_own(order: Order) -> bool:
    """Whether it is one of these words."""
    return order.word.action in _BY_NAME


async def do(hands: Hands, order: Order) -> dict[str, Any]:
    """The result's fields. Raises CommandError, MaintenanceError, JournalError, and what an evacuation's check does."""
    row = _BY_NAME[order.word.action]
    try:
        args = row.args(dict(order.asked.args))
    except vol.MultipleInvalid as error:
        first = error.errors[0]
        name = ascii(".".join(map(str, first.path))[:64])[1:-1]
        takes = ", ".join(row.args.schema)
        raise CommandError(f"args.{name}: {first.error_message}.", "wrong", cure=f"It takes: {takes}.") from None
    what = _about(order, args.get("tag"))
    if order.asked.dry_run:
        noted = {"ok": True, "status": "dry_run", "changed": False, "message": f"{row.title} of {what} would be noted."}
        moves = await _moves(hands, what, args)
        local = args.get("local_disks", False)
        return noted | ({"details": await moves.preview(what.site, what.target, local_disks=local)} if moves else {})
    return {"ok": True, "status": "done", "message": await row.run(hands, order, what, args)}


def _about(order: Order, tag: str | None) -> About:
    place = order.place
    if tag is not None:
        return about("tag", place.site, tag)
    match place.kind:
        case "node" | "guest":
            return about(place.kind, place.site, place.name)
    return about("site", place.site)
