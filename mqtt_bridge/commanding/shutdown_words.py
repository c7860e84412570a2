"""The site's words `shutdown` and `shutdown_abort` (docs/shutdown.md)."""

from collections.abc import Mapping
from typing import Any, Final

from mqtt_bridge.commanding.order import Order as Command
from mqtt_bridge.commanding.refusal import CommandError
from mqtt_bridge.commanding.words import TargetKind, Word
from mqtt_bridge.model import RefusalCode
from mqtt_bridge.redact import redact
from mqtt_bridge.settings import Level
from mqtt_bridge.site_shutdown.plan import SitePlan
from mqtt_bridge.site_shutdown.progress import Order, Progress
from mqtt_bridge.site_shutdown.service import SiteShutdowns
from mqtt_bridge.site_shutdown.wanted import ShutdownError, Wanted, wanted

SHUTDOWN: Final = "site.shutdown"
ABORT: Final = "site.shutdown_abort"
LARGEST = 24 * 1024  # characters of a plan with names
CALLS = 200  # API calls that a dry run lists
# of a risk that no word alone reaches: an old one that is sent again must neither begin nor end it
WORDS: tuple[tuple[TargetKind, Word], ...] = (
    ("site", Word("shutdown", SHUTDOWN, "destroy")),
    ("site", Word("shutdown_abort", ABORT, "change")),
)


def is_mine(command: Command) -> bool:
    """Whether it is one of these words."""
    return command.word.action in {SHUTDOWN, ABORT}


def urgent(command: Command) -> bool:
    """What does not wait for the commands that are followed to their ends."""
    return is_mine(command)


async def do(shutdowns: SiteShutdowns | None, command: Command, who: str, level: Level) -> dict[str, Any]:
    """The result's fields. Raises CommandError, PolicyError, AuditError, ProxmoxError."""
    if shutdowns is None:
        raise CommandError("This bridge shuts no site down.", "not_possible")
    asked = command.asked
    order = Order(id=command.identity, principal=who, level=level, who=asked.who, reason=asked.reason)
    try:
        if command.word.action == ABORT:
            return await _abort(shutdowns, command, order)
        return await _shut_down(shutdowns, command, order, wanted(asked.args))
    except ShutdownError as error:
        code: RefusalCode = "wrong" if error.message.startswith("args.") else "not_possible"
        raise CommandError(error.message, code, cure=error.cure) from error


async def _abort(shutdowns: SiteShutdowns, command: Command, order: Order) -> dict[str, Any]:
    if command.asked.args:
        raise CommandError("shutdown_abort takes no args.", "wrong")
    if command.asked.dry_run:
        return {"ok": True, "status": "dry_run", "changed": False, "message": "It would begin nothing more."}
    progress = await shutdowns.abort(command.place.site, order)
    fields = {"ok": True, "status": "done", "changed": True, "message": progress.message}
    if progress.phase == "running":  # a call has no answer yet
        fields |= {"status": "started", "message": "Nothing more is begun; a call that is under way has no answer yet."}
    return {**fields, "details": _again(progress)}


def _again(progress: Progress) -> dict[str, Any]:
    """What it would take to have all back."""
    return {
        "down": list(progress.down),
        "going_down": [vmid for vmid in progress.asked if vmid not in progress.down],
        "nodes_asked": list(progress.nodes_asked),
        "start": [vmid for vmid in progress.vmids if vmid in {*progress.down, *progress.asked}],
    }


async def _shut_down(shutdowns: SiteShutdowns, command: Command, order: Order, what: Wanted) -> dict[str, Any]:
    site = command.place.site
    if command.asked.dry_run:
        plan = await shutdowns.plan(site, order, what)
        calls = _calls(plan, what)
        return {
            **_told(plan),
            "status": "dry_run",
            "changed": False,
            "allowed": True,
            "message": f"It would shut down {plan.summary}",
            "calls": calls if len(calls) <= CALLS else (),
        }
    plan, progress = await shutdowns.begin(site, order, what)
    return {**_told(plan), "status": "started", "changed": True, "message": progress.message}


def _told(plan: SitePlan) -> dict[str, Any]:
    details = redact(plan.details())
    if len(str(details)) > LARGEST:
        details = redact(plan.details(names=False))
    return {"ok": True, "details": details, "notes": plan.notes}


def _calls(plan: SitePlan, what: Wanted) -> tuple[Mapping[str, Any], ...]:
    """What is sent if each guest shuts down in time; nothing else is but `stop`, with `force`."""
    guests = tuple(
        _call(f"/nodes/{g.node}/{g.type}/{g.vmid}/status/shutdown", {"timeout": what.stage_timeout})
        for g in plan.guests
    )
    return (*guests, *(_call(f"/nodes/{step.node}/status", {"command": "shutdown"}) for step in plan.nodes))


def _call(path: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"method": "POST", "path": path, "params": params}
