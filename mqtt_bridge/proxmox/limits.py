"""What keeps us from pestering a host: a token bucket for tools, and a breaker that leaves a dead host alone.

Both are used on the event loop only; neither knows about HTTP.
"""

import random
import time
from collections.abc import Callable
from typing import Literal

BreakerState = Literal["closed", "open", "half-open"]
Clock = Callable[[], float]


class TokenBucket:
    """`per_minute` calls a minute on average, and as many at once after a quiet minute. 0: no limit."""

    def __init__(self, per_minute: int, clock: Clock = time.monotonic) -> None:
        self._rate = per_minute / 60
        self._size = float(per_minute)
        self._tokens = self._size
        self._clock = clock
        self._filled_at = clock()

    def reserve(self, patience: float) -> float | None:
        """Take one token, perhaps a future one; returns the seconds to wait for it, None if more than `patience`."""
        if not self._size:
            return 0.0
        now = self._clock()
        self._tokens = min(self._size, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        wait = max(0.0, (1 - self._tokens) / self._rate)
        if wait > patience:
            return None
        self._tokens -= 1
        return wait


class Breaker:
    """Opens after `threshold` failures in a row; then one probe at a time, at growing intervals with jitter."""

    def __init__(self, threshold: int = 3, first_delay: float = 2, max_delay: float = 30) -> None:
        self._threshold = threshold
        self._first_delay = first_delay
        self._max_delay = max_delay
        self._failures = 0
        self._delay = first_delay
        self.state: BreakerState = "closed"

    @property
    def closed(self) -> bool:
        """Calls may go through."""
        return self.state == "closed"

    def success(self) -> None:
        """The host answered, whatever it said."""
        self._failures = 0
        self._delay = self._first_delay
        self.state = "closed"

    def failure(self) -> bool:
        """No connection or no answer in time; returns whether this opened it."""
        self._failures += 1
        if self.state == "closed" and self._failures < self._threshold:
            return False
        opened = self.state == "closed"
        self.state = "open"
        return opened

    def probe(self) -> None:
        """A probe is under way."""
        self.state = "half-open"

    def next_delay(self) -> float:
        """Seconds until the next probe: doubling, with jitter so that several clients do not come at once."""
        delay, self._delay = self._delay, min(self._max_delay, self._delay * 2)
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - jitter needs no cryptography
