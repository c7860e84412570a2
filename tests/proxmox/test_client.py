"""The client against scripted hosts: what arrives there, and what comes back."""

import asyncio
import time

from tests.proxmox.conftest import StartClient, StartHost
from tests.support.https_host import TOKEN, always, ok


async def test_get_returns_the_data_and_sends_the_token(start: StartHost, client: StartClient) -> None:
    host = await start(always(ok([{"vmid": 100}])))
    api = await client(host.endpoint())

    assert await api.get("cluster", "resources", type="vm") == [{"vmid": 100}]

    (request,) = host.requests
    assert request.path == "/cluster/resources"
    assert request.query == [("type", "vm")]
    assert request.headers["authorization"] == f"PVEAPIToken=bridge@pve!mqtt={TOKEN}"
    assert api.endpoint == "pve1"


async def test_32_concurrent_gets_share_six_connections(start: StartHost, client: StartClient) -> None:
    host = await start(always(ok("x" * 10_000)))
    api = await client(host.endpoint())

    answers = await asyncio.gather(*(api.get("nodes", f"n{i}", "status") for i in range(32)))

    assert len(answers) == len(host.requests) == 32
    assert host.connections <= 6
