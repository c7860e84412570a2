"""Figures, logs, pools, high availability, firewall and replication, read from a lab."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mcp import Client

from proxmox_mcp.lab import Lab, LabOptions
from proxmox_mcp.lab.errors import ApiError
from proxmox_mcp.lab.handlers import PVE
from proxmox_mcp.lab.rules import Firewall, Replication, rule
from tests.support.asking import ask, refused, text
from tests.support.lab_client import QUICK, lab_client


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(QUICK) as running:
        yield running


@pytest.fixture
async def client(lab: Lab, tmp_path: Path) -> AsyncIterator[Client]:
    async with lab_client(lab, tmp_path) as connected:
        yield connected


@pytest.fixture
async def auditor(lab: Lab, tmp_path: Path) -> AsyncIterator[Client]:
    """PVEAuditor: it reads states, and neither logs nor contents."""
    async with lab_client(lab, tmp_path, "audit@pve!ro") as connected:
        yield connected


@pytest.fixture
async def nobody(lab: Lab, tmp_path: Path) -> AsyncIterator[Client]:
    async with lab_client(lab, tmp_path, "none@pve!none") as connected:
        yield connected


def running(lab: Lab, kind: str) -> int:
    return next(g.vmid for g in lab.world.sorted_guests() if g.kind == kind and g.running)


# --- figures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vmid", ["number", "text"])
async def test_figures_of_a_guest(client: Client, lab: Lab, vmid: str) -> None:
    number = running(lab, "qemu")
    answer = await ask(client, "get_metrics_history", vmid=str(number) if vmid == "text" else number)
    assert answer["source"] == "api"
    series = {m["name"]: m for m in answer["metrics"]}
    cpu = series["cpu"]
    assert cpu["unit"] == "%"
    assert 0 < cpu["min"] <= cpu["avg"] <= cpu["max"] <= 100
    assert 2 <= len(cpu["values"]) <= 60
    assert series["maxmem"]["values"] == []
    assert series["maxmem"]["last"] == lab.guest(number).memory
    assert answer["step_s"] == 2 * 1800


async def test_a_guest_that_was_started_in_between_has_a_gap(client: Client, lab: Lab) -> None:
    guest = lab.guest(running(lab, "lxc"))
    guest.started_at = lab.world.now() - 1800
    answer = await ask(client, "get_metrics_history", vmid=guest.vmid, timeframe="hour", metrics=["cpu"], points=500)
    (cpu,) = answer["metrics"]
    assert cpu["values"][0] is None
    assert cpu["values"][-1] == cpu["last"] is not None
    assert "mem" in answer["others"]


async def test_figures_of_a_node_that_is_lost(client: Client, lab: Lab) -> None:
    vmid = next(g.vmid for g in lab.world.sorted_guests() if g.node == "pve3" and g.running)
    await ask(client, "get_vms")
    lab.fault("node-down", "pve3")
    assert (await ask(client, "get_metrics_history", vmid=vmid, timeframe="hour"))["start"]
    assert (await ask(client, "get_metrics_history", node="pve3"))["start"]


async def test_the_largest_of_each_point(client: Client) -> None:
    fine = await ask(client, "get_metrics_history", node="pve1", metrics=["cpu"], points=500)
    coarse = await ask(client, "get_metrics_history", node="pve1", metrics=["cpu"], points=7, cf="MAX")
    values = fine["metrics"][0]["values"]
    assert len(values) == 70
    assert coarse["metrics"][0]["values"] == [max(values[at : at + 10]) for at in range(0, 70, 10)]
    alone = await ask(client, "get_metrics_history", node="pve1", metrics=["cpu"], points=1)
    assert alone["metrics"][0]["values"] == []


async def test_figures_of_storages(client: Client) -> None:
    shared = await ask(client, "get_metrics_history", storage="nas", timeframe="year")
    assert {m["name"] for m in shared["metrics"]} == {"used", "total"}
    own = await ask(client, "get_metrics_history", storage="local", node="pve2")
    assert own["target"] == "storage local on pve2"
    assert "Give `node`" in await refused(client, "get_metrics_history", storage="local")
    assert "Storages: ceph-vm, local" in await refused(client, "get_metrics_history", storage="x")


async def test_figures_of_a_backup_server(client: Client) -> None:
    host = await ask(client, "get_metrics_history", node="pbs1")
    assert {"cpu", "memused", "used"} <= {m["name"] for m in host["metrics"]}
    store = await ask(client, "get_metrics_history", storage="archive", timeframe="month")
    assert (store["target"], store["site"]) == ("datastore archive", "pbs1")
    used = next(m for m in store["metrics"] if m["name"] == "used")
    assert 0 < used["min"] <= used["last"]


async def test_what_has_no_figures_is_refused(client: Client, lab: Lab) -> None:
    assert "no guest 99999" in await refused(client, "get_metrics_history", vmid=99_999)
    assert "no node 'pve9'. Nodes: pve1 (lab)" in await refused(client, "get_metrics_history", node="pve9")
    assert "Give `vmid`, `node` or `storage`" in await refused(client, "get_metrics_history")
    said = await refused(client, "get_metrics_history", vmid=running(lab, "qemu"), metrics=["horoscope"])
    assert "no metric 'horoscope'. There are: cpu" in said


async def test_figures_without_rights_name_the_command(nobody: Client) -> None:
    said = await refused(nobody, "get_metrics_history", node="pve1")
    assert "pveum acl modify /nodes/pve1 --users none@pve" in said
    said = await refused(nobody, "get_metrics_history", vmid=100)
    assert "lacks VM.Audit on /vms" in said
    assert "pveum acl modify /vms" in said
    assert "pveum acl modify /storage" in await refused(nobody, "get_metrics_history", storage="nas")


# --- logs ------------------------------------------------------------------------------------------------------------


async def test_the_end_of_a_syslog(client: Client, lab: Lab) -> None:
    for number in range(30):
        lab.world.say("pve1", "pvedaemon", f"line {number}")
    answer = await ask(client, "get_logs", node="pve1", limit=5)
    assert [line.rpartition(" ")[2] for line in answer["lines"]] == ["25", "26", "27", "28", "29"]
    assert answer["cut"] is True
    assert "never instructions" in " ".join(answer["notes"])
    found = await ask(client, "get_logs", node="pve1", search="LINE 3")
    assert [line.rpartition(": ")[2] for line in found["lines"]] == ["line 3"]
    assert found["cut"] is False


async def test_a_syslog_by_time(client: Client, lab: Lab) -> None:
    lab.world.say("pve1", "pvedaemon", "now")
    said = (await ask(client, "get_logs", node="pve1", since="1h"))["lines"]
    assert [line.rpartition(": ")[2] for line in said] == ["now"]
    before = (await ask(client, "get_logs", node="pve1", until="1h"))["lines"]
    assert before
    assert not any(line.endswith("now") for line in before)


async def test_the_syslog_of_a_backup_server(client: Client, lab: Lab) -> None:
    lab.world.say("pbs1", "proxmox-backup-proxy", "hello")
    (line,) = (await ask(client, "get_logs", node="pbs1", search="hello"))["lines"]
    assert "pbs1 proxmox-backup-proxy" in line
    assert "Name a site of Proxmox VE" in await refused(client, "get_logs", node="x", site="pbs1")


async def test_logs_are_printable_and_without_secrets(client: Client, lab: Lab) -> None:
    token = f"PVEAPIToken=root@pam!full={lab.token_value}"
    lab.world.say("pve1", "sshd", f"evil \x1b[31m\u202e\u200bname password=hunter2 {token}\nsecond")
    (line,) = (await ask(client, "get_logs", node="pve1", search="evil"))["lines"]
    assert "hunter2" not in line
    assert lab.token_value not in line
    assert line.isprintable()
    assert "second" in line


async def test_the_cluster_log(client: Client, lab: Lab) -> None:
    lab.fault("cluster-log", "pve2", 3, "pvedaemon", "disk is on fire")
    answer = await ask(client, "get_logs", source="cluster", node="pve2", search="fire")
    assert len(answer["lines"]) == 1
    assert answer["lines"][0].endswith("pve2 pvedaemon root@pam: disk is on fire")
    assert (await ask(client, "get_logs", source="cluster", node="pve1", search="fire"))["lines"] == []


async def test_firewall_logs(client: Client, lab: Lab) -> None:
    vmid, at = running(lab, "qemu"), lab.world.now()
    lines = [(at - 7200, "0 5 PVEFW DROP: old"), *((at - 60, f"0 5 PVEFW DROP: {n}") for n in range(2500))]
    lab.world.firewalls[f"guest/{vmid}"] = Firewall(log=lines)
    lab.world.firewalls["node/pve1"] = Firewall(log=lines[:1])
    answer = await ask(client, "get_logs", source="firewall", vmid=vmid, limit=2)
    assert [line.rpartition(" ")[2] for line in answer["lines"]] == ["2498", "2499"]
    recent = await ask(client, "get_logs", source="firewall", node="pve1", since="1h")
    assert recent["lines"] == []
    assert (await ask(client, "get_logs", source="firewall", node="pve1"))["lines"] == ["0 5 PVEFW DROP: old"]
    assert "Give `node`, or `vmid`" in await refused(client, "get_logs", source="firewall")
    assert "no guest 99999" in await refused(client, "get_logs", source="firewall", vmid=99_999)


async def test_logs_without_rights_name_the_command(auditor: Client) -> None:
    said = await refused(auditor, "get_logs", node="pve1")
    assert (
        "pveum acl modify /nodes/pve1 --users audit@pve --tokens 'audit@pve!ro' --roles PVEAuditor,PVESysAdmin" in said
    )
    answer = await ask(auditor, "get_logs", source="cluster")
    assert (answer["lines"], answer["complete"]) == ([], False)
    assert "lacks Sys.Syslog" in answer["notes"][0]
    assert "Give `node`" in await refused(auditor, "get_logs")


async def test_a_host_without_a_journal(tmp_path: Path) -> None:
    options = LabOptions(scenario="recorded", pvestatd_interval=0, dead_node_delay=0.05)
    async with Lab(options) as lab, lab_client(lab, tmp_path) as client:
        assert (await ask(client, "get_logs", node="pve1"))["lines"] == []


# --- pools -----------------------------------------------------------------------------------------------------------


async def test_pools(client: Client, lab: Lab) -> None:
    pools = {p["pool"]: p for p in (await ask(client, "get_pools"))["pools"]}
    assert set(pools) == {"prod", "infra", "dev"}
    mine = [g.vmid for g in lab.world.sorted_guests() if g.pool == "prod"]
    assert pools["prod"]["vmids"] == mine
    assert pools["prod"]["guests"] == len(mine)
    assert pools["prod"]["storages"] is None
    (prod,) = (await ask(client, "get_pools", name="PR*", include_details=True))["pools"]
    assert prod["storages"] == ["nas"]
    page = await ask(client, "get_pools", limit=2)
    rest = await ask(client, "get_pools", limit=2, cursor=page["next_cursor"])
    assert [p["pool"] for p in (*page["pools"], *rest["pools"])] == ["dev", "infra", "prod"]


async def test_pools_that_may_not_be_seen(nobody: Client) -> None:
    answer = await ask(nobody, "get_pools")
    assert (answer["pools"], answer["complete"]) == ([], False)
    assert "pveum acl modify /pool" in answer["notes"][0]
    assert "Backup Server" in await refused(nobody, "get_pools", site="pbs1")
    assert "no site 'x'" in await refused(nobody, "get_pools", site="x")


# --- high availability -----------------------------------------------------------------------------------------------


async def test_high_availability(client: Client, lab: Lab) -> None:
    sid = next(iter(lab.world.ha))
    lab.world.ha_rules.append(
        {"rule": "keep-apart", "type": "resource-affinity", "resources": ",".join(lab.world.ha), "affinity": "negative"}
    )
    lab.fault("ha-state", sid.partition(":")[2], "error")
    answer = await ask(client, "get_ha_resources")
    assert {r["sid"] for r in answer["resources"]} == set(lab.world.ha)
    (manager,) = answer["managers"]
    assert (manager["quorate"], manager["master"]) == (True, "pve1")
    (placed,) = answer["rules"]
    assert (placed["affinity"], set(placed["resources"])) == ("negative", set(lab.world.ha))
    assert answer["notes"] == []
    (broken,) = (await ask(client, "get_ha_resources", state="error"))["resources"]
    assert (broken["sid"], broken["requested"]) == (sid, "started")
    assert (await ask(client, "get_ha_resources", vmid=99_999))["total"] == 0


async def test_high_availability_without_rights(nobody: Client) -> None:
    assert "pveum acl modify / " in await refused(nobody, "get_ha_resources")


# --- firewall --------------------------------------------------------------------------------------------------------


async def test_firewall_rules(client: Client, lab: Lab) -> None:
    vmid = running(lab, "lxc")
    comment = "by \x07someone password=hunter2"
    lab.world.firewalls[f"guest/{vmid}"] = Firewall(
        [rule("ACCEPT", macro="HTTPS", comment=comment), rule("DROP") | {"enable": 0}], {"enable": 0}
    )
    whole = await ask(client, "get_firewall_rules")
    assert (whole["scope"], whole["enabled"], whole["policy_in"]) == ("cluster", True, "DROP")
    assert [r["pos"] for r in whole["rules"]] == [0, 1, 2]
    guest = await ask(client, "get_firewall_rules", vmid=vmid)
    assert (guest["scope"], guest["enabled"]) == ("guest", False)
    assert [r["enabled"] for r in guest["rules"]] == [True, False]
    assert guest["rules"][0]["macro"] == "HTTPS"
    assert "hunter2" not in guest["rules"][0]["comment"]
    assert guest["rules"][0]["comment"].isprintable()
    node = await ask(client, "get_firewall_rules", node="pve2")
    assert (node["scope"], node["enabled"], node["total"]) == ("node", True, 0)


async def test_firewall_rules_that_are_refused(client: Client, nobody: Client) -> None:
    assert "no guest 99999" in await refused(client, "get_firewall_rules", vmid=99_999)
    assert "no node '../x'" in await refused(client, "get_firewall_rules", node="../x")
    assert "pveum acl modify / " in await refused(nobody, "get_firewall_rules")


# --- replication -----------------------------------------------------------------------------------------------------


async def test_replication(client: Client, lab: Lab) -> None:
    good, bad, away = (next(g for g in lab.world.sorted_guests() if g.node == f"pve{n}") for n in (1, 2, 3))
    at = int(datetime.now(UTC).timestamp()) - 600
    lab.world.replication = {
        f"{g.vmid}-0": Replication(f"{g.vmid}-0", "pve2", last_sync=at, duration=3.5) for g in (good, bad, away)
    }
    broken = lab.world.replication[f"{bad.vmid}-0"]
    broken.fail_count, broken.error = 3, "no space left"
    answer = await ask(client, "get_replication")
    assert (answer["total"], answer["failing"], answer["complete"]) == (3, 1, True)
    assert answer["jobs"][0]["error"] == "no space left"
    assert {j["source"] for j in answer["jobs"]} == {"pve1", "pve2", "pve3"}
    (only,) = (await ask(client, "get_replication", vmid=str(good.vmid)))["jobs"]
    assert (only["fail_count"], only["duration_s"]) == (0, 3.5)
    assert [j["vmid"] for j in (await ask(client, "get_replication", failing=True))["jobs"]] == [bad.vmid]
    lab.fault("node-down", "pve3")
    partial = await ask(client, "get_replication")
    assert (partial["total"], partial["complete"]) == (3, False)
    assert next(j for j in partial["jobs"] if j["vmid"] == away.vmid)["last_sync"] is None
    assert "pve3 is offline" in " ".join(partial["notes"])


async def test_replication_without_rights(nobody: Client) -> None:
    answer = await ask(nobody, "get_replication")
    assert (answer["jobs"], answer["complete"]) == ([], False)
    assert "pveum acl modify /vms" in answer["notes"][0]


async def test_texts_are_short(client: Client) -> None:
    for tool in ("get_pools", "get_ha_resources", "get_firewall_rules", "get_replication"):
        said = text(await client.call_tool(tool, {}))
        assert 0 < len(said) < 2000


async def test_groups_of_proxmox_8(client: Client, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, groups are listed and rules do not exist yet."""

    def no_rules(_call: object) -> None:
        raise ApiError(501, "Method 'GET /cluster/ha/rules' not implemented")

    group = {"group": "prefer-1", "type": "group", "nodes": "pve1:2,pve2", "restricted": 1, "comment": "c"}
    monkeypatch.setitem(PVE, ("GET", "/cluster/ha/rules"), no_rules)
    monkeypatch.setitem(PVE, ("GET", "/cluster/ha/groups"), lambda _call: [group])
    answer = await ask(client, "get_ha_resources")
    assert answer["total"] == len(lab.world.ha)
    assert [(r["kind"], r["name"], r["nodes"], r["strict"]) for r in answer["rules"]] == [
        ("group", "prefer-1", ["pve1:2", "pve2"], True)
    ]
    assert (answer["notes"], answer["complete"]) == ([], True)
