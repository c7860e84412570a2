"""Has an order done: its id is used up and noted first, then the one entry for actions, then the result's fields.

Whatever happens there is a result. The id goes before the call: after a crash in between, the same command is refused
rather than done twice.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mqtt_bridge.actions import ActionError, ActionResult
from mqtt_bridge.audit.trail import Audit, AuditError
from mqtt_bridge.commanding import own_words, shutdown_words
from mqtt_bridge.commanding.lanes import Follow
from mqtt_bridge.commanding.order import Order
from mqtt_bridge.commanding.refusal import CommandError
from mqtt_bridge.errors import BridgeError, PolicyError, ProxmoxError, UnknownTargetError
from mqtt_bridge.evacuation import Evacuation
from mqtt_bridge.model import RefusalCode
from mqtt_bridge.notifying.maintenance import Maintenance, MaintenanceError
from mqtt_bridge.policy import Principal
from mqtt_bridge.proxmox.tasks import OnProgress, TaskProgress
from mqtt_bridge.redact import redact
from mqtt_bridge.settings import Level
from mqtt_bridge.site_shutdown.service import SiteShutdowns
from mqtt_bridge.targets import Ref

log = logging.getLogger(__name__)

PATIENCE = 300.0  # seconds that a command may wait for those before it; what is older is no longer meant
LARGEST = 32 * 1024  # characters of `details`
WHO = "mqtt"
UseId = Callable[[str, str, float], Awaitable[bool]]
Tell = Callable[[Order, Mapping[str, Any]], None]
# beside CommandError, which brings its own; the first that fits
_REFUSED: tuple[tuple[type[BridgeError], RefusalCode], ...] = (
    (UnknownTargetError, "unknown_target"),
    (PolicyError, "policy"),
    (AuditError, "audit"),
    (ActionError, "not_possible"),
    (MaintenanceError, "not_possible"),
)
_SAME = (
    "action", "ok", "status", "message", "hint", "changed", "upid", "exitstatus", "log_tail", "state_before",
    "state_after", "notes", "calls", "allowed", "approval", "duration_s",
)  # fmt: skip


class Entry(Protocol):
    """The one way to change something in Proxmox: `actions.Actions`."""

    async def perform(
        self,
        principal: Principal,
        action: str,
        target: Ref,
        *,
        args: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        wait: bool = True,
        timeout: float = 120.0,  # noqa: ASYNC109 -- its end is an answer
        on_progress: OnProgress | None = None,
        approval: str | None = None,
        reason: str = "",
    ) -> ActionResult: ...


@dataclass(frozen=True)
class Carrier:
    """`level` is MQTT_ALLOW. `use_id`: False where the id was used before. `tell` takes what comes before the end."""

    entry: Entry
    maintenance: Maintenance
    audit: Audit
    use_id: UseId
    level: Level
    tell: Tell
    evacuation: Evacuation | None = None
    shutdowns: SiteShutdowns | None = None
    known: own_words.Known = own_words.anything

    async def do(self, order: Order, follow: Follow) -> dict[str, Any]:
        """The result's fields; raises nothing but a cancellation. Calls `follow` once its task is only looked at."""
        try:
            await self._admit(order)
            return await self._done(order, follow)
        except CommandError as error:
            return refused(error, error.code)
        except BridgeError as error:
            return _failed(error)
        except Exception:
            log.exception("The command %s (%s) broke something", order.word.action, order.identity)
            text = "Something went wrong inside the bridge; its log says what."
            return {"status": "unknown", "message": text, "upid": order.upid}

    async def _admit(self, order: Order) -> None:
        """Writes down that it came, and that its id is used."""
        asked = order.asked
        if time.time() - order.at > PATIENCE:
            raise CommandError(
                f"It waited more than {PATIENCE:.0f} s for the commands before it.", "expired", cure="Send it anew."
            )
        if not asked.bare and not await self.use_id(order.place.site, order.identity, order.at):
            raise CommandError(
                f"The id {order.identity} was used before: what it asked for is not done again.",
                "repeated",
                cure="A new command needs a new id; what came of the first one is in the audit file.",
            )
        claims = {"who": asked.who, "reason": asked.reason}
        await self.audit.write("command.received", **order.facts, bare=asked.bare, dry_run=asked.dry_run, claims=claims)

    async def _done(self, order: Order, follow: Follow) -> dict[str, Any]:
        order.begun = True
        if own_words.is_own(order):
            return await own_words.do(own_words.Hands(self.maintenance, self.evacuation, self.known), order)
        if shutdown_words.is_mine(order):
            return await shutdown_words.do(self.shutdowns, order, WHO, self.level)
        asked = order.asked
        if asked.progress:
            self.tell(order, {"status": "accepted", "message": "It is taken on; what comes of it follows."})
        result = await self.entry.perform(
            Principal(WHO, "mqtt", self.level),
            order.word.action,
            order.ref,
            args=asked.args,
            dry_run=asked.dry_run,
            wait=asked.wait,
            timeout=asked.timeout,
            on_progress=lambda look: self._seen(order, look, follow),
            approval=asked.approval,
            reason=": ".join(part for part in (asked.who, asked.reason) if part),
        )
        return from_action(result, order)

    def _seen(self, order: Order, look: TaskProgress, follow: Follow) -> None:
        """The task is known from the first look at it."""
        follow()
        first, order.upid = order.upid is None, look.upid
        if first and order.asked.progress:
            self.tell(order, {"status": "running", "message": "Its task runs.", "upid": look.upid})


def from_action(result: ActionResult, order: Order) -> dict[str, Any]:
    """The fields of a result. What a command in a guest printed never goes out over MQTT."""
    fields = result.model_dump(mode="json", include=set(_SAME))
    details = redact(result.details)
    if result.approval:
        fields["hint"] = _again(result.hint, result.approval.id)
    if details and order.word.risk == "exec":
        return fields | {"hint": f"{result.hint} What it printed is not told over MQTT.".strip()}
    if len(str(details)) > LARGEST:
        return fields | {"hint": f"{result.hint} Its details are too large for MQTT.".strip()}
    return fields | {"details": details}


def _again(hint: str, approval: str) -> str:
    return f'{hint} Over MQTT: send the same command again with a new id and "approval": "{approval}".'.strip()


def refused(error: BridgeError, code: RefusalCode) -> dict[str, Any]:
    """Nothing was sent."""
    return {"status": "refused", "refused": code, "message": error.message, "hint": error.cure, "changed": False}


def _failed(error: BridgeError) -> dict[str, Any]:
    code = next((code for kind, code in _REFUSED if isinstance(error, kind)), None)
    if code:
        return refused(error, code)
    status = "failed" if isinstance(error, ProxmoxError) else "unknown"
    return {"status": status, "message": error.message, "hint": error.cure}


def unseen(order: Order) -> dict[str, Any]:
    """The bridge ends in the middle of it: what was begun goes on in Proxmox."""
    if order.upid:
        text = f"The bridge ended before the end of its task {order.upid} was seen; the task runs on in Proxmox."
        return {"status": "started", "message": text, "upid": order.upid}
    return {
        "status": "unknown",
        "message": "The bridge ended in the middle of it: perhaps it was sent to Proxmox, where it then runs on.",
        "hint": "The audit file and the site's task list tell.",
    }
