"""Requests are held against the schema; what is not in it is refused, and remembered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mqtt_bridge.settings import load
from proxmox_mcp.lab.apitable import Kind, check_request, match, paths
from proxmox_mcp.lab.handlers import PVE
from proxmox_mcp.lab.pbs.handlers import ROUTES as PBS
from tests.lab.conftest import Client, MakeLab


@pytest.mark.parametrize(
    ("kind", "method", "path", "params", "problem"),
    [
        ("pve", "GET", "/cluster/resources", {"type": "vm"}, ""),
        ("pve", "GET", "/cluster/resources", {"kind": "vm"}, "has no parameter 'kind'"),
        ("pve", "GET", "/cluster/nonsense", {}, "has no path"),
        ("pve", "DELETE", "/cluster/resources", {}, "has no DELETE, only GET"),
        ("pve", "PUT", "/nodes/a/qemu/100/config", {"net0": "virtio", "scsi13": "x"}, ""),
        ("pve", "PUT", "/nodes/a/qemu/100/resize", {"disk": "scsi0"}, "misses 'size'"),
        ("pve", "GET", "/nodes/a/tasks/UPID:x/status", {}, ""),
        ("pve", "GET", "/nodes/a/storage/s/content/s:backup/x.zst", {}, ""),
        ("pbs", "GET", "/status/datastore-usage", {}, ""),
        ("pbs", "GET", "/admin/datastore/main/snapshots", {"ns": "a", "x": 1}, "has no parameter 'x'"),
    ],
)
def test_check_request(kind: Kind, method: str, path: str, params: dict[str, object], problem: str) -> None:
    problems = check_request(kind, method, path, params)
    assert bool(problems) == bool(problem)
    assert problem in "".join(problems)


def test_every_handler_answers_a_path_of_the_schema() -> None:
    for kind, routes in (("pve", PVE), ("pbs", PBS)):
        known = paths("pve" if kind == "pve" else "pbs")
        assert [row for row in routes if row[0] not in known.get(row[1], {})] == []


def test_fixed_segments_win_over_placeholders() -> None:
    found = match("pve", "/nodes/pve1/qemu/100/status/current")
    assert found
    assert found.path == "/nodes/{node}/qemu/{vmid}/status/current"
    assert found.values == {"node": "pve1", "vmid": "100"}


async def test_violations_are_refused_and_remembered(api: Client) -> None:
    answer = await api("GET", "/nonsense")
    assert (answer.status, answer.reason) == (501, "Method 'GET /nonsense' not implemented")
    answer = await api("GET", "/cluster/resources", nonsense=1)
    assert (answer.status, answer.reason) == (400, "Parameter verification failed.")
    assert api.lab.violations == [
        "pve GET /nonsense: pve has no path /nonsense",
        "pve GET /cluster/resources: GET /cluster/resources has no parameter 'nonsense'",
    ]
    assert api.lab.unsimulated == []
    assert (await api("GET", "/cluster/ceph/status")).status == 501
    assert api.lab.unsimulated == ["pve GET /cluster/ceph/status"]


@pytest.mark.parametrize(
    ("method", "path", "params", "errors"),
    [
        ("GET", "/nodes/pve1/qemu/abc/config", {}, {"vmid": "type check ('integer') failed - got 'abc'"}),
        ("PUT", "/nodes/pve1/qemu/100/config", {"cores": 0}, {"cores": "value must have a minimum value of 1"}),
        (
            "GET",
            "/cluster/resources",
            {"type": "x"},
            {"type": "value 'x' does not have a value in the enumeration 'vm, storage, node, sdn'"},
        ),
        ("POST", "/nodes/pve1/qemu/100/clone", {}, {"newid": "property is missing and it is not optional"}),
        ("GET", "/nodes/pve1/qemu", {"full": "maybe"}, {"full": "type check ('boolean') failed - got 'maybe'"}),
    ],
)
async def test_parameter_errors(
    api: Client, method: str, path: str, params: dict[str, Any], errors: dict[str, str]
) -> None:
    answer = await api(method, path, **params)
    assert answer.status == 400
    assert answer.body["errors"] == errors


async def test_requests_are_counted(make_lab: MakeLab) -> None:
    api = await make_lab(request_log=3)
    for _ in range(4):
        await api.get("/version")
    assert len(api.lab.requests) == 3
    assert api.lab.requests.count("GET", "/version") == 3
    api.lab.requests.clear()
    assert api.lab.requests.count() == 0


async def test_one_host_is_no_cluster(make_lab: MakeLab) -> None:
    api = await make_lab(nodes=1, guests=4, pbs=0)
    rows = await api.get("/cluster/status")
    assert [(row["type"], row["local"], row["nodeid"]) for row in rows] == [("node", 1, 0)]
    assert api.lab.pbs_urls == []
    site = load(api.lab.env, search=False).sites[0]
    assert (site.kind, site.name, [one.url for one in site.endpoints]) == ("pve", "pve1", api.lab.api_urls)


async def test_one_host_and_a_backup_server(make_lab: MakeLab) -> None:
    api = await make_lab(nodes=1, guests=4)
    settings = load(api.lab.env, search=False)
    assert {site.name: site.kind for site in settings.sites} == {"pve1": "pve", "pbs1": "pbs"}
    assert [one.url for site in settings.sites for one in site.endpoints] == [*api.lab.api_urls, *api.lab.pbs_urls]


async def test_realms_are_told_without_a_login(api: Client) -> None:
    for host, realms in (("pve1", ["pve", "pam"]), ("pbs1", ["pam", "pbs"])):
        assert [row["realm"] for row in await api.get("/access/domains", who=None, host=host)] == realms
        wrong = await api("GET", "/access/domains", login="PVEAPIToken=root@pam!full=wrong", host=host)
        assert wrong.status == 200
    assert (await api("GET", "/version", who=None)).status == 401
    assert (await api("GET", "/ping", who=None, host="pbs1")).data == {"pong": True}


async def test_a_lively_lab_runs_tasks_by_itself(make_lab: MakeLab) -> None:
    api = await make_lab(lively=True, speed=500)
    before = api.lab.world.tasks.counter
    async with asyncio.timeout(15):
        while api.lab.world.tasks.counter < before + 3:
            await asyncio.sleep(0.02)
