"""A lab that lives fast and pollers that look often."""

from collections.abc import AsyncIterator

import pytest

from mqtt_bridge.events.events import Events
from mqtt_bridge.pollers import Pollers
from mqtt_bridge.settings import load
from proxmox_mcp.lab import Lab, LabOptions
from tests.support.watched import WRITER, Watched, fast


@pytest.fixture
def lab_options() -> LabOptions:
    return LabOptions(
        nodes=3,
        guests=24,
        seed=1,
        speed=20,
        pvestatd_interval=0,
        rrd_timeout=1.5,
        auth_delay=0.05,
        dead_node_delay=0.05,
    )


@pytest.fixture
async def lab(lab_options: LabOptions) -> AsyncIterator[Lab]:
    async with Lab(lab_options) as running:
        yield running
        assert running.violations == [], "a request that is not in Proxmox's schema"


@pytest.fixture
async def watched(lab: Lab) -> AsyncIterator[Watched]:
    settings = fast(load(dict(lab.env), search=False))
    async with Pollers(settings, WRITER) as pollers, Events(pollers) as events:
        seen = Watched(lab, pollers, events)
        pollers.poll()
        events.listen({"WEBSOCKET"})
        await pollers.polled_once()
        await seen.polls(2)
        yield seen
        parts = (*pollers.parts.parts, *events.parts.parts)
        assert [part.problem for part in parts if part.problem] == []
