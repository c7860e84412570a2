"""Which mirror is read: the broker's while a bridge is online there, else a private one fed by the API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mqtt_bridge.errors import BridgeError, UnreachableError
from mqtt_bridge.mqtt.loopback import Loopback
from proxmox_mcp import state as states
from proxmox_mcp.state import Fallback, State
from tests.mcp.conftest import Eventually
from tests.support.site import Site


class Private:
    """A private poller that counts how often it is opened."""

    def __init__(self, error: BridgeError | None = None) -> None:
        self.opened = 0
        self.closed = 0
        self.error = error

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Loopback]:
        self.opened += 1
        if self.error:
            raise self.error
        hub = Loopback()
        async with hub.client() as bus:
            await Site(bus, guests=3, bridge="private").publish()
            try:
                yield hub
            finally:
                self.closed += 1


@pytest.fixture
def private() -> Private:
    return Private()


def fallback(private: Private) -> Fallback:
    return private.__call__


async def test_a_bridge_that_is_online_is_read(hub: Loopback, site: Site, private: Private) -> None:
    async with State(hub.client, fallback(private), sites=["lab"]) as state:
        view = await state.view()
        assert view.source == "mqtt"
        assert len(list(view.guests())) == 24
        assert private.opened == 0


async def test_without_a_broker_the_api_is_read(private: Private) -> None:
    async with State(None, fallback(private), sites=["lab"]) as state:
        view = await state.view()
        assert view.source == "api"
        assert [g.state.vmid for g in view.guests()] == [100, 101, 102]
        assert not view.freshness(["lab"]).stale
    assert private.closed == 1


async def test_an_empty_broker_means_the_api(private: Private) -> None:
    async with State(Loopback().client, fallback(private), sites=["lab"]) as state:
        assert (await state.view()).source == "api"


async def test_many_readers_start_one_poller(private: Private) -> None:
    async with State(None, fallback(private), sites=["lab"]) as state:
        views = await asyncio.gather(*(state.view() for _ in range(20)))
        assert {view.source for view in views} == {"api"}
        assert private.opened == 1


async def test_a_bridge_that_goes_offline_and_comes_back(
    hub: Loopback, site: Site, private: Private, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "WATCH", 0.02)
    async with State(hub.client, fallback(private), sites=["lab"]) as state:
        assert (await state.view()).source == "mqtt"
        await site.put("bridge_state", "offline")
        await asyncio.sleep(0.05)
        assert (await state.view()).source == "api"
        await site.put("bridge_state", "online")
        await site.beat()
        await asyncio.sleep(0.05)
        assert (await state.view()).source == "mqtt"
        await eventually(lambda: private.closed == 1)


async def test_a_bridge_that_hangs_is_not_believed(
    hub: Loopback, site: Site, private: Private, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "SILENT_AT_LEAST", 0.05)
    monkeypatch.setattr(states, "SILENT", 0)
    async with State(hub.client, fallback(private), sites=["lab"]) as state:
        await state.view()
        await asyncio.sleep(0.1)
        assert (await state.view()).source == "api"


async def test_a_bridge_for_other_sites_is_not_ours(hub: Loopback, site: Site, private: Private) -> None:
    async with State(hub.client, fallback(private), sites=["elsewhere"], wait=0.3) as state:
        await state.view()
        assert private.opened == 1


async def test_without_a_fallback_the_last_word_is_read_and_called_stale(hub: Loopback, site: Site) -> None:
    await site.put("bridge_state", "offline")
    async with State(hub.client, sites=["lab"]) as state:
        view = await state.view()
        assert view.freshness(["lab"]).stale


async def test_with_nothing_at_all_it_says_what_to_do() -> None:
    async with State(Loopback().client, wait=0.1) as state:
        with pytest.raises(UnreachableError, match="Start `proxmox-mcp serve`"):
            await state.view()


async def test_a_poller_that_cannot_start_says_why_and_is_tried_again() -> None:
    private = Private(BridgeError("No host is configured.", cure="Set PROXMOX_HOST."))
    async with State(None, fallback(private), sites=["lab"]) as state:
        for _ in range(2):
            with pytest.raises(BridgeError, match="Set PROXMOX_HOST"):
                await state.view()
        assert private.opened == 2
