"""Decisions that come in on `<site>/approval/<id>/decision/<who>`: checked, taken or refused, always answered.

Anyone on the broker may have written one, under any name. So a name counts for nothing without a proof, or without a
broker that is known to bind it. What is refused is counted, in the audit file, and told on `<site>/result/<id>` and on
the response topic, if that is at or below `<site>/result`: a writer could otherwise have us write where it may not.
What is about an approval that is not in our store is left to whoever has it.
"""

import asyncio
import re
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mqtt_bridge.approvals import words
from mqtt_bridge.approvals.approvals import Approvals
from mqtt_bridge.approvals.binding import PROBE
from mqtt_bridge.approvals.deciders import Deciders
from mqtt_bridge.approvals.proofs import Claim
from mqtt_bridge.approvals.types import Decider
from mqtt_bridge.errors import BridgeError, PolicyError
from mqtt_bridge.model import ApprovalResult
from mqtt_bridge.mqtt.bus import Bus, Message
from mqtt_bridge.topics import KINDS, Topics
from mqtt_bridge.wording.clean import one_line

LARGEST = 4096  # bytes of a decision
WAITING = 100  # decisions at once; more are counted and dropped
A_MINUTE = 120  # the same in a minute
MINUTE = 60.0
TOPIC = 512  # characters of a response topic
WHO = 64
_ID = re.compile(r"[0-9a-f]{32}")


def _as_sent(ts: object) -> object:
    """Whole Unix seconds are signed as they are written; how a number with a fraction was written is lost."""
    if isinstance(ts, float):
        raise ValueError("send a time with a fraction as text, so that it is signed as it is sent")  # noqa: TRY004
    return str(ts) if isinstance(ts, int) and not isinstance(ts, bool) else ts


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Proof(_Strict):
    code: Annotated[str, Field(max_length=64)] | None = None
    hmac: Annotated[str, Field(max_length=128)] | None = None
    ts: Annotated[str | None, BeforeValidator(_as_sent), Field(max_length=40)] = None


class _Asked(_Strict):
    decision: Literal["approve", "reject"]
    digest: Annotated[str, Field(max_length=64)] = ""
    proof: _Proof | Annotated[str, Field(max_length=64)] | None = None


@dataclass(frozen=True)
class Slip:
    """One decision as it came in."""

    site: str
    given: str
    who: str
    message: Message


