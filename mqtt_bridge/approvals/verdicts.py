"""Whether a decision counts. Rules are rows: each looks at one thing and says in a sentence why not, or passes."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from mqtt_bridge.approvals import words
from mqtt_bridge.approvals.proofs import asked_himself
from mqtt_bridge.approvals.types import Approval, Decider, Decision
from mqtt_bridge.settings.approving import ApprovalSettings


@dataclass(frozen=True)
class Case:
    """One decision before the rules. `digest` is what the decider says he saw; None where he was shown the row."""

    settings: ApprovalSettings
    row: Approval
    decision: Decision
    decider: Decider
    digest: str | None


def refusal(
    settings: ApprovalSettings, row: Approval, decision: Decision, decider: Decider, digest: str | None
) -> str | None:
    """The first rule's sentence, or None: it counts."""
    case = Case(settings, row, decision, decider, digest)
    return next((why for rule in RULES if (why := rule(case))), None)


def _open(case: Case) -> str | None:
    return None if case.row.state == "pending" else words.ended(case.row)


def _same(case: Case) -> str | None:
    if case.digest is None or hmac.compare_digest(case.digest.encode(), case.row.digest.encode()):
        return None
    return "The decision is for another digest: it is not about what is asked now."


def _proven(case: Case) -> str | None:
    if case.decision == "reject" or case.decider.how not in {"claimed", "elicitation"}:
        return None
    return "Approving needs an approver's proof."


def _listed(case: Case) -> str | None:
    if case.decision == "reject" or case.settings.approver(case.decider.name):
        return None
    return f"{case.decider.name[:64]} is no approver (APPROVERS)."


def _somebody_else(case: Case) -> str | None:
    approver = case.settings.approver(case.decider.name)
    if case.decision == "reject" or approver is None or not asked_himself(case.row, approver):
        return None
    return f"{approver.name} asked for it, and the requester is never the approver."


def _bound_apart(case: Case) -> str | None:
    if case.decision == "reject" or case.decider.how != "broker" or case.row.channel != "mqtt":
        return None
    return (
        "It was asked for over MQTT, where the broker does not say by whom: the same user may have. "
        "Decide with a secret, a one-time code, or in Discord."
    )


RULES: tuple[Callable[[Case], str | None], ...] = (_open, _same, _proven, _listed, _somebody_else, _bound_apart)
