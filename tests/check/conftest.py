"""A lab, scripted hosts, a real Mosquitto, and running every check."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mqtt_bridge.mqtt.embedded_mosquitto import find
from mqtt_bridge.settings import load
from proxmox_mcp.check import run_checks
from proxmox_mcp.lab import Lab, LabOptions
from tests.check.support import PASSWORD, Check, Checked, Mosquitto, StartBroker, StartHost, wait_for
from tests.support.https_host import Certificate, HttpsHost, Script, free_port, make_certificate


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(LabOptions(nodes=2, guests=6, auth_delay=0.01)) as running:
        yield running


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Run every check on settings of the environment given, with a STATE_DIR of its own."""

    async def check(environ: dict[str, str], *, limit: float = 10, **more: str) -> Checked:
        own = {"STATE_DIR": str(tmp_path / "state"), "MCP_HTTP_PORT": "0"}
        settings = load({**own, **environ, **more}, search=False)
        async with asyncio.timeout(limit + 3):
            return Checked(await run_checks(settings, limit=limit))

    return check


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "localhost", "127.0.0.1")


@pytest.fixture
async def start(certificate: Certificate) -> AsyncIterator[StartHost]:
    """Start a host that answers by a script."""
    async with AsyncExitStack() as stack:

        async def start_host(script: Script, using: Certificate = certificate) -> HttpsHost:
            return await stack.enter_async_context(HttpsHost(using, script))

        yield start_host


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[StartBroker]:
    """Start one with a password, an ACL and `lines` of configuration."""
    binary = find()
    if binary is None:
        pytest.skip("mosquitto is not installed")
    started: list[subprocess.Popen[bytes]] = []

    def start_broker(*lines: str, acl: str = "") -> Mosquitto:
        port, users = free_port(), tmp_path / "users"
        subprocess.run(
            ["mosquitto_passwd", "-b", "-c", str(users), "bridge", PASSWORD], check=True, capture_output=True
        )
        config = [f"listener {port} 127.0.0.1", f"password_file {users}", *lines]
        if acl:
            (tmp_path / "acl").write_text(f"user bridge\n{acl}\n")
            config.append(f"acl_file {tmp_path / 'acl'}")
        if os.geteuid() == 0:
            config.append("user root")  # as another user it could not read what lies in a private folder
        (tmp_path / "mosquitto.conf").write_text("\n".join([*config, ""]))
        command = [binary, "-c", str(tmp_path / "mosquitto.conf")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        started.append(process)
        wait_for(port)
        return Mosquitto(port, process)

    yield start_broker
    for process in started:
        process.kill()
        process.wait()
