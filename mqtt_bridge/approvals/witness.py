"""Approvals as events `audit.approval.*`, through the journal of the process that owns one."""

from collections.abc import Iterator

from mqtt_bridge.approvals import words
from mqtt_bridge.approvals.approvals import Approvals
from mqtt_bridge.approvals.types import Approval
from mqtt_bridge.events.intake import Intake, Report
from mqtt_bridge.wording.clean import one_line
from mqtt_bridge.wording.verdict import Verdict

SOURCE = "AUDIT"
TICK = 0.5  # seconds between two looks at the store
LOOKED_AT = 300  # rows, the newest
REFUSALS = 100  # kept until they are told


class Witness:
    """`run` it supervised. What the journal has already is a replay there, so nothing need be remembered here."""

    def __init__(self, approvals: Approvals) -> None:
        self._approvals = approvals
        self._refused: list[Report] = []
        self._told: set[str] = set()
        self._count = 0

    async def run(self, intake: Intake) -> None:
        """Until cancelled."""
        watch = self._approvals.watch()
        self._approvals.on_refused = self._refuse
        while True:
            if not await watch.changed(TICK) and not self._refused:
                continue
            rows = await self._approvals.recent(LOOKED_AT)
            reports = [report for row in rows for report in reports_of(row)]
            known = {report.identity for report in reports}
            fresh = [report for report in reports if report.identity not in self._told]
            waiting, self._refused = self._refused, []
            if fresh or waiting:
                await intake([*reversed(fresh), *waiting])
            self._told = known

    def _refuse(self, row: Approval | None, who: str, why: str) -> None:
        if row is None or len(self._refused) >= REFUSALS:
            return
        self._count += 1
        now = self._approvals.clock()
        text = f"{one_line(who, 64)} wanted to decide it. {why}"
        self._refused.append(_report(row, "refused", now, "refused a decision on", text, nth=f"{now}/{self._count}"))


def reports_of(row: Approval) -> Iterator[Report]:
    """What has become of it so far, newest first."""
    if row.state in {"expired", "stale"}:
        yield _report(row, row.state, None, f"{row.state}:", words.ended(row))
    if row.decided_at is not None:
        done = "rejected" if row.state == "rejected" else "approved"
        text = f"{done.capitalize()} by {row.decided_by} ({row.decided_how})."
        yield _report(row, done, row.decided_at, f"{done}:", text)
    yield _report(row, "requested", row.created_at, "requested:", "\n".join(words.lines(row)))


def _report(row: Approval, what: str, at: float | None, says: str, text: str, *, nth: str = "") -> Report:
    title = f"Approval {says} {words.headline(row)}"
    bad = what == "refused"
    fields: dict[str, str | int | float | bool | None] = {
        "approval": row.id,
        "action": row.action,
        "requester": row.principal,
        "channel": row.channel,
        "by": row.decided_by,
        "how": row.decided_how,
    }
    verdict = Verdict(
        f"audit.approval.{what}",
        "warning" if bad else "info",
        ok=False if bad else None,
        title=one_line(title),
        message=text,
        fields={name: value for name, value in fields.items() if value},
    )
    identity = f"approval/{row.id}/{what}{nth}"
    return Report(identity, verdict, "authenticated", at=at, site=row.site, metadata=verdict.fields)
