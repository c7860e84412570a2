"""Places for connections: bounded altogether and by source. Who is in want of one gets that of who makes least of his.

So that nobody who fills all places locks the others out: a source that holds more places than another gives one up to
it at once; within a source, or between equals, a connection gives way once it has been silent for its `grace`.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

GRACE = 1.0  # seconds that a silent connection may keep its place while others want it


@dataclass(eq=False, slots=True)
class Seat:
    """One connection. `rank` says who gives way first (lowest); `busy`: we are at work for it, so it never does."""

    source: str
    close: Callable[[], None]
    since: float = field(default_factory=time.monotonic)  # when it last did something
    rank: int = 0
    grace: float = GRACE
    busy: bool = False

    def heard(self) -> None:
        """It did something."""
        self.since = time.monotonic()


class Places:
    """`find` a place for a source before its connection takes `seat`."""

    def __init__(self, most: int, per_source: int = 0) -> None:
        """`per_source` 0: as many as there are."""
        self.most = most
        self.per_source = per_source or most + 1
        self._seats: dict[Seat, None] = {}
        self._by_source: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._seats)

    def __iter__(self) -> Iterator[Seat]:
        return iter(tuple(self._seats))

    def held(self, source: str) -> int:
        return self._by_source[source]

    def seat(self, seat: Seat) -> None:
        self._seats[seat] = None
        self._by_source[seat.source] += 1

    def leave(self, seat: Seat) -> None:
        """More than once does no harm."""
        if seat in self._seats:
            del self._seats[seat]
            self._by_source[seat.source] -= 1
            if not self._by_source[seat.source]:
                del self._by_source[seat.source]

    def find(self, source: str) -> str:
        """Empty: there is a place now, perhaps one that was taken from another. Else why there is none."""
        if self.held(source) >= self.per_source:
            return "" if self._oust(lambda seat: seat.source == source) else "too many connections of one source"
        if len(self._seats) < self.most:
            return ""
        mine = self.held(source)
        most = max(self._by_source.values())
        if most > mine + 1 and self._oust(lambda seat: self.held(seat.source) == most, at_once=True):
            return ""
        return "" if self._oust(lambda seat: self.held(seat.source) >= mine) else "too many connections"

    def _oust(self, among: Callable[[Seat], bool], *, at_once: bool = False) -> bool:
        now = time.monotonic()
        free = [s for s in self._seats if not s.busy and among(s) and (at_once or now - s.since > s.grace)]
        if not free:
            return False
        seat = min(free, key=lambda s: (s.rank, s.since))
        self.leave(seat)
        seat.close()
        return True
