"""One Home Assistant for all tests; for each a lab, a bridge on its broker, and a clean broker in the end."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxmox_mcp.lab import Lab, LabOptions
from tests.e2e.homeassistant.blueprints import Phone
from tests.e2e.homeassistant.hass import Hass, harness, missing
from tests.support.processes import Command, environment, run

FAST = {"POLL_INTERVAL": "0.5", "POLL_TASKS_INTERVAL": "0.3", "POLL_DETAILS_BUDGET": "6000", "MQTT_ALLOW": "destroy"}
QUICK = LabOptions(
    seed=1, guests=12, speed=20, pvestatd_interval=0, rrd_timeout=1.5, auth_delay=0.05, dead_node_delay=0.05
)
DEVICES = 36  # registry.json has them


@pytest.fixture(scope="session")
def hass() -> Iterator[Hass]:
    module = harness()
    if why := missing(module):
        pytest.exit(why, 2)
    chroot = os.environ.get("HA_HARNESS_CHROOT") or None
    with module.HA(name=os.environ.get("HA_E2E_NAME", "e2e"), chroot=chroot) as ha:  # one of each name at a time
        yield Hass(ha)


@pytest.fixture(scope="session")
def handset(hass: Hass) -> Phone:
    return Phone(hass, **hass.ha.add_phone())


@pytest.fixture
def phone(handset: Phone) -> Phone:
    """A phone with the app, to which nothing was pushed yet."""
    handset.forget()
    return handset


@dataclass
class House:
    """A lab, Home Assistant, and the bridge between them."""

    lab: Lab
    hass: Hass
    bridge: Command

    async def restart(self, **settings: str) -> None:
        """The bridge again, with these settings changed."""
        await self.bridge.stop()
        self.bridge.env |= settings
        self.bridge.start()


def settings(lab: Lab, hass: Hass, folder: Path, **more: str) -> dict[str, str]:
    broker = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(hass.ha.mqtt_port)}
    return environment(**{**lab.env, **FAST, **broker, "STATE_DIR": str(folder / "state"), **more})


@pytest.fixture
async def house(hass: Hass, tmp_path: Path) -> AsyncIterator[House]:
    hass.forget()
    async with Lab(QUICK) as lab:
        env = settings(lab, hass, tmp_path)
        async with Command(tmp_path / "bridge", "mqtt-bridge", env=env) as bridge:
            house = House(lab, hass, bridge)
            yield house
            if bridge.running:
                await bridge.stop()
        await empty(hass, env, tmp_path)


async def empty(hass: Hass, env: dict[str, str], folder: Path) -> None:
    """`mqtt-bridge purge` leaves nothing in Home Assistant either, and it has nothing to complain of.

    Also after its MQTT integration was reloaded (it does so when an entity is switched on).
    """
    done = await asyncio.to_thread(run, "mqtt-bridge", "purge", env=env, cwd=folder, seconds=180)
    assert done.returncode == 0, done.stderr
    await hass.until(lambda: _none(hass), "devices are left over", 120)
    await hass.quiet()


async def _none(hass: Hass) -> bool:
    return not await hass.devices()
