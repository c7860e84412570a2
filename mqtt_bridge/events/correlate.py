"""One happening told by many channels gets one correlation id; what only repeats it is a duplicate.

Memory is a book per trust, each bounded for itself: a flood that anyone can send evicts only what anyone can send. An
account is compared with the books of its own trust and above first, then with those below. What it says changes books
of its own trust and below, never one above: a forged OK closes no real failure.

Pure and deterministic: events in, ids out; no clock. A duplicate has the same facts, severity and outcome as an earlier
event of the same happening. It is `surer` when all who said so before are trusted less: then it is worth telling all
the same, so that a forged failure swallows no later real one.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mqtt_bridge.events.account import Account, Key, account_of
from mqtt_bridge.events.happening import Happening
from mqtt_bridge.model import Event
from mqtt_bridge.severity import TRUSTS, Trust

HAPPENINGS = 4096  # in each book
INDEXED = 50_000  # keys in each book: a job has one for each of its guests
PER_KEY = 16  # happenings on one target that are told apart


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an event belongs. Its correlation is its own id when it is the first of its happening."""

    correlation_id: str
    duplicate_of: str | None = None
    surer: bool = False


class Book:
    """The happenings of one trust. The one that was quiet longest gives way."""

    def __init__(self, most: int = HAPPENINGS, keys: int = INDEXED) -> None:
        self._most = most
        self._most_keys = keys
        self._happenings: OrderedDict[Happening, None] = OrderedDict()
        self._index: dict[Key, list[Happening]] = {}
        self._entries = 0

    def __len__(self) -> int:
        return len(self._happenings)

    def find(
        self, account: Account, correlation: str | None = None, without: frozenset[str] = frozenset()
    ) -> Happening | None:
        """The nearest happening that this account can be of; `without` these correlations."""
        best: Happening | None = None
        if not self._index:
            return best
        nearest = 0.0
        for key in account.keys if correlation is None else _all_keys(account):
            for one in self._index.get(key, ()):
                if one.family is not account.family or one.correlation in without:
                    continue
                if correlation is not None and one.correlation != correlation:
                    continue
                distance = one.distance(account)
                if distance is not None and (best is None or distance < nearest):
                    best, nearest = one, distance
        return best

    def loosely(self, account: Account, without: frozenset[str]) -> dict[str, Happening]:
        """By correlation, the happenings that this account can be of if the node is left out, where one names none."""
        found = self._index.get(account.loose, ()) if account.loose else ()
        return {
            one.correlation: one
            for one in found
            if not (one.node and account.node)
            and one.family is account.family
            and one.correlation not in without
            and one.distance(account) is not None
        }

    def told_again(self, account: Account) -> frozenset[str]:
        """The happenings of which this account's channel has told already, long enough ago."""
        if account.family.again is None:
            return frozenset()
        rows = (self._index.get(key, ()) for key in account.keys)
        return frozenset(one.correlation for row in rows for one in row if one.told_again(account))

    def ruled_out(self, account: Account) -> frozenset[str]:
        """The happenings on the same target that this account cannot be of."""
        if not self._index:
            return frozenset()
        rows = (self._index.get(key, ()) for key in _all_keys(account))
        return frozenset(one.correlation for row in rows for one in row if one.distance(account) is None)

    def joined(self, account: Account) -> Happening | None:
        """What this account belongs to without being the same: a guest's end on a node that was lost."""
        for key in account.joins:
            for one in reversed(self._index.get(key, ())):
                if key[0] == "upid" or one.near(account.at, one.family.window):
                    return one
        return None

    def record(self, account: Account, correlation: str, teller: str) -> None:
        """Write the account down, in the happening of that correlation or in a new one."""
        found = self.find(account, correlation) if correlation != account.id else None
        happening = found or Happening(account, correlation)
        self._happenings[happening] = None
        self._happenings.move_to_end(happening)
        happening.note(account)
        happening.tell(account, teller)
        self._enter(happening, account.keys)
        self._enter(happening, account.also)
        self._enter(happening, [account.loose] if account.loose else ())
        while len(self._happenings) > self._most or (self._entries > self._most_keys and len(self._happenings) > 1):
            self._drop(next(iter(self._happenings)))

    def close(self, account: Account) -> None:
        """What this account ends: the opposite on the same target."""
        for key in account.closes:
            for one in self._index.get(key, ()):
                if one.closed is None and one.last <= account.at:
                    one.closed = account.at
        if account.phase == "recovery":
            found = self.find(account)
            if found is not None:
                found.note(account)

    def forget(self, ids: frozenset[str]) -> None:
        """As if these events had never been told."""
        for one in [one for one in self._happenings if one.forget(ids)]:
            self._drop(one)

    def _enter(self, happening: Happening, keys: Iterable[Key]) -> None:
        for key in happening.new_keys(list(keys)):
            row = self._index.setdefault(key, [])
            row.append(happening)
            happening.keys[key] = None
            self._entries += 1
            if len(row) > PER_KEY:
                del row[0].keys[key]
                del row[0]
                self._entries -= 1

    def _drop(self, happening: Happening) -> None:
        del self._happenings[happening]
        for key in happening.keys:
            row = self._index[key]
            row.remove(happening)
            self._entries -= 1
            if not row:
                del self._index[key]


