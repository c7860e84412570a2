"""A client is told when a resource that it subscribed to changes, whatever its era."""

import asyncio
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.subscriptions import ResourceUpdated

from proxmox_mcp.resources import uris_of
from proxmox_mcp.server import ProxmoxServer
from tests.mcp.conftest import Eventually
from tests.support.held import held
from tests.support.site import METRICS, Site

pytestmark = pytest.mark.filterwarnings("ignore:resources/:mcp.shared.exceptions.MCPDeprecationWarning")
URI = "proxmox://lab/guest/100"


async def change(site: Site) -> None:
    await site.put("guest", site.guest(101, status="stopped"), vmid=101)
    await site.put("guest", site.guest(100, status="stopped"), vmid=100)


async def test_a_modern_client_listens(server: ProxmoxServer, site: Site) -> None:
    async with held(Client(server, mode="auto")) as client, held(client.listen(resource_subscriptions=[URI])) as events:
        await change(site)
        async with asyncio.timeout(15):
            assert await anext(aiter(events)) == ResourceUpdated(uri=URI)


async def test_an_older_client_subscribes(server: ProxmoxServer, site: Site, eventually: Eventually) -> None:
    told: list[str] = []

    async def listen(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            told.append(str(message.params.uri))

    async with held(Client(server, mode="legacy", message_handler=listen)) as client:
        assert client.server_capabilities.resources is not None
        assert client.server_capabilities.resources.subscribe
        await client.session.subscribe_resource(URI)
        await client.session.subscribe_resource(URI)
        await change(site)
        await eventually(lambda: told)
        assert told == [URI]
        await client.session.unsubscribe_resource(URI)
        await site.put("guest_metrics", METRICS.model_copy(update={"cpu_percent": 99.0}), vmid=100)
        await asyncio.sleep(0.1)
        assert told == [URI]
    await eventually(lambda: not server.notices._sessions)


async def test_a_closed_connection_leaves_nothing_behind(
    server: ProxmoxServer, site: Site, eventually: Eventually
) -> None:
    async with held(Client(server, mode="legacy")) as client:
        await client.session.subscribe_resource(URI)
        assert server.notices._sessions
    await eventually(lambda: not server.notices._sessions)
    await change(site)


@pytest.mark.parametrize(
    ("key", "uris"),
    [
        (("lab", "guest_metrics", "100"), {"proxmox://lab/guest/100"}),
        (("lab", "node", "pve1"), {"proxmox://lab/node/pve1"}),
        (("lab", "storage", "pve1/local"), {"proxmox://lab/storage", "proxmox://lab/storage/local"}),
        (("lab", "shared_storage", "ceph"), {"proxmox://lab/storage", "proxmox://lab/storage/ceph"}),
        (("lab", "datastore", "main"), {"proxmox://lab/storage"}),
        (("lab", "events", ""), {"proxmox://lab/events"}),
        (("lab", "site_state", ""), {"proxmox://lab"}),
    ],
)
def test_which_resource_a_topic_belongs_to(key: tuple[str, str, str], uris: set[str]) -> None:
    assert uris_of([key]) == uris


def test_a_heartbeat_is_no_change() -> None:
    assert uris_of([("lab", "heartbeat", ""), ("", "bridge_info", "main")]) == set()
