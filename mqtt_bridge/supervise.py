"""A part that fails is started again after a pause; its failure is its own, and its health can be asked for."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)

FIRST, LONGEST = 1.0, 60.0  # seconds of pause
STEADY = 60.0  # seconds of running after which a failure is over, and the next one counts as a first one again

Run = Callable[[], Awaitable[None]]


class Part:
    """One part with its health: what it last failed of, empty while it runs well."""

    def __init__(self, name: str, run: Run) -> None:
        self.name = name
        self.problem = ""
        self.failures = 0
        self._run = run

    async def run(self) -> None:
        """Run it until cancelled."""
        loop = asyncio.get_running_loop()
        clock, pause = loop.time, FIRST
        while True:
            started = clock()
            steady = loop.call_later(STEADY, self._well)
            try:
                await self._run()
            except Exception as error:
                self.failures += 1
                self.problem = f"{type(error).__name__}: {error}"[:300]
                log.exception("%s failed and is started again", self.name)
            finally:
                steady.cancel()
            if clock() - started > STEADY:
                pause = FIRST
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 -- jitter
            pause = min(LONGEST, pause * 2)

    def _well(self) -> None:
        self.problem = ""


class Parts:
    """`async with` it: named parts that run until the end, which comes at once whatever they are doing."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._over = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def start(self, name: str, run: Run) -> Part:
        """Start a part under supervision; at the end nothing begins any more."""
        part = Part(name, run)
        self.parts.append(part)
        if not self._over:
            self._tasks.append(asyncio.create_task(part.run(), name=name))
        return part
