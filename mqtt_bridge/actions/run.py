"""Sends a plan's steps one after the other, follows their tasks, and looks at what is there afterwards."""

import time
from dataclasses import dataclass, field
from typing import Any

from mqtt_bridge.actions import lacking
from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.result import ActionResult, clean, clean_log, result
from mqtt_bridge.actions.row import revealed
from mqtt_bridge.errors import BridgeError, ForbiddenError, ProtocolError, ProxmoxError
from mqtt_bridge.proxmox.api import OnProgress


@dataclass(frozen=True)
class Run:
    """One execution. `timeout` (s) bounds the wait for the tasks and the state together.

    `wait=False` gives the last task back as soon as Proxmox accepted it; what comes before it is waited for.
    """

    plan: Plan
    timeout: float
    wait: bool = True
    on_progress: OnProgress | None = None
    began: float = field(default_factory=time.monotonic)
    upids: list[str] = field(default_factory=list)  # of the tasks so far, for whoever is interrupted

    async def execute(self) -> ActionResult:
        """Raises ProxmoxError if the first call itself was refused or not answered."""
        outcome = Outcome(self.began + self.timeout, on_progress=self.on_progress, wait=self.wait)
        for number, step in enumerate(self.plan.steps):
            last = number == len(self.plan.steps) - 1
            try:
                answer = await self._send(step)
            except ProxmoxError as error:
                if number == 0:
                    raise
                return await self._broken(outcome, number, error)
            outcome.answers.append(answer)
            upid = self._upid(step, answer)
            if upid is None:
                continue
            outcome.upid = upid
            self.upids.append(upid)
            if last and not self.wait:
                return self._open(outcome, "Proxmox accepted it as a task, which was not waited for.", ok=True)
            if text := await self._follow(outcome, upid):
                return self._open(outcome, text, ok=False)
            if not outcome.ok:
                return await self._failed(outcome, number)
        return await self._well(outcome)

    async def _send(self, step: Step) -> Any:
        call = {"POST": self.plan.api.post, "PUT": self.plan.api.put, "DELETE": self.plan.api.delete}[step.method]
        try:
            return await call(*step.segments, **revealed(step.params))
        except ForbiddenError as error:
            raise lacking.named(self.plan, error) from error

    def _upid(self, step: Step, answer: Any) -> str | None:
        text = str(answer)
        if text.startswith("UPID:"):
            return text
        if step.task:
            raise ProtocolError(f"{self.plan.name} was answered without a task: {clean(text)}.")
        return None

    async def _follow(self, outcome: Outcome, upid: str) -> str:
        """Notes how it ended; returns why that cannot be said, empty if it can."""
        try:
            task = await self.plan.api.wait_task(upid, timeout=outcome.left, on_progress=self.on_progress)
        except ProxmoxError as error:
            return f"Its task runs, but cannot be followed: {error.message}"
        if not task.finished:
            return f"Its task is still running after {self.timeout:g} s."
        outcome.ok = task.ok
        outcome.exitstatus = clean(task.exitstatus or "no exit status")
        outcome.log_tail = clean_log(task.log_tail)
        outcome.warnings = task.warnings
        return ""

    def _open(self, outcome: Outcome, text: str, *, ok: bool) -> ActionResult:
        message = f"{self.plan.name}: {text}"
        hint = f"get_task shows how it goes on: {outcome.upid}." if outcome.upid else ""
        return self._result(outcome, ok=ok, changed=None, status="started", message=message, hint=hint)

    async def _broken(self, outcome: Outcome, number: int, error: ProxmoxError) -> ActionResult:
        """A later call was refused: what came before it stays done, and the answer says so."""
        outcome.ok = False
        seen = await self._seen(outcome)
        done = f"{number} of {len(self.plan.steps)} steps were done, then"
        message = f"{self.plan.name}: {done} {self.plan.steps[number].path} was refused: {error.message} {seen.message}"
        return self._result(outcome, seen, ok=False, status="failed", message=message.strip(), hint=error.cure)

    async def _failed(self, outcome: Outcome, number: int) -> ActionResult:
        seen = await self._seen(outcome)
        many = len(self.plan.steps)
        where = f" (step {number + 1} of {many})" if many > 1 else ""
        message = f"{self.plan.name} failed in its task{where}: {outcome.exitstatus}. {_sentence(seen.message)}"
        hint = self.plan.hint(outcome.exitstatus or "")
        return self._result(outcome, seen, ok=False, status="failed", message=message.strip(), hint=hint)

    async def _well(self, outcome: Outcome) -> ActionResult:
        seen = await self._seen(outcome)
        status = "started" if seen.started else "done" if seen.ok else "failed"
        hint = f"Its task ended with {outcome.warnings} warnings." if outcome.warnings else ""
        message = f"{self.plan.name}: {seen.message}"
        return self._result(outcome, seen, ok=seen.ok, status=status, message=message, hint=hint)

    async def _seen(self, outcome: Outcome) -> Seen:
        """A state that cannot be read is not a success."""
        try:
            return await self.plan.see(self.plan, outcome)
        except BridgeError as error:
            what = "The state afterwards" if not outcome.ok else "the task ended well, and the state afterwards"
            return Seen(ok=False, message=f"{what} could not be read: {error.message}", changed=None)

    def _result(self, outcome: Outcome, seen: Seen | None = None, **fields: object) -> ActionResult:
        facts: dict[str, object] = {
            "upid": outcome.upid,
            "exitstatus": outcome.exitstatus,
            "log_tail": outcome.log_tail,
            "duration_s": round(time.monotonic() - self.began, 2),
        }
        if seen is not None:
            facts |= {"state_after": seen.state, "changed": seen.changed, "details": dict(seen.details)}
        return result(self.plan, **{**facts, **fields})


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
