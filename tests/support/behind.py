"""What really stands behind a listener: a pipeline on a journal in a file, for a world with nothing in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mqtt_bridge.events.intakes import EventIntake
from mqtt_bridge.events.pipeline import Pipeline
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.model import Event, GuestState, NodeState
from mqtt_bridge.settings.listening import EventSettings


class EmptyWorld:
    """Sites by name, and nothing known of them."""

    def __init__(self, *sites: str) -> None:
        self.sites: Sequence[str] = sites or ("lab",)

    def sites_of(self, node: str | None, guest: int | None) -> Sequence[str]:
        return ()

    def guest(self, site: str, vmid: int) -> GuestState | None:
        return None

    def node(self, site: str, name: str) -> NodeState | None:
        return None

    def node_name(self, site: str, host: str) -> str | None:
        return None

    def node_at(self, address: str) -> tuple[str, str] | None:
        return None


@dataclass
class Behind:
    journal: Journal
    pipeline: Pipeline
    intake: EventIntake

    async def events(self) -> list[Event]:
        """Newest first."""
        return await self.journal.recent(0, 100_000)


@asynccontextmanager
async def behind(name: str, path: Path, *sites: str) -> AsyncIterator[Behind]:
    """Open journal and pipeline; the same path again is a restart."""
    async with Journal(path) as journal, Pipeline(journal, EmptyWorld(*sites), EventSettings()) as pipeline:
        yield Behind(journal, pipeline, pipeline.intake(name))
