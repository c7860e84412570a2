"""At the end listeners stop before the journal is closed, and nothing begins any more."""

import asyncio

import pytest

from mqtt_bridge.events.events import Events
from mqtt_bridge.pollers import Pollers
from mqtt_bridge.settings import load
from mqtt_bridge.supervise import Parts
from proxmox_mcp.lab import Lab
from tests.support.watched import WRITER, Watched, fast


async def test_what_comes_after_the_end_does_not_begin() -> None:
    ran: list[str] = []

    async def work(name: str) -> None:
        ran.append(name)
        await asyncio.sleep(60)

    async with Parts() as parts:
        parts.start("early", lambda: work("early"))
        while not ran:
            await asyncio.sleep(0)
    parts.start("late", lambda: work("late"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert ran == ["early"]


async def test_listeners_end_before_the_journal(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """A bridge that is told to end while it starts may want to listen when events are over."""
    settings = fast(load(dict(lab.env), search=False))
    async with Pollers(settings, WRITER) as pollers:
        async with Events(pollers) as events:
            pollers.poll()
            events.listen({"WEBSOCKET"})
            await pollers.polled_once()
        events.listen({"WEBSOCKET"})
        watched = Watched(lab, pollers)
        await watched.polls(3)
    assert "failed and is started again" not in caplog.text
