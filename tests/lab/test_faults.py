"""Everything that can go wrong on demand."""

from __future__ import annotations

import asyncio
import re
import time

import aiohttp
import pytest

from proxmox_mcp.lab import FAULTS, FaultError, send_fault
from tests.lab.conftest import Client, MakeLab


async def test_lost_node(make_lab: MakeLab) -> None:
    api = await make_lab(pvestatd_interval=10)
    guests = [guest.vmid for guest in api.lab.world.sorted_guests() if guest.node == "pve2" and guest.running]
    before = {row["id"]: row for row in await api.get("/cluster/resources")}
    api.lab.fault("node-down", "pve2")
    api.lab.fault("clock-forward", 60)
    rows = {row["id"]: row for row in await api.get("/cluster/resources")}
    assert rows["node/pve2"]["status"] == "offline"
    assert "cpu" not in rows["node/pve2"]
    for vmid in guests:
        key = api.lab.guest(vmid).key
        assert rows[key]["status"] == "running"
        assert rows[key]["netin"] == before[key]["netin"], "figures are frozen"
    assert rows["storage/pve2/local"]["status"] == "available"
    status = {row["name"]: row for row in await api.get("/cluster/status")}
    assert (status["pve2"]["online"], status["lab"]["quorate"]) == (0, 1)
    lost = await api("GET", "/nodes/pve2/status")
    assert (lost.status, lost.reason, lost.text) == (595, "No route to host", "")
    await api.listens("pve2", yes=False)
    with pytest.raises(aiohttp.ClientConnectionError):
        await api("GET", "/version", host="pve2")

    api.lab.fault("clock-forward", 300)
    rows = {row["id"]: row for row in await api.get("/cluster/resources")}
    assert {rows[api.lab.guest(vmid).key]["status"] for vmid in guests} == {"unknown"}
    assert "cpu" not in rows[api.lab.guest(guests[0]).key]
    assert rows["storage/pve2/local"]["status"] == "unknown"

    api.lab.fault("node-up", "pve2")
    await api.listens("pve2")
    assert (await api("GET", "/version", host="pve2")).status == 200
    rows = {row["id"]: row for row in await api.get("/cluster/resources")}
    assert rows["node/pve2"]["status"] == "online"
    assert {rows[api.lab.guest(vmid).key]["status"] for vmid in guests} == {"running"}


async def test_ha_guests_of_a_lost_node_start_elsewhere(make_lab: MakeLab) -> None:
    api = await make_lab(ha_recovery=0.05)
    vmid = int(next(iter(api.lab.world.ha)).split(":")[1])
    old = api.lab.guest(vmid).node
    api.lab.fault("node-down", old)
    entry = next(name for name, host in api.lab.hosts.items() if name != old and host.listening)
    async with asyncio.timeout(15):
        while api.lab.guest(vmid).node == old or not api.lab.guest(vmid).running:
            await asyncio.sleep(0.01)
    rows = await api.get("/cluster/resources", host=entry, type="vm")
    assert next(row for row in rows if row["vmid"] == vmid)["status"] == "running"


async def test_two_of_three_nodes_lost_means_no_quorum(api: Client) -> None:
    api.lab.fault("node-down", "pve2")
    api.lab.fault("node-down", "pve3")
    assert (await api.get("/cluster/status"))[0]["quorate"] == 0
    assert await api.task("POST", "/nodes/pve1/qemu/110/status/start") != "OK"
    assert (await api("PUT", "/nodes/pve1/qemu/100/config", tags="x")).reason == "cluster not ready - no quorum?"


async def test_hanging_node(api: Client) -> None:
    api.lab.fault("node-hang", "pve2")
    answer = await api("GET", "/nodes/pve2/status")
    assert (answer.status, answer.reason, answer.text) == (596, "Connection timed out", "")
    assert (await api("GET", "/nodes/pve3/status")).status == 200
    with pytest.raises(aiohttp.ClientConnectionError):
        await api("GET", "/version", host="pve2")
    api.lab.fault("node-hang", "pve2", "off")
    assert (await api("GET", "/nodes/pve2/status")).status == 200


