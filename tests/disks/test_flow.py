"""Disks of a lab: what is published and told of them, and what is never asked."""

from typing import Any

from mqtt_bridge.proxmox.disks import LISTS
from proxmox_mcp.lab.state import Disk
from tests.disks.conftest import Watch
from tests.support.watched import Watched


def disk(watched: Watched, node: str, dev: str) -> Disk:
    return next(one for one in watched.lab.world.nodes[node].disks if one.devpath == f"/dev/{dev}")


def state(watched: Watched, node: str, one: Disk) -> Any:
    return watched.get("disk", node=node, disk=one.serial) or {}


def pool(watched: Watched, node: str) -> Any:
    return watched.get("zpool", node=node, pool="tank") or {}


async def test_figures_arrive_and_what_sleeps_is_not_woken(watch: Watch) -> None:
    async with watch("ssd") as watched:
        world = watched.lab.world
        every = {f"{node.name}/{one.serial}": one for node in world.nodes.values() for one in node.disks}
        await watched.until(lambda: set(watched.get("manifest")["disks"]) == set(every))
        await watched.until(lambda: watched.get("manifest")["zpools"] == ["pve1/tank", "pve2/tank", "pve3/tank"])
        for identity, one in every.items():
            seen = state(watched, identity.split("/")[0], one)
            assert (seen["available"], seen["dev"], seen["model"]) == (True, one.devpath[5:], one.model)
            assert (seen["type"], seen["size_bytes"], seen["used_by"]) == (one.kind, one.size, one.used)
            if one.kind == "hdd":
                assert (seen["unread"], seen["health"], seen["temperature_c"]) == ("asleep", "UNKNOWN", None)
            else:
                assert (seen["unread"], seen["health"], seen["wear_pct"]) == (None, "PASSED", 100 - one.wearout)
                assert (seen["temperature_c"], seen["power_on_hours"]) == (one.temperature, one.power_on_hours)
        assert state(watched, "pve3", disk(watched, "pve3", "sdb"))["wear_pct"] == 94, "the lab has a worn one"
        tank = pool(watched, "pve1")
        assert (tank["health"], tank["used_pct"], tank["errors"]) == ("ONLINE", 37.0, None)
        assert "scrub repaired" in tank["scan"]
        one = disk(watched, "pve1", "nvme0n1")
        asked = one.asked
        await watched.until(lambda: one.asked > asked + 1)
        assert {each.kind for each in every.values() if each.asked} == {"nvme", "ssd"}
        assert [kind for kind in watched.kinds() if kind.startswith(("disk.", "storage.zfs."))] == []


async def test_what_goes_wrong_is_told_once_and_its_end_too(watch: Watch) -> None:
    async with watch("ssd") as watched:
        first, second = disk(watched, "pve1", "nvme0n1"), disk(watched, "pve1", "sdb")
        await watched.until(lambda: state(watched, "pve1", second) and pool(watched, "pve1"))
        lab = watched.lab
        lab.fault("disk-hot", "pve1", "/dev/sdb")
        lab.fault("disk-fail", "pve1", "/dev/nvme0n1")
        lab.fault("pool-degrade", "pve1")
        await watched.until(lambda: state(watched, "pve1", second)["temperature_c"] == 84)
        await watched.until(lambda: state(watched, "pve1", first)["health"] == "FAILED")
        await watched.until(lambda: {"disk.smart.failing", "storage.zfs.degraded"} <= set(watched.kinds()))
        asked = first.asked
        await watched.until(lambda: first.asked > asked + 2)
        for kind in ("disk.smart.failing", "storage.zfs.degraded"):
            assert watched.kinds().count(kind) == 1
        failing = next(event for event in watched.events if event.kind == "disk.smart.failing")
        assert (failing.severity, failing.ok, failing.node) == ("critical", False, "pve1")
        assert failing.metadata["device"] == "/dev/nvme0n1"
        assert first.serial in failing.message
        assert failing.metadata["well_at"] <= failing.timestamp
        degraded = next(event for event in watched.events if event.kind == "storage.zfs.degraded")
        assert (degraded.severity, degraded.metadata["pool"]) == ("error", "tank")
        assert pool(watched, "pve1")["status"].startswith("One or more devices")
        lab.fault("pool-repair", "pve1")
        first.health = "PASSED"
        await watched.until(lambda: {"disk.smart.ok", "storage.zfs.ok"} <= set(watched.kinds()))
        lab.fault("disk-pull", "pve1", "/dev/nvme0n1")
        await watched.until(lambda: "disk.missing" in watched.kinds())
        await watched.until(lambda: watched.get("disk", node="pve1", disk=first.serial) is None)
        await watched.until(lambda: f"pve1/{first.serial}" not in watched.get("manifest")["disks"])
        assert watched.kinds().count("disk.missing") == 1


async def test_a_node_that_goes_takes_its_disks_along_and_brings_them_back(watch: Watch) -> None:
    async with watch("ssd") as watched:
        one = disk(watched, "pve2", "nvme0n1")
        await watched.until(lambda: state(watched, "pve2", one) and pool(watched, "pve2"))
        watched.lab.fault("node-down", "pve2")
        await watched.until(lambda: not state(watched, "pve2", one)["available"])
        assert not pool(watched, "pve2")["available"]
        assert state(watched, "pve2", one)["health"] == "PASSED", "it is kept"
        await watched.polls(LISTS + 1)
        assert f"pve2/{one.serial}" in watched.get("manifest")["disks"]
        watched.lab.fault("node-up", "pve2")
        await watched.until(lambda: state(watched, "pve2", one)["available"] and pool(watched, "pve2")["available"])
        assert "disk.missing" not in watched.kinds()


async def test_all_disks_are_asked_where_the_setting_says_so(watch: Watch) -> None:
    async with watch("all") as watched:
        one = disk(watched, "pve1", "sda")
        await watched.until(lambda: state(watched, "pve1", one).get("temperature_c") == one.temperature)
        assert (state(watched, "pve1", one)["unread"], state(watched, "pve1", one)["wear_pct"]) == (None, None)


async def test_off_asks_for_nothing(watch: Watch) -> None:
    async with watch("off") as watched:
        await watched.until(lambda: watched.get("node", node="pve3")["details_at"])
        await watched.polls(10)
        assert watched.lab.requests.count("GET", "*/disks/*") == 0
        assert watched.get("manifest")["disks"] == []
        assert not watched.inventory.awaited("disk", {"node": "pve1"})


async def test_a_token_that_may_less(watch: Watch) -> None:
    rest = {"/vms": {"VM.Audit": 1}, "/storage": {"Datastore.Audit": 1}}
    async with watch("ssd") as watched:
        one = disk(watched, "pve1", "nvme0n1")
        await watched.until(lambda: state(watched, "pve1", one) and pool(watched, "pve1"))
        watched.inventory._granted = {**rest, "/nodes": {"Sys.Audit": 1}}  # it is read anew every minute
        await watched.until(lambda: state(watched, "pve1", one)["unread"] == "privilege")
        await watched.until(lambda: not pool(watched, "pve1")["available"])
        assert state(watched, "pve1", one)["health"] == "UNKNOWN"
        watched.inventory._granted = {**rest, "/nodes/pve9": {"Sys.Audit": 1}}
        await watched.until(lambda: not state(watched, "pve1", one)["available"])
        asked = watched.lab.requests.count("GET", "/nodes/pve1/disks/*")
        await watched.polls(10)
        assert watched.lab.requests.count("GET", "/nodes/pve1/disks/*") == asked
