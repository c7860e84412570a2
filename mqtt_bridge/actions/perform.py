"""Every action that changes something: fresh read, policy, approval, audit record, API call, task, what is then seen.

Proxmox answers 200 and a UPID to much that it refuses in the task, so only the task's exit status and the state
afterwards count. After an action the injected hook is called, so that the bridge publishes the new state at once.
"""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final
from uuid import uuid4

from mqtt_bridge.actions.asking import Asking
from mqtt_bridge.actions.plan import Plan
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.result import ActionResult, ApprovalNeeded, place_of, planned_calls, result
from mqtt_bridge.actions.row import Action, ActionError
from mqtt_bridge.actions.run import Run
from mqtt_bridge.actions.table import find
from mqtt_bridge.actions.vmids import Vmids, taken
from mqtt_bridge.approvals import Approvals, Ask, Grant, Pending
from mqtt_bridge.audit.trail import Audit, AuditError
from mqtt_bridge.errors import BridgeError, PolicyError, RejectedError
from mqtt_bridge.policy import Principal, Refusal, judge, needs_approval
from mqtt_bridge.proxmox.api import Api, OnProgress
from mqtt_bridge.proxmox.own_guests import OwnGuests
from mqtt_bridge.proxmox.translate import MAYBE_DONE
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.targets import (
    DatastoreRef,
    GuestRef,
    GuestTarget,
    NewGuest,
    NodeRef,
    NodeTarget,
    Ref,
    SiteRef,
    StorageRef,
)
from mqtt_bridge.whoami import Identity, read_identity

