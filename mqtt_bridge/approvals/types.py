"""What crosses the border of this package: a request, what comes of it, and who decided."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mqtt_bridge.policy import Principal
from mqtt_bridge.settings import Level

State = Literal["pending", "approved", "rejected", "expired", "stale", "used"]
Decision = Literal["approve", "reject"]
How = Literal["secret", "code", "hmac", "broker", "discord", "elicitation", "claimed", "setting"]


@dataclass(frozen=True)
class ApprovalRequest:
    """What a person is asked to approve. `args`, `calls` and `notes` are shown to people: redacted by whoever asks.

    `digest` is `Approvals.digest` over everything that must not change until it is done. `chosen` are ids that were
    picked for the requester, and are used again when the approved action runs.
    """

    principal: Principal
    action: str
    title: str
    risk: Level
    site: str
    target_label: str
    digest: str
    args: Mapping[str, Any] = field(default_factory=dict)
    calls: Sequence[str] = ()
    notes: Sequence[str] = ()
    chosen: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""  # the requester's own words: data, shown as such


@dataclass(frozen=True)
class Grant:
    """It may be done, now and once: the approval is used up. `by` decided, proven through `how`."""

    id: str
    by: str
    how: How


@dataclass(frozen=True)
class Pending:
    """Nobody has decided yet. `how` says in sentences what an approver can do; times are ISO 8601 in UTC."""

    id: str
    expires_at: str
    approvers: tuple[str, ...]
    how: tuple[str, ...]


@dataclass(frozen=True)
class Decider:
    """Who decides, and how that was proven. Made by `Approvals.by_*`; `claimed` is good for a rejection alone."""

    name: str
    how: How


@dataclass(frozen=True)
class Decided:
    """What came of a decision that was taken."""

    id: str
    state: State
    by: str
    how: How


@dataclass(frozen=True)
class Approval:
    """A row of the store, as `show` and the desk see it. Times are Unix seconds; no code, no key."""

    id: str
    site: str
    state: State
    principal: str
    channel: str
    action: str
    title: str
    risk: Level
    target: str
    digest: str
    args: Mapping[str, Any]
    calls: tuple[str, ...]
    notes: tuple[str, ...]
    chosen: Mapping[str, Any]
    reason: str
    created_at: float
    expires_at: float
    decided_at: float | None = None
    decided_by: str = ""
    decided_how: How | Literal[""] = ""


Ask = Callable[[ApprovalRequest], Awaitable[bool | None]]
"""Ask whoever sits at the client: True or False is the person's word, None: nobody can be asked there."""
