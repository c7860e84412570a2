"""What a person is asked to approve, and what the approval is bound to."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mqtt_bridge.actions.plan import Plan
from mqtt_bridge.actions.result import planned_calls
from mqtt_bridge.approvals import ApprovalRequest, Approvals, Ask, Grant, Pending
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.policy import Principal
from mqtt_bridge.redact import redact


@dataclass(frozen=True)
class Asking:
    """How one caller's order gets its approval: `given` was asked for before, `ask` asks at the client now.

    `reason` is the caller's own words; `again` plans anew, after a person took time to answer.
    """

    approvals: Approvals | None
    principal: Principal
    given: str | None
    ask: Ask | None
    reason: str
    again: Callable[[], Awaitable[Plan]]

    async def obtain(self, plan: Plan, why: str) -> Grant | Pending:
        """Raises PolicyError: refused, expired, stale, used before, of somebody else, or there is no store here."""
        if self.approvals is None:
            raise PolicyError(
                f"{plan.name} needs an approval, since {why}, and this process keeps none.",
                cure="Do it in Proxmox itself.",
            )
        approvals = self.approvals

        async def again() -> str:
            return self._digest(approvals, await self.again())

        request = self._request(plan, self._digest(approvals, plan), why)
        return await approvals.obtain(request, given=self.given, ask=self.ask, again=again)

    def _digest(self, approvals: Approvals, plan: Plan) -> str:
        who = {"principal": self.principal.name, "channel": self.principal.channel}
        return approvals.digest({**plan.facts(), **who})

    def _request(self, plan: Plan, digest: str, why: str) -> ApprovalRequest:
        given = {name: getattr(plan.args, name) for name in type(plan.args).model_fields}
        calls = planned_calls(plan)
        return ApprovalRequest(
            principal=self.principal,
            action=plan.row.name,
            title=plan.name,
            risk=plan.danger,
            site=plan.target.site,
            target_label=plan.target.label,
            digest=digest,
            args=redact({k: v for k, v in given.items() if v is not None}, extra=plan.hidden),
            calls=[f"{c.method} {c.path} {c.params or ''}".strip() for c in calls],
            notes=(*plan.notes, f"An approval is needed since {why}."),
            chosen=plan.chosen,
            reason=self.reason,
        )
