"""From needs to grants: which privileges on which path, and the roles that give them.

Proxmox VE has roles of one's own, so each path gets one with exactly what is needed there, and `/` does not hand its
own down: `Sys.Modify` on `/`, say, would reach `/access`, where it edits roles. A role on a deeper path replaces what
is inherited anyway. Backup Server has fixed roles: those are taken that together give the least besides.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mqtt_bridge.proxmox.privileges import alternatives
from mqtt_bridge.settings import Kind
from proxmox_mcp.tools.permissions import Need

ROLE = "ProxmoxMcp"
MOST_ROLES = 3  # on one path; no need has taken more than two
_STORE = frozenset({"Audit", "Modify", "Read", "Verify", "Backup", "Prune"})

# `acl.rs` of proxmox-backup; Admin is left out on purpose.
PBS_ROLES: Mapping[str, frozenset[str]] = {
    "DatastoreAudit": frozenset({"Datastore.Audit"}),
    "DatastoreBackup": frozenset({"Datastore.Backup"}),
    "DatastoreReader": frozenset({"Datastore.Audit", "Datastore.Read", "Datastore.Verify"}),
    "DatastorePowerUser": frozenset({"Datastore.Backup", "Datastore.Prune"}),
    "DatastoreAdmin": frozenset(f"Datastore.{name}" for name in _STORE),
    "Audit": frozenset({"Sys.Audit", "Datastore.Audit"}),
    "RemoteAudit": frozenset({"Remote.Audit"}),
    "RemoteSyncOperator": frozenset({"Remote.Audit", "Remote.Read"}),
}


@dataclass(frozen=True)
class Grant:
    """One path. `roles` exist already on a Backup Server; on Proxmox VE its one role is made first."""

    path: str
    privileges: tuple[str, ...]
    roles: tuple[str, ...]
    propagate: bool
    users: tuple[str, ...] = field(default=())  # what needs it: features, tools, actions

    @property
    def extra(self) -> tuple[str, ...]:
        """What comes along with roles that cannot be made to measure."""
        given = frozenset[str]().union(*(PBS_ROLES.get(role, frozenset()) for role in self.roles))
        return tuple(sorted(given - set(self.privileges)))


def grants(kind: Kind, needs: Iterable[Need], token_name: str) -> tuple[Grant, ...]:
    """The least that satisfies all needs, a grant for each path."""
    wanted = tuple(needs)
    paths = dict.fromkeys(_path(need.path) for need in wanted)
    return tuple(_grant(kind, path, [n for n in wanted if _path(n.path) == path], token_name) for path in sorted(paths))


def _path(path: str) -> str:
    """Where it is granted: `/sdn/zones/{zone}` is for every zone."""
    return path.partition("/{")[0] or "/"


def _grant(kind: Kind, path: str, needs: list[Need], token_name: str) -> Grant:
    privileges = chosen(need.privilege for need in needs)
    users = tuple(dict.fromkeys(need.user for need in needs))
    if kind == "pbs":
        return Grant(path, privileges, fewest(privileges), propagate=True, users=users)
    name = "-".join((ROLE, token_name, *path.strip("/").split("/"))).rstrip("-")
    return Grant(path, privileges, (name,), propagate=path != "/", users=users)


def chosen(needed: Iterable[str]) -> tuple[str, ...]:
    """One of each need's alternatives (`A|B`): one that is needed anyway, else the first, which gives the least."""
    each = [alternatives(text) for text in needed]
    found = {options[0] for options in each if len(options) == 1}
    for options in each:
        if found.isdisjoint(options):
            found.add(options[0])
    return tuple(sorted(found))


def fewest(privileges: Iterable[str]) -> tuple[str, ...]:
    """The roles of Backup Server that give these and the least besides; then the fewest roles."""
    wanted = frozenset(privileges)
    sets = (
        (roles, frozenset[str]().union(*(PBS_ROLES[role] for role in roles)))
        for count in range(1, MOST_ROLES + 1)
        for roles in itertools.combinations(PBS_ROLES, count)
    )
    fitting = [(len(given - wanted), len(roles), roles) for roles, given in sets if given >= wanted]
    return min(fitting)[2] if fitting else ("Admin",)
