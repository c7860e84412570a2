"""The mirror on a real Mosquitto with its default limits."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from proxmox_mcp.mirror import BusFactory, Mirror
from proxmox_mcp.view import View
from tests.mcp.conftest import Eventually
from tests.support.mosquitto import Mosquitto
from tests.support.site import Site

MANY = 10_000


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "mosquitto") as running:
        yield running


def factory(options: BrokerOptions) -> BusFactory:
    return lambda on_messages: Broker(options, on_messages, role="mirror")


async def filled(mirror: Mirror, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        await mirror.filled.wait()


async def test_ten_thousand_guests_are_complete(mosquitto: Mosquitto) -> None:
    async with Broker(mosquitto.options) as bus:
        await bus.wait_connected()
        site = Site(bus, guests=MANY)
        await site.publish()
        async with Mirror(factory(mosquitto.options), sites=["lab"]) as mirror:
            await filled(mirror)
            assert mirror.complete
            assert mirror.store.missing == set()
            view = View(mirror, "mqtt")
            assert sum(1 for _ in view.guests()) == MANY
            running = [g for g in view.guests() if g.state.status == "running"]
            assert all(g.metrics for g in running)


async def test_five_mirrors_at_once_are_complete(mosquitto: Mosquitto) -> None:
    async with Broker(mosquitto.options) as bus:
        await bus.wait_connected()
        await Site(bus, guests=1500).publish()
        mirrors = [Mirror(factory(mosquitto.options)) for _ in range(5)]
        async with mirrors[0], mirrors[1], mirrors[2], mirrors[3], mirrors[4]:
            await asyncio.gather(*(filled(m) for m in mirrors))
            assert [m.complete for m in mirrors] == [True] * 5


async def test_a_retained_flood_of_strangers(mosquitto: Mosquitto) -> None:
    async with Broker(mosquitto.options) as bus:
        await bus.wait_connected()
        site = Site(bus)
        await site.publish_guests(range(5000, 9000))
        for vmid in range(20_000, 20_040):
            await site.put("guest", b"x" * 100_000, vmid=vmid)
        await bus.publish("proxmox/lab/node/pve1/metrics", b"\x00garbage", retain=True)
        await site.publish()
        async with Mirror(factory(mosquitto.options), max_topics=1000) as mirror:
            await filled(mirror)
            assert [g.state.vmid for g in View(mirror, "mqtt").guests()] == list(site.vmids)
            assert mirror.complete
            assert mirror.store.stats["oversized"] == 40
            assert len(mirror.store.topics) <= 1000


async def test_a_broker_that_lost_its_store_keeps_the_last_word(mosquitto: Mosquitto, eventually: Eventually) -> None:
    async with Broker(mosquitto.options) as bus, Mirror(factory(mosquitto.options), sites=["lab"]) as mirror:
        generation = await bus.wait_connected()
        site = Site(bus)
        await site.publish()
        await eventually(lambda: mirror.complete)
        await mosquitto.kill()
        await eventually(lambda: not mirror.connected)
        assert not mirror.complete
        assert len(list(View(mirror, "mqtt").guests())) == 24
        await mosquitto.start()
        async with asyncio.timeout(20):
            await bus.wait_connected(generation)
            await mirror.filled.wait()
        assert not mirror.complete, "nothing has been published again yet"
        assert len(list(View(mirror, "mqtt").guests())) == 24
        await site.publish()
        await eventually(lambda: mirror.complete)


async def test_guests_deleted_while_the_connection_was_away_are_forgotten(
    mosquitto: Mosquitto, eventually: Eventually
) -> None:
    async with Broker(mosquitto.options) as bus, Mirror(factory(mosquitto.options), sites=["lab"]) as mirror:
        generation = await bus.wait_connected()
        await Site(bus).publish()
        await eventually(lambda: mirror.complete)
        await mosquitto.kill()
        await mosquitto.start()
        async with asyncio.timeout(20):
            await bus.wait_connected(generation)
        await Site(bus, guests=10).publish()
        await eventually(lambda: mirror.complete)
        assert len(list(View(mirror, "mqtt").guests())) == 10


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_changes_arrive_after_the_fill(mosquitto: Mosquitto, eventually: Eventually, protocol: str) -> None:
    options = BrokerOptions("127.0.0.1", mosquitto.port, protocol="5" if protocol == "5" else "3.1.1")
    async with Broker(options) as bus, Mirror(factory(options), sites=["lab"]) as mirror:
        await bus.wait_connected()
        site = Site(bus)
        await site.publish()
        await eventually(lambda: mirror.complete)
        await site.put("guest", site.guest(100, status="stopped"), vmid=100)
        await eventually(lambda: View(mirror, "mqtt").guest(100).state.status == "stopped")
