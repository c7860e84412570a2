"""Which host is asked, which is left alone, and what is never repeated."""

import asyncio
import time

import pytest

from mqtt_bridge.errors import (
    NotFoundError,
    ProtocolError,
    UnauthorizedError,
    UnknownTargetError,
    UnreachableError,
)
from mqtt_bridge.proxmox import client as module
from tests.proxmox.conftest import StartClient, StartHost
from tests.support.https_host import Certificate, HttpsHost, Request, always, free_port, hang, ok, raw, refusal


async def until(condition: object, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    assert callable(condition)
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.02)


async def test_a_dead_host_costs_nothing_once_another_answered(start: StartHost, client: StartClient) -> None:
    alive = await start(always(ok("here")))
    dead = alive.endpoint("dead", port=free_port())
    api = await client(dead, alive.endpoint("alive"))

    assert await api.get("version", purpose="poll") == "here"
    assert api.endpoint == "alive"
    assert await api.get("version") == "here"
    assert [(each.name, each.calls, each.failures) for each in api.hosts] == [("dead", 1, 1), ("alive", 2, 0)]
    assert "refused" in (api.hosts[0].last_error or "")


async def test_a_hanging_host_is_left_for_another_in_time(
    start: StartHost, client: StartClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_READ", 0.3)
    hanging, alive = await start(hang), await start(always(ok("here")))
    api = await client(hanging.endpoint("hanging"), alive.endpoint("alive"))

    started = time.monotonic()
    assert await api.get("cluster", "resources", purpose="poll") == "here"
    assert time.monotonic() - started < 10


async def test_a_tools_read_leaves_time_for_the_second_host(start: StartHost, client: StartClient) -> None:
    hanging, alive = await start(hang), await start(always(ok("here")))
    api = await client(hanging.endpoint("hanging"), alive.endpoint("alive"))

    started = time.monotonic()
    assert await api.get("cluster", "resources", deadline=4) == "here"
    assert time.monotonic() - started < 4


async def test_reads_are_retried(start: StartHost, client: StartClient) -> None:
    host = await start(always(raw(503, "Service Unavailable")))

    async def better_the_third_time(_: object, writer: asyncio.StreamWriter) -> None:
        writer.write(ok("fine") if len(host.requests) == 3 else raw(503, "Service Unavailable"))

    host.script = better_the_third_time
    api = await client(host.endpoint(), retry_attempts=3)

    assert await api.get("version") == "fine"


async def test_polls_and_writes_are_not_retried(start: StartHost, client: StartClient) -> None:
    host = await start(always(raw(503, "Service Unavailable")))
    api = await client(host.endpoint(), retry_attempts=3)

    with pytest.raises(UnreachableError, match="503"):
        await api.get("version", purpose="poll")
    with pytest.raises(UnreachableError, match="503"):
        await api.post("nodes", "pve1", "qemu", 100, "status", "start")
    assert len(host.requests) == 2


async def test_what_proxmox_refused_is_not_asked_again(start: StartHost, client: StartClient) -> None:
    first = await start(always(refusal(500, "Configuration file 'nodes/a/qemu-server/9.conf' does not exist")))
    second = await start(always(ok(None)))
    api = await client(first.endpoint("a"), second.endpoint("b"))

    with pytest.raises(NotFoundError):
        await api.get("nodes", "a", "qemu", 9, "config")
    assert (len(first.requests), len(second.requests)) == (1, 0)


async def test_a_write_moves_on_only_if_it_was_never_sent(start: StartHost, client: StartClient) -> None:
    alive = await start(always(ok("UPID")))
    api = await client(alive.endpoint("dead", port=free_port()), alive.endpoint("alive"))

    assert await api.post("nodes", "x", "qemu", 100, "status", "start") == "UPID"
    assert len(alive.requests) == 1


async def test_a_write_that_was_sent_stays_where_it_was(start: StartHost, client: StartClient) -> None:
    async def swallow(*_: object) -> bool:
        return False

    swallowing, alive = await start(swallow), await start(always(ok("UPID")))
    api = await client(swallowing.endpoint("swallowing"), alive.endpoint("alive"))

    with pytest.raises(UnreachableError, match="may have been carried out"):
        await api.post("nodes", "x", "qemu", 100, "status", "start")
    assert (len(swallowing.requests), len(alive.requests)) == (1, 0)


async def test_a_lost_node_is_not_the_hosts_fault(start: StartHost, client: StartClient) -> None:
    first = await start(always(raw(595, "No route to host")))
    second = await start(always(ok(None)))
    api = await client(first.endpoint("pve1"), second.endpoint("pve2"))

    for _ in range(5):
        with pytest.raises(UnreachableError, match=r"Node pve3 does not answer.*No route to host"):
            await api.get("nodes", "pve3", "status")
    assert api.hosts[0].state == "closed"
    assert (len(first.requests), len(second.requests)) == (5, 0)


async def test_a_silent_node_is_not_the_hosts_fault_either(start: StartHost, client: StartClient) -> None:
    host = await start(hang)
    api = await client(host.endpoint("pve1"), clustered=True, retry_attempts=1)

    for _ in range(3):
        with pytest.raises(UnreachableError, match="Node pve3, asked through pve1"):
            await api.get("nodes", "pve3", "status", deadline=1.5)
    assert api.hosts[0].state == "closed"
    for _ in range(3):
        with pytest.raises(UnreachableError):
            await api.get("nodes", "pve1", "status", deadline=0.3)
    assert api.hosts[0].state != "closed"


async def test_a_silent_node_does_not_keep_the_others_waiting(start: StartHost, client: StartClient) -> None:
    async def script(request: Request, writer: asyncio.StreamWriter) -> None:
        if "pve3" in request.path:
            await hang(request, writer)
        writer.write(ok("here"))
        await writer.drain()

    host = await start(script)
    api = await client(host.endpoint("pve1"), clustered=True)
    waiting = [asyncio.create_task(api.get("nodes", "pve3", "qemu", 100 + i, "config", deadline=60)) for i in range(12)]
    await asyncio.sleep(0.1)

    await api.get("cluster", "resources", purpose="poll")
    await api.get("nodes", "pve2", "status")
    assert not any(each.done() for each in waiting)
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_breaker_leaves_a_dead_host_alone_and_finds_it_again(
    start: StartHost, client: StartClient, certificate: Certificate
) -> None:
    port = free_port()
    endpoint = HttpsHost(certificate, port=port).endpoint("pve1")
    api = await client(endpoint, retry_attempts=3)
    api._hosts[0].breaker._delay = 0.3

    with pytest.raises(UnreachableError, match="refused"):
        await api.get("version")
    with pytest.raises(UnreachableError, match=r"left alone.*refused"):
        await api.get("version")
    assert api.hosts[0].calls == 3
    with pytest.raises(UnreachableError, match=r"^No connection to pve1"):
        await api.request("GET", "version", host="pve1")

    await start(always(ok("back")), port=port)
    await until(lambda: api.hosts[0].state == "closed")
    assert await api.get("version") == "back"


async def test_while_one_is_left_alone_the_others_work(start: StartHost, client: StartClient) -> None:
    alive = await start(always(ok("here")))
    api = await client(alive.endpoint("dead", port=free_port()), alive.endpoint("alive"))
    for _ in range(3):
        with pytest.raises(UnreachableError):
            await api.request("GET", "version", host="dead")

    api._preferred = api._hosts[0]
    assert await api.get("version") == "here"
    assert api.hosts[0].calls == 3


async def test_all_dead_says_why_for_each(client: StartClient, certificate: Certificate) -> None:
    host = HttpsHost(certificate)
    api = await client(host.endpoint("a", port=free_port()), host.endpoint("b", port=free_port()), retry_attempts=1)

    with pytest.raises(UnreachableError, match=r"None of the 2 hosts of lab answers\. .* a .*refused.* b .*refused"):
        await api.get("version")


async def test_a_token_refused_twice_is_refused(start: StartHost, client: StartClient) -> None:
    hosts = [await start(always(raw(401, "Authentication failed!"))) for _ in range(3)]
    api = await client(*(host.endpoint(f"pve{i}") for i, host in enumerate(hosts)))

    with pytest.raises(UnauthorizedError, match="Authentication failed"):
        await api.get("version")
    assert [len(host.requests) for host in hosts] == [1, 1, 0]
    assert {each.state for each in api.hosts} == {"closed"}


async def test_one_host_that_refuses_a_good_token_is_passed_over(start: StartHost, client: StartClient) -> None:
    sick, well = await start(always(raw(401, "Authentication failed!"))), await start(always(ok("here")))
    api = await client(sick.endpoint("sick"), well.endpoint("well"))

    assert await api.get("version") == "here"
    assert await api.get("version") == "here"
    assert (len(sick.requests), len(well.requests)) == (1, 2)


async def test_a_login_page_is_passed_over(start: StartHost, client: StartClient) -> None:
    page, well = await start(always(raw(200, "OK", b"<html>", "text/html"))), await start(always(ok("here")))
    api = await client(page.endpoint("page"), well.endpoint("well"))

    assert await api.get("version") == "here"
    with pytest.raises(ProtocolError, match="HTML"):
        await api.request("GET", "version", host="page")


async def test_one_host_by_name(start: StartHost, client: StartClient) -> None:
    a, b = await start(always(ok("a"))), await start(always(ok("b")))
    api = await client(a.endpoint("a"), b.endpoint("b"))

    assert await api.request("GET", "version", host="b") == "b"
    assert await api.get("version") == "a"
    with pytest.raises(UnknownTargetError):
        await api.request("GET", "version", host="c")


async def test_discovered_hosts(start: StartHost, client: StartClient) -> None:
    host = await start(always(ok("here")))
    api = await client(host.endpoint("PVE_1", port=free_port()), clustered=True)

    api.add_discovered([("pve-1", "127.0.0.9"), ("pve2", "127.0.0.2"), ("pve3", ""), ("pve4", "127.0.0.1")])
    assert [(each.name, each.discovered) for each in api.hosts] == [("PVE_1", False), ("pve2", True)]
    first = api._hosts[1]
    api.add_discovered([("pve2", "127.0.0.2"), ("pve3", "127.0.0.3")])
    assert [each.name for each in api.hosts] == ["PVE_1", "pve2", "pve3"]
    assert api._hosts[1] is first
    api.add_discovered([("pve3", "127.0.0.4")])
    assert [each.url.partition(":")[2].rpartition(":")[0] for each in api.hosts] == ["//127.0.0.1", "//127.0.0.4"]
    assert api._hosts[1].endpoint.user == "bridge@pve"
