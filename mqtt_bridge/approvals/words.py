"""How an approval is told to people: what they can do, and why something was refused."""

from collections.abc import Sequence

from mqtt_bridge.approvals.types import Approval, Pending, State
from mqtt_bridge.model import utc
from mqtt_bridge.settings.approving import ApprovalSettings

NOBODY = (
    "No approver is configured (APPROVERS), so nobody can approve it: run `proxmox-mcp approvals add-approver NAME`."
)
ENDED: dict[State, str] = {
    "rejected": "was rejected by {by}",
    "expired": "has expired",
    "stale": "is stale: what it was given for has changed since",
    "used": "was used already",
    "approved": "was approved by {by} already",
}


def how(settings: ApprovalSettings, given: str) -> tuple[str, ...]:
    """What an approver can do, a sentence each."""
    if not settings.approvers:
        return (NOBODY,)
    ways = [f"On the machine of this service: `proxmox-mcp approvals approve {given}`, with the approver's secret."]
    if any(one.ways for one in settings.approvers):
        ways.append("With the one-time code that an approver was sent, in the same command or over MQTT.")
    if any(one.discord for one in settings.approvers):
        ways.append("In Discord, by the button under the bot's message.")
    if settings.mqtt != "off":
        proof = "a proof or the one-time code" if settings.mqtt == "proof" else "the broker's word for the user"
        ways.append(f"Over MQTT, on …/approval/{given}/decision/<name>, with {proof} (docs/approvals.md).")
    return tuple(ways)


def headline(row: Approval) -> str:
    """What is to be done and with what, where the title does not name that already."""
    return row.title if row.target in row.title else f"{row.title}: {row.target}"


def as_pending(row: Approval, settings: ApprovalSettings) -> Pending:
    """For whoever asked."""
    return Pending(row.id, utc(row.expires_at) or "", names(settings), how(settings, row.id))


def names(settings: ApprovalSettings) -> tuple[str, ...]:
    """Who may decide."""
    return tuple(one.name for one in settings.approvers)


def ended(row: Approval) -> str:
    """Why it cannot be decided or used any more."""
    return f"The approval {ENDED[row.state].format(by=row.decided_by or 'somebody')}."


def lines(row: Approval, *, calls: int = 12) -> Sequence[str]:
    """The whole of it for people, beside the title."""
    shown = list(row.calls[:calls])
    shown += [f"and {len(row.calls) - calls} more calls"] if len(row.calls) > calls else []
    return [
        f"Requested by {row.principal} ({row.channel})",
        f"Action: {row.action} (risk: {row.risk}) on {row.target}, site {row.site}",
        *([f"Reason given: {row.reason}"] if row.reason else []),
        *(f"Note: {note}" for note in row.notes),
        *(f"Call: {call}" for call in shown),
        f"Expires: {utc(row.expires_at)}",
    ]
