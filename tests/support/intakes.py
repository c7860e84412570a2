"""An intake that remembers, refuses on demand and knows cursors: what stands behind a listener under test."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mqtt_bridge.events.intake import Listener, Report


@dataclass
class Remembering:
    """`fails` are raised one by one before anything is taken; `delay` is how long a commit lasts."""

    reports: list[Report] = field(default_factory=list)
    cursors: dict[str, str] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    health: list[tuple[bool, str]] = field(default_factory=list)
    fails: list[Exception] = field(default_factory=list)
    delay: float = 0.0
    batches: list[int] = field(default_factory=list)

    async def __call__(self, reports: Sequence[Report], *, cursors: Mapping[str, str] | None = None) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.fails:
            raise self.fails.pop(0)
        known = {one.identity for one in self.reports}
        self.batches.append(len(reports))
        self.reports += [one for one in reports if one.identity not in known]
        self.cursors |= cursors or {}

    async def cursor(self, name: str) -> str | None:
        return self.cursors.get(name)

    async def reaches(self, count: int) -> None:
        """Wait for so many reports."""
        await until(lambda: len(self.reports) >= count)

    def reject(self, reason: str, count: int = 1) -> None:
        self.rejected[reason] += count

    def healthy(self, detail: str = "") -> None:
        self.health.append((True, detail))

    def unhealthy(self, reason: str) -> None:
        self.health.append((False, reason))

    @property
    def well(self) -> bool:
        return bool(self.health) and self.health[-1][0]

    @property
    def said(self) -> str:
        return self.health[-1][1] if self.health else ""


async def until(done: Callable[[], Any], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not done():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(listener: Listener, intake: Remembering, *, wait: bool = True) -> AsyncIterator[Remembering]:
    """Run it on this intake, and wait until it is well (or has said why not)."""
    task = asyncio.create_task(listener.run(intake))
    try:
        if wait:
            await until(lambda: intake.health or task.done())
        if task.done():
            await task
        yield intake
    finally:
        task.cancel()
        await asyncio.wait([task])
