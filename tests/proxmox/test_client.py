"""What arrives at the host, and what comes back."""

import asyncio

import pytest

from mqtt_bridge.errors import RateLimitedError, UnknownTargetError
from mqtt_bridge.proxmox.client import CallRecord, Volume
from tests.proxmox.conftest import StartClient, StartHost
from tests.support.https_host import TOKEN, always, ok, raw


async def test_get_returns_the_data_and_sends_the_token(start: StartHost, client: StartClient) -> None:
    host = await start(always(ok([{"vmid": 100}])))
    api = await client(host.endpoint())

    assert await api.get("cluster", "resources", type="vm") == [{"vmid": 100}]

    (request,) = host.requests
    assert request.path == "/cluster/resources"
    assert request.query == [("type", "vm")]
    assert request.headers["authorization"] == f"PVEAPIToken=bridge@pve!mqtt={TOKEN}"
    assert api.endpoint == "pve1"


async def test_a_backup_server_gets_its_own_kind_of_token_and_booleans(start: StartHost, client: StartClient) -> None:
    host = await start(always(ok(None)))
    api = await client(host.endpoint(kind="pbs"))

    await api.get("admin", "datastore", "main", "groups", verbose=True)

    (request,) = host.requests
    assert request.headers["authorization"] == f"PBSAPIToken=bridge@pve!mqtt:{TOKEN}"
    assert request.query == [("verbose", "true")]


async def test_form_values_are_encoded(start: StartHost, client: StartClient) -> None:
    host = await start(always(ok("UPID")))
    api = await client(host.endpoint())

    await api.put("nodes", "pve1", "qemu", 100, "config", net0="virtio,bridge=vmbr0", tags="a;b c&d", onboot=True)
    await api.post("nodes", "pve1", "qemu", 100, "agent", "exec", command=["uname", "-a"], pool=None)
    await api.delete("nodes", "pve1", "qemu", 100, purge=True)

    put, post, delete = host.requests
    assert put.body == b"net0=virtio%2Cbridge%3Dvmbr0&tags=a%3Bb+c%26d&onboot=1"
    assert post.form == [("command", "uname"), ("command", "-a")]
    assert (delete.method, delete.query, delete.body) == ("DELETE", [("purge", "1")], b"")


async def test_paths_arrive_as_they_were_meant(start: StartHost, client: StartClient) -> None:
    host = await start(always(ok(None)))
    api = await client(host.endpoint())

    await api.get("nodes", "a", "storage", "nas", "content", Volume("nas:iso/a b?.iso"))
    with pytest.raises(UnknownTargetError):
        await api.get("nodes", "a/../../x")

    assert [each.path for each in host.requests] == ["/nodes/a/storage/nas/content/nas:iso/a%20b%3F.iso"]


async def test_32_concurrent_gets_share_six_connections(start: StartHost, client: StartClient) -> None:
    host = await start(always(ok("x" * 10_000)))
    api = await client(host.endpoint())

    answers = await asyncio.gather(*(api.get("nodes", f"n{i}", "status") for i in range(32)))

    assert len(answers) == len(host.requests) == 32
    assert {each.path for each in host.requests} == {f"/nodes/n{i}/status" for i in range(32)}
    assert host.connections <= 6


async def test_every_call_is_observed_without_names(start: StartHost, client: StartClient) -> None:
    host = await start(always(ok(None)))
    api = await client(host.endpoint())
    seen: list[CallRecord] = []
    api.observer = seen.append

    await api.get("nodes", "pve1", "qemu", 100, "config", purpose="poll")

    assert [(each.host, each.method, each.path, each.status, each.purpose) for each in seen] == [
        ("pve1", "GET", "nodes/*/qemu/*/config", 200, "poll")
    ]
    (health,) = api.hosts
    assert (health.name, health.state, health.calls, health.failures) == ("pve1", "closed", 1, 0)
    assert health.latency is not None
    assert 0 < health.latency < 5


async def test_tools_are_limited_polls_are_not(start: StartHost, client: StartClient) -> None:
    host = await start(always(ok(None)))
    api = await client(host.endpoint(), rate_limit=3)

    for _ in range(3):
        await api.get("version")
    with pytest.raises(RateLimitedError, match="PROXMOX_RATE_LIMIT"):
        await api.get("version", deadline=1)
    await api.get("version", purpose="poll")

    assert len(host.requests) == 4


async def test_a_turn_that_comes_in_time_is_waited_for(start: StartHost, client: StartClient) -> None:
    host = await start(always(ok(None)))
    api = await client(host.endpoint(), rate_limit=600)

    await asyncio.gather(*(api.get("version", deadline=8) for _ in range(605)))

    assert len(host.requests) == 605


async def test_the_environment_cannot_send_it_elsewhere(
    start: StartHost, client: StartClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = await start(always(ok("direct")))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    assert await (await client(host.endpoint())).get("version") == "direct"


async def test_cookies_are_not_kept(start: StartHost, client: StartClient) -> None:
    host = await start(always(raw(200, "OK", b'{"data":1}', **{"Set-Cookie": "a=b; Path=/"})))
    api = await client(host.endpoint())

    await api.get("version")
    await api.get("version")

    assert all("cookie" not in each.headers for each in host.requests)
