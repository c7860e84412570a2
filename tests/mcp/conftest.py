"""A published site, the state that mirrors it, and a server on top."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from mqtt_bridge.mqtt.loopback import Loopback
from mqtt_bridge.settings import McpSettings, PermissionSettings, Settings
from proxmox_mcp.server import ProxmoxServer, build_server
from proxmox_mcp.state import State
from tests.support.site import Site

Eventually = Callable[[Callable[[], object]], Awaitable[None]]


@pytest.fixture
def eventually() -> Eventually:
    async def wait(condition: Callable[[], object], seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def hub() -> Loopback:
    return Loopback()


@pytest.fixture
async def site(hub: Loopback) -> AsyncIterator[Site]:
    async with hub.client() as bus:
        published = Site(bus)
        await published.publish()
        yield published


@pytest.fixture
async def state(hub: Loopback, site: Site) -> AsyncIterator[State]:
    async with State(hub.client, sites=["lab"]) as opened:
        await opened.view()
        yield opened


@pytest.fixture
def settings() -> Settings:
    return Settings(mcp=McpSettings(toolsets=frozenset({"all"})), permission=PermissionSettings(mcp_allow="read"))


@pytest.fixture
def server(settings: Settings, state: State) -> ProxmoxServer:
    return build_server(settings, state)
