"""Snapshots, backups, datastores, images, addresses and rights, read from a lab."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mcp import Client

from mqtt_bridge.actions import ACTIONS
from mqtt_bridge.errors import UnreachableError
from mqtt_bridge.model import utc
from proxmox_mcp.lab import Lab
from proxmox_mcp.lab.access import Acl
from proxmox_mcp.lab.pbs import stores
from proxmox_mcp.lab.pbs.state import PbsSnapshot
from proxmox_mcp.lab.state import Snapshot, Volume
from proxmox_mcp.tools import ALL, addresses, asking
from proxmox_mcp.tools.permissions import READS
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
    async with lab_client(lab, tmp_path, "audit@pve!ro") as connected:
        yield connected


@pytest.fixture
async def nobody(lab: Lab, tmp_path: Path) -> AsyncIterator[Client]:
    async with lab_client(lab, tmp_path, "none@pve!none") as connected:
        yield connected


def running(lab: Lab, kind: str) -> int:
    return next(g.vmid for g in lab.world.sorted_guests() if g.kind == kind and g.running)


# --- snapshots -------------------------------------------------------------------------------------------------------


async def test_snapshots_are_a_tree(client: Client, lab: Lab) -> None:
    guest = lab.guest(running(lab, "qemu"))
    guest.snapshots = [
        Snapshot("late", 400, parent="first"),
        Snapshot("first", 100, "the \x1b[31mfirst\nline", vmstate=True),
        Snapshot("inner", 300, parent="early"),
        Snapshot("early", 200, parent="first"),
        Snapshot("orphan", 50, parent="gone", prepared=True),
    ]
    guest.config["parent"] = "inner"
    answer = await ask(client, "list_snapshots", vmid=str(guest.vmid))
    assert [(s["name"], s["depth"]) for s in answer["snapshots"]] == [
        ("orphan", 0), ("first", 0), ("early", 1), ("inner", 2), ("late", 1),
    ]  # fmt: skip
    found = {s["name"]: s for s in answer["snapshots"]}
    assert [name for name, s in found.items() if s["current"]] == ["inner"]
    assert found["first"]["vmstate"] is True
    assert found["first"]["description"].isprintable()
    assert [name for name, s in found.items() if not s["complete"]] == ["orphan"]
    assert answer["total"] == 5


async def test_snapshots_of_a_guest_that_has_just_moved(client: Client, lab: Lab) -> None:
    vmid = running(lab, "lxc")
    await ask(client, "get_lxcs")
    here = lab.guest(vmid).node
    there = next(node for node in lab.world.nodes if node != here)
    lab.fault("guest-migrate", vmid, there)
    answer = await ask(client, "list_snapshots", vmid=vmid)
    assert answer["node"] == there
    assert answer["total"] == 2


async def test_snapshots_that_are_refused(client: Client, nobody: Client) -> None:
    assert "no guest 99999" in await refused(client, "list_snapshots", vmid=99_999)
    assert "pveum acl modify /vms" in await refused(nobody, "list_snapshots", vmid=100)


# --- backups ---------------------------------------------------------------------------------------------------------


async def test_backups_are_listed_once(client: Client, lab: Lab) -> None:
    server = next(iter(lab.world.pbs.values()))
    main = {(s.kind, int(s.ident), utc(s.time)) for s in server.datastores["main"].snapshots}
    archives = [
        v for s in lab.world.storages.values() for vs in s.volumes.values() for v in vs if v.content == "backup"
    ]
    answer = await ask(client, "list_backups", limit=1000)
    assert answer["total"] == len(archives) + 2  # those of the namespace that no storage shows
    assert main == {
        ({"qemu": "vm", "lxc": "ct"}[b["type"]], b["vmid"], b["created_at"])
        for b in answer["backups"]
        if b["storage"] == server.name
    }
    rows = answer["backups"]
    assert [b["created_at"] for b in rows] == sorted((b["created_at"] for b in rows), reverse=True)
    assert answer["complete"] is True
    assert answer["failed_verification"] == 1
    verified = [b for b in rows if b["storage"] == server.name and b["verified"] == "ok"]
    assert len(verified) == sum(s.verified == "ok" for s in server.datastores["main"].snapshots)


async def test_backups_are_filtered_and_paged(client: Client, lab: Lab) -> None:
    server = next(iter(lab.world.pbs.values()))
    vmid = int(server.datastores["main"].snapshots[0].ident)
    mine = await ask(client, "list_backups", vmid=str(vmid))
    assert mine["total"] > 0
    assert {b["vmid"] for b in mine["backups"]} == {vmid}
    offsite = await ask(client, "list_backups", datastore="arch*")
    rows = [(b["datastore"], b["namespace"], b["type"]) for b in offsite["backups"]]
    assert rows == [("archive", "offsite", "host")] * 2
    assert [b["verified"] for b in offsite["backups"]] == ["failed", "ok"]
    assert (await ask(client, "list_backups", verified="failed"))["total"] == 1
    assert {b["storage"] for b in (await ask(client, "list_backups", storage="n*"))["backups"]} <= {"nas"}
    first = await ask(client, "list_backups", limit=3)
    second = await ask(client, "list_backups", limit=3, cursor=first["next_cursor"])
    both = (await ask(client, "list_backups", limit=6))["backups"]
    assert [*first["backups"], *second["backups"]] == both
    newest = both[0]["created_at"]
    assert (await ask(client, "list_backups", since=newest))["total"] >= 1
    assert (await ask(client, "list_backups", vmid=99_999))["total"] == 0


async def test_what_is_said_of_a_backup(client: Client, lab: Lab) -> None:
    vmid, at = running(lab, "qemu"), int(lab.world.now())
    name = f"local:backup/vzdump-qemu-{vmid}-2026_01_01-00_00_00.vma.zst"
    notes = "keep \x1b[31mthis password=hunter2"
    lab.world.storages["local"].on("pve2").append(
        Volume(name, "backup", "vma.zst", 5 * 1024**3, at, vmid, notes, protected=True)
    )
    (row,) = (await ask(client, "list_backups", storage="local", node="pve2", protected=True))["backups"]
    assert (row["volume"], row["node"], row["type"], row["protected"]) == (name, "pve2", "qemu", True)
    assert (row["verified"], row["encrypted"]) == (None, None)
    assert "hunter2" not in row["notes"]
    assert row["notes"].isprintable()


async def test_backups_while_something_is_away(client: Client, lab: Lab) -> None:
    whole = await ask(client, "list_backups")
    lab.fault("node-down", "pve3")
    lab.fault("host-down", "pbs1")
    partial = await ask(client, "list_backups")
    assert partial["complete"] is False
    assert 0 < partial["total"] <= whole["total"]
    said = " ".join(partial["notes"])
    assert "pve3" in said
    assert "pbs1" in said


async def test_a_node_that_hangs_holds_nothing_up(client: Client, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "DEADLINE", 4.0)
    await ask(client, "get_vms")
    lab.fault("node-hang", "pve3")
    answer = await ask(client, "list_images")
    assert {i["node"] for i in answer["images"]} == {"pve1", "pve2", None}
    assert answer["complete"] is False
    assert "Node pve3" in answer["notes"][0]


async def test_backups_that_may_not_be_seen(auditor: Client) -> None:
    answer = await ask(auditor, "list_backups", site="lab")
    assert (answer["backups"], answer["complete"]) == ([], False)
    said = " ".join(answer["notes"])
    assert "lacks Datastore.AllocateSpace on /storage" in said
    assert "pveum acl modify /vms --users audit@pve" in said
    assert "no site 'x'" in await refused(auditor, "list_backups", site="x")


async def test_many_backups_are_a_short_text(tmp_path: Path) -> None:
    async with Lab(dataclasses.replace(QUICK, guests=120)) as lab, lab_client(lab, tmp_path) as client:
        result = await client.call_tool("list_backups", {"limit": 120})
        assert len(text(result)) < 12_000
        assert len(text(await client.call_tool("get_pools", {}))) < 3_000


# --- datastores ------------------------------------------------------------------------------------------------------


async def test_datastores(client: Client) -> None:
    answer = await ask(client, "get_datastores")
    assert {d["store"] for d in answer["datastores"]} == {"main", "archive"}
    assert all(0 < d["used_percent"] < 100 and d["estimated_full"] for d in answer["datastores"])
    assert answer["jobs"] is None
    detailed = await ask(client, "get_datastores", datastore="main", include_details=True)
    jobs = {(j["kind"], j["id"]): j for j in detailed["jobs"]}
    assert set(jobs) == {("verify", "v-main"), ("prune", "p-main"), ("gc", "main")}
    assert jobs["verify", "v-main"]["last_state"] == "WARNINGS: 1"
    assert "no site 'x'" in await refused(client, "get_datastores", site="x")


# --- images and VMIDs ------------------------------------------------------------------------------------------------


async def test_images(client: Client, lab: Lab) -> None:
    lab.world.storages["nas"].on("").append(Volume("nas:iso/Windows.iso", "iso", "iso", 10, 1))
    everything = await ask(client, "list_images")
    assert everything["total"] == 2 + len(lab.world.nodes)
    (iso,) = (await ask(client, "list_images", type="iso", name="*debian*"))["images"]
    assert (iso["volid"], iso["node"]) == ("nas:iso/debian-13.1.0-amd64-netinst.iso", None)
    (template,) = (await ask(client, "list_images", type="vztmpl", node="pve2"))["images"]
    assert (template["storage"], template["node"]) == ("local", "pve2")
    assert (await ask(client, "list_images", name="WIN*"))["bytes"] == 10
    assert "'type' of list_images is not right" in await refused(client, "list_images", type="floppy")


async def test_images_while_a_node_is_away(client: Client, lab: Lab) -> None:
    lab.fault("node-down", "pve2")
    lab.fault("storage-offline", "nas")
    answer = await ask(client, "list_images")
    assert {i["node"] for i in answer["images"]} == {"pve1", "pve3"}
    said = " ".join(answer["notes"])
    assert "pve2" in said
    assert "'nas' is not online" in said


async def test_images_that_may_not_be_seen(auditor: Client) -> None:
    answer = await ask(auditor, "list_images")
    assert (answer["images"], answer["complete"]) == ([], False)
    assert "pveum acl modify /storage" in answer["notes"][0]


async def test_the_next_vmid(client: Client, lab: Lab) -> None:
    answer = await ask(client, "get_next_vmid")
    assert answer["vmid"] == lab.world.next_vmid()
    assert answer["free"] is True
    taken = await ask(client, "get_next_vmid", vmid=str(running(lab, "qemu")))
    assert taken["free"] is False
    assert (await ask(client, "get_next_vmid", vmid=4321))["free"] is True
    assert "Backup Server" in await refused(client, "get_next_vmid", site="pbs1")


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["qemu", "lxc"])
async def test_addresses_of_a_guest(client: Client, lab: Lab, kind: str) -> None:
    vmid = running(lab, kind)
    answer = await ask(client, "get_guest_ips", vmid=str(vmid))
    assert answer["ips"] == [f"192.0.2.{vmid % 250 + 2}"]
    assert {i["name"] for i in answer["interfaces"]} == {"lo", "eth0"}
    assert (answer["type"], answer["node"]) == (kind, lab.guest(vmid).node)


async def test_a_guest_that_cannot_tell_its_addresses(client: Client, lab: Lab) -> None:
    vmid = running(lab, "qemu")
    lab.fault("agent-dead", vmid)
    said = await refused(client, "get_guest_ips", vmid=vmid)
    assert "guest agent of VM" in said
    assert "did not answer" in said
    lab.guest(vmid).config.pop("agent")
    assert "has no guest agent configured" in await refused(client, "get_guest_ips", vmid=vmid)
    for kind in ("qemu", "lxc"):
        lab.fault("guest-crash", vmid := running(lab, kind))
        assert "is not running" in await refused(client, "get_guest_ips", vmid=vmid)
    assert "no guest 99999" in await refused(client, "get_guest_ips", vmid=99_999)


@pytest.mark.parametrize("kind", ["qemu", "lxc"])
async def test_a_guest_that_never_answers(client: Client, lab: Lab, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = next(g for g in lab.world.sorted_guests() if g.kind == kind and g.running and g.node != "pve1")
    await ask(client, "get_vms")
    monkeypatch.setattr(addresses, "PATIENCE", 2.0)
    lab.fault("node-hang", guest.node)
    assert "did not answer" in await refused(client, "get_guest_ips", vmid=guest.vmid)


async def test_addresses_without_rights(nobody: Client) -> None:
    assert "pveum acl modify /vms" in await refused(nobody, "get_guest_ips", vmid=100)


# --- rights ----------------------------------------------------------------------------------------------------------


async def test_a_token_that_may_do_everything(client: Client) -> None:
    answer = await ask(client, "get_permissions")
    sites = {s["site"]: s for s in answer["sites"]}
    assert set(sites) == {"lab", "pbs1"}
    assert all(s["lacks"] == s["blocked"] == s["partly"] == [] for s in answer["sites"])
    for site, kind in (("lab", "pve"), ("pbs1", "pbs")):
        assert {name for name, row in ACTIONS.items() if row.kind == kind} <= set(sites[site]["works"])
    assert "get_datastores" in sites["pbs1"]["works"]
    assert set(answer["above_level"]) == set(ACTIONS)
    assert answer["level"] == "read"
    assert "VM.PowerMgmt" in (await ask(client, "get_permissions", include_details=True))["sites"][0]["privileges"]["/"]


async def test_what_an_auditor_lacks(auditor: Client) -> None:
    (site,) = (await ask(auditor, "get_permissions", site="lab"))["sites"]
    assert {"get_vms", "get_storage", "get_guest_ips"} <= set(site["works"])
    assert {"get_logs", "list_backups", "list_images", "guest.start", "node.reboot"} <= set(site["blocked"])
    lacks = {(row["path"], row["privilege"]): row for row in site["lacks"]}
    assert lacks["/nodes", "Sys.Syslog"]["commands"] == (
        "pveum acl modify /nodes --users audit@pve --tokens 'audit@pve!ro' --roles PVEAuditor,PVESysAdmin"
    )
    assert "guest.start" in lacks["/vms", "VM.PowerMgmt"]["needed_by"]
    assert lacks["/nodes", "Sys.PowerMgmt"]["commands"].startswith("pveum role add ")
    assert [row["role"] for row in site["lacks"]][-1] is None
    assert site["lacks"][0]["role"] == "PVETemplateUser"  # the smallest of all: to clone


async def test_rights_on_some_guests_only(lab: Lab, tmp_path: Path) -> None:
    lab.world.access.acls += [
        Acl("/vms/100", kind, who, "PVEVMUser") for kind, who in (("user", "none@pve"), ("token", "none@pve!none"))
    ]
    lab.world.access.forget()
    async with lab_client(lab, tmp_path, "none@pve!none") as client:
        (site,) = (await ask(client, "get_permissions", site="lab"))["sites"]
    assert {"get_vms", "guest.start"} <= set(site["partly"])
    assert "get_vms" not in site["works"]
    assert next(row for row in site["lacks"] if row["privilege"] == "VM.Audit")["extent"] == "some"


async def test_rights_while_a_site_is_away(client: Client, lab: Lab) -> None:
    lab.fault("host-down", "pbs1")
    answer = await ask(client, "get_permissions")
    assert [s["site"] for s in answer["sites"]] == ["lab"]
    assert (answer["complete"], "pbs1" in answer["notes"][0]) == (False, True)
    assert await refused(client, "get_permissions", site="pbs1")
    assert "no site 'x'" in await refused(client, "get_permissions", site="x")


def test_needs_are_those_of_tools_that_exist() -> None:
    names = {tool.name for tool in ALL if tool.read_only}
    assert {tool for row in READS for tool in row.tools} <= names


async def test_encrypted_snapshots(client: Client, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_files", lambda _one: [{"filename": "x.fidx", "size": 1, "crypt-mode": "encrypt"}])
    server = next(iter(lab.world.pbs.values()))
    server.datastores["archive"].snapshots = [PbsSnapshot("vm", "4321", 1_790_000_000, 5, protected=True)]
    (row,) = (await ask(client, "list_backups", vmid=4321))["backups"]
    assert (row["encrypted"], row["protected"], row["verified"]) == (True, True, "none")
    assert row["volume"] == "vm/4321/2026-09-21T14:13:20Z"


async def test_many_errors_are_a_few_notes() -> None:
    async def fails(number: int) -> None:
        raise UnreachableError(f"Node {number} is away.")

    async def works() -> int:
        return 1

    heard = await asking.together({n: fails(n) if n else works() for n in range(20)})
    assert heard.answers == {0: 1}
    assert len(heard.notes) == asking.NOTES + 1
    assert heard.notes[-1].endswith("14 more.")
    with pytest.raises(UnreachableError, match="Node 1 is away"):
        (await asking.together({1: fails(1)})).require()
