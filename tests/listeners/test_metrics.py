"""The METRICS listener between real pushes and what is fed."""

import asyncio
import base64
import contextlib
import gzip
import socket
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.listeners.http_server import Limits
from mqtt_bridge.listeners.metrics import MetricsListener
from mqtt_bridge.model import GuestMetrics, NodeMetrics
from mqtt_bridge.pollers import Pollers
from mqtt_bridge.proxmox.inventory import Inventory
from mqtt_bridge.proxmox.pulse import Writer
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import load
from mqtt_bridge.settings.listening import MetricsInSettings
from mqtt_bridge.world import InventoryWorld
from proxmox_mcp.lab import Lab, LabOptions
from tests.listeners.syslog_support import Kept, send_udp, until
from tests.support.https_host import free_port

TOKEN = "a-token-of-some-length"
GUEST = (
    'system,object=qemu,vmid=100,nodename=pve1,host=web01 cpu=0.5,mem=1,maxmem=2,uptime=9,tags="prod;web",status='
    '"running" {at}000000000\n'
)
NODE = "cpustat,object=nodes,host=pve1 cpu=0.25,avg1=0.5 {at}000000000\n"


def lines(text: str = GUEST) -> bytes:
    return text.format(at=int(time.time())).encode()


@dataclass
class Board:
    """Keeps what it is fed, by node and guest."""

    known: frozenset[int | str] = frozenset({100, 101, "pve1", "pve2"})
    found: dict[tuple[str, int | str], GuestMetrics | NodeMetrics] = field(default_factory=dict)
    sites: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"pve1": ["lab"], "pve2": ["lab"]})
    calls: int = 0

    def take_pushed(self, site: str, nodes: Mapping[str, NodeMetrics], guests: Mapping[int, GuestMetrics]) -> int:
        self.calls += 1
        self.found |= {(site, name): told for name, told in nodes.items()}
        self.found |= {(site, vmid): told for vmid, told in guests.items()}
        return len(self.known & (set(nodes) | set(guests)))

    def sites_of(self, node: str | None, guest: int | None) -> Sequence[str]:
        return self.sites.get(node or str(guest), [])


@dataclass
class Under:
    """A listener under test."""

    listener: MetricsListener
    intake: Kept
    board: Board
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.port}"

    async def post(
        self, body: bytes, path: str = "/api/v2/write?org=o&bucket=b", token: str = TOKEN, **headers: str
    ) -> int:
        told = {"Authorization": f"Token {token}"} | {k.replace("_", "-"): v for k, v in headers.items()}
        async with self.session.post(self.url + path, data=body, headers=told) as answer:
            if answer.status >= 400:
                assert (await answer.json())["message"]
            return answer.status


@asynccontextmanager
async def running(board: Board | None = None, *, limits: Limits | None = None, **settings: Any) -> AsyncIterator[Under]:
    board, intake = board or Board(), Kept()
    chosen = replace(MetricsInSettings(port=0, udp_port=0, token=Secret(TOKEN)), **settings)
    more = {"limits": limits} if limits else {}
    listener = MetricsListener(chosen, board, board.sites_of, **more)
    task = asyncio.create_task(listener.run(intake))
    try:
        await until(lambda: intake.health or task.done())
        async with aiohttp.ClientSession() as session:
            yield Under(listener, intake, board, session)
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, BridgeError):
            raise error


async def test_http() -> None:
    async with running() as under:
        assert under.intake.health == [f"+listening on http://127.0.0.1:{under.listener.port}, nothing pushed yet"]
        assert await under.post(lines(GUEST + NODE)) == 204
        await until(lambda: len(under.board.found) == 2)
        guest, node = under.board.found["lab", 100], under.board.found["lab", "pve1"]
        assert (guest.cpu_percent, guest.mem_percent, node.cpu_percent) == (50.0, 50.0, 25.0)
        await until(lambda: under.intake.health[-1].endswith("figures of 1 node so far"))  # said after they are given
        assert not under.intake.rejected


@pytest.mark.parametrize(("precision", "unit"), [("ns", 10**9), ("us", 10**6), ("ms", 1000), ("s", 1)])
@pytest.mark.parametrize("path", ["/api/v2/write?org=o&bucket=b&precision={}", "/write?db=proxmox&precision={}"])
async def test_precisions(path: str, precision: str, unit: int) -> None:
    async with running() as under:
        at = int(time.time()) - 60
        body = f"system,object=qemu,vmid=100,nodename=pve1 cpu=0.5,uptime=9 {at * unit}\n".encode()
        assert await under.post(body, path.format(precision)) == 204
        await until(lambda: under.board.found)
        told = under.board.found["lab", 100].sampled_at
        assert told == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_compressed(coding: str) -> None:
    packed = gzip.compress(lines()) if coding == "gzip" else zlib.compress(lines())
    async with running() as under:
        assert await under.post(packed, Content_Encoding=coding) == 204
        await until(lambda: under.board.found)


