"""Every action that changes something: fresh read, policy, audit record, API call, task, the state that is then seen.

Proxmox answers 200 and a UPID to much that it refuses in the task, so only the task's exit status and the state
afterwards count. After an action the injected hook is called, so that the bridge publishes the new state at once.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Final
from uuid import uuid4

from mqtt_bridge.audit import Audit, AuditError
from mqtt_bridge.errors import BridgeError
from mqtt_bridge.policy import Principal, Refusal, allowed, judge
from mqtt_bridge.proxmox.action_plan import Plan, Planner
from mqtt_bridge.proxmox.action_result import ActionResult, PlannedCall, planned_call, result
from mqtt_bridge.proxmox.action_rows import NAMES, TABLE, Action, ActionError, rows_of
from mqtt_bridge.proxmox.action_run import PACE, Run
from mqtt_bridge.proxmox.api import Api, OnProgress
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.targets import GuestRef, GuestTarget, NodeRef
from mqtt_bridge.whoami import Identity, read_identity

__all__ = ["NAMES", "TABLE", "Action", "ActionError", "ActionResult", "Actions", "PlannedCall", "visible"]

DEFAULT_TIMEOUT: Final = 120.0  # seconds
After = Callable[[str, int | str], Awaitable[None]]
Expecting = Callable[[str, str, str], Awaitable[None]]
_GOES: Final = frozenset({"node.reboot", "node.shutdown"})
_log = logging.getLogger(__name__)


def visible(principal: Principal) -> tuple[str, ...]:
    """The actions that the principal's level admits; the others need not be shown to it."""
    return tuple(name for name in NAMES if all(allowed(principal, row) for row in rows_of(name)))


class Actions:
    """The one way to change something in Proxmox.

    `clients` may be filled later. `after` gets site and VMID or node; `expecting`: site, a node that goes, and why.
    `me`: this machine, unless a test says otherwise.
    """

    def __init__(
        self,
        clients: Mapping[str, Api],
        permission: PermissionSettings,
        audit: Audit,
        *,
        after: After | None = None,
        expecting: Expecting | None = None,
        me: Identity | None = None,
        pace: float = PACE,
    ) -> None:
        self._clients = clients
        self._me = me
        self._permission = permission
        self._audit = audit
        self._after = after
        self._expecting = expecting
        self._pace = pace

    @cached_property
    def _planner(self) -> Planner:
        return Planner(self._clients, read_identity() if self._me is None else self._me)

    async def perform(
        self,
        principal: Principal,
        action: str,
        target: GuestRef | NodeRef,
        *,
        args: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        wait: bool = True,
        timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109 -- its end is an answer: the task runs on
        on_progress: OnProgress | None = None,
    ) -> ActionResult:
        """Raises UnknownTargetError, ActionError, PolicyError, AuditError (nothing was sent) and ProxmoxError."""
        plan = await self._planner.plan(action, target, args or {})
        refusal = self._judge(principal, plan)
        if dry_run:
            return _dry_run(plan, refusal)
        record = _Record(self._audit, principal, plan)
        if refusal:
            await record.write("refused", reason=refusal.reason, setting=refusal.setting)
            raise refusal.error()
        if nothing := await _checked(plan, record):
            return result(plan, ok=True, changed=False, status="done", message=nothing, state_after=_state(plan))
        await record.write("intent", wait=wait)
        run = Run(plan, timeout, wait=wait, on_progress=on_progress, pace=self._pace)
        outcome = await _executed(run, record)
        if outcome.ok and plan.row.name in _GOES:
            await self._expect(plan, principal)
        return await self._finish(plan, record, outcome)

    async def _expect(self, plan: Plan, principal: Principal) -> None:
        """Whoever tells people of lost nodes knows that this one was asked to go."""
        if self._expecting is None:
            return
        why = f"{plan.row.title}, asked for by {principal.name} ({principal.channel})"
        try:
            await self._expecting(plan.target.site, plan.target.node, why)
        except BridgeError as error:
            _log.warning("That %s goes will be told as a fault: %s", plan.target.node, error)

    def _judge(self, principal: Principal, plan: Plan) -> Refusal | None:
        refusal = judge(self._permission, principal, plan.row, plan.objects)
        if refusal and plan.row.named and not plan.chosen:
            return replace(refusal, cure=f"{refusal.cure} Or name the guests that it shall concern (vmids).")
        return refusal

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
        target = plan.target
        try:
            await self._after(target.site, target.vmid if isinstance(target, GuestTarget) else target.node)
        except BridgeError as error:
            _log.warning("The state after %s is not published at once: %s", plan.row.name, error)


class _Record:
    """The audit records of one action share an id."""

    def __init__(self, audit: Audit, principal: Principal, plan: Plan) -> None:
        self._audit = audit
        self._fields = {
            "id": uuid4().hex,
            "principal": principal.name,
            "channel": principal.channel,
            "level": principal.level,
            "action": plan.row.name,
            "risk": plan.row.risk,
            "site": plan.target.site,
            "node": plan.target.node,
            "target": plan.target.label,
            "guests": [guest.vmid for guest in plan.guests],
            "call": planned_call(plan).model_dump(),
        }

    async def write(self, event: str, **more: Any) -> None:
        """One line in the audit file."""
        await self._audit.write(f"action.{event}", **self._fields, **more)


async def _checked(plan: Plan, record: _Record) -> str | None:
    """Why nothing needs to be sent, with a record of it; ActionError if it makes no sense."""
    try:
        nothing = plan.nothing_to_do()
    except ActionError as error:
        await record.write("refused", reason=error.message)
        raise
    if nothing:
        await record.write("unchanged", reason=nothing)
    return nothing


async def _executed(run: Run, record: _Record) -> ActionResult:
    try:
        return await run.execute()
    except BaseException as error:  # a caller that goes away too: that it was sent stays true
        text = error.message if isinstance(error, BridgeError) else type(error).__name__
        try:
            await record.write("outcome", result="error", ok=False, answer=text)
        except AuditError as lost:
            _log.error("Sent, but without its outcome (%s) in the audit file: %s", text, lost)
        raise


def _dry_run(plan: Plan, refusal: Refusal | None) -> ActionResult:
    """What would be sent, whether the policy lets it through, and whether it makes sense now. Sends nothing."""
    said, sends, sensible = f"{plan.row.title} of {plan.target.label} would be sent.", True, True
    try:
        if nothing := plan.nothing_to_do():
            said, sends = nothing, False
    except ActionError as error:
        said, sends, sensible = str(error), False, False
    return result(
        plan,
        ok=refusal is None and sensible,
        changed=False,
        status="dry_run",
        message=f"{said} {f'The policy refuses it: {refusal.error()}' if refusal else 'The policy allows it.'}",
        calls=(planned_call(plan),) if sends else (),
        allowed=refusal is None,
    )


def _state(plan: Plan) -> str:
    if isinstance(plan.target, GuestTarget):
        return plan.target.state
    return "online" if plan.target.online else "offline"
