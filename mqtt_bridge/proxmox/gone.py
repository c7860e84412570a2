"""When is something gone? Absence proves nothing: a token that loses its rights gets 200 with empty lists.

Gone is: a destroy task was seen, or three complete polls without it and a direct read that says it does not exist.
It is published unavailable first; its topics are cleared one poll later.
"""

from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Generic, TypeVar

from mqtt_bridge import errors

POLLS = 3
READS_PER_POLL = 10
SHARE = 0.2  # of all that is known: more than that missing at once is a hidden list until each is proven gone

Id = TypeVar("Id", bound=Hashable)


class Departures(Generic[Id]):
    """Counts absences of one kind of thing. `exists` reads one thing directly: NotFoundError proves that it is gone."""

    def __init__(self, exists: Callable[[Id], Awaitable[object]]) -> None:
        self._exists = exists
        self._absent: dict[Id, int] = {}
        self._leaving: set[Id] = set()
        self._destroyed: set[Id] = set()

    def destroyed(self, identity: Id) -> None:
        """A destroy task for it has succeeded."""
        self._destroyed.add(identity)

    def forget_destroyed(self, identity: Id) -> None:
        """It exists (again)."""
        self._destroyed.discard(identity)

    def hidden(self, known: int) -> int:
        """How many are absent without proof, if they are too many at once to be believed; else 0."""
        unproven = [i for i in self._absent if i not in self._leaving and i not in self._destroyed]
        return len(unproven) if len(unproven) > max(1, SHARE * known) else 0

    def absent(self) -> frozenset[Id]:
        """All that is missing and not proven gone."""
        return frozenset(i for i in self._absent if i not in self._leaving)

    async def poll(
        self, known: Iterable[Id], present: Iterable[Id], *, trusted: Callable[[Id], bool]
    ) -> tuple[list[Id], list[Id]]:
        """After a poll: (those now proven gone, to be published unavailable; those to clear now).

        trusted: whether this absence may be believed at all (the token may still see such a thing).
        """
        here = set(present)
        for identity in here:
            self._absent.pop(identity, None)
            self._leaving.discard(identity)
            self._destroyed.discard(identity)
        clear = list(self._leaving)
        self._leaving.clear()
        for identity in clear:
            self._absent.pop(identity, None)
            self._destroyed.discard(identity)
        leaving, reads = [], 0
        for identity in [i for i in known if i not in here and i not in clear]:
            if not trusted(identity):
                self._absent.setdefault(identity, 0)
                continue
            self._absent[identity] = self._absent.get(identity, 0) + 1
            proven = identity in self._destroyed
            if not proven and self._absent[identity] >= POLLS and reads < READS_PER_POLL:
                reads += 1
                proven = await self._is_gone(identity)
            if proven:
                leaving.append(identity)
        self._leaving.update(leaving)
        return leaving, clear

    async def _is_gone(self, identity: Id) -> bool:
        try:
            await self._exists(identity)
        except errors.NotFoundError:
            return True
        except errors.ProxmoxError:
            return False
        return False
