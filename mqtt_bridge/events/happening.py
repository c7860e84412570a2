"""One happening as it is remembered, and whether another account can be of it."""

from mqtt_bridge.events.account import Account, Fact, Key
from mqtt_bridge.events.families import HOLD, SLACK, Family

TOLD = 256  # facts kept of one happening
KEYS = 1200


class Happening:
    """What has been told of it so far. `told` has the first event of each fact, and when that was."""

    __slots__ = (
        "channels", "closed", "correlation", "ended", "failed", "family", "first", "job", "keys", "last", "members",
        "node", "started", "told", "upids", "whole",
    )  # fmt: skip

    def __init__(self, account: Account, correlation: str) -> None:
        self.family: Family = account.family
        self.correlation = correlation
        self.first = self.last = account.at
        self.started: float | None = None
        self.ended: float | None = None
        self.closed: float | None = None
        self.failed: bool | None = None
        self.job: str | None = None
        self.node: str | None = None
        self.members = account.members
        if account.phase == "part" and account.guest is not None:
            self.members = frozenset((account.guest,))
        self.whole = False  # the job itself was seen, not only one of its guests
        self.upids: dict[str, str] = {}
        self.channels: dict[tuple[str, str], float] = {}
        self.told: dict[Fact, tuple[str, float]] = {}
        self.keys: dict[Key, None] = {}

    # --- can it be of this one? --------------------------------------------------------------------------------------

    def distance(self, account: Account) -> float | None:
        """How far apart in seconds; None: it is another happening. The same task id is no distance at all."""
        known = self.upids.get(account.upid_type) if account.upid else None
        if known is not None:
            return -1.0 if known == account.upid else None
        if self._contradicts(account):
            return None
        return self._run_distance(account) if self.family.run else self._report_distance(account)

    def _contradicts(self, account: Account) -> bool:
        if self.job and account.job and self.job != account.job:
            return True
        if self.node and account.node and self.node != account.node:
            return True
        if self.whole and self.members and account.members and not self.members & account.members:
            return True
        if account.phase == "part" and account.guest is not None:
            return self.members is not None and account.guest not in self.members
        if account.phase == "end" and not self.whole and self.members and account.members:
            return not self.members & account.members
        return False

    def _run_distance(self, account: Account) -> float | None:
        at = account.at
        begun = account.at if account.phase == "start" else account.started
        if self.closed is not None and at > self.closed and account.phase != "part":
            return None
        if begun is not None and self.started is not None and abs(begun - self.started) > self.family.window:
            return None
        if account.phase == "start":
            return self._start_distance(at)
        if account.phase == "end":
            return self._end_distance(account)
        return self._part_distance(account)

    def _start_distance(self, at: float) -> float | None:
        if self.started is not None:
            return abs(at - self.started)
        end = self.ended if self.ended is not None else self.last
        return end - at if 0 <= end - at <= self.family.span else None

    def _end_distance(self, account: Account) -> float | None:
        at, family = account.at, self.family
        if self.told_again(account):
            return None
        if self.ended is not None:
            if self.failed is not account.failed or abs(at - self.ended) > family.window:
                return None
            return abs(at - self.ended)
        if self.started is not None:
            return at - self.started if -SLACK <= at - self.started <= family.span else None
        if account.started is not None and self.first < account.started - SLACK:
            return None
        alone = account.members is not None and len(account.members) == 1  # ends as soon as its guest has
        reach = family.window if alone else family.span
        return at - self.first if -SLACK <= at - self.first <= reach else None

    def _part_distance(self, account: Account) -> float | None:
        at, family = account.at, self.family
        if self.ended is not None and at > self.ended + family.window:
            return None
        if self.started is not None:
            return abs(at - self.started) if -SLACK <= at - self.started <= family.span else None
        if self.ended is not None:
            listed = self.members is not None and account.guest in self.members
            reach = family.span if listed and len(self.members or ()) > 1 else family.window
            return abs(self.ended - at) if self.ended - at <= reach else None
        return abs(at - self.last) if abs(at - self.last) <= family.window else None

    def _report_distance(self, account: Account) -> float | None:
        at, family = account.at, self.family
        if account.phase == "recovery":
            if self.closed is not None:
                return abs(at - self.closed) if abs(at - self.closed) <= family.window else None
            return at - self.last if -SLACK <= at - self.first <= HOLD else None
        if self.closed is not None:
            return self.closed - at if 0 < self.closed - at <= HOLD and at >= self.first - family.span else None
        if self.told_again(account):
            return None
        since = at if account.since is None else account.since
        gap = max(self.first - at, since - self.last, 0.0)
        return gap if gap <= family.window and max(self.first - at, since - self.first) <= family.span else None

    def told_again(self, account: Account) -> bool:
        """Whether this channel told of its end already, longer ago than it repeats itself."""
        if account.phase not in ("end", "report") or (
            account.upid and self.upids.get(account.upid_type) == account.upid
        ):
            return False
        told = self.channels.get(account.source)
        return told is not None and self.family.again is not None and abs(account.at - told) > self.family.again

    def near(self, at: float, window: float) -> bool:
        """Whether it is going on at that time: for what merely belongs to it."""
        return self.closed is None and self.first - SLACK <= at <= self.last + window

    # --- what was told -----------------------------------------------------------------------------------------------

    def representative(self, account: Account) -> str | None:
        """The first event that stated the same, near enough in time; None: this account brings something new."""
        reach = self.family.window if self.family.run else self.family.span
        same_task = account.upid is not None and self.upids.get(account.upid_type) == account.upid
        since = account.at if account.since is None else account.since
        for fact in account.core:
            told = self.told.get(fact)
            near = told is not None and max(told[1] - account.at, since - told[1]) <= reach
            if told and told[0] != account.id and (same_task or near):
                return told[0]
        return None

    def note(self, account: Account) -> None:
        """Learn what can tell this happening from the next one."""
        self.first, self.last = min(self.first, account.at), max(self.last, account.at)
        self.job = self.job or account.job
        self.node = self.node or account.node
        if account.upid:
            self.upids.setdefault(account.upid_type, account.upid)
        self._note_phase(account)
        self.channels.setdefault(account.source, account.at)

    def _note_phase(self, account: Account) -> None:
        if account.phase == "recovery" and self.family.recovers:
            self.closed = account.at if self.closed is None else min(self.closed, account.at)
        if not self.family.run or account.phase == "part":
            return
        begun = account.at if account.phase == "start" else account.started
        if begun is not None and (self.started is None or account.upid):
            self.started = begun
        if account.phase == "end" and self.ended is None:
            self.ended, self.failed = account.at, account.failed
        if not self.whole:
            self.whole, self.members = True, account.members
        elif account.members:
            self.members = account.members | (self.members or frozenset())

    def tell(self, account: Account, teller: str) -> None:
        """Remember who stated each fact first; of a duplicate, its representative did."""
        told: tuple[str, float] = (teller, account.at)
        for fact in account.says:
            known = self.told.get(fact)
            if len(self.told) < TOLD and known is None:
                self.told[fact] = told

    def forget(self, ids: frozenset[str]) -> bool:
        """Forget what these events told; whether nothing is left."""
        for fact in [fact for fact, told in self.told.items() if told[0] in ids]:
            del self.told[fact]
        return not self.told

    def new_keys(self, keys: list[Key]) -> list[Key]:
        """Those under which it was not found so far; bounded."""
        return [key for key in keys if key not in self.keys][: max(KEYS - len(self.keys), 0)]
