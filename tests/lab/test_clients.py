"""Clients that other people wrote work against the lab unchanged."""

from __future__ import annotations

import asyncio
import ssl
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import urllib3
from proxmoxer import ProxmoxAPI
from proxmoxer.core import ResourceException
from proxmoxer.tools import Tasks

from proxmox_mcp.lab.upid import well_formed
from tests.lab.conftest import Client, MakeLab


def proxmox(api: Client, host: str, *, verify: bool | str = False, **more: Any) -> Any:
    lab = api.lab
    port = (lab.hosts | lab.pbs_hosts)[host].port
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return ProxmoxAPI(
        "127.0.0.1", port=port, user=lab.user, token_name=lab.token_name, token_value=lab.token_value,
        verify_ssl=verify, **more,
    )  # fmt: skip


async def test_proxmoxer_on_pve(make_lab: MakeLab, tmp_path: Path) -> None:
    api = await make_lab(speed=50)
    ca = tmp_path / "ca.pem"
    ca.write_text(api.lab.ca_pem)
    client = proxmox(api, "pve1", verify=str(ca))

    def use() -> None:
        assert client.version.get()["version"] == "9.2.11"
        assert len(client.cluster.resources.get(type="vm")) == 24
        upid = client.nodes("pve1").qemu(100).status.stop.post()
        assert Tasks.decode_upid(upid)["type"] == "qmstop"
        done = Tasks.blocking_status(client, upid, timeout=5, polling_interval=0.05)
        assert done["exitstatus"] == "OK"
        pid = client.nodes("pve2").qemu(101).agent("exec").post(command=["uname", "-a"])["pid"]
        assert client.nodes("pve2").qemu(101).agent("exec-status").get(pid=pid)["out-data"].startswith("Linux web02")
        with pytest.raises(ResourceException) as caught:
            client.nodes("pve1").qemu(999).status.current.get()
        assert caught.value.status_code == 500
        with pytest.raises(ResourceException) as caught:
            client.cluster.resources.get(type="nonsense")
        assert "enumeration" in str(caught.value.errors)

    await asyncio.to_thread(use)
    assert api.lab.violations == []
    assert api.lab.requests.count("GET", "/cluster/resources", "pve1") == 2


async def test_proxmoxer_on_pbs(make_lab: MakeLab) -> None:
    api = await make_lab(speed=50)
    client = proxmox(api, "pbs1", service="PBS")

    def use() -> str:
        assert client.version.get()["version"] == "4.2"
        usage = client.status("datastore-usage").get()
        assert {row["store"] for row in usage} == {"main", "archive"}
        return str(client.admin.datastore("main").gc.post())

    upid = await asyncio.to_thread(use)
    assert well_formed(upid, pbs=True)
    assert not well_formed(upid, pbs=False)
    await api.settle()
    status = await api.get(f"/nodes/pbs1/tasks/{upid}/status", host="pbs1")
    assert (status["exitstatus"], status["type"], status["id"]) == ("OK", "garbage_collection", "main")
    assert (await api.get("/admin/datastore/main/gc", host="pbs1"))["upid"] == upid


async def test_the_certificate_verifies_for_both_names(api: Client) -> None:
    context = ssl.create_default_context(cadata=api.lab.ca_pem)
    port = api.lab.hosts["pve1"].port

    def fetch(name: str) -> int:
        request = urllib.request.Request(
            f"https://{name}:{port}/api2/json/version",
            headers={"Authorization": api.lab.account("root@pam!full").header},
        )
        with urllib.request.urlopen(request, context=context) as answer:  # noqa: S310
            return int(answer.status)

    assert await asyncio.to_thread(fetch, "127.0.0.1") == 200
    assert await asyncio.to_thread(fetch, "localhost") == 200


async def test_pbs_jobs_and_tasks(api: Client) -> None:
    jobs = await api.get("/admin/verify", host="pbs1")
    assert jobs[0]["last-run-state"] == "WARNINGS: 1"
    sync = (await api.get("/admin/sync", host="pbs1"))[0]
    assert "timed out" in sync["last-run-state"]
    assert well_formed(sync["last-run-upid"], pbs=True)
    answer = await api("POST", "/admin/sync/s-offsite/run", host="pbs1")
    await api.settle()
    assert (await api.get("/admin/sync", host="pbs1"))[0]["last-run-upid"] == answer.data
    rows = await api.get("/nodes/pbs1/tasks", host="pbs1", limit=2)
    assert rows[0]["worker_id"] == "archive:s-offsite"
    names = await api.get("/admin/datastore/archive/namespace", host="pbs1")
    assert [row["ns"] for row in names] == ["", "offsite", "offsite/2025"]
    snapshots = await api.get("/admin/datastore/archive/snapshots", host="pbs1", ns="offsite")
    assert [row["verification"]["state"] for row in snapshots] == ["ok", "failed"]


async def test_pbs_refusals(api: Client) -> None:
    nobody = await api("GET", "/version", who=None, host="pbs1")
    assert (nobody.status, nobody.reason) == (401, "Unauthorized")
    audit = await api("POST", "/admin/datastore/main/gc", who="root@pam!ro", host="pbs1")
    assert (audit.status, audit.text) == (403, "permission check failed")
    wrong = await api("GET", "/nodes/pbs1/tasks", host="pbs1", nonsense=1)
    assert wrong.status == 400
    assert "parameter 'nonsense': schema does not allow additional properties." in wrong.text
    assert (await api("GET", "/nonsense", host="pbs1")).status == 404
