"""The same line in the log is enough once a minute, however often its cause comes back."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

EVERY = 60.0  # seconds
LINES = 10  # in that time, whatever they are about: anyone can come from many addresses
KEPT = 1000  # causes that are told apart


class Seldom:
    """Ask it before a line is logged."""

    def __init__(self, every: float = EVERY, lines: int = LINES, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._lines = lines
        self._clock = clock
        self._seen: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()  # how often unlogged, and last logged when
        self._logged: list[float] = []

    def count(self, cause: Hashable) -> int:
        """How often it came since it was last logged, this time included; 0: it is not to be logged now."""
        now = self._clock()
        times, last = self._seen.pop(cause, (0, -self._every))
        self._logged = [at for at in self._logged if now - at < self._every]
        due = now - last >= self._every and len(self._logged) < self._lines
        if due:
            self._logged.append(now)
        self._seen[cause] = (0, now) if due else (times + 1, last)
        if len(self._seen) > KEPT:
            self._seen.popitem(last=False)
        return times + 1 if due else 0