DEFAULT_TIMEOUT: Final = 120.0  # seconds
RACES = 20  # times that a new id is picked after somebody else took the one before
GOES_DOWN: Final = frozenset({"node.reboot", "node.shutdown"})
REFS: Final[Mapping[str, type[Ref]]] = {
    "guest": GuestRef,
    "node": NodeRef,
    "storage": StorageRef,
    "datastore": DatastoreRef,
    "site": SiteRef,
}
After = Callable[[str, int | str], Awaitable[None]]
Expecting = Callable[[str, str, str], Awaitable[None]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Standing:
    """Actions that need no person's approval any more, since a setting gave it: SITE_SHUTDOWN alone does."""

    actions: frozenset[str]
    grant: Grant


class Actions:
    """The one way to change something in Proxmox.

    `clients` may be filled later. `after` gets site and VMID or node once something changed, `expecting` a site, a node
    that goes down, and why. `me`: this machine, unless a test says otherwise. `standing`: what the operator's settings
    have approved once and for all, for whoever is handed this object.
    """

    def __init__(
        self,
        clients: Mapping[str, Api],
        permission: PermissionSettings,
        audit: Audit,
        *,
        approvals: Approvals | None = None,
        after: After | None = None,
        expecting: Expecting | None = None,
        me: Identity | None = None,
        standing: Standing | None = None,
    ) -> None:
        self._clients = clients
        self._permission = permission
        self._audit = audit
        self._approvals = approvals
        self._after = after
        self._expecting = expecting
        self._me = me
        self._standing = standing
        self._vmids = Vmids()

    @cached_property
    def _own(self) -> OwnGuests:
        return OwnGuests(read_identity() if self._me is None else self._me)

    async def perform(
        self,
        principal: Principal,
        action: str,
        target: Ref,
        *,
        args: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        wait: bool = True,
        timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 -- its end is an answer: the task runs on
        on_progress: OnProgress | None = None,
        approval: str | None = None,
        ask: Ask | None = None,
        reason: str = "",
    ) -> ActionResult:
        """Raises UnknownTargetError, ActionError, PolicyError, AuditError (nothing was sent) and ProxmoxError.

        `approval` is one that was asked for before; `ask` asks the person at the client. `reason` is the caller's own.
        """
        order = _Order(find(action), target, args or {})
        chosen = await self._chosen(approval, principal)
        plan = await self._plan(order, chosen)
        refusal = self._judge(principal, plan)
        if dry_run:
            return _dry_run(plan, refusal, self._why_ask(principal, plan))
        record = _Record(self._audit, principal, plan, reason)
        if refusal:
            await record.write("refused", reason=refusal.reason, setting=refusal.setting)
            raise refusal.error()
        if nothing := await _checked(plan, record):
            return result(plan, ok=True, changed=False, status="done", message=nothing, state_after=plan.state)
        if self._standing and plan.row.name in self._standing.actions:
            record.approved(self._standing.grant)
        elif why := self._why_ask(principal, plan):
            again = functools.partial(self._plan, order, plan.chosen)
            asking = Asking(self._approvals, principal, approval, ask, reason, again)
            grant = await _granted(asking, plan, why, record)
            if isinstance(grant, ActionResult):
                return grant
            record.approved(grant)
        return await self._done(order, plan, principal, record, timeout, wait=wait, on_progress=on_progress)

    def reading(self) -> Reading:
        """What a plan of several actions is made of."""
        return Reading(self._clients, self._own, self._vmids)

    async def _plan(self, order: "_Order", chosen: Mapping[str, Any]) -> Plan:
        if not isinstance(order.target, REFS[order.row.target]):
            raise ActionError(
                f"{order.row.title} ({order.row.name}) is for a {order.row.target}.",
                cure=f"Name the {order.row.target}.",
            )
        reading = replace(self.reading(), chosen=chosen)
        return await order.row.plan(reading, order.target, order.row.arguments(order.args))

    async def _chosen(self, approval: str | None, principal: Principal) -> Mapping[str, Any]:
        if approval is None or self._approvals is None:
            return {}
        return await self._approvals.chosen(approval, principal)

    def _judge(self, principal: Principal, plan: Plan) -> Refusal | None:
        refusal = judge(self._permission, principal, plan.row, plan.objects, risk=plan.danger, downs=plan.downs)
        return replace(refusal, cure=f"{refusal.cure} {plan.narrow}".strip()) if refusal else None

    def _why_ask(self, principal: Principal, plan: Plan) -> str:
        return needs_approval(self._permission, principal, plan.row, plan.objects, risk=plan.danger, downs=plan.downs)

    async def _done(
        self,
        order: "_Order",
        plan: Plan,
        principal: Principal,
        record: "_Record",
        timeout: float,  # noqa: ASYNC109
        *,
        wait: bool,
        on_progress: OnProgress | None,
    ) -> ActionResult:
        for _ in range(RACES):
            await record.write("intent", wait=wait)
            try:
                outcome = await _executed(Run(plan, timeout, wait=wait, on_progress=on_progress), record)
            except RejectedError as error:
                if not taken(error) or not plan.chosen.get("vmid") or record.is_approved:
                    raise
                plan = await self._plan(order, {})  # somebody else was given that id first
                if refusal := self._judge(principal, plan):
                    raise refusal.error() from error
                record.replan(plan)
            else:
                if outcome.ok:
                    await self._expect(plan, principal)
                return await self._finish(plan, record, outcome)
        raise BridgeError(f"{plan.name}: each id that was picked had been taken.", cure="Give one as vmid.")

    async def _expect(self, plan: Plan, principal: Principal) -> None:
        """Whoever tells people of lost nodes knows that this one was asked to go."""
        if self._expecting is None or plan.row.name not in GOES_DOWN:
            return
        why = f"{plan.row.title}, asked for by {principal.name} ({principal.channel})"
        try:
            await self._expecting(plan.target.site, plan.target.node, why)
        except BridgeError as error:
            _log.warning("That %s goes will be told as a fault: %s", plan.target.node, error)

    async def _finish(self, plan: Plan, record: "_Record", outcome: ActionResult) -> ActionResult:
        try:
            await record.write(
                "outcome",
                result=outcome.status,
                ok=outcome.ok,
                upid=outcome.upid,
                answer=outcome.exitstatus or outcome.message,
                state=outcome.state_after,
            )
        except AuditError as error:
            _log.error("Done, but without its outcome in the audit file: %s", error)
            outcome = outcome.model_copy(update={"hint": f"{outcome.hint} {error.message}".strip()})
        if outcome.status != "started":
            await self._tell(plan)
        return outcome

    async def _tell(self, plan: Plan) -> None:
        if self._after is None:
            return
        for one in dict.fromkeys((plan.target, *(o.target for o in plan.objects if o.role != "read"))):
            if not isinstance(one, GuestTarget | NewGuest | NodeTarget):
                continue
            try:
                await self._after(one.site, place_of(one))
            except BridgeError as error:
                _log.warning("The state after %s is not published at once: %s", plan.row.name, error)
            if isinstance(one, NodeTarget):
                return  # a node's refresh has its guests in it


class _Order:
    """What was asked for, to be planned again where that is needed."""

    def __init__(self, row: Action, target: Ref, args: Mapping[str, Any]) -> None:
        self.row = row
        self.target = target
        self.args = args


class _Record:
    """The audit records of one action share an id."""

    def __init__(self, audit: Audit, principal: Principal, plan: Plan, reason: str) -> None:
        self._audit = audit
        self._more: dict[str, Any] = {"reason_given": reason[:200]} if reason else {}
        self._who = {"id": uuid4().hex, "principal": principal.name, "channel": principal.channel,
                     "level": principal.level}  # fmt: skip
        self.is_approved = False
        self.replan(plan)

    def replan(self, plan: Plan) -> None:
        """The same order, planned again."""
        guests = [o.target.vmid for o in plan.objects if isinstance(o.target, GuestTarget | NewGuest)]
        self._what = {
            "action": plan.row.name,
            "risk": plan.danger,
            "site": plan.target.site,
            "node": plan.target.node,
            "target": plan.target.label,
            "guests": guests[:200],
            "calls": [call.model_dump() for call in planned_calls(plan)],
        }

    def approved(self, grant: Grant) -> None:
        """From here on each line says by whom."""
        self.is_approved = True
        self._more |= {"approval": grant.id, "approved_by": grant.by, "approved_how": grant.how}

    async def write(self, event: str, **more: Any) -> None:
        """One line in the audit file."""
        await self._audit.write(f"action.{event}", **{**self._who, **self._what, **self._more, **more})


async def _granted(asking: Asking, plan: Plan, why: str, record: _Record) -> Grant | ActionResult:
    """What permits it, or the answer that it waits for somebody."""
    try:
        outcome = await asking.obtain(plan, why)
    except PolicyError as error:
        await record.write("refused", reason=error.message)
        raise
    if isinstance(outcome, Pending):
        await record.write("waiting", approval=outcome.id, reason=why)
        return _pending(plan, outcome, why)
    return outcome


async def _checked(plan: Plan, record: _Record) -> str | None:
    """Why nothing needs to be sent, with a record of it; ActionError if it makes no sense."""
    if plan.problem:
        await record.write("refused", reason=plan.problem.message)
        raise plan.problem
    if plan.nothing:
        await record.write("unchanged", reason=plan.nothing)
    return plan.nothing


async def _executed(run: Run, record: _Record) -> ActionResult:
    try:
        return await run.execute()
    except BaseException as error:  # a caller that goes away too: that it was sent stays true
        end = _interrupted(run, error)
        try:
            await record.write("outcome", **end)
        except AuditError as lost:
            _log.error("Sent, but without its outcome (%s) in the audit file: %s", end["answer"], lost)
        raise


def _interrupted(run: Run, error: BaseException) -> dict[str, Any]:
    """What the audit file says then. Whatever may have reached Proxmox is no failure: its end was not seen."""
    if not isinstance(error, asyncio.CancelledError):
        if MAYBE_DONE in str(error):
            return {"result": "unknown", "ok": None, "answer": str(error)}
        text = error.message if isinstance(error, BridgeError) else type(error).__name__
        return {"result": "error", "ok": False, "answer": text}
    text = "Whoever asked went away, or the service ended, before its end was seen"
    if not run.upids:
        return {"result": "unknown", "ok": None, "answer": f"{text}: it may have been sent."}
    return {"result": "started", "ok": None, "upid": run.upids[-1], "answer": f"{text}: its task goes on."}


def _pending(plan: Plan, pending: Pending, why: str) -> ActionResult:
    needed = ApprovalNeeded(id=pending.id, expires_at=pending.expires_at, approvers=pending.approvers, reason=why)
    message = f"{plan.name} was not done: a person has to approve it, since {why}."
    how = " ".join(pending.how)
    hint = f"{how} Then call again with the same arguments and approval={pending.id} (until {pending.expires_at})."
    return result(
        plan, ok=False, changed=False, status="approval_required", message=message, hint=hint, approval=needed
    )


def _dry_run(plan: Plan, refusal: Refusal | None, why: str) -> ActionResult:
    """What would be sent, whether the policy lets it through, and whether it makes sense now. Sends nothing."""
    said, sends = f"{plan.name} would be sent.", True
    if plan.problem or plan.nothing:
        said, sends = str(plan.problem or plan.nothing), False
    verdict = f"The policy refuses it: {refusal.error()}" if refusal else "The policy allows it."
    if why and not refusal:
        verdict = f"The policy allows it once a person has approved it, since {why}."
    return result(
        plan,
        ok=refusal is None and plan.problem is None,
        changed=False,
        status="dry_run",
        message=f"{said} {verdict}",
        calls=planned_calls(plan) if sends else (),
        allowed=refusal is None,
    )
