"""What identifies a pushed notification: Proxmox gives it no id, and what carries it may send it twice."""

import hashlib
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable

WINDOW = 60.0  # seconds in which the same text without a time is the same notification
TOLD = 15 * 3600.0  # seconds that a text's own time may be away: it may be local time, written without a zone
_MOST = 1000
_WRITTEN = 100  # of the newest: what was committed and not answered when the bridge died is among them
_KEY = 32  # characters of a digest that tell texts of one minute apart
_STAMP = re.compile(
    rb'"(?:timestamp|time|date|ts|clock)"\s{0,9}:\s{0,9}"?(?:\d{9}|\d{4}-\d\d-\d\d[T ]\d\d:\d\d)', re.IGNORECASE
)


class Reposts:
    """Identities of bodies.

    A body that has a timestamp in a field of its own is identified by what it says: the same test tomorrow differs. So
    is a text that tells a time of these hours (a backup's log). Anything else (a test sent through Gotify, a smartd
    reminder that repeats a time of last week) is the same only within WINDOW seconds of its first arrival: `text` is to
    be committed with it, so that a sender that tries again after our death is understood.
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

    def text(self) -> str:
        """When the newest of them came."""
        since = self._clock() - WINDOW
        newest = [(key, round(first, 3)) for key, first in self._first.items() if first > since]
        return json.dumps(dict(newest[-_WRITTEN:]), separators=(",", ":"))

    def read(self, text: str | None) -> None:
        """What an earlier run wrote; a text that is none says nothing."""
        try:
            known = {str(key): float(first) for key, first in json.loads(text or "{}").items()}
        except (ValueError, TypeError, AttributeError):
            return
        self._first.update(known)

    def _seen(self, digest: str, now: float) -> float:
        """When this text first came, as long as that is not over; else now."""
        digest = digest[:_KEY]
        first = self._first.get(digest, now)
        if not 0 <= now - first < WINDOW:
            first = now
        self._first.pop(digest, None)
        self._first[digest] = first
        if len(self._first) > _MOST:
            self._first.popitem(last=False)
        return first
