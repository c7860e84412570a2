import pytest

from mqtt_bridge.proxmox.privileges import PVE_ROLES, grant_lines, smallest_role


@pytest.mark.parametrize(
    ("privilege", "role"),
    [
        ("VM.Audit", "PVEAuditor"),
        ("VM.PowerMgmt", "PVEVMUser"),
        ("VM.Snapshot.Rollback", "PVEVMAdmin"),
        ("VM.Clone", "PVETemplateUser"),
        ("Datastore.Audit|Datastore.AllocateSpace", "PVEAuditor"),
        ("Datastore.AllocateSpace", "PVEDatastoreUser"),
        ("VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted", "PVEAuditor"),
        ("Sys.Syslog", "PVESysAdmin"),
        ("Sys.Modify", None),
        ("Sys.PowerMgmt", None),
        ("", None),
    ],
)
def test_smallest_role(privilege: str, role: str | None) -> None:
    assert smallest_role("pve", privilege) == role


def test_no_privilege_is_in_two_rows() -> None:
    every = [each for _, has in PVE_ROLES for each in has]
    assert len(every) == len(set(every))


def test_user_and_token_get_it_and_keep_reading() -> None:
    assert (
        grant_lines("pve", "/vms/100", "VM.PowerMgmt", "bridge@pve", "mqtt")
        == "pveum acl modify /vms/100 --users bridge@pve --tokens 'bridge@pve!mqtt' --roles PVEAuditor,PVEVMUser"
    )


def test_root_needs_it_for_the_token_only() -> None:
    assert (
        grant_lines("pve", "/", "Sys.Audit", "root@pam", "mqtt")
        == "pveum acl modify / --tokens 'root@pam!mqtt' --roles PVEAuditor"
    )


def test_what_only_the_administrator_has_gets_a_role_of_its_own() -> None:
    make, modify = grant_lines("pve", "/nodes/pve1", "Sys.Modify", "bridge@pve", "mqtt").splitlines()
    assert make == "pveum role add ProxmoxMqtt-Sys.Modify --privs Sys.Modify"
    assert modify.endswith("--roles PVEAuditor,ProxmoxMqtt-Sys.Modify")


def test_pbs() -> None:
    lines = grant_lines("pbs", "/datastore/main", "Datastore.Prune", "bridge@pbs", "mqtt").splitlines()
    assert lines == [
        "proxmox-backup-manager acl update /datastore/main DatastoreAudit --auth-id bridge@pbs",
        "proxmox-backup-manager acl update /datastore/main DatastorePowerUser --auth-id bridge@pbs",
        "proxmox-backup-manager acl update /datastore/main DatastoreAudit --auth-id 'bridge@pbs!mqtt'",
        "proxmox-backup-manager acl update /datastore/main DatastorePowerUser --auth-id 'bridge@pbs!mqtt'",
    ]


def test_what_a_host_says_cannot_become_a_command() -> None:
    line = grant_lines("pve", "/vms/$(reboot)", "VM.Audit", "a@pve; reboot", "t")
    assert "'/vms/$(reboot)'" in line
    assert "'a@pve; reboot'" in line