class Clerk:
    """`run` it on the connection whose decisions are handed to `take`. `unbound`: why the broker binds no name."""

    def __init__(self, approvals: Approvals, names: Topics, sites: Collection[str]) -> None:
        self.stats: Counter[str] = Counter()
        self.unbound = "It is not known yet whether the broker binds users to their names."
        self._approvals = approvals
        self._deciders = Deciders(approvals)
        self._names = names
        self._sites = sites
        self._waiting: deque[Slip] = deque()
        self._recent: deque[float] = deque()
        self._wake = asyncio.Event()

    def take(self, message: Message) -> None:
        """One message on a decision's topic."""
        parsed = self._names.parse(message.topic)
        if parsed is None or parsed.site not in self._sites or parsed.ids["id"] == PROBE:
            return
        if not _ID.fullmatch(parsed.ids["id"]) or len(self._waiting) >= WAITING or self._too_many():
            self.stats["dropped"] += 1
            return
        self._waiting.append(Slip(parsed.site, parsed.ids["id"], one_line(parsed.ids["who"], WHO), message))
        self._wake.set()

    def _too_many(self) -> bool:
        now = asyncio.get_running_loop().time()
        while self._recent and self._recent[0] <= now - MINUTE:
            self._recent.popleft()
        if len(self._recent) >= A_MINUTE:
            return True
        self._recent.append(now)
        return False

    async def run(self, bus: Bus) -> None:
        """Decide, one after the other, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                slip = self._waiting.popleft()
                if result := await self.decide(slip):
                    await self._answer(bus, slip, result)

    async def decide(self, slip: Slip) -> ApprovalResult | None:
        """Take it or refuse it; None: it is about an approval that somebody else has."""
        row = await self._approvals.get(slip.given)
        if row is None or row.site != slip.site:
            self.stats["elsewhere"] += 1
            return None
        try:
            asked = await self._read(slip)
            decider = await self._decider(slip, asked)
            digest = asked.digest or None
            done = await self._approvals.decide(slip.given, asked.decision, decider, digest=digest)
        except BridgeError as error:
            self.stats["refused"] += 1
            known = {"state": row.state, "error": str(error), "title": words.headline(row)}
            return ApprovalResult(id=slip.given, ok=False, by=slip.who, **known)
        self.stats[done.state] += 1
        return ApprovalResult(id=slip.given, ok=True, by=done.by, state=done.state, title=words.headline(row))

    async def _read(self, slip: Slip) -> _Asked:
        """What it says, if it may be listened to at all; raises PolicyError, with that written down."""
        if slip.message.retain:
            raise await self._refused(slip, "The decision was retained: publish it without that flag.")
        if len(slip.message.payload) > LARGEST:
            raise await self._refused(slip, f"The decision is larger than {LARGEST} bytes.")
        try:
            asked = _Asked.model_validate_json(slip.message.payload)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
            named = ".".join(str(part) for part in problem["loc"] if not str(part).startswith("_"))  # not our classes
            field = ascii(named[:64])[1:-1] or "decision"
            raise await self._refused(
                slip, f"{field}: {one_line(problem['msg'].removeprefix('Value error, '))}."
            ) from None
        if asked.decision == "approve" and not asked.digest:
            raise await self._refused(slip, "digest: give back the one that the approval was published with.")
        return asked

    async def _refused(self, slip: Slip, why: str) -> PolicyError:
        error = PolicyError(why)
        await self._approvals.refused(slip.given, "unknown", slip.who, error, how="mqtt")
        return error

    # --- who decides -------------------------------------------------------------------------------------------------

    async def _decider(self, slip: Slip, asked: _Asked) -> Decider:
        proof = asked.proof
        if proof is not None and self._approvals.settings.mqtt == "proof":
            return await self._by_proof(slip, asked, _Proof(code=proof) if isinstance(proof, str) else proof)
        if asked.decision == "reject":
            return Decider(slip.who, "claimed")
        if self._approvals.settings.mqtt != "broker":
            raise await self._refused(slip, "proof: approving needs a one-time code, or an HMAC and its ts.")
        if self.unbound:
            raise await self._refused(slip, self.unbound)
        return await self._deciders.by_broker(slip.given, asked.decision, slip.who)

    async def _by_proof(self, slip: Slip, asked: _Asked, proof: _Proof) -> Decider:
        if proof.code is not None and proof.hmac is None:
            return await self._deciders.by_code(slip.given, asked.decision, slip.who, proof.code)
        if proof.hmac is None or proof.ts is None:
            raise await self._refused(slip, "proof: give a code, or an hmac and its ts.")
        claim = Claim(slip.given, asked.decision, asked.digest, slip.who, proof.ts)
        return await self._deciders.by_hmac(claim, proof.hmac)

    # --- the answer --------------------------------------------------------------------------------------------------

    async def _answer(self, bus: Bus, slip: Slip, result: ApprovalResult) -> None:
        for topic in self._topics(slip):
            try:
                await bus.publish(
                    topic, result.payload(), qos=KINDS["result"].qos, correlation_data=slip.message.correlation_data
                )
            except BridgeError:
                self.stats["unanswered"] += 1

    def _topics(self, slip: Slip) -> list[str]:
        own, asked = self._names.build("result", site=slip.site, id=slip.given), slip.message.response_topic
        root = own.rpartition("/")[0]
        if asked is None or asked == own:
            return [own]
        inside = asked == root or asked.startswith(f"{root}/")
        fit = inside and len(asked) <= TOPIC and asked.isprintable() and not set("+#") & set(asked)
        return [own, asked] if fit else [own]