def _all_keys(account: Account) -> list[Key]:
    return [*account.keys, account.loose] if account.loose else account.keys


class Correlator:
    """Give every event its place, in the order of receipt."""

    def __init__(self, *, happenings: int = HAPPENINGS) -> None:
        self._books: Mapping[Trust, Book] = {trust: Book(happenings) for trust in TRUSTS}

    def __len__(self) -> int:
        return sum(len(book) for book in self._books.values())

    def place(self, event: Event) -> Placement:
        """Where a new event belongs; it is remembered."""
        account = account_of(event)
        rank = TRUSTS.index(event.trust)
        without = self._books[event.trust].told_again(account)
        upper, lower = TRUSTS[: rank + 1], TRUSTS[rank + 1 :]
        found = self._nearest(upper, account, without) or self._loosely(upper, account, without)
        if found is None and any(len(self._books[trust]) for trust in lower):
            without = without.union(*(self._books[trust].ruled_out(account) for trust in upper))
            found = self._nearest(lower, account, without) or self._loosely(lower, account, without)
        found = found or self._joined(account, rank)
        correlation = found.correlation if found else event.id
        told = self._told(upper, account, correlation) if found else None
        below = self._told(lower, account, correlation) if found and not told else None
        self._remember(event, account, correlation, told or below or event.id)
        return Placement(correlation, told or below, surer=below is not None)

    def learn(self, event: Event) -> None:
        """Remember what was stored before, under the correlation that it has."""
        self._remember(event, account_of(event), event.correlation_id or event.id, event.duplicate_of or event.id)

    def _remember(self, event: Event, account: Account, correlation: str, teller: str) -> None:
        rank = TRUSTS.index(event.trust)
        for trust in TRUSTS[rank + 1 :] if correlation != event.id else ():
            lower = self._books[trust].find(account, correlation)
            if lower is not None:
                lower.note(account)
        self._books[event.trust].record(account, correlation, teller)
        self._close(account, rank)

    def _close(self, account: Account, rank: int) -> None:
        if account.closes or account.phase == "recovery":
            for trust in TRUSTS[rank:]:
                self._books[trust].close(account)

    def _nearest(self, trusts: Iterable[Trust], account: Account, without: frozenset[str]) -> Happening | None:
        """The nearest; of equally near ones the most trusted."""
        found = [one for trust in trusts if (one := self._books[trust].find(account, without=without)) is not None]
        return min(found, key=lambda one: one.distance(account) or 0.0) if len(found) > 1 else next(iter(found), None)

    def _loosely(self, trusts: Iterable[Trust], account: Account, without: frozenset[str]) -> Happening | None:
        """The only happening that it can be of if a missing node is passed over; None where there are several."""
        if account.loose is None:
            return None
        found: dict[str, Happening] = {}
        for trust in trusts:
            found |= self._books[trust].loosely(account, without)
        return next(iter(found.values())) if len(found) == 1 else None

    def observe(self, event: Event) -> None:
        """Of what is not stored only what it ends counts: otherwise a filtered recovery would hide the next failure."""
        self._close(account_of(event), TRUSTS.index(event.trust))

    def forget(self, events: Iterable[Event]) -> None:
        """These could not be stored: nothing may be called their duplicate."""
        ids = frozenset(event.id for event in events)
        for book in self._books.values():
            book.forget(ids)

    def _joined(self, account: Account, rank: int) -> Happening | None:
        if not account.joins:
            return None
        found = (self._books[trust].joined(account) for trust in TRUSTS[: rank + 1])
        return next((one for one in found if one is not None), None)

    def _told(self, trusts: Iterable[Trust], account: Account, correlation: str) -> str | None:
        """Who of these said the same first."""
        for trust in trusts:
            found = self._books[trust].find(account, correlation)
            told = found.representative(account) if found else None
            if told:
                return told
        return None
