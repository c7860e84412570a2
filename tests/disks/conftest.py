"""A lab whose disks are read often."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import pytest

from mqtt_bridge.events.events import Events
from mqtt_bridge.pollers import Pollers
from mqtt_bridge.proxmox import details
from mqtt_bridge.proxmox.disk_reader import Policy
from mqtt_bridge.settings import load
from proxmox_mcp.lab import Lab, LabOptions
from tests.support.watched import WRITER, Watched, fast

OFTEN = 0.3  # seconds

Watch = Callable[[Policy], AbstractAsyncContextManager[Watched]]


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    options = LabOptions(
        nodes=3, guests=3, seed=1, speed=20, pvestatd_interval=0, rrd_timeout=1.5, auth_delay=0.05, dead_node_delay=0.05
    )
    async with Lab(options) as running:
        yield running
        assert running.violations == [], "a request that is not in Proxmox's schema"


@pytest.fixture
def watch(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setattr(details, "NODE_EVERY", OFTEN)
    monkeypatch.setattr(details, "IDLE", 0.05)

    @asynccontextmanager
    async def watching(policy: Policy) -> AsyncIterator[Watched]:
        settings = fast(load(dict(lab.env), search=False))
        api = replace(settings.api, poll_slow_interval=OFTEN, disk_smart=policy)
        async with Pollers(replace(settings, api=api), WRITER) as pollers, Events(pollers) as events:
            seen = Watched(lab, pollers, events)
            pollers.poll()
            events.listen({"WEBSOCKET"})
            await pollers.polled_once()
            yield seen
            parts = (*pollers.parts.parts, *events.parts.parts)
            assert [part.problem for part in parts if part.problem] == []

    return watching
