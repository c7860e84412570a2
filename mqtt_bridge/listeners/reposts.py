"""What identifies a pushed notification: Proxmox gives it no id, and what carries it may send it twice."""

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable

WINDOW = 60.0  # seconds in which the same text without a time is the same notification
TOLD = 15 * 3600.0  # seconds that a text's own time may be away: it may be local time, written without a zone
_MOST = 1000
_STAMP = re.compile(
    rb'"(?:timestamp|time|date|ts|clock)"\s{0,9}:\s{0,9}"?(?:\d{9}|\d{4}-\d\d-\d\d[T ]\d\d:\d\d)', re.IGNORECASE
)


class Reposts:
    """Identities of bodies.

    A body that has a timestamp in a field of its own is identified by what it says: the same test tomorrow differs. So
    is a text that tells a time of these hours (a backup's log). Anything else (a test sent through Gotify, a smartd
    reminder that repeats a time of last week) is the same only within WINDOW seconds of its first arrival.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._first: OrderedDict[str, float] = OrderedDict()

    def identity(self, channel: str, body: bytes, told: float | None, key: str = "") -> str:
        """`told` is the time that the text tells, `key` an Idempotency-Key that its sender gave it."""
        digest = hashlib.sha256(b"\0".join((channel.encode(), key.encode(errors="replace"), body))).hexdigest()
        now = self._clock()
        if key or _STAMP.search(body) or (told is not None and abs(now - told) < TOLD):
            return digest
        return f"{digest}@{int(self._seen(digest, now) // WINDOW)}"

    def _seen(self, digest: str, now: float) -> float:
        """When this text first came, as long as that is not over; else now."""
        first = self._first.get(digest, now)
        if not 0 <= now - first < WINDOW:
            first = now
        self._first.pop(digest, None)
        self._first[digest] = first
        if len(self._first) > _MOST:
            self._first.popitem(last=False)
        return first
