"""Containers, volumes, templates, disks: what the other files do not come by."""

from __future__ import annotations

import asyncio

from tests.lab.conftest import Client, MakeLab


async def test_life_of_a_container(api: Client) -> None:
    template = "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst"
    made = {
        "vmid": 600,
        "ostemplate": template,
        "hostname": "ct",
        "rootfs": "local-lvm:4",
        "net0": "name=eth0,bridge=vmbr0",
    }
    assert await api.task("POST", "/nodes/pve1/lxc", **made, start=1) == "OK"
    config = await api.get("/nodes/pve1/lxc/600/config")
    assert config["rootfs"] == "local-lvm:vm-600-disk-0,size=4G"
    assert "hwaddr=BC:24:11:" in config["net0"]
    status = await api.get("/nodes/pve1/lxc/600/status/current")
    assert (status["status"], status["name"], status["type"]) == ("running", "ct", "lxc")
    assert (await api.get("/nodes/pve1/lxc/600/interfaces"))[1]["name"] == "eth0"
    refused = await api("POST", "/nodes/pve1/lxc/600/migrate", target="pve2")
    assert refused.reason == "lxc live migration is currently not implemented"
    assert await api.task("POST", "/nodes/pve1/lxc/600/migrate", target="pve2", restart=1) == "OK"
    refused = await api("DELETE", "/nodes/pve2/lxc/600")
    assert refused.reason == "unable to destroy CT 600 - container is running"
    assert await api.task("POST", "/nodes/pve2/lxc/600/status/stop") == "OK"
    assert (await api("PUT", "/nodes/pve2/lxc/600/config", protection=1)).status == 200
    assert (await api("DELETE", "/nodes/pve2/lxc/600")).reason == "can't remove CT 600 - protection mode enabled"
    assert (await api("PUT", "/nodes/pve2/lxc/600/config", delete="protection")).status == 200
    assert await api.task("DELETE", "/nodes/pve2/lxc/600") == "OK"
    assert (await api("GET", "/nodes/pve2/lxc/600/config")).status == 500


async def test_backups_can_be_noted_protected_and_removed(api: Client) -> None:
    await api.task("POST", "/nodes/pve1/vzdump", vmid=100, storage="nas")
    base = "/nodes/pve1/storage/nas/content"
    row = (await api.get(base, content="backup", vmid=100))[0]
    assert row["notes"] == "web01"
    path = f"{base}/{row['volid']}"
    assert (await api("PUT", path, protected=1, notes="keep")).status == 200
    assert "is protected" in (await api("DELETE", path)).reason
    assert (await api.get("/nodes/pve1/storage/nas/prunebackups", vmid=100))[0]["mark"] == "protected"
    assert (await api("PUT", path, protected=0)).status == 200
    assert await api.task("DELETE", path) == "OK"
    assert await api.get(base, content="backup", vmid=100) == []


async def test_templates(api: Client) -> None:
    assert await api.task("POST", "/nodes/pve1/qemu/9000/status/start") == "you can't start a vm if it's a template"
    assert await api.task("POST", "/nodes/pve1/qemu/9000/clone", newid=700, name="from-template") == "OK"
    assert "template" not in await api.get("/nodes/pve1/qemu/700/config")
    assert await api.task("POST", "/nodes/pve1/qemu/700/template") == "OK"
    entry = next(row for row in await api.get("/cluster/resources", type="vm") if row["vmid"] == 700)
    assert entry["template"] == 1
    running = next(guest for guest in api.lab.world.sorted_guests() if guest.running and guest.kind == "qemu")
    refused = await api("POST", f"/nodes/{running.node}/qemu/{running.vmid}/template")
    assert "if VM is running" in refused.reason


async def test_ha_resources_are_not_removed_by_accident(api: Client) -> None:
    guest = api.lab.guest(int(next(iter(api.lab.world.ha)).split(":")[1]))
    refused = await api("DELETE", f"/nodes/{guest.node}/{guest.key}")
    assert "used in HA resources" in refused.reason
    status = {row["id"]: row for row in await api.get("/cluster/ha/status/current")}
    assert status[f"service:vm:{guest.vmid}"]["state"] == "started"
    api.lab.fault("quorum-loss")
    assert (await api.get("/cluster/ha/status/current"))[0]["status"] == "No quorum on node 'pve1'!"


async def test_smart(api: Client) -> None:
    disks = {row["devpath"]: row for row in await api.get("/nodes/pve1/disks/list")}
    assert {row["health"] for row in disks.values()} == {"PASSED"}
    assert "Celsius" in (await api.get("/nodes/pve1/disks/smart", disk="/dev/nvme0n1"))["text"]
    api.lab.fault("disk-fail", "pve1", "/dev/sda")
    smart = await api.get("/nodes/pve1/disks/smart", disk="/dev/sda")
    assert smart["health"] == "FAILED!"
    assert next(row["raw"] for row in smart["attributes"] if row["name"] == "Reallocated_Sector_Ct") != "0"


async def test_migration_to_a_dead_node_fails_in_its_task(api: Client) -> None:
    api.lab.fault("node-down", "pve3")
    guest = next(
        one for one in api.lab.world.sorted_guests() if one.node == "pve1" and one.kind == "qemu" and one.running
    )
    base = f"/nodes/pve1/qemu/{guest.vmid}/migrate"
    assert (await api("POST", base, target="pve3")).reason == "can't migrate running VM without --online"
    assert await api.task("POST", base, target="pve3", online=1) == "migration aborted"
    assert (guest.node, guest.lock) == ("pve1", "")


async def test_tasks_of_a_node_that_dies(make_lab: MakeLab) -> None:
    api = await make_lab(speed=1)
    upid = (await api("POST", "/nodes/pve2/vzdump", vmid=101, storage="nas")).data
    await asyncio.sleep(0.05)
    api.lab.fault("node-down", "pve2")
    await api.settle()
    api.lab.fault("node-up", "pve2")
    assert (await api.get(f"/nodes/pve2/tasks/{upid}/status"))["exitstatus"] == "unexpected status"
    assert f"end task {upid}" not in str(await api.get("/cluster/log"))


async def test_index_of_a_path(api: Client) -> None:
    names = {row["name"] for row in await api.get("/nodes/pve1/qemu/100/status")}
    assert names >= {"current", "start", "stop"}


async def test_bodies_that_are_too_large(api: Client) -> None:
    answer = await api("PUT", "/nodes/pve1/qemu/100/config", description="x" * 600_000)
    assert (answer.status, answer.reason) == (501, "for data too large")


async def test_log_of_a_backup_server_s_task(api: Client) -> None:
    upid = (await api("POST", "/admin/datastore/main/verify", host="pbs1")).data
    await api.settle()
    lines = [row["t"] for row in await api.get(f"/nodes/localhost/tasks/{upid}/log", host="pbs1")]
    assert lines[0].endswith(": verify datastore main")
    assert lines[-1].endswith("Z: TASK OK")
