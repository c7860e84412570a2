"""What a token may see, from `/access/permissions`: lists that it may not see are empty, not refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mqtt_bridge.model import MissingPrivilege
from mqtt_bridge.proxmox.privileges import grant_lines
from mqtt_bridge.settings import Endpoint

Permissions = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Need:
    """One row: what a feature needs. `core` features missing make a site degraded, others are only reported."""

    feature: str
    path: str
    privilege: str
    core: bool = True
    exact: bool = False  # at `path` itself: on something below it, it is no use

    def met(self, permissions: "Permissions") -> bool:
        """Whether the token has it."""
        if self.exact:
            return holds(permissions, self.path, self.privilege)
        return anywhere(permissions, self.path, self.privilege)


PVE_NEEDS = (
    Need("guests", "/vms", "VM.Audit"),
    Need("node details, quorum, tasks of others", "/nodes", "Sys.Audit"),
    Need("storages", "/storage", "Datastore.Audit"),
    Need("last backups read from storages", "/storage", "Datastore.AllocateSpace", core=False),
    Need("last backups read from storages", "/vms", "VM.Backup", core=False),
    Need("pending updates", "/nodes", "Sys.Modify", core=False),
    Need("addresses from the guest agent", "/vms", "VM.GuestAgent.Audit", core=False),
    Need("physical disks and ZFS pools", "/", "Sys.Audit", core=False, exact=True),
)
PBS_NEEDS = (
    Need("datastores", "/datastore", "Datastore.Audit"),
    Need("host status and tasks of others", "/system", "Sys.Audit"),
)


def holds(permissions: Permissions, path: str, privilege: str) -> bool:
    """In force at `path`: listed there, or propagated (value 1) from the nearest listed path above it."""
    exact = True
    while True:
        listed = permissions.get(path)
        if listed is not None:
            return privilege in listed and (exact or bool(listed[privilege]))
        if path == "/":
            return False
        path = path.rpartition("/")[0] or "/"
        exact = False


def anywhere(permissions: Permissions, path: str, privilege: str) -> bool:
    """In force at `path` or at something below it: a token for one pool sees that pool's guests."""
    below = path.rstrip("/") + "/"
    return holds(permissions, path, privilege) or any(
        privilege in listed for where, listed in permissions.items() if where.startswith(below)
    )


def missing(permissions: Permissions, site: str, endpoint: Endpoint) -> tuple[MissingPrivilege, ...]:
    """The features that will not work with this token, each with the lines that grant it."""
    return tuple(
        MissingPrivilege(
            site=site,
            feature=need.feature,
            privilege=need.privilege,
            path=need.path,
            cure=grant_lines(endpoint.kind, need.path, need.privilege, endpoint.user, endpoint.token_name),
        )
        for need in (PVE_NEEDS if endpoint.kind == "pve" else PBS_NEEDS)
        if not need.met(permissions)
    )


def core_missing(permissions: Permissions, endpoint: Endpoint) -> tuple[Need, ...]:
    """Those of the missing that make the site's data incomplete."""
    needs = PVE_NEEDS if endpoint.kind == "pve" else PBS_NEEDS
    return tuple(n for n in needs if n.core and not n.met(permissions))
