"""UPIDs, what runs, what ended, and what a 200 does not prove."""

from __future__ import annotations

import asyncio

from proxmox_mcp.lab.upid import escape, well_formed
from tests.lab.conftest import Client, MakeLab


async def test_life_of_a_task(make_lab: MakeLab) -> None:
    api = await make_lab(speed=4)
    upid = (await api("POST", "/nodes/pve1/qemu/100/status/stop")).data
    assert well_formed(upid, pbs=False)
    assert upid.split(":")[5:] == ["qmstop", "100", "root@pam!full", ""]
    path = f"/nodes/pve1/tasks/{upid}"
    status = await api.get(f"{path}/status")
    assert status["status"] == "running"
    assert "exitstatus" not in status
    listed = (await api.get("/nodes/pve1/tasks", source="active"))[0]
    assert (listed["status"], listed["user"]) == ("RUNNING", "root@pam!full")
    assert not listed.keys() & {"tokenid", "endtime"}
    broadcast = next(row for row in await api.get("/cluster/tasks") if row["upid"] == upid)
    assert broadcast.keys() == {"upid", "node", "type", "id", "user", "tokenid", "starttime", "pid"}
    assert await api.get(f"{path}/log") == [{"n": 1, "t": "no content"}]
    assert upid not in {row["upid"] for row in await api.get("/nodes/pve1/tasks")}
    await api.settle()
    assert (await api.get(f"{path}/status"))["exitstatus"] == "OK"
    assert (await api.get(f"{path}/log"))[-1]["t"] == "TASK OK"
    done = (await api.get("/nodes/pve1/tasks"))[0]
    assert (done["upid"], done["status"], done["user"], done["tokenid"]) == (upid, "OK", "root@pam", "full")
    messages = [row["msg"] for row in await api.get("/cluster/log", max=2)]
    assert messages == [f"end task {upid} OK", f"starting task {upid}"]


async def test_a_cancelled_task(make_lab: MakeLab) -> None:
    api = await make_lab(speed=1)
    upid = (await api("POST", "/nodes/pve1/qemu/100/status/shutdown")).data
    await asyncio.sleep(0.05)
    assert (await api("DELETE", f"/nodes/pve1/tasks/{upid}")).status == 200
    await api.settle()
    assert (await api.get(f"/nodes/pve1/tasks/{upid}/status"))["exitstatus"] == "received interrupt"
    assert (await api.get("/nodes/pve1/qemu/100/status/current"))["status"] == "running"


async def test_power_of_a_vm(api: Client) -> None:
    base = "/nodes/pve1/qemu/100/status"

    async def state() -> tuple[str, str, str]:
        row = await api.get(f"{base}/current")
        return row["status"], row["qmpstatus"], row.get("lock", "")

    assert await api.task("POST", f"{base}/suspend") == "OK"
    assert await state() == ("running", "paused", "")
    assert (await api("POST", f"{base}/shutdown")).reason == "VM is paused - cannot shutdown"
    assert await api.task("POST", f"{base}/resume") == "OK"
    assert await api.task("POST", f"{base}/suspend", todisk=1) == "OK"
    assert await state() == ("stopped", "stopped", "suspended")
    assert await api.task("POST", f"{base}/start") == "OK"
    assert await state() == ("running", "running", "")
    before = api.lab.guest(100).pid
    assert await api.task("POST", f"{base}/reset") == "OK"
    assert api.lab.guest(100).pid == before
    assert await api.task("POST", f"{base}/reboot") == "OK"
    assert api.lab.guest(100).pid != before
    assert await api.task("POST", f"{base}/shutdown") == "OK"
    assert await state() == ("stopped", "stopped", "")
    assert await api.task("POST", f"{base}/stop") == "OK"
    assert (await api("POST", f"{base}/reset")).reason == "VM 100 not running"


async def test_containers_refuse_at_once(api: Client) -> None:
    guest = next(one for one in api.lab.world.sorted_guests() if one.kind == "lxc" and one.running)
    base = f"/nodes/{guest.node}/lxc/{guest.vmid}/status"
    running = await api("POST", f"{base}/start")
    assert (running.status, running.reason) == (500, f"CT {guest.vmid} already running")
    assert await api.task("POST", f"{base}/shutdown") == "OK"
    stopped = await api("POST", f"{base}/stop")
    assert (stopped.status, stopped.reason) == (500, f"CT {guest.vmid} not running")
    assert await api.task("POST", f"{base}/start") == "OK"


async def test_ha_managed_guests_are_moved_by_the_manager(make_lab: MakeLab) -> None:
    api = await make_lab(speed=20)
    guest = api.lab.guest(int(next(iter(api.lab.world.ha)).split(":")[1]))
    upid = (await api("POST", f"/nodes/{guest.node}/{guest.key}/status/stop")).data
    assert upid.split(":")[5] == "hastop"
    await api.settle()
    assert not guest.running
    kinds = [row["type"] for row in await api.get(f"/nodes/{guest.node}/tasks", vmid=guest.vmid)]
    assert kinds[:2] == ["qmshutdown", "hastop"]


