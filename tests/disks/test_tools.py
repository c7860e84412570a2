"""What agents see of disks, and what the diagnosis makes of them."""

import asyncio
import time
from typing import Any

import pytest
from mcp import Client

from mqtt_bridge.diagnostics.disks import disks as check
from mqtt_bridge.diagnostics.facts import Facts
from mqtt_bridge.model import DiskState, MissingPrivilege, NodeState, ZfsPoolState
from mqtt_bridge.mqtt.loopback import Loopback
from mqtt_bridge.proxmox.permissions import missing
from mqtt_bridge.settings import Endpoint, McpSettings, Settings, load
from proxmox_mcp.lab import Lab
from proxmox_mcp.server import build_server
from proxmox_mcp.state import State
from tests.support.asking import ask, text
from tests.support.held import held
from tests.support.site import Site

NODE = NodeState(site="lab", node="pve1", status="online", available=True)
POOL = ZfsPoolState(site="lab", node="pve1", pool="tank", available=True, health="ONLINE")


def disk(dev: str = "nvme0n1", **more: Any) -> DiskState:
    fields = {"disk": dev, "available": True, "type": "nvme", "health": "PASSED", "model": "A | disk", **more}
    return DiskState(site="lab", node="pve1", dev=dev, **fields)


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (
            {
                "disks": (
                    disk(wear_pct=40, temperature_c=60),
                    disk("sda", type="hdd", unread="asleep", health="UNKNOWN"),
                )
            },
            [],
        ),
        ({"disks": (disk(health="FAILED"),)}, [("critical", "about to fail")]),
        ({"disks": (disk(wear_pct=94),)}, [("warning", "worn out")]),
        ({"disks": (disk(temperature_c=84),)}, [("warning", "hot")]),
        ({"disks": (disk(available=False, temperature_c=84),)}, [("warning", "missing")]),
        ({"nodes": (), "disks": (disk(available=False),)}, []),
        ({"zpools": (POOL,)}, []),
        ({"zpools": (POOL.model_copy(update={"health": "DEGRADED"}),)}, [("error", "not well")]),
        ({"zpools": (POOL.model_copy(update={"health": "SUSPENDED"}),)}, [("critical", "not well")]),
        ({"zpools": (POOL.model_copy(update={"errors": "3 data errors"}),)}, [("error", "not well")]),
        ({"zpools": (POOL.model_copy(update={"available": False}),)}, [("error", "missing")]),
    ],
)
def test_diagnosis(facts: dict[str, Any], found: list[tuple[str, str]]) -> None:
    told = list(check(Facts(**{"site": "lab", "now": time.time(), "nodes": (NODE,), **facts})))
    assert len(told) == len(found)
    for one, (severity, words) in zip(told, found, strict=True):
        assert one.severity == severity
        assert words in one.title


async def test_an_agent_sees_them_with_their_node() -> None:
    hub = Loopback()
    async with hub.client() as bus:
        site = Site(bus)
        await site.publish()
        await site.put("disk", disk(wear_pct=6.0, temperature_c=41.0, used_by="LVM"), node="pve1", disk="nvme0n1")
        await site.put("disk", disk("sdb", health="FAILED"), node="pve1", disk="sdb")
        await site.put("disk", disk("sdc"), node="pve1", disk="sdc")
        await site.put("disk", b"[]", node="pve1", disk="sdd")
        await site.put("zpool", POOL, node="pve1", pool="tank")
        listed = ("pve1/nvme0n1", "pve1/sdb")
        await site.put("manifest", site.manifest(generation=2, disks=listed, zpools=("pve1/tank",)))
        async with State(hub.client, sites=["lab"]) as state:
            await state.view()
            server = build_server(Settings(mcp=McpSettings(toolsets=frozenset({"all"}))), state)
            async with held(Client(server)) as client:
                answer = await ask(client, "get_node_status", node="pve1")
                assert [(d["dev"], d["health"]) for d in answer["disks"]] == [("nvme0n1", "PASSED"), ("sdb", "FAILED")]
                assert [p["pool"] for p in answer["zpools"]] == ["tank"]
                assert (await ask(client, "get_node_status", node="pve2"))["disks"] == []
                said = text(await client.call_tool("get_node_status", {"node": "pve1"}))
                assert "nvme0n1 | A ¦ disk | nvme | PASSED | 6 % | 41 °C | LVM" in said
                found = await ask(client, "run_diagnostic", checks=["disks"])
                assert found["verdict"] == "critical"
                assert [f["title"] for f in found["findings"]] == ["Disk sdb of pve1 is about to fail, says SMART"]
                await site.put("disk", disk("sdb"), node="pve1", disk="sdb")
                async with asyncio.timeout(20):
                    while (await ask(client, "run_diagnostic", checks=["disks"]))["verdict"] != "ok":
                        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("granted", "lacks"),
    [
        ({"/": {"Sys.Audit": 1}}, False),
        ({"/": {"Sys.Audit": 0}}, False),
        ({"/nodes": {"Sys.Audit": 1}}, True),
        ({"/nodes/pve1": {"Sys.Audit": 1}}, True),
    ],
)
async def test_what_the_token_lacks_is_said(lab: Lab, granted: dict[str, dict[str, int]], lacks: bool) -> None:
    sites = load(dict(lab.env), search=False).sites
    endpoint: Endpoint = next(site for site in sites if site.kind == "pve").endpoints[0]
    found: list[MissingPrivilege] = [one for one in missing(granted, "lab", endpoint) if "disks" in one.feature]
    assert bool(found) is lacks
    assert all((one.privilege, one.path) == ("Sys.Audit", "/") and "PVEAuditor" in one.cure for one in found)
