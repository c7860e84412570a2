"""Words that change nothing in Proxmox: maintenance and acknowledgement, which hold back what is told to people."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import voluptuous as vol

from mqtt_bridge.commanding.order import Order
from mqtt_bridge.commanding.refusal import CommandError
from mqtt_bridge.commanding.words import TargetKind, Word
from mqtt_bridge.maintenance import About, Maintenance, about
from mqtt_bridge.model import utc

DURATION = "2h"  # where none is given: a word alone must end by itself too
_TARGETS: tuple[TargetKind, ...] = ("site", "node", "guest")
Run = Callable[[Maintenance, Order, About, Mapping[str, Any]], Awaitable[str]]


@dataclass(frozen=True)
class OwnWord:
    """One row. `args`: what its `args` may hold."""

    text: str
    title: str
    args: vol.Schema
    run: Run


def _by(order: Order) -> str:
    return f"{order.asked.who} (MQTT)" if order.asked.who else "MQTT"


async def _begin(maintenance: Maintenance, order: Order, what: About, args: Mapping[str, Any]) -> str:
    one = await maintenance.begin(what, args.get("duration", DURATION), reason=order.asked.reason, by=_by(order))
    return f"Maintenance of {what} until {utc(one.until)}."


async def _end(maintenance: Maintenance, order: Order, what: About, _args: Mapping[str, Any]) -> str:
    await maintenance.end(what, by=_by(order))
    return f"Maintenance of {what} is over."


async def _acknowledge(maintenance: Maintenance, order: Order, what: About, args: Mapping[str, Any]) -> str:
    found = await maintenance.acknowledge(what, by=_by(order), incident=args.get("incident"))
    return f"{len(found)} incidents at {what} are acknowledged." if found else f"Passed on: {what} is acknowledged."


def _duration(value: Any) -> str | float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise vol.Invalid("it must be a duration like 30m, 2h or 1d")
    return value


_TAG: dict[str, Any] = {"tag": str}
ROWS: tuple[OwnWord, ...] = (
    OwnWord("maintenance", "Maintenance", vol.Schema({"duration": _duration, **_TAG}), _begin),
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


async def do(maintenance: Maintenance, order: Order) -> dict[str, Any]:
    """The result's fields. Raises CommandError, MaintenanceError, JournalError."""
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
        return {"ok": True, "status": "dry_run", "changed": False, "message": f"{row.title} of {what} would be noted."}
    return {"ok": True, "status": "done", "message": await row.run(maintenance, order, what, args)}


def _about(order: Order, tag: str | None) -> About:
    place = order.place
    if tag is not None:
        return about("tag", place.site, tag)
    match place.kind:
        case "node" | "guest":
            return about(place.kind, place.site, place.name)
    return about("site", place.site)