async def test_snapshots(api: Client) -> None:
    base = "/nodes/pve2/qemu/101"
    cores = (await api.get(f"{base}/config"))["cores"]
    assert await api.task("POST", f"{base}/snapshot", snapname="one", description="first") == "OK"
    assert await api.task("POST", f"{base}/snapshot", snapname="two") == "OK"
    assert await api.task("POST", f"{base}/snapshot", snapname="two") == "snapshot name 'two' already used"
    rows = await api.get(f"{base}/snapshot")
    assert [(row["name"], row.get("parent")) for row in rows] == [("one", None), ("two", "one"), ("current", "two")]
    api.lab.guest(101).config["cores"] = 16
    assert await api.task("POST", f"{base}/snapshot/one/rollback") == "OK"
    assert (await api.get(f"{base}/config"))["cores"] == cores
    assert (await api.get(f"{base}/status/current"))["status"] == "stopped"
    assert await api.task("DELETE", f"{base}/snapshot/one") == "OK"
    assert [row["name"] for row in await api.get(f"{base}/snapshot")] == ["two", "current"]


async def test_create_clone_migrate_delete(api: Client) -> None:
    vmid = int(await api.get("/cluster/nextid"))
    made = {"vmid": vmid, "name": "fresh", "memory": 1024, "scsi0": "local-lvm:8", "net0": "virtio,bridge=vmbr0"}
    assert await api.task("POST", "/nodes/pve1/qemu", **made) == "OK"
    config = await api.get(f"/nodes/pve1/qemu/{vmid}/config")
    assert config["scsi0"] == f"local-lvm:vm-{vmid}-disk-0,size=8G"
    assert config["net0"].startswith("virtio=BC:24:11:")
    assert await api.task("PUT", f"/nodes/pve1/qemu/{vmid}/resize", disk="scsi0", size="+2G") == "OK"
    assert (await api.get(f"/nodes/pve1/qemu/{vmid}/config"))["scsi0"].endswith("size=10G")
    copy = vmid + 1
    assert await api.task("POST", f"/nodes/pve1/qemu/{vmid}/clone", newid=copy, name="copy", full=1) == "OK"
    assert await api.task("POST", f"/nodes/pve1/qemu/{copy}/migrate", target="pve3") == "OK"
    assert (await api.get(f"/nodes/pve3/qemu/{copy}/status/current"))["name"] == "copy"
    volumes = await api.get("/nodes/pve3/storage/local-lvm/content", vmid=copy)
    assert [row["volid"] for row in volumes] == [f"local-lvm:vm-{copy}-disk-0"]
    assert await api.task("POST", f"/nodes/pve3/qemu/{copy}/status/start") == "OK"
    assert (await api("DELETE", f"/nodes/pve3/qemu/{copy}")).reason == f"VM {copy} is running - destroy failed"
    assert await api.task("POST", f"/nodes/pve3/qemu/{copy}/status/stop") == "OK"
    assert await api.task("DELETE", f"/nodes/pve3/qemu/{copy}", purge=1) == "OK"
    assert copy not in {row["vmid"] for row in await api.get("/cluster/resources", type="vm")}
    assert await api.get("/nodes/pve3/storage/local-lvm/content", vmid=copy) == []


async def test_new_guest_is_unknown_until_pvestatd_has_seen_it(make_lab: MakeLab) -> None:
    api = await make_lab(pvestatd_interval=10)
    await api.task("POST", "/nodes/pve1/qemu", vmid=500, name="fresh")

    async def entry() -> dict[str, object]:
        return next(row for row in await api.get("/cluster/resources", type="vm") if row["vmid"] == 500)

    assert await entry() == {"id": "qemu/500", "vmid": 500, "node": "pve1", "type": "qemu", "status": "unknown"}
    api.lab.fault("clock-forward", 10)
    assert (await entry())["status"] == "stopped"
    assert (await api.get("/nodes/pve1/qemu/500/status/current"))["status"] == "stopped"


async def test_cluster_resources_lag_behind(make_lab: MakeLab) -> None:
    api = await make_lab(pvestatd_interval=1000)
    await api.task("POST", "/nodes/pve1/qemu/100/status/stop")
    rows = {row["vmid"]: row for row in await api.get("/cluster/resources", type="vm")}
    assert rows[100]["status"] == "running"
    assert (await api.get("/nodes/pve1/qemu/100/status/current"))["status"] == "stopped"
    api.lab.guest(100).lock = "backup"
    rows = {row["vmid"]: row for row in await api.get("/cluster/resources", type="vm")}
    assert rows[100]["lock"] == "backup", "locks and tags are read from the configuration, at once"