async def test_api_server_down(api: Client) -> None:
    api.lab.fault("host-down", "pve2")
    await api.listens("pve2", yes=False)
    with pytest.raises(aiohttp.ClientConnectionError):
        await api("GET", "/version", host="pve2")
    answer = await api("GET", "/nodes/pve2/status")
    assert (answer.status, answer.reason) == (595, "Connection refused")
    rows = {row["id"]: row for row in await api.get("/cluster/resources", type="node")}
    assert rows["node/pve2"]["status"] == "online"
    url = api.lab.hosts["pve2"].url
    api.lab.fault("host-up", "pve2")
    await api.listens("pve2")
    assert api.lab.hosts["pve2"].url == url
    assert (await api("GET", "/version", host="pve2")).status == 200


async def test_root_s_daemon_down(api: Client) -> None:
    api.lab.fault("daemon-down", "pve2")
    refused = await api("POST", "/nodes/pve2/qemu/101/status/stop")
    assert (refused.status, refused.reason, refused.text) == (595, "Connection refused", "")
    assert len(await api.get("/cluster/resources", host="pve2")) > 24
    assert (await api("POST", "/nodes/pve1/qemu/100/status/stop", host="pve2")).status == 200
    api.lab.fault("daemon-up", "pve2")
    assert await api.task("POST", "/nodes/pve2/qemu/101/status/stop") == "OK"


async def test_open_connections_are_cut_when_a_host_goes_down(api: Client) -> None:
    api.lab.fault("api-latency", 60_000)
    asking = asyncio.create_task(api("GET", "/version", host="pve2"))
    await asyncio.sleep(0.1)
    api.lab.fault("host-down", "pve2")
    with pytest.raises(aiohttp.ClientConnectionError):
        async with asyncio.timeout(15):
            await asking


async def test_slow_wrong_and_silent_answers(api: Client) -> None:
    api.lab.fault("api-latency", 150)
    started = time.perf_counter()
    await api.get("/version")
    assert time.perf_counter() - started >= 0.15
    api.lab.fault("api-latency", 0)
    api.lab.fault("api-error", 503)
    answer = await api("GET", "/version")
    assert (answer.status, answer.reason) == (503, "Service Unavailable")
    api.lab.fault("api-error", 0)
    api.lab.fault("api-hang")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await api("GET", "/version")
    waiting = asyncio.create_task(api("GET", "/version"))
    await asyncio.sleep(0.05)
    api.lab.fault("api-hang", "off")
    assert (await waiting).status == 200


async def test_guests(api: Client) -> None:
    api.lab.fault("guest-crash", 100)
    assert (await api.get("/nodes/pve1/qemu/100/status/current"))["status"] == "stopped"
    api.lab.fault("guest-lock", 100, "migrate")
    assert await api.task("POST", "/nodes/pve1/qemu/100/status/start") == "VM is locked (migrate)"
    api.lab.fault("guest-unlock", 100)
    api.lab.fault("guest-migrate", 100, "pve3")
    assert (await api.get("/nodes/pve3/qemu/100/status/current"))["name"] == "web01"
    api.lab.fault("guest-destroy", 100)
    await api.settle()
    gone = await api("GET", "/nodes/pve3/qemu/100/status/current")
    assert gone.reason == "Configuration file 'nodes/pve3/qemu-server/100.conf' does not exist"
    assert "qmdestroy" in {row["type"] for row in await api.get("/cluster/tasks")}
    found = re.search(r"\d+", api.lab.fault("guest-create", "lxc"))
    assert found
    assert int(found[0]) == 100
    assert api.lab.guest(100).kind == "lxc"


