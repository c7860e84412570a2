"""The one entry to approvals: ask for one, decide one, use one."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mqtt_bridge.approvals import facts, store, words
from mqtt_bridge.approvals.database import Database
from mqtt_bridge.approvals.types import (
    Approval,
    ApprovalRequest,
    Ask,
    Decided,
    Decider,
    Decision,
    Grant,
    Pending,
    State,
)
from mqtt_bridge.approvals.verdicts import refusal
from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.policy import Channel, Principal
from mqtt_bridge.settings.approving import ApprovalSettings

_AGAIN = "Ask again without an approval: a new one is made."
_ELICIT: Mapping[str, frozenset[Channel]] = {
    "off": frozenset(),
    "stdio": frozenset({"stdio"}),
    "all": frozenset({"stdio", "http"}),
}


class Approvals:
    """`async with` it. Any number of processes of one STATE_DIR may have one open."""

    def __init__(
        self,
        state_dir: Path,
        settings: ApprovalSettings,
        audit: Audit | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.db = Database(state_dir)
        self.audit = audit or Audit(state_dir)
        self.clock = clock
        self.news = asyncio.Event()
        self.on_refused: Callable[[Approval | None, str, str], None] = lambda *_: None

    async def __aenter__(self) -> Self:
        await self.db.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.db.__aexit__(kind, error, trace)

    def digest(self, facts_: Mapping[str, Any]) -> str:
        """HMAC-SHA256 over the canonical JSON of these facts, keyed with the store's own random key."""
        return facts.digest(self.db.key, facts_)

    # --- for whoever asks --------------------------------------------------------------------------------------------

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
        expired, stale, already used, of another principal, too many pending. Over MQTT the same request again uses what
        was approved: a button that somebody presses again has no id to give.
        """
        if given is None and request.principal.channel == "mqtt":
            given = await self.db.read(lambda c: store.approved(c, request, self.clock()))
        if given is not None:
            return await self._use(given, request.principal, request.digest)
        row = await self._asked_for(request)
        answer = await ask(request) if ask and self.asks(request.principal) else None
        if answer is None:
            return words.as_pending(row, self.settings)
        await self.consent(row.id, request.principal, yes=answer)
        return await self._use(row.id, request.principal, await again() if again else request.digest)

    def asks(self, principal: Principal) -> bool:
        """Whether the word of whoever sits at this principal's client counts (APPROVAL_ELICITATION)."""
        return principal.channel in _ELICIT[self.settings.elicitation]

    async def chosen(self, given: str, principal: Principal) -> Mapping[str, Any]:
        """The ids that were chosen when it was asked for; raises PolicyError as `obtain` does."""
        return store.owned(await self.get(given), principal).chosen

    async def consent(self, given: str, principal: Principal, *, yes: bool) -> None:
        """The person at the requester's own client answered: counts where APPROVAL_ELICITATION says so, and once."""
        if not self.asks(principal):
            raise PolicyError(
                f"An answer given at the client counts for nothing over {principal.channel}.",
                cure="An approver has to decide.",
                setting="APPROVAL_ELICITATION",
            )
        by = f"{principal.name}, at the client"
        await self.expire()
        row = await self.db.write(lambda c: self._consented(c, given, principal, by, yes=yes))
        self._changed()
        if not yes:
            raise PolicyError(f"{row.title} was declined at the client.", cure="Nothing was done.")

    def _consented(self, connection: sqlite3.Connection, given: str, who: Principal, by: str, *, yes: bool) -> Approval:
        now = self.clock()
        row = store.owned(store.get(connection, given, now), who)
        if row.state == "approved" and yes:
            return row  # an approver was quicker
        if row.state != "pending":
            raise PolicyError(words.ended(row), cure=_AGAIN)
        self._note(row, "approved" if yes else "rejected", by=by, how="elicitation")
        store.move(connection, given, "pending", "approved" if yes else "rejected", now, by, "elicitation")
        return row

    async def _asked_for(self, request: ApprovalRequest) -> Approval:
        await self.expire()
        row = await self.db.write(lambda c: self._added(c, request))
        self._changed()
        return row

    def _added(self, connection: sqlite3.Connection, request: ApprovalRequest) -> Approval:
        now = self.clock()
        row, new = store.add(connection, request, now, self.settings.timeout)
        if new:
            self._note(row, "requested", digest=row.digest)
        return row

    async def _use(self, given: str, principal: Principal, digest: str) -> Grant | Pending:
        await self.expire()
        used = await self.db.write(lambda c: self._used(c, given, principal, digest))
        self._changed()
        if isinstance(used, PolicyError):
            raise used
        return used

    def _used(
        self, connection: sqlite3.Connection, given: str, principal: Principal, digest: str
    ) -> Grant | Pending | PolicyError:
        """A refusal is returned, not raised: that it is stale has to be written down."""
        now = self.clock()
        row = store.owned(store.get(connection, given, now), principal)
        if row.state not in {"pending", "approved"}:
            return PolicyError(words.ended(row), cure=_AGAIN)
        if row.digest != digest:
            store.move(connection, given, row.state, "stale", now)
            self._note(row, "stale", digest=digest)
            return PolicyError(
                f"The approval is stale: {row.target} or what is to be done with it is not what it was given for.",
                cure=_AGAIN,
            )
        if row.state == "pending":
            return words.as_pending(row, self.settings)
        if not store.move(connection, given, "approved", "used", now):
            return PolicyError("The approval was used already.", cure=_AGAIN)
        return Grant(row.id, row.decided_by, row.decided_how or "claimed")

    # --- for whoever decides -----------------------------------------------------------------------------------------

    async def decide(self, given: str, decision: Decision, decider: Decider, *, digest: str | None = None) -> Decided:
        """Raises PolicyError where it is refused; the refusal is in the audit file."""
        await self.expire()
        decided = await self.db.write(lambda c: self._decided(c, given, decision, decider, digest))
        self._changed()
        if isinstance(decided, PolicyError):
            await self.refused(given, decision, decider.name, decided, how=decider.how)
            raise decided
        return decided

    def _decided(
        self, connection: sqlite3.Connection, given: str, decision: Decision, decider: Decider, digest: str | None
    ) -> Decided | PolicyError:
        now = self.clock()
        row = store.get(connection, given, now)
        if row is None:
            return PolicyError("There is no such approval.")
        if why := refusal(self.settings, row, decision, decider, digest):
            return PolicyError(why)
        state: State = "approved" if decision == "approve" else "rejected"
        self._note(row, state, by=decider.name, how=decider.how)
        store.move(connection, given, "pending", state, now, decider.name, decider.how)
        return Decided(row.id, state, decider.name, decider.how)

    async def refused(self, given: str, decision: str, who: str, why: PolicyError, **more: Any) -> None:
        """Write a refused decision down."""
        self.on_refused(await self.get(given), who, why.message)
        await self.audit.write("approval.refused", approval=given, decision=decision, who=who, why=why.message, **more)

    # --- looks -------------------------------------------------------------------------------------------------------

    async def pending(self) -> Sequence[Approval]:
        """What waits for a decision, oldest first."""
        return await self.db.read(lambda c: store.pending(c, self.clock()))

    async def recent(self, limit: int = 50) -> Sequence[Approval]:
        """The newest, whatever became of them."""
        await self.expire()
        return await self.db.read(lambda c: store.recent(c, limit))

    async def get(self, given: str) -> Approval | None:
        """By its id; what is over its time says so."""
        await self.expire()
        return await self.db.read(lambda c: store.get(c, given, self.clock()))

    async def expire(self) -> None:
        """Note what is over its time; asked for by every look, so that nothing has to run for it."""
        now = self.clock()
        if await self.db.read(lambda c: store.due(c, now)):
            await self.db.write(lambda c: self._expire(c, now))
            self._changed()

    def _expire(self, connection: sqlite3.Connection, now: float) -> None:
        for row in store.expire(connection, now):
            self._note(row, "expired")

    def watch(self) -> "Watch":
        """For one that wants to know when there is something new."""
        return Watch(self)

    def _changed(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    def _note(self, row: Approval, event: str, **more: Any) -> None:
        """In the audit file before the store changes: what cannot be written down does not happen."""
        asked = {"principal": row.principal, "channel": row.channel, "action": row.action, "target": row.target}
        self.audit.append(f"approval.{event}", approval=row.id, site=row.site, **asked, **more)

    # --- ids of MQTT commands ----------------------------------------------------------------------------------------

    async def use_command_id(self, site: str, identity: str, at: float) -> bool:
        """Whether this MQTT command id is new (`at`: now); it is noted for a day, on disk before this returns."""
        return await self.db.write(lambda c: store.use_command_id(c, site, identity, at))


class Watch:
    """Tells one reader that the store has changed, through this process or another."""

    def __init__(self, approvals: Approvals) -> None:
        self._approvals = approvals
        self._news = approvals.news
        self._version = -1

    async def news(self, within: float) -> None:
        """Wait until this process changes something, for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._news.wait()

    async def changed(self, within: float) -> bool:
        """The same; says whether any process has changed something since the last time. The first time: yes."""
        await self.news(within)
        said, self._news = self._news.is_set(), self._approvals.news
        before, self._version = self._version, await self._approvals.db.read(_version)
        return said or before != self._version


def _version(connection: sqlite3.Connection) -> int:
    """SQLite's own count of what other connections have committed."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])