async def test_pending_changes_and_digest(api: Client) -> None:
    base = "/nodes/pve1/qemu/100"
    digest = (await api.get(f"{base}/config"))["digest"]
    assert (await api("PUT", f"{base}/config", digest="0" * 40, cores=8)).reason.startswith("checksum mismatch")
    assert (await api("PUT", f"{base}/config", digest=digest, cores=8, tags="a;b")).status == 200
    rows = {row["key"]: row for row in await api.get(f"{base}/pending")}
    assert rows["cores"]["pending"] == 8
    assert rows["tags"]["value"] == "a;b"
    assert (await api.get(f"{base}/status/current"))["cpus"] == 2
    await api.task("POST", f"{base}/status/reboot")
    assert (await api.get(f"{base}/status/current"))["cpus"] == 8


async def test_backup_lands_on_storage_and_server(api: Client) -> None:
    before = len(await api.get("/nodes/pve1/storage/pbs1/content", content="backup", vmid=100))
    assert await api.task("POST", "/nodes/pve1/vzdump", vmid=100, storage="pbs1", mode="snapshot") == "OK"
    rows = await api.get("/nodes/pve1/storage/pbs1/content", content="backup", vmid=100)
    assert len(rows) == before + 1
    assert rows[-1]["volid"].startswith("pbs1:backup/vm/100/")
    found = await api.get("/admin/datastore/main/snapshots", host="pbs1", backup__id="100")
    assert len(found) == before + 1
    api.lab.fault("backup-fail", 100)
    assert await api.task("POST", "/nodes/pve1/vzdump", vmid=100, storage="nas") == "job errors"
    assert await api.task("POST", "/nodes/pve1/vzdump", vmid=100, storage="nas") == "OK"


async def test_backup_locks_the_guest(make_lab: MakeLab) -> None:
    api = await make_lab(speed=4)
    upid = (await api("POST", "/nodes/pve1/vzdump", vmid=100, storage="nas")).data
    await asyncio.sleep(0.1)
    assert (await api.get("/nodes/pve1/qemu/100/status/current"))["lock"] == "backup"
    stop = (await api("POST", "/nodes/pve1/qemu/100/status/stop")).data
    await api.settle()
    assert (await api.get(f"/nodes/pve1/tasks/{stop}/status"))["exitstatus"] == "VM is locked (backup)"
    lines = [row["t"] for row in await api.get(f"/nodes/pve1/tasks/{upid}/log")]
    assert lines[-3:] == [
        "INFO: Backup job finished successfully",
        "INFO: notified via target `mail-to-root`",
        "TASK OK",
    ]


async def test_stopall_and_startall(api: Client) -> None:
    mine = [
        guest for guest in api.lab.world.sorted_guests() if guest.node == "pve3" and not power_is_ha(api, guest.vmid)
    ]
    chosen = [guest.vmid for guest in mine if guest.running][:2]
    assert await api.task("POST", "/nodes/pve3/stopall", vms=",".join(map(str, chosen))) == "OK"
    assert not any(api.lab.guest(vmid).running for vmid in chosen)
    assert await api.task("POST", "/nodes/pve3/startall", vms=",".join(map(str, chosen))) == "OK"
    assert all(api.lab.guest(vmid).running for vmid in chosen)


def power_is_ha(api: Client, vmid: int) -> bool:
    return any(sid.endswith(f":{vmid}") for sid in api.lab.world.ha)


async def test_agent(api: Client) -> None:
    base = "/nodes/pve1/qemu/100/agent"
    faces = (await api.get(f"{base}/network-get-interfaces"))["result"]
    assert faces[1]["ip-addresses"][0]["ip-address"].startswith("192.0.2.")
    pid = (await api("POST", f"{base}/exec", command=["echo", "hello", "world"])).data["pid"]
    assert (await api.get(f"{base}/exec-status", pid=pid))["out-data"] == "hello world\n"
    api.lab.fault("agent-dead", 100)
    assert (await api("POST", f"{base}/ping")).reason == "QEMU guest agent is not running"


async def test_filters_of_the_task_list(api: Client) -> None:
    failed = await api.get("/nodes/pve2/tasks", errors=1)
    assert {row["status"] for row in failed} >= {"job errors", "WARNINGS: 1"}
    backups = await api.get("/nodes/pve1/tasks", typefilter="vzdump", limit=3)
    assert len(backups) == 3
    assert [row["starttime"] for row in backups] == sorted((row["starttime"] for row in backups), reverse=True)
    newest = backups[0]["starttime"]
    assert all(row["starttime"] >= newest for row in await api.get("/nodes/pve1/tasks", since=newest))


def test_escapes_of_backup_server_ids() -> None:
    assert escape("main:v-main") == "main\\x3av\\x2dmain"
    assert escape("a/b") == "a-b"