async def test_storages(api: Client) -> None:
    api.lab.fault("storage-fill", "nas", 97)
    row = next(row for row in await api.get("/cluster/resources", type="storage") if row["storage"] == "nas")
    assert row["disk"] / row["maxdisk"] == pytest.approx(0.97)
    api.lab.fault("storage-fill", "main", 90)
    usage = {row["store"]: row for row in await api.get("/status/datastore-usage", host="pbs1")}
    assert usage["main"]["used"] / usage["main"]["total"] == pytest.approx(0.9)
    api.lab.fault("storage-offline", "nas", "pve1")
    rows = {row["storage"]: row for row in await api.get("/nodes/pve1/storage")}
    assert (rows["nas"]["active"], rows["nas"]["total"]) == (0, 0)
    assert (await api.get("/nodes/pve2/storage/nas/status"))["active"] == 1
    assert (await api("POST", "/nodes/pve1/vzdump", vmid=100, storage="nas")).reason == "storage 'nas' is not online"
    api.lab.fault("storage-online", "nas")
    assert (await api.get("/nodes/pve1/storage/nas/status"))["active"] == 1


async def test_next_task_of_a_type_fails(api: Client) -> None:
    api.lab.fault("task-fail", "qmreboot", "got", "timeout")
    assert await api.task("POST", "/nodes/pve1/qemu/100/status/reboot") == "got timeout"
    assert await api.task("POST", "/nodes/pve1/qemu/100/status/reboot") == "OK"


async def test_next_task_of_a_type_warns(api: Client) -> None:
    api.lab.fault("task-warn", "vzdump")
    upid = (await api("POST", "/nodes/pve1/vzdump", vmid=100, storage="nas")).data
    await api.settle()
    assert (await api.get(f"/nodes/pve1/tasks/{upid}/status"))["exitstatus"] == "WARNINGS: 1"
    assert (await api.get(f"/nodes/pve1/tasks/{upid}/log"))[-1]["t"] == "TASK WARNINGS: 1"
    assert await api.task("POST", "/nodes/pve1/vzdump", vmid=100, storage="nas") == "OK"


async def test_node_reboots_and_comes_back(make_lab: MakeLab) -> None:
    api = await make_lab(speed=40)
    answer = await api("POST", "/nodes/pve3/status", command="reboot")
    assert (answer.status, answer.data) == (200, None)
    async with asyncio.timeout(15):
        while api.lab.world.nodes["pve3"].online:
            await asyncio.sleep(0.01)
        while not api.lab.world.nodes["pve3"].online:
            await asyncio.sleep(0.01)
    rows = {row["id"]: row for row in await api.get("/nodes")}
    assert rows["node/pve3"]["uptime"] < 10
    mine = [guest for guest in api.lab.world.sorted_guests() if guest.node == "pve3"]
    assert {guest.running for guest in mine if guest.config.get("onboot")} == {True}
    assert not any(guest.running for guest in mine if not guest.config.get("onboot"))


async def test_wake_on_lan(api: Client) -> None:
    api.lab.fault("node-down", "pve3")
    assert re.fullmatch(r"[0-9a-f:]{17}", (await api("POST", "/nodes/pve3/wakeonlan")).data)
    async with asyncio.timeout(15):
        while not api.lab.world.nodes["pve3"].online:
            await asyncio.sleep(0.01)


async def test_from_another_process(api: Client) -> None:
    said = await send_fault(api.lab.control_url, "node-down", ["pve3"])
    assert said == "node pve3 is down"
    assert not api.lab.world.nodes["pve3"].online
    with pytest.raises(FaultError, match="there are: guest-crash, "):
        await send_fault(api.lab.control_url, "nonsense", [])
    with pytest.raises(FaultError, match="usage: node-down NODE"):
        await send_fault(api.lab.control_url, "node-down", [])
    with pytest.raises(FaultError, match="no guest 77777"):
        await send_fault(api.lab.control_url, "guest-crash", ["77777"])
    with pytest.raises(FaultError, match="no valid token"):
        await send_fault(api.lab.control_url[:-1], "node-up", ["pve3"])
    with pytest.raises(FaultError, match="no lab answers"):
        await send_fault("http://127.0.0.1:1/x", "node-up", ["pve3"])


def test_every_fault_is_explained() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert all(fault.help and fault.usage.startswith(fault.name) for fault in FAULTS)
