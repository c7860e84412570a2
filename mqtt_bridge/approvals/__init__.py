"""Approvals by people: asked for, decided with proof, used once."""

from mqtt_bridge.approvals.approvals import Approvals
from mqtt_bridge.approvals.types import (
    Approval,
    ApprovalRequest,
    Ask,
    Decided,
    Decider,
    Decision,
    Grant,
    How,
    Pending,
    State,
)

__all__ = [
    "Approval",
    "ApprovalRequest",
    "Approvals",
    "Ask",
    "Decided",
    "Decider",
    "Decision",
    "Grant",
    "How",
    "Pending",
    "State",
]
