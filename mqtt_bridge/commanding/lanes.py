"""Work in order: what concerns one thing is done one after the other, different things side by side, within bounds."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
Follow = Callable[[], None]

AT_ONCE = 8
FOLLOWED = 32
WAITING = 100  # items, those under way among them
IN_A_LANE = 10


class Lanes(Generic[T]):
    """`serve` it. `do` must answer for every item by itself: what it raises ends everything.

    `do` calls its second argument when it only looks on from there (a backup that runs for an hour): another begins
    then, up to `followed` of those. What is `urgent` waits for its own lane alone, not for others.
    """

    def __init__(
        self,
        do: Callable[[T, Follow], Awaitable[None]],
        *,
        at_once: int = AT_ONCE,
        followed: int = FOLLOWED,
        waiting: int = WAITING,
        lane: int = IN_A_LANE,
        urgent: Callable[[T], bool] = lambda _: False,
    ) -> None:
        self._do = do
        self._urgent = urgent
        self._limits = (waiting, lane)
        self._free = asyncio.Semaphore(at_once)
        self._room = followed
        self._lanes: dict[Hashable, deque[T]] = {}
        self._new: deque[Hashable] = deque()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def lane(self, key: Hashable) -> Sequence[T]:
        """What waits or is under way there, the oldest first."""
        return tuple(self._lanes.get(key, ()))

    def add(self, key: Hashable, item: T) -> bool:
        """False: there is no room."""
        most, longest = self._limits
        if len(self) >= most or len(self._lanes.get(key, ())) >= longest:
            return False
        if key not in self._lanes:
            self._lanes[key] = deque()
            self._new.append(key)
            self._wake.set()
        self._lanes[key].append(item)
        return True

    def rest(self) -> list[T]:
        """What is left after `serve` was cancelled: never begun, or cut off."""
        return [item for lane in self._lanes.values() for item in lane]

    async def serve(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._new:
                    group.create_task(self._drive(self._new.popleft()))

    async def _drive(self, key: Hashable) -> None:
        lane = self._lanes[key]
        while lane:
            if self._urgent(lane[0]):
                await self._do(lane[0], lambda: None)
            else:
                await self._in_turn(lane[0])
            lane.popleft()
        del self._lanes[key]

    async def _in_turn(self, item: T) -> None:
        following = False

        def follow() -> None:
            nonlocal following
            if self._room and not following:
                following = True
                self._room -= 1
                self._free.release()

        await self._free.acquire()
        try:
            await self._do(item, follow)
        finally:
            if following:
                self._room += 1
            else:
                self._free.release()
