"""A broker may drop the acknowledgement of a subscription behind the flood of what it has stored."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mqtt_bridge.errors import BrokerRefusedError
from mqtt_bridge.mqtt.bus import Bus, OnMessages
from mqtt_bridge.mqtt.loopback import Loopback, LoopbackClient
from proxmox_mcp.mirror import BusFactory, Mirror
from tests.support.site import Site


class Silent(LoopbackClient):
    """Grants nothing at QoS 0, or refuses it, but sends what is stored."""

    refusing = False

    async def subscribe(self, filters: Sequence[str], **options: Any) -> None:
        await super().subscribe(filters, **options)
        if options.get("qos") == 0:
            await asyncio.sleep(0.05)
            if self.refusing:
                raise BrokerRefusedError("The MQTT broker refused the subscription.")
            await asyncio.get_running_loop().create_future()


class Refusing(Silent):
    refusing = True


def factory(hub: Loopback, kind: type[Silent]) -> BusFactory:
    @asynccontextmanager
    async def connect(on_messages: OnMessages) -> AsyncIterator[Bus]:
        async with kind(hub, on_messages) as bus:
            yield bus

    return connect


async def test_a_fill_does_not_wait_for_grants_that_never_come(hub: Loopback, site: Site) -> None:
    async with Mirror(factory(hub, Silent), sites=["lab"]) as mirror, asyncio.timeout(60):
        await mirror.filled.wait()
        assert mirror.complete
        assert mirror.store.missing == set()


async def test_a_refusal_is_told(hub: Loopback) -> None:
    async with Mirror(factory(hub, Refusing), sites=["lab"]) as mirror, asyncio.timeout(10):
        while mirror.problem is None:
            await asyncio.sleep(0.01)
        assert "refused" in mirror.problem
        assert not mirror.complete
