"""The one entry to approvals: ask for one, decide one, use one."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mqtt_bridge.approvals.types import Approval, ApprovalRequest, Ask, Decided, Decider, Decision, Grant, Pending
from mqtt_bridge.audit import Audit
from mqtt_bridge.policy import Principal
from mqtt_bridge.settings.approving import ApprovalSettings


class Approvals:
    """`async with` it. Any number of processes of one STATE_DIR may have one open."""

    def __init__(self, state_dir: Path, settings: ApprovalSettings, audit: Audit | None = None) -> None: ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def digest(self, facts: Mapping[str, Any]) -> str:
        """HMAC-SHA256 over the canonical JSON of `facts`, keyed with the store's own random key."""

    async def obtain(
        self,
        request: ApprovalRequest,
        *,
        given: str | None = None,
        ask: Ask | None = None,
        again: Callable[[], Awaitable[str]] | None = None,
    ) -> Grant | Pending:
        """Use the approval `given`, or ask for one.

        `again` gives the digest anew after a person took their time to answer `ask`. Raises PolicyError: refused,
        expired, stale, already used, of another principal, too many pending.
        """

    async def chosen(self, given: str, principal: Principal) -> Mapping[str, Any]:
        """The ids that were chosen when it was asked for; raises PolicyError as `obtain` does."""

    async def consent(self, given: str, principal: Principal, *, yes: bool) -> None:
        """The person at the requester's own client answered: counts where APPROVAL_ELICITATION says so, once."""

    async def decide(self, given: str, decision: Decision, decider: Decider, *, digest: str | None = None) -> Decided:
        """Raises PolicyError where it is refused; the refusal is in the audit file."""

    async def pending(self) -> Sequence[Approval]: ...
    async def get(self, given: str) -> Approval | None: ...

    async def use_command_id(self, site: str, identity: str, at: float) -> bool:
        """Whether this MQTT command id is new; it is noted for a day, on disk before this returns."""
