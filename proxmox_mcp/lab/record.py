"""What the lab remembers of the requests it got."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Request(NamedTuple):
    host: str
    method: str
    path: str


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client sent."""

    method: str
    path: str
    """Without `/api2/json`."""
    params: dict[str, Any]
    authorization: str | None


@dataclass(slots=True)
class RequestLog:
    """The last requests, oldest first, and how often each was made since the last `clear`."""

    limit: int
    entries: deque[Request] = field(default_factory=deque)
    counts: Counter[Request] = field(default_factory=Counter)

    def add(self, request: Request) -> None:
        self.entries.append(request)
        self.counts[request] += 1
        while len(self.entries) > self.limit:
            old = self.entries.popleft()
            self.counts[old] -= 1
            if not self.counts[old]:
                del self.counts[old]

    def count(self, method: str = "*", path: str = "*", host: str = "*") -> int:
        """Count requests by glob patterns, e.g. `count("GET", "/cluster/resources")`."""
        wanted = (host, method, path)
        return sum(number for row, number in self.counts.items() if all(map(fnmatchcase, row, wanted)))

    def clear(self) -> None:
        self.entries.clear()
        self.counts.clear()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)
