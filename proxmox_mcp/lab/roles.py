"""Built-in roles and their privileges: as Proxmox VE 9.2 lists them, and those of Backup Server."""

from __future__ import annotations

_VM_CONFIG = ("CDROM", "CPU", "Cloudinit", "Disk", "HWType", "Memory", "Network", "Options")
_AUDIT = frozenset(
    ["Datastore.Audit", "Mapping.Audit", "Pool.Audit", "SDN.Audit", "Sys.Audit", "VM.Audit", "VM.GuestAgent.Audit"],
)
_VM_USER = frozenset(
    [
        "VM.Audit",
        "VM.Backup",
        "VM.Config.CDROM",
        "VM.Config.Cloudinit",
        "VM.Console",
        "VM.GuestAgent.Audit",
        "VM.GuestAgent.FileRead",
        "VM.GuestAgent.FileSystemMgmt",
        "VM.GuestAgent.FileWrite",
        "VM.PowerMgmt",
    ],
)
_VM_ADMIN = (
    _VM_USER
    | frozenset(f"VM.Config.{name}" for name in _VM_CONFIG)
    | frozenset(
        [
            "VM.Allocate",
            "VM.Clone",
            "VM.GuestAgent.Unrestricted",
            "VM.Migrate",
            "VM.Replicate",
            "VM.Snapshot",
            "VM.Snapshot.Rollback",
        ]
    )
)
_DATASTORE = frozenset(
    ["Datastore.Allocate", "Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit"]
)
_ADMIN = (
    _VM_ADMIN
    | _DATASTORE
    | frozenset(
        [
            "Group.Allocate",
            "Mapping.Audit",
            "Mapping.Use",
            "Pool.Allocate",
            "Pool.Audit",
            "Realm.AllocateUser",
            "SDN.Allocate",
            "SDN.Audit",
            "SDN.Use",
            "Sys.Audit",
            "Sys.Console",
            "Sys.Syslog",
            "User.Modify",
        ]
    )
)
ALL = _ADMIN | frozenset(
    [
        "Mapping.Modify",
        "Permissions.Modify",
        "Realm.Allocate",
        "Sys.AccessNetwork",
        "Sys.Incoming",
        "Sys.Modify",
        "Sys.PowerMgmt",
    ],
)

PVE_ROLES: dict[str, frozenset[str]] = {
    "Administrator": ALL,
    "NoAccess": frozenset(),
    "PVEAdmin": _ADMIN,
    "PVEAuditor": _AUDIT,
    "PVEDatastoreAdmin": _DATASTORE,
    "PVEDatastoreUser": frozenset({"Datastore.AllocateSpace", "Datastore.Audit"}),
    "PVEMappingAdmin": frozenset({"Mapping.Audit", "Mapping.Modify", "Mapping.Use"}),
    "PVEMappingUser": frozenset({"Mapping.Audit", "Mapping.Use"}),
    "PVEPoolAdmin": frozenset({"Pool.Allocate", "Pool.Audit"}),
    "PVEPoolUser": frozenset({"Pool.Audit"}),
    "PVESDNAdmin": frozenset({"SDN.Allocate", "SDN.Audit", "SDN.Use"}),
    "PVESDNUser": frozenset({"SDN.Audit", "SDN.Use"}),
    "PVESysAdmin": frozenset({"Sys.Audit", "Sys.Console", "Sys.Syslog"}),
    "PVETemplateUser": frozenset({"VM.Audit", "VM.Clone"}),
    "PVEUserAdmin": frozenset({"Group.Allocate", "Realm.AllocateUser", "User.Modify"}),
    "PVEVMAdmin": _VM_ADMIN,
    "PVEVMUser": _VM_USER,
}
CUSTOM_ROLES: dict[str, frozenset[str]] = {"VMOper": frozenset({"VM.Audit", "VM.PowerMgmt"})}

_PBS_AUDIT = frozenset(["Sys.Audit", "Datastore.Audit"])
_PBS_ALL = _PBS_AUDIT | frozenset(
    [
        "Remote.Audit",
        "Tape.Audit",
        "Sys.Modify",
        "Sys.PowerManagement",
        "Sys.Console",
        "Datastore.Allocate",
        "Datastore.Modify",
        "Datastore.Read",
        "Datastore.Verify",
        "Datastore.Backup",
        "Datastore.Prune",
        "Permissions.Modify",
        "Realm.Allocate",
        "Remote.Modify",
        "Remote.Read",
        "Remote.Prune",
        "RemoteDatastore.Audit",
        "Tape.Modify",
        "Tape.Read",
        "Tape.Write",
    ]
)
PBS_ROLES: dict[str, frozenset[str]] = {
    "Admin": _PBS_ALL,
    "Audit": _PBS_AUDIT,
    "NoAccess": frozenset(),
    "DatastoreAudit": frozenset({"Datastore.Audit"}),
    "DatastoreReader": frozenset({"Datastore.Audit", "Datastore.Read", "Datastore.Verify"}),
    "DatastoreBackup": frozenset({"Datastore.Backup"}),
    "DatastorePowerUser": frozenset({"Datastore.Backup", "Datastore.Prune"}),
    "DatastoreAdmin": frozenset(
        f"Datastore.{name}" for name in ("Audit", "Modify", "Read", "Verify", "Backup", "Prune")
    ),
    "RemoteAudit": frozenset({"Remote.Audit"}),
    "RemoteSyncOperator": frozenset({"Remote.Audit", "Remote.Read"}),
}
