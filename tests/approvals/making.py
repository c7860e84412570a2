"""What the tests of approvals begin with: approvers whose secrets are known, a clock that is set, requests."""

from dataclasses import dataclass, field
from pathlib import Path

from mqtt_bridge.approvals import ApprovalRequest, Approvals, Pending
from mqtt_bridge.approvals.proofs import key_of
from mqtt_bridge.policy import Principal
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.approving import ApprovalSettings, Approver

AGENT = Principal("agent", "http", "exec")
AT_DESK = Principal("stdio", "stdio", "exec")
SECRETS = {"alice": "apr_alices-own-secret", "bob": "apr_bobs-own-secret"}
ALICE = Approver("alice", Secret(key_of(SECRETS["alice"])), discord=80351110224678912)
BOB = Approver("bob", Secret(key_of(SECRETS["bob"])))
SETTINGS = ApprovalSettings(approvers=(ALICE, BOB), mqtt="proof", elicitation="stdio")


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Desk:
    """Approvals of a folder, with a clock that is set by hand."""

    folder: Path
    settings: ApprovalSettings = SETTINGS
    clock: Clock = field(default_factory=Clock)

    def approvals(self) -> Approvals:
        return Approvals(self.folder, self.settings, clock=self.clock)


def request(approvals: Approvals, principal: Principal = AGENT, *, vmid: int = 100, **more: object) -> ApprovalRequest:
    """To delete a guest; the digest is over what matters."""
    facts = {"site": "lab", "principal": principal.name, "action": "guest.delete", "vmid": vmid, **more}
    return ApprovalRequest(
        principal=principal,
        action="guest.delete",
        title="Delete a guest",
        risk="destroy",
        site="lab",
        target_label=f"guest {vmid} (web) on pve1",
        digest=approvals.digest(facts),
        args={"vmid": vmid},
        calls=(f"DELETE /nodes/pve1/qemu/{vmid}",),
        notes=("It has a backup of yesterday.",),
        chosen={"upid_hint": 7},
        reason="the agent says it is not needed",
    )


async def pending(approvals: Approvals, principal: Principal = AGENT, **more: int) -> Pending:
    found = await approvals.obtain(request(approvals, principal, **more))
    assert isinstance(found, Pending)
    return found
