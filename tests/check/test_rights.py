import pytest

from proxmox_mcp.lab import Lab
from proxmox_mcp.lab.access import Acl
from tests.check.support import Check


def _as(lab: Lab, full: str) -> dict[str, str]:
    account = lab.account(full)
    return lab.env | {
        "PVE_CLUSTER_PRIMARY_USER": account.user,
        "PVE_CLUSTER_PRIMARY_TOKEN_NAME": account.name,
        "PVE_CLUSTER_PRIMARY_TOKEN_VALUE": account.value,
    }


async def test_a_token_without_rights_fails_though_nothing_refuses_it(lab: Lab, check: Check) -> None:
    found = await check(_as(lab, "none@pve!none"))
    assert len(found.failed) == 1
    (rights,) = found.all("lab", "privileges")
    for privilege in ("VM.Audit on /vms", "Sys.Audit on /nodes", "Datastore.Audit on /storage"):
        assert privilege in rights.detail
    assert "--users none@pve" in rights.cure
    assert "--tokens 'none@pve!none'" in rights.cure
    assert "PVEAuditor" in rights.cure
    assert found.all("lab", "read") == [], "empty lists are no success"


async def test_the_lines_shown_really_cure_it(lab: Lab, check: Check) -> None:
    lab.world.access.acls += [
        Acl("/", "user", "none@pve", "PVEAuditor"),
        Acl("/", "token", "none@pve!none", "PVEAuditor"),
    ]
    lab.world.access.forget()
    found = await check(_as(lab, "none@pve!none"))
    assert found.failed == []
    assert found.all("lab", "read")[0].detail.startswith("2 nodes, 6 guests")


async def test_rights_of_the_token_alone_are_not_enough(lab: Lab, check: Check) -> None:
    lab.world.access.acls += [Acl("/", "token", "none@pve!none", "PVEAuditor")]
    lab.world.access.forget()
    found = await check(_as(lab, "none@pve!none"))
    assert [line.rpartition(" ")[2] for line in found.failed] == ["privileges"]


async def test_a_token_that_lost_its_rights(lab: Lab, check: Check) -> None:
    lab.fault("token-strip")
    found = await check(lab.env)
    assert {line.rpartition(" ")[2] for line in found.failed} == {"privileges"}


async def test_a_backup_server_token_without_rights(lab: Lab, check: Check) -> None:
    server = next(iter(lab.world.pbs.values()))
    for token in server.access.tokens.values():
        token.stripped = True
    server.access.forget()
    found = await check(lab.env)
    assert found.failed == ["pbs1: pbs1 privileges"]
    rights = found.one("pbs1", "privileges")
    assert "Datastore.Audit on /datastore" in rights.detail
    assert "proxmox-backup-manager acl update" in rights.cure
    assert found.all("pbs1", "read") == []


async def test_a_reading_token_while_nothing_more_is_switched_on(lab: Lab, check: Check) -> None:
    found = await check(_as(lab, "root@pam!ro"))
    assert found.failed == []
    assert found.all("lab", "control") == []
    extras = [f.detail for f in found.all("lab", "extras")]
    for privilege in ("Sys.Syslog", "Sys.Modify", "VM.Backup", "Datastore.AllocateSpace"):
        assert any(privilege in detail for detail in extras)
    assert {f.ok for f in found.all("lab", "extras")} == {None}


@pytest.mark.parametrize(
    ("switch", "missing"),
    [
        ({"PROXMOX_ALLOW_ELEVATED": "true"}, ["VM.PowerMgmt on /vms", "Sys.PowerMgmt on /nodes"]),
        ({"MCP_ALLOW": "operate"}, ["VM.PowerMgmt on /vms"]),
        ({"MQTT_COMMANDS": "true"}, ["VM.PowerMgmt on /vms"]),
        ({"MCP_ALLOW": "operate", "DISCORD_ALLOW": "destroy"}, ["VM.PowerMgmt on /vms", "Sys.PowerMgmt on /nodes"]),
    ],
)
async def test_a_reading_token_while_control_is_switched_on(
    lab: Lab, check: Check, switch: dict[str, str], missing: list[str]
) -> None:
    found = await check(_as(lab, "root@pam!ro"), **switch)
    assert [line.rpartition(" ")[2] for line in found.failed] == ["control"]
    (control,) = found.all("lab", "control")
    assert [each for each in ("VM.PowerMgmt on /vms", "Sys.PowerMgmt on /nodes") if each in control.detail] == missing
    assert "pveum acl modify /vms --tokens 'root@pam!ro'" in control.cure
    assert found.all("lab", "read")[0].ok, "reading works all the same"


async def test_that_power_is_looked_at_alone_is_said(lab: Lab, check: Check) -> None:
    """A level has more tools than those of power: what they need is not said to be there."""
    control = (await check(lab.env, MCP_ALLOW="destroy")).all("lab", "control")[0]
    assert control.ok
    assert "all that power control at MCP_ALLOW=destroy needs; for snapshots, backups and all else:" in control.detail
    assert "setup token" in control.detail


async def test_a_token_for_a_part_says_which(lab: Lab, check: Check) -> None:
    vmid = min(lab.world.guests)
    for kind, who in (("user", "none@pve"), ("token", "none@pve!none")):
        lab.world.access.acls += [Acl(path, kind, who, "PVEAuditor") for path in (f"/vms/{vmid}", "/nodes", "/storage")]
    lab.world.access.forget()
    found = await check(_as(lab, "none@pve!none"))
    assert found.failed == []
    partial = [f for f in found.all("lab", "privileges") if f.ok is None]
    assert [f.detail for f in partial] == [f"VM.Audit only on /vms/{vmid}: nothing else of guests is seen"]


async def test_all_that_was_asked_is_in_the_schema(lab: Lab, check: Check) -> None:
    await check(_as(lab, "none@pve!none"))
    await check(lab.env, PROXMOX_ALLOW_ELEVATED="true")
    assert lab.violations == []
    assert lab.unsimulated == []
