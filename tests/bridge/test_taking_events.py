"""When a bridge begins to take events: once its sites are its own, or when there is no broker to ask."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mqtt_bridge import app
from mqtt_bridge.app import Bridge
from mqtt_bridge.claim import SiteTakenError
from mqtt_bridge.settings import Settings, load
from proxmox_mcp.lab import Lab
from tests.support.mosquitto import Mosquitto, free_port


def _settings(lab: Lab, port: int, folder: Path) -> Settings:
    broker = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(port), "STATE_DIR": str(folder), "POLL_INTERVAL": "0.5"}
    return load({**lab.env, **broker}, search=False)


async def test_a_broker_that_is_away_costs_no_events(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "PATIENCE", 0.2)
    async with Bridge(_settings(lab, free_port(), tmp_path)) as bridge, asyncio.timeout(10):
        assert not bridge.events.listeners
        while not bridge.events.listeners:
            await asyncio.sleep(0.05)
        assert bridge.events.journal.stats.problem == ""


async def test_a_second_bridge_takes_none(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What senders told it would lie in its journal for ever, once it has given way."""
    monkeypatch.setattr(app, "PATIENCE", 0.2)
    async with AsyncExitStack() as stack:
        mosquitto = await stack.enter_async_context(Mosquitto(tmp_path / "broker"))
        first = await stack.enter_async_context(Bridge(_settings(lab, mosquitto.port, tmp_path / "one")))
        await stack.enter_async_context(asyncio.timeout(40))
        await first.ready()
        assert set(first.events.listeners) == {"WEBSOCKET"}
        second = await stack.enter_async_context(Bridge(_settings(lab, mosquitto.port, tmp_path / "two")))
        with pytest.raises(SiteTakenError):
            await second.fatal
        assert not second.events.listeners
