"""Right after a start nothing is known of the sites yet: a report waits for that, so that it is placed as before."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from mqtt_bridge.events.intake import IntakeFullError
from mqtt_bridge.events.pipeline import Pipeline
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.settings.listening import EventSettings
from tests.pipeline.world import FixedWorld, report


class Learning(FixedWorld):
    """Knows nothing until it was polled."""

    known = False

    async def polled(self) -> None:
        await asyncio.sleep(0.1)
        self.known = True

    def sites_of(self, node: str | None, guest: int | None) -> Sequence[str]:
        return super().sites_of(node, guest) if self.known else ()


async def test_a_happening_told_before_and_after_a_restart_is_one(tmp_path: Path) -> None:
    for channel in ("WEBHOOK", "SMTP"):
        world = Learning()
        async with (
            Journal(tmp_path / "journal.db") as journal,
            Pipeline(journal, world, EventSettings(), familiar=world.polled) as pipeline,
        ):
            await pipeline.intake(channel)([report(node="PVE-Two", guest=101)])
            events = await journal.recent(0, 10)
    assert [event.site for event in events] == ["lab", "lab"]
    assert len({event.correlation_id for event in events}) == 1


async def test_what_waits_for_it_at_the_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sender hears of it: nothing of it was accepted."""
    monkeypatch.setattr("mqtt_bridge.events.pipeline.GOODBYE", 0.05)

    async def never() -> None:
        await asyncio.Event().wait()

    async with Journal() as journal:
        pipeline = Pipeline(journal, FixedWorld(), EventSettings(), familiar=never)
        async with pipeline:
            call = asyncio.create_task(pipeline.intake("SMTP")([report()]))
            await asyncio.sleep(0.05)
            assert not call.done()
        with pytest.raises(IntakeFullError, match="shutting down"):
            await call
        assert await journal.recent(0, 10) == []