async def test_who_may_write() -> None:
    basic = base64.b64encode(f"pve:{TOKEN}".encode()).decode()
    async with running() as under:

        async def status(path: str = "/api/v2/write", **headers: str) -> int:
            async with under.session.post(under.url + path, data=lines(), headers=headers) as answer:
                return answer.status

        good = (f"Token {TOKEN}", f"Bearer {TOKEN}", f"Token user:{TOKEN}", f"Basic {basic}")
        assert [await status(Authorization=each) for each in good] == [204] * 4
        assert await status(f"/write?db=x&u=pve&p={TOKEN}") == 204
        bad = (
            "",
            "Token ",
            "Token wrong",
            f"Token {TOKEN}x",
            "Basic %%%",
            "Basic eA==",
            f"Basic {TOKEN}",
            "Token \xff",
        )
        assert [await status(Authorization=each) for each in bad] == [401] * len(bad)
        assert await status("/write?db=x&p=wrong") == 401
        assert under.intake.rejected == {"wrong token": len(bad) + 1}


async def test_a_wrong_token_is_told_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as under:
        for _ in range(3):
            assert await under.post(lines(), "/write?db=x&p=s3cret", token="s3cret") == 401
    (record,) = caplog.records
    assert record.message == "METRICS: a request from 127.0.0.1 to /write without the token of EVENT_METRICS_TOKEN"


async def test_health_as_proxmox_asks_before_it_saves_a_server() -> None:
    async with running() as under:
        for headers, expected in (
            ({}, 200), ({"Authorization": f"Token {TOKEN}"}, 200), ({"Authorization": "Token wrong"}, 401),
        ):  # fmt: skip
            async with under.session.get(f"{under.url}/health", headers=headers) as answer:
                assert answer.status == expected
                assert (await answer.json()).get("status") == ("pass" if expected == 200 else None)
        async with under.session.get(f"{under.url}/api/v2/write") as answer:
            assert answer.status == 405
        async with under.session.post(f"{under.url}/prefix/api/v2/write") as answer:
            assert answer.status == 404


async def test_loopback_needs_no_token() -> None:
    async with running(token=None) as under:
        assert await under.post(lines(), token="anything") == 204


async def test_beyond_loopback_it_needs_one() -> None:
    async with running(host="0.0.0.0", token=None) as under:  # noqa: S104 - that is the point
        (told,) = under.intake.health
        assert told.startswith("-EVENT_METRICS_LISTEN_HOST=0.0.0.0 is reachable")
        assert "EVENT_METRICS_TOKEN" in told


async def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with running(port=taken.getsockname()[1]) as under:
            assert under.intake.health[0].startswith("-Another program listens at 127.0.0.1:")
            assert "EVENT_METRICS_LISTEN_PORT" in under.intake.health[0]


async def test_what_is_not_proxmoxs_is_refused_and_counted() -> None:
    async with running() as under:
        assert await under.post(b"weather,city=Wien temperature=3\n") == 400
        assert await under.post(b"\xff" * 1000) == 400
        assert await under.post(b"") == 204
        assert await under.post(lines() + b"system,object=qemu,vmid=100,nodename=pve1 cpu=\n") == 204
        assert await under.post(lines(), "/write?precision=fortnight") == 400
        assert await under.post(b"x", Content_Encoding="br") == 415
        assert await under.post(b"not gzip", Content_Encoding="gzip") == 400
    assert under.intake.rejected == {
        "no Proxmox metrics": 2, "malformed line": 1, "unknown precision": 1, "unknown compression": 1,
        "broken compression": 1,
    }  # fmt: skip


async def test_unknown_nodes_and_guests_are_counted() -> None:
    async with running() as under:
        text = GUEST.replace("nodename=pve1", "nodename=elsewhere") + GUEST.replace("vmid=100", "vmid=999") + GUEST
        assert await under.post(lines(text)) == 204
        await until(lambda: under.intake.rejected.total() == 2)
    assert under.intake.rejected == {"unknown node": 1, "unknown guest or node": 1}


async def test_a_node_name_of_two_sites() -> None:
    """The guest tells which; where it does not, nobody does."""
    board = Board(sites={"pve1": ["a", "b"], "100": ["b"], "101": ["a", "b"]})
    async with running(board) as under:
        assert await under.post(lines(GUEST + GUEST.replace("vmid=100", "vmid=101") + NODE)) == 204
        await until(lambda: under.board.found)
        await until(lambda: under.intake.rejected["unknown node"] == 2)
        assert list(under.board.found) == [("b", 100)]


async def test_a_body_that_is_too_large_or_a_bomb() -> None:
    async with running() as under:
        tracemalloc.start()
        bomb = gzip.compress(b"\n" * 400_000_000, 9)
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        assert await under.post(bomb, Content_Encoding="gzip") == 413
        peak = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
        with contextlib.suppress(aiohttp.ClientError):
            assert await under.post(b"\n" * 50_000_000) == 413
        await until(lambda: under.intake.rejected["too large"] == 2)
        assert peak < 80_000_000
        assert await under.post(lines()) == 204


