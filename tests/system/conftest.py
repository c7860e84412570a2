"""A lab in this process, a real Mosquitto, and settings for our commands beside them."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxmox_mcp.lab import Lab, LabOptions
from tests.support.mosquitto import Mosquitto
from tests.support.processes import environment

Env = Callable[..., dict[str, str]]

FAST = {"POLL_INTERVAL": "0.5", "POLL_TASKS_INTERVAL": "0.3", "MQTT_EMBEDDED_PORT": "0", "POLL_DETAILS_BUDGET": "600"}
# a real host's API takes longer; a test must not
QUICK = LabOptions(seed=1, speed=20, pvestatd_interval=0, rrd_timeout=1.5, auth_delay=0.05, dead_node_delay=0.05)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(QUICK) as running:
        yield running
        assert running.violations == [], "a request that is not in Proxmox's schema"


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "mosquitto") as running:
        yield running


@pytest.fixture
def env(lab: Lab, tmp_path: Path) -> Env:
    """Settings for a bridge of this lab with a broker of its own."""

    def make(**more: str) -> dict[str, str]:
        return environment(**{**lab.env, **FAST, "STATE_DIR": str(tmp_path / "state"), **more})

    return make


@pytest.fixture
def broker_env(env: Env, mosquitto: Mosquitto) -> Env:
    """The same with the broker of the test."""

    def make(**more: str) -> dict[str, str]:
        return env(**{"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port), **more})

    return make
