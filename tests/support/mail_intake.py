"""An intake in memory, or in a file that survives a killed process: commits, refuses and tells as the pipeline does."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mqtt_bridge.events.intake import Intake, IntakeFullError, JournalError, Listener, Report


@dataclass
class MemoryIntake:
    """`reports` by identity, as a journal would have them. `trouble` is raised instead of a commit."""

    file: Path | None = None
    reports: dict[str, Report] = field(default_factory=dict)
    cursors: dict[str, str] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    good: str = ""
    bad: str = ""
    trouble: IntakeFullError | JournalError | None = None
    delay: float = 0.0

    def __post_init__(self) -> None:
        if self.file and self.file.exists():
            for line in self.file.read_text().splitlines():
                stored = json.loads(line)
                self.cursors |= stored["cursors"]

    async def __call__(self, reports: Sequence[Report], *, cursors: Mapping[str, str] | None = None) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.trouble:
            raise self.trouble
        for report in reports:
            if report.identity in self.reports:
                self.again.append(report.identity)
            self.reports[report.identity] = report
        self.cursors |= cursors or {}
        if self.file:
            with self.file.open("a") as file:
                file.write(json.dumps({"ids": [r.identity for r in reports], "cursors": dict(cursors or {})}) + "\n")

    async def cursor(self, name: str) -> str | None:
        return self.cursors.get(name)

    def reject(self, reason: str, count: int = 1) -> None:
        self.rejected[reason] += count

    def healthy(self, detail: str = "") -> None:
        self.good, self.bad = detail, ""

    def unhealthy(self, reason: str) -> None:
        self.good, self.bad = "", reason

    @property
    def subjects(self) -> list[str]:
        """Of the mails among them, in the order in which they came."""
        return [str(report.metadata.get("subject", "")) for report in self.reports.values()]


@asynccontextmanager
async def listening(listener: Listener, intake: Intake) -> AsyncIterator[asyncio.Task[None]]:
    """The listener runs meanwhile; what it fails of comes out here."""
    task = asyncio.create_task(listener.run(intake))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.done(), "it does not stop within 5 seconds"
        if not task.cancelled() and task.exception():
            raise task.exception()  # type: ignore[misc]