async def test_a_hundred_thousand_malformed_lines() -> None:
    odd = (
        b"system,object=qemu,vmid=x,nodename=pve1 cpu=1", b"system,object=qemu,", b'cpustat,object=nodes,host=p cpu="',
        b"system,object=lxc,vmid=1,nodename= a=1", b"memory,object=nodes,host=p 1", b"\xff\x00,object=nodes",
    )  # fmt: skip
    body = b"".join(odd[i % len(odd)] + b"\n" for i in range(100_000))
    async with running() as under:
        began = time.perf_counter()
        waiting = asyncio.create_task(under.post(body))
        await asyncio.sleep(0.02)
        assert await under.post(lines()) == 204, "others have their turn"
        await waiting
        assert time.perf_counter() - began < 20
        await until(lambda: ("lab", 100) in under.board.found)
    assert under.intake.rejected["malformed line"] > 80_000


async def test_a_slow_loris() -> None:
    async with running(limits=Limits(connections=5, head=0.2, body=0.2, life=1)) as under:
        reader, writer = await asyncio.open_connection("127.0.0.1", under.listener.port)
        writer.write(b"POST /api/v2/write HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        assert await under.post(lines()) == 204
    assert under.intake.rejected == {"no request in time": 1}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_udp(host: str) -> None:
    port = free_port()
    async with running(host=host, udp_port=port) as under:
        assert f"and UDP port {port}" in under.intake.health[0]
        send_udp(
            port, lines(NODE), lines("memory,object=nodes,host=pve1 memtotal=4,memused=1 {at}\n"), lines(), host=host
        )
        await until(lambda: len(under.board.found) == 2)
        await until(lambda: under.board.found["lab", "pve1"].mem_percent == 25.0)
        assert under.board.found["lab", "pve1"].cpu_percent == 25.0, "of another datagram"
        assert under.board.calls <= 4, "gathered"
        send_udp(port, b"\xff\xfe", b"", host=host)
        await until(lambda: under.intake.rejected["no Proxmox metrics"] == 2)


async def test_udp_from_strangers() -> None:
    port = free_port()
    async with running(udp_port=port, allowed_sources=("192.0.2.0/24",)) as under:
        send_udp(port, lines())
        await until(lambda: under.intake.rejected == {"source not allowed": 1})
        assert not under.board.found


@pytest.mark.parametrize("protocol", ["udp", "http"])
async def test_the_lab_pushes_and_the_inventory_takes(protocol: str) -> None:
    """All the way from pvestatd to what is published."""
    async with Lab(LabOptions(guests=12, metrics_interval=0.1)) as lab:
        settings = load({**lab.env, "POLL_INTERVAL": "3600"}, search=False)
        writer = Writer("test", "instance", "2026-01-01T00:00:00Z")
        async with Pollers(settings, writer) as pollers:
            pollers.poll()
            await pollers.polled_once()
            inventory = pollers.inventories["lab"]
            assert isinstance(inventory, Inventory)
            known = {record.vmid for record in inventory.guests}
            world = InventoryWorld(["lab"], pollers.inventories)

            taking = inventory.take_pushed

            class Real(Board):
                def take_pushed(
                    self, site: str, nodes: Mapping[str, NodeMetrics], guests: Mapping[int, GuestMetrics]
                ) -> int:
                    super().take_pushed(site, nodes, guests)
                    return taking(nodes, guests)

                def sites_of(self, node: str | None, guest: int | None) -> Sequence[str]:
                    return world.sites_of(node, guest)

            udp_port = free_port()
            async with running(Real(), udp_port=udp_port) as under:
                port = udp_port if protocol == "udp" else under.listener.port
                server = {
                    "type": "influxdb", "server": "127.0.0.1", "port": port, "influxdbproto": protocol, "token": TOKEN,
                }  # fmt: skip
                await push(lab, server)
                await until(lambda: {("lab", vmid) for vmid in known} <= under.board.found.keys())
                await until(lambda: {("lab", f"pve{number}") for number in (1, 2, 3)} <= under.board.found.keys())
                await until(lambda: any(getattr(told, "netin_rate", None) for told in under.board.found.values()))
                assert not under.intake.rejected
                failures = [one for one in lab.emitted if one.error]
                assert failures == []
            running_guests = [record for record in inventory.guests if record.row["status"] == "running"]
            assert all(record.pushed_at for record in running_guests)


async def push(lab: Lab, server: dict[str, Any]) -> None:
    """Configure a metric server as an administrator would."""
    from proxmox_mcp.lab.push.metrics import MetricServer  # noqa: PLC0415

    world = lab.world
    world.metric_servers["influx"] = MetricServer("influx", server, server["token"])
    await world.metrics.check(world.metric_servers["influx"])
    world.metrics.wake.set()
