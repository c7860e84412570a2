"""Sends a plan and looks at what comes of it: the task, then the state that Proxmox shows."""

import asyncio
import time
from dataclasses import dataclass, field

from mqtt_bridge.errors import NotFoundError, ProtocolError, ProxmoxError
from mqtt_bridge.proxmox.action_plan import Plan
from mqtt_bridge.proxmox.action_result import ActionResult, clean, clean_log, hint_for, result
from mqtt_bridge.proxmox.api import OnProgress
from mqtt_bridge.proxmox.lookup import find_guest, guests_on, reread
from mqtt_bridge.targets import GuestTarget

PACE = 0.5  # seconds between two looks at the state
SETTLE = 5.0  # seconds that a state may lag behind its task
RESTART_SETTLE = 60.0  # a reboot's task ends when the guest is down: the start comes after it
UPTIME_SLACK = 3  # seconds


@dataclass(frozen=True)
class Run:
    """One execution. `timeout` (s) bounds the wait for the task and the state together."""

    plan: Plan
    timeout: float
    wait: bool = True
    on_progress: OnProgress | None = None
    pace: float = PACE
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        return max(0.0, self.began + self.timeout - time.monotonic())

    async def execute(self) -> ActionResult:
        """Raises ProxmoxError if the call itself was refused or not answered."""
        plan = self.plan
        answer = await plan.api.post(*plan.segments, **plan.body)
        if not plan.row.task:
            said = f" and answered {clean(str(answer))}" if answer else ""
            return self._open(
                f"Proxmox accepted it{said}. There is no task to wait for: only the node's state will show the rest.",
                ok=True,
            )
        upid = str(answer)
        if not upid.startswith("UPID:"):
            raise ProtocolError(f"{plan.row.title} of {plan.target.label} was answered without a task: {clean(upid)}.")
        if not self.wait:
            return self._open("Proxmox accepted it as a task, which was not waited for.", ok=True, upid=upid)
        return await self._follow(upid)

    async def _follow(self, upid: str) -> ActionResult:
        plan = self.plan
        try:
            outcome = await plan.api.wait_task(upid, timeout=self.left, on_progress=self.on_progress)
        except ProxmoxError as error:
            return self._open(f"Its task runs, but cannot be followed: {error.message}", ok=False, upid=upid)
        if not outcome.finished:
            return self._open(f"Its task is still running after {self.timeout:g} s.", ok=False, upid=upid)
        status = clean(outcome.exitstatus or "no exit status")
        facts = {"upid": upid, "exitstatus": status, "log_tail": clean_log(outcome.log_tail)}
        if not outcome.ok:
            text = f"{plan.row.title} of {plan.target.label} failed in its task: {status}."
            return await self._seen(text, failed=True, hint=hint_for(plan, status), **facts)
        warned = f" Its task ended with {outcome.warnings} warnings." if outcome.warnings else ""
        return await self._seen(f"{plan.row.title} of {plan.target.label}:", failed=False, hint=warned.strip(), **facts)

    def _open(self, text: str, *, ok: bool, upid: str | None = None) -> ActionResult:
        plan = self.plan
        message = f"{plan.row.title} of {plan.target.label}: {text}"
        return self._result(ok=ok, changed=None, status="started", message=message, upid=upid)

    async def _seen(self, text: str, *, failed: bool, **facts: object) -> ActionResult:
        """With the state that is there now; a state that cannot be read or is not the expected one is not a success."""
        try:
            if isinstance(self.plan.target, GuestTarget):
                return await self._guest_seen(self.plan.target, text, failed=failed, **facts)
            return await self._guests_seen(text, failed=failed, **facts)
        except ProxmoxError as error:
            what = text if failed else f"{text} the task ended well,"
            message = f"{what} and the state afterwards could not be read: {error.message}"
            return self._result(ok=False, changed=None, status="failed", message=message, **facts)

    async def _guest_seen(self, before: GuestTarget, text: str, *, failed: bool, **facts: object) -> ActionResult:
        seen = await self._look(before) if failed else await self._settled(before)
        facts |= {"state_after": seen.state, "changed": seen.state != before.state or self._restarted(before, seen)}
        if failed:
            return self._result(ok=False, status="failed", message=f"{text} It is {seen.state}.", **facts)
        if self._as_expected(before, seen):
            return self._result(ok=True, status="done", message=f"{text} it is {seen.state} now.", **facts)
        wanted = " or ".join(sorted(self.plan.row.expect))
        again = " and has not started anew" if seen.state in self.plan.row.expect else f" and not {wanted}"
        message = f"{text} the task ended well, but it is {seen.state}{again}."
        return self._result(ok=False, status="failed", message=message, **facts)

    async def _guests_seen(self, text: str, *, failed: bool, **facts: object) -> ActionResult:
        """A bulk action: the states of the guests that it named."""
        plan, now = self.plan, {g.vmid: g for g in await guests_on(self.plan.api, self.plan.target.node)}
        seen = [now.get(g.vmid, g) for g in plan.guests]
        changed = any(a.state != b.state for a, b in zip(plan.guests, seen, strict=True))
        other = [g for g in seen if plan.row.expect and g.state not in plan.row.expect]
        running = sum(g.state == "running" for g in seen)
        message = f"{text} {running} of its {len(seen)} guests are running now."
        if other:
            message += f" Not {' or '.join(sorted(plan.row.expect))}: {', '.join(g.label for g in other)}."
        ok = not failed and not other
        return self._result(ok=ok, changed=changed, status="done" if ok else "failed", message=message, **facts)

    async def _settled(self, before: GuestTarget) -> GuestTarget:
        """Looks until the state is the expected one. What HA manages is only asked for by its task: CRM acts later."""
        patience = RESTART_SETTLE if self.plan.row.restarts else SETTLE
        until = time.monotonic() + (self.left if before.ha else min(patience, self.left))
        while True:
            seen = await self._look(before)
            if self._as_expected(before, seen) or time.monotonic() >= until:
                return seen
            await asyncio.sleep(self.pace)

    async def _look(self, before: GuestTarget) -> GuestTarget:
        try:
            return await reread(self.plan.api, before)
        except NotFoundError:  # HA may have started it on another node
            return await find_guest({before.site: self.plan.api}, before.vmid, before.site)

    def _as_expected(self, before: GuestTarget, seen: GuestTarget) -> bool:
        row = self.plan.row
        return not row.expect or (seen.state in row.expect and (not row.restarts or self._restarted(before, seen)))

    def _restarted(self, before: GuestTarget, seen: GuestTarget) -> bool:
        """Whether it was started anew, told by its uptime; where there is none, the task is believed."""
        if not self.plan.row.restarts:
            return False
        if seen.uptime is None or before.uptime is None:
            return True
        return seen.uptime < before.uptime or seen.uptime <= time.monotonic() - self.began + UPTIME_SLACK

    def _result(self, **fields: object) -> ActionResult:
        return result(self.plan, duration_s=round(time.monotonic() - self.began, 2), **fields)
