"""Real HTTPS hosts on loopback, and a client of theirs."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.settings import ApiSettings, Endpoint, SiteSettings
from tests.support.https_host import Certificate, HttpsHost, Script, make_certificate

StartHost = Callable[..., Awaitable[HttpsHost]]
StartClient = Callable[..., Awaitable[ProxmoxClient]]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "localhost", "127.0.0.1", "pve1.lan")


@pytest.fixture
def other_certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path, "elsewhere.lan")


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
def start(stack: AsyncExitStack, certificate: Certificate) -> StartHost:
    async def start_host(script: Script, using: Certificate = certificate, port: int = 0) -> HttpsHost:
        return await stack.enter_async_context(HttpsHost(using, script, port))

    return start_host


@pytest.fixture
def client(stack: AsyncExitStack) -> StartClient:
    async def start_client(*endpoints: Endpoint, clustered: bool = False, **api: Any) -> ProxmoxClient:
        site = SiteSettings("lab", "lab", endpoints[0].kind, endpoints, clustered)
        settings = ApiSettings(**{"timeout": 5, "retry_delay": 0.01} | api)
        return await stack.enter_async_context(ProxmoxClient(site, settings))

    return start_client
