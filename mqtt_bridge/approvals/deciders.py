"""Who decides: made of a proof that was checked, or refused. What is refused is in the audit file."""

from datetime import datetime

from mqtt_bridge.approvals import proofs, store
from mqtt_bridge.approvals.approvals import Approvals
from mqtt_bridge.approvals.types import Decider, Decision
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.settings.approving import Approver

WRONG = "The proof is wrong."
OWN = "Give the secret that `approvals add-approver` showed, or the one-time code, of an approver in APPROVERS."
NO_CODE = "There is no code that could be used: none was sent, five were wrong, or the approval is over."
NO_WAY = "There is no code that could be used: APPROVERS has no way to send one to this approver (email=, ntfy=, …)."


class Deciders:
    """Checks proofs. Each method raises PolicyError, with a sentence that tells no guesser what was nearly right."""

    def __init__(self, approvals: Approvals) -> None:
        self._approvals = approvals

    async def by_secret(self, given: str, decision: Decision, who: str, secret: str) -> Decider:
        """The approver's own secret, typed where this service runs."""
        approver = self._approvals.settings.approver(who)
        if approver is None or not proofs.knows_secret(approver, secret):
            raise await self._refused(given, decision, who, WRONG, cure=OWN)
        return Decider(approver.name, "secret")

    async def by_code(self, given: str, decision: Decision, who: str, code: str) -> Decider:
        """The one-time code that this approver was sent for this approval: five tries, then it is dead."""
        approver = await self._approver(given, decision, who)
        db = self._approvals.db
        mac, left = await db.write(lambda c: store.code_for_try(c, given, approver.name.casefold()))
        if mac is None:
            raise await self._refused(given, decision, who, NO_CODE if approver.ways else NO_WAY)
        if not proofs.same(mac, proofs.code_mac(db.key, given, approver.name, code)):
            why = f"The code is wrong; {left} tries are left." if left else "The code is wrong, and is dead now."
            raise await self._refused(given, decision, who, why)
        return Decider(approver.name, "code")

    async def by_hmac(self, claim: proofs.Claim, mac: str) -> Decider:
        """A proof made with the approver's key, over MQTT."""
        given, decision, who = claim.given, claim.decision, claim.who
        approver = await self._approver(given, decision, who)
        if not _fresh(claim.ts, self._approvals.clock()):
            why = f"ts: the proof was made more than {proofs.FRESH:.0f} s away from our clock, or is no time."
            raise await self._refused(given, decision, who, why)
        if not proofs.signed(approver, claim, mac):
            raise await self._refused(given, decision, who, WRONG)
        return Decider(approver.name, "hmac")

    async def by_broker(self, given: str, decision: Decision, who: str) -> Decider:
        """The broker binds the topic to the user name; whoever calls this knows that it does."""
        approver = await self._approver(given, decision, who)
        return Decider(approver.name, "broker")

    async def by_discord(self, given: str, decision: Decision, user: int, name: str) -> Decider:
        """A member that Discord vouches for; one that is not listed may reject, as anybody may."""
        listed = (one for one in self._approvals.settings.approvers if one.discord == user)
        approver = next(listed, None)
        if approver is not None:
            return Decider(approver.name, "discord")
        if decision == "reject":
            return Decider(f"{name[:64]} ({user})", "claimed")
        raise await self._refused(given, decision, f"{name[:64]} ({user})", "You are no approver (APPROVERS).")

    async def _approver(self, given: str, decision: Decision, who: str) -> Approver:
        approver = self._approvals.settings.approver(who)
        if approver is None:
            raise await self._refused(given, decision, who, f"{who[:64]} is no approver (APPROVERS).")
        return approver

    async def _refused(self, given: str, decision: Decision, who: str, why: str, *, cure: str = "") -> PolicyError:
        error = PolicyError(why, cure=cure)
        await self._approvals.refused(given, decision, who, error)
        return error


def _fresh(ts: str, now: float) -> bool:
    """ISO 8601 with its zone, or Unix seconds."""
    try:
        at = float(ts) if ts.replace(".", "", 1).isdecimal() else _moment(ts)
    except (ValueError, OverflowError):
        return False
    return abs(now - at) <= proofs.FRESH


def _moment(ts: str) -> float:
    at = datetime.fromisoformat(ts)
    if at.tzinfo is None:
        raise ValueError("no zone")
    return at.timestamp()
