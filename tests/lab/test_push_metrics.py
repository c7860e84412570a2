"""What pvestatd pushes to InfluxDB, over HTTP and UDP."""

from __future__ import annotations

import re
from typing import Any

import pytest

from proxmox_mcp.lab.push import influx
from tests.lab.conftest import Client, MakeLab
from tests.lab.receivers import HttpServer, http_server, udp_server, until

PATH = "/cluster/metrics/server/influx"
LINE = re.compile(r"(?P<name>[\w-]+),(?P<tags>\S+) (?P<values>.+) (?P<at>\d{10})000000000")


async def add(api: Client, port: int, **more: Any) -> None:
    answer = await api("POST", PATH, type="influxdb", server="127.0.0.1", port=port, **more)
    assert answer.status == 200, answer


async def add_http(api: Client, server: HttpServer) -> None:
    await add(api, server.port, influxdbproto="http", organization="home", bucket="pve", token="tok")


def parse(line: str) -> tuple[str, dict[str, str], dict[str, str]]:
    match = LINE.fullmatch(line)
    assert match, line
    values = re.findall(r'([\w-]+)=("(?:[^"\\]|\\.)*"|[^,]+)', match["values"])
    assert [name for name, _ in values] == sorted(name for name, _ in values)
    return match["name"], dict(part.split("=", 1) for part in match["tags"].split(",")), dict(values)


async def test_http(make_lab: MakeLab) -> None:
    api = await make_lab(metrics_interval=0.05)
    async with http_server() as server:
        await add_http(api, server)
        await until(lambda: len(server.got) > 6)
    health, *writes = server.got
    assert (health.method, health.path, health.headers["Authorization"]) == ("GET", "/health", "Token tok")
    assert {(one.method, one.path) for one in writes} == {("POST", "/api/v2/write?org=home&bucket=pve")}
    assert writes[0].headers["Authorization"] == "Token tok"
    lines = [parse(line) for one in writes[:3] for line in one.body.decode().splitlines()]
    guest = next(values for name, tags, values in lines if name == "system" and tags.get("vmid") == "100")
    assert {key: guest[key] for key in ("name", "qmpstatus", "status", "tags", "cpus")} == {
        "name": '"web01"', "qmpstatus": '"running"', "status": '"running"', "tags": '"prod;web"', "cpus": "2",
    }  # fmt: skip
    assert guest.keys() >= {"cpu", "mem", "maxmem", "netin", "netout", "diskread", "diskwrite", "uptime", "pid"}
    kinds = {(name, tags["object"]) for name, tags, _ in lines}
    assert kinds == {
        ("system", "qemu"), ("nics", "qemu"), ("blockstat", "qemu"), ("ha", "qemu"), ("proxmox-support", "qemu"),
        ("system", "lxc"), ("ha", "lxc"), ("system", "storages"),
        ("system", "nodes"), ("cpustat", "nodes"), ("memory", "nodes"), ("blockstat", "nodes"), ("nics", "nodes"),
    }  # fmt: skip
    assert {tags["host"] for _, tags, _ in lines if tags["object"] == "nodes"} == {"pve1", "pve2", "pve3"}
    nic = next(tags for name, tags, _ in lines if name == "nics" and tags.get("vmid") == "100")
    assert nic == {"object": "qemu", "vmid": "100", "nodename": "pve1", "host": "web01", "instance": "tap100i0"}
    assert api.lab.violations == []


async def test_udp_in_datagrams(make_lab: MakeLab) -> None:
    api = await make_lab(metrics_interval=30)
    async with udp_server() as server:
        await add(api, server.port, mtu=1000)
        await until(lambda: len(api.lab.emitted) == 3)
        await until(lambda: any("host=pve3" in one for one in server.got))
    assert max(map(len, server.got)) <= 950
    names = {parse(line)[0] for one in server.got for line in one.splitlines()}
    assert names >= {"system", "cpustat", "nics"}


async def test_a_locked_and_a_stopped_guest(api: Client) -> None:
    world = api.lab.world
    api.lab.fault("guest-lock", 100, "backup")
    api.lab.fault("guest-crash", 100)
    lines = "".join(influx.lines(world, world.nodes["pve1"])).splitlines()
    (found,) = [parse(line) for line in lines if line.startswith("system,object=qemu,vmid=100,")]
    assert (found[2]["lock"], found[2]["status"], found[2]["uptime"]) == ('"backup"', '"stopped"', "0")
    assert "pid" not in found[2]


@pytest.mark.parametrize(
    ("value", "written"), [(1, "1"), (0.5, "0.5"), ("1e5", "1e5"), ("off", '"off"'), ('a"b', '"a\\"b"')]
)
def test_values(value: float | str, written: str) -> None:
    assert influx.value(value) == written


async def test_it_lives(make_lab: MakeLab) -> None:
    api = await make_lab(metrics_interval=0.02)
    async with http_server() as server:
        await add_http(api, server)
        row = {"id": "influx", "type": "influxdb", "server": "127.0.0.1", "port": server.port, "disable": 0}
        assert await api.get("/cluster/metrics/server") == [row]
        assert "token" not in await api.get(PATH)
        assert (await api("POST", PATH, type="influxdb", server="127.0.0.1", port=1)).status == 500
        assert (await api("PUT", PATH, server="127.0.0.1", port=server.port, disable=1, delete="bucket")).status == 200
        assert "bucket" not in await api.get(PATH)
        await until(lambda: not api.lab.world.metrics.wake.is_set())
        count = len(server.got)
        assert (await api("DELETE", PATH)).status == 200
        assert (await api("GET", PATH)).reason == "status server entry 'influx' does not exist"
        assert len(server.got) == count


async def test_a_server_that_is_not_there(api: Client) -> None:
    async with http_server(status=503) as server:
        answer = await api("POST", PATH, type="influxdb", server="127.0.0.1", port=server.port, influxdbproto="http")
        assert (answer.status, "status code 503" in answer.reason) == (500, True)
    answer = await api("POST", PATH, type="influxdb", server="127.0.0.1", port=server.port, influxdbproto="http")
    assert answer.status == 500
    answer = await api("POST", PATH, type="influxdb", server="192.0.2.7", port=8086)
    assert answer.body["errors"].keys() == {"server"}
    assert await api.get("/cluster/metrics/server") == []


async def test_a_failing_push_is_in_the_journal(make_lab: MakeLab) -> None:
    api = await make_lab(metrics_interval=0.02)
    async with http_server() as server:
        await add_http(api, server)
        server.status = 401
        await until(lambda: any(one.error for one in api.lab.emitted))
    told = [row["t"] for row in await api.get("/nodes/pve1/syslog", limit=500)]
    assert any("pvestatd" in line and "metrics send error 'influx': " in line for line in told)


async def test_others_are_only_kept(make_lab: MakeLab) -> None:
    api = await make_lab(metrics_interval=0.01)
    for kind in ("graphite", "opentelemetry"):
        path = f"/cluster/metrics/server/{kind}"
        assert (await api("POST", path, type=kind, server="127.0.0.1", port=9)).status == 200
    assert [row["type"] for row in await api.get("/cluster/metrics/server")] == ["graphite", "opentelemetry"]
    assert api.lab.emitted == []
