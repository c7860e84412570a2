"""Tokens, rights, and lists that turn empty instead of being refused."""

from __future__ import annotations

import pytest

from proxmox_mcp.lab.access import Acl
from tests.lab.conftest import Client, MakeLab


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "No ticket"),
        ("PVEAPIToken=root@pam!full=11111111-2222-3333-4444-555555555555", "Authentication failed!"),
        ("PVEAPIToken=root@pam!nosuch=1", "Authentication failed!"),
        ("Bearer x", "Authentication failed!"),
    ],
)
async def test_logins_that_fail(api: Client, header: str | None, reason: str) -> None:
    answer = await api("GET", "/version", who=None, login=header)
    assert (answer.status, answer.reason, answer.text) == (401, reason, "")


async def test_pbs_token_on_pve_is_no_login(api: Client) -> None:
    answer = await api("GET", "/version", login=api.lab.account("root@pam!full").pbs_header)
    assert answer.status == 401


async def test_readonly_token_of_root_has_the_auditor_s_rights(api: Client) -> None:
    seen = await api.get("/access/permissions", who="root@pam!ro")
    assert seen["/"].keys() == {
        "Datastore.Audit", "Mapping.Audit", "Pool.Audit", "SDN.Audit", "Sys.Audit", "VM.Audit", "VM.GuestAgent.Audit",
    }  # fmt: skip
    answer = await api("POST", "/nodes/pve1/qemu/100/status/stop", who="root@pam!ro")
    assert (answer.status, answer.reason) == (403, "Permission check failed (/vms/100, VM.PowerMgmt)")


async def test_lists_of_the_readonly_token(api: Client) -> None:
    everything = await api.get("/cluster/resources")
    assert await api.get("/nodes/pve1/storage/local/content")
    assert await api.get("/cluster/log")
    assert await api.get("/cluster/backup")
    assert await api.get("/nodes/pve1/disks/list")
    ro = "audit@pve!ro"
    assert len(await api.get("/cluster/resources", who=ro)) == len(everything)
    for path in ("/nodes/pve1/storage/local/content", "/cluster/log", "/cluster/backup"):
        assert await api.get(path, who=ro) == []
    # the recorded cluster had no disks, for root neither; PVE::API2::Disks hides none from who has Sys.Audit
    assert await api.get("/nodes/pve1/disks/list", who=ro)
    assert (await api("GET", "/nodes/pve1/disks/list", who="none@pve!none")).status == 403
    refused = await api("GET", "/nodes/pve1/apt/update", who=ro)
    assert (refused.status, refused.reason) == (403, "Permission check failed (/nodes/pve1, Sys.Modify)")


async def test_token_without_rights_sees_nodes_only_and_no_figures(api: Client) -> None:
    rows = await api.get("/cluster/resources", who="none@pve!none")
    assert {row["type"] for row in rows} == {"node"}
    assert not any("cpu" in row for row in rows)
    assert await api.get("/nodes/pve1/qemu", who="none@pve!none") == []
    assert await api.get("/access/permissions", who="none@pve!none") == {}


async def test_rights_on_some_guests(api: Client) -> None:
    rows = await api.get("/cluster/resources", who="op@pve!vm", type="vm")
    assert {row["vmid"] for row in rows} == {100, 101, 102, 103}
    assert (await api.task("POST", "/nodes/pve1/qemu/100/status/stop", who="op@pve!vm")) == "OK"
    stranger = next(guest for guest in api.lab.world.sorted_guests() if guest.vmid > 103)
    path = f"/nodes/{stranger.node}/{stranger.key}/status/stop"
    assert (await api("POST", path, who="op@pve!vm")).status == 403


async def test_separated_token_has_no_more_than_its_user(make_lab: MakeLab) -> None:
    api = await make_lab()
    access = api.lab.world.access
    access.acls = [rule for rule in access.acls if rule.who != "audit@pve"]
    access.forget()
    assert await api.get("/cluster/resources", who="audit@pve!ro", type="vm") == []


async def test_rights_on_a_pool_count_for_its_members(make_lab: MakeLab) -> None:
    api = await make_lab()
    access = api.lab.world.access
    access.acls += [
        Acl("/pool/prod", kind, who, "PVEVMUser") for kind, who in (("user", "none@pve"), ("token", "none@pve!none"))
    ]
    access.forget()
    rows = await api.get("/cluster/resources", who="none@pve!none", type="vm")
    assert {row["pool"] for row in rows} == {"prod"}


async def test_root_s_own_methods_are_refused_to_tokens(api: Client) -> None:
    answer = await api("PUT", "/nodes/pve1/qemu/100/config", args="-s")
    assert (answer.status, answer.reason) == (500, "only root can set 'args' config")


async def test_stripped_and_revoked(api: Client) -> None:
    api.lab.fault("token-strip")
    rows = await api.get("/cluster/resources")
    assert {row["type"] for row in rows} == {"node"}
    api.lab.fault("token-unstrip")
    assert len(await api.get("/cluster/resources", type="vm")) == 24
    api.lab.fault("token-revoke", "root@pam!full")
    assert (await api("GET", "/version")).status == 401
    assert (await api("GET", "/version", who="root@pam!ro")).status == 200
    api.lab.fault("token-restore", "root@pam!full")
    assert (await api("GET", "/version")).status == 200
