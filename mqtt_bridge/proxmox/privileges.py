"""Which command grants a privilege: the smallest built-in role that has it.

A role on a deeper path replaces what is inherited from above, for that user or token (in both products). So the lines
also name the auditor's role, or the grant would take the right to look away. A token with privilege separation has
only what its user has too, so both get it. Roles: PVE::AccessControl, and the Backup Server's `acl.rs`.
"""

import re
from shlex import quote

from mqtt_bridge.settings import Kind

ROOT = "root@pam"  # has every privilege anyway; only its tokens need roles
_CUSTOM_ROLE = "ProxmoxMqtt"

# The smallest role first; the first one whose privileges include what is asked for is taken.
PVE_ROLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "PVEAuditor",
        (
            "VM.Audit",
            "VM.GuestAgent.Audit",
            "Sys.Audit",
            "Datastore.Audit",
            "SDN.Audit",
            "Pool.Audit",
            "Mapping.Audit",
        ),
    ),
    ("PVETemplateUser", ("VM.Clone",)),
    ("PVEVMUser", ("VM.PowerMgmt", "VM.Backup", "VM.Console", "VM.Config.CDROM", "VM.Config.Cloudinit")),
    (
        "PVEVMAdmin",
        (
            "VM.Allocate",
            "VM.Migrate",
            "VM.Monitor",
            "VM.Replicate",
            "VM.Snapshot",
            "VM.Snapshot.Rollback",
            "VM.Config.CPU",
            "VM.Config.Disk",
            "VM.Config.HWType",
            "VM.Config.Memory",
            "VM.Config.Network",
            "VM.Config.Options",
            "VM.GuestAgent.FileRead",
            "VM.GuestAgent.FileWrite",
            "VM.GuestAgent.FileSystemMgmt",
            "VM.GuestAgent.Unrestricted",
        ),
    ),
    ("PVEDatastoreUser", ("Datastore.AllocateSpace",)),
    ("PVEDatastoreAdmin", ("Datastore.Allocate", "Datastore.AllocateTemplate")),
    ("PVESysAdmin", ("Sys.Console", "Sys.Syslog")),
    ("PVESDNUser", ("SDN.Use",)),
    ("PVESDNAdmin", ("SDN.Allocate",)),
    ("PVEPoolAdmin", ("Pool.Allocate",)),
    ("PVEMappingUser", ("Mapping.Use",)),
    ("PVEMappingAdmin", ("Mapping.Modify",)),
    ("PVEUserAdmin", ("User.Modify", "Group.Allocate", "Realm.AllocateUser")),
)
PBS_ROLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("DatastoreAudit", ("Datastore.Audit",)),
    ("Audit", ("Sys.Audit",)),
    ("DatastoreReader", ("Datastore.Read", "Datastore.Verify")),
    ("DatastoreBackup", ("Datastore.Backup",)),
    ("DatastorePowerUser", ("Datastore.Prune",)),
    ("DatastoreAdmin", ("Datastore.Modify",)),
    ("RemoteAudit", ("Remote.Audit",)),
    ("RemoteSyncOperator", ("Remote.Read",)),
    ("RemoteAdmin", ("Remote.Modify",)),
    ("TapeAudit", ("Tape.Audit",)),
    ("TapeReader", ("Tape.Read",)),
    ("TapeOperator", ("Tape.Write",)),
    ("TapeAdmin", ("Tape.Modify",)),
    ("Admin", ("Sys.Modify", "Sys.PowerManagement", "Sys.Console", "Permissions.Modify", "Realm.Allocate")),
)
_PBS_WITHOUT_AUDIT = frozenset({"DatastoreBackup", "DatastorePowerUser"})


def alternatives(privilege: str) -> tuple[str, ...]:
    """`A|B` (one is enough) and `A&B` as Proxmox writes them."""
    return tuple(part.strip() for part in re.split(r"[|&,]", privilege) if part.strip())


def smallest_role(kind: Kind, privilege: str) -> str | None:
    """The built-in role to give, None where only the administrator's has it (or nobody knows the privilege)."""
    wanted = alternatives(privilege)
    roles = PVE_ROLES if kind == "pve" else PBS_ROLES
    return next((role for role, has in roles if any(each in has for each in wanted)), None)


def grant_lines(kind: Kind, path: str, privilege: str, user: str, token_name: str) -> str:
    """The command lines, to be run as root on the Proxmox host, that give `privilege` on `path` to user and token."""
    role = smallest_role(kind, privilege)
    if kind == "pbs":
        return _pbs_lines(path, role or "Admin", user, token_name)
    who = f"--tokens {quote(f'{user}!{token_name}')}"
    if user != ROOT:
        who = f"--users {quote(user)} {who}"
    if role is None:
        name = alternatives(privilege)[0] if alternatives(privilege) else privilege
        role = f"{_CUSTOM_ROLE}-{name}"
        make = f"pveum role add {quote(role)} --privs {quote(name)}\n"
    else:
        make = ""
    roles = role if role == "PVEAuditor" else f"PVEAuditor,{role}"
    return f"{make}pveum acl modify {quote(path)} {who} --roles {quote(roles)}"


def _pbs_lines(path: str, role: str, user: str, token_name: str) -> str:
    roles = ("DatastoreAudit", role) if role in _PBS_WITHOUT_AUDIT else (role,)
    owners = (f"{user}!{token_name}",) if user == ROOT else (user, f"{user}!{token_name}")
    return "\n".join(
        f"proxmox-backup-manager acl update {quote(path)} {each} --auth-id {quote(owner)}"
        for owner in owners
        for each in roles
    )
