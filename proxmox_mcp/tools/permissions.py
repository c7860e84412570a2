"""What the token may do in Proxmox, which of our tools and actions work with that, and what would make the rest work.

What a reading tool needs stands in READS; what an action needs, in its own row: a new action appears here by itself.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mqtt_bridge.proxmox.permissions import Permissions, anywhere, holds
from mqtt_bridge.proxmox.privileges import PBS_ROLES, PVE_ROLES, alternatives, grant_lines, smallest_role
from mqtt_bridge.settings import Endpoint, Kind, Level, allows
from proxmox_mcp.tools import asking, words
from proxmox_mcp.tools.base import Arguments, Call, Tool
from proxmox_mcp.view import Answer

if TYPE_CHECKING:
    from mqtt_bridge.proxmox.client import ProxmoxClient

PATHS = 12  # paths whose privileges are shown
Extent = Literal["all", "some", "none"]


@dataclass(frozen=True)
class Need:
    """What something of ours needs: one of the alternatives of `privilege` (`A|B`) on `path`."""

    user: str
    kind: Kind
    path: str
    privilege: str


@dataclass(frozen=True)
class _Reads:
    """One row: these tools need this. Several rows for a tool: all of them."""

    kind: Kind
    path: str
    privilege: str
    tools: tuple[str, ...]


READS = (
    _Reads(
        "pve", "/vms", "VM.Audit",
        ("get_vms", "get_lxcs", "get_guest", "get_network_info", "get_backup_info", "get_metrics_history",
         "list_snapshots", "get_replication"),
    ),
    _Reads("pve", "/nodes", "Sys.Audit",
           ("get_nodes", "get_node_status", "get_recent_tasks", "get_task", "get_metrics_history")),
    _Reads("pve", "/", "Sys.Audit", ("get_cluster_status", "get_ha_resources", "get_firewall_rules")),
    _Reads("pve", "/storage", "Datastore.Audit|Datastore.AllocateSpace", ("get_storage",)),
    _Reads("pve", "/storage", "Datastore.AllocateSpace", ("list_backups", "list_images")),
    _Reads("pve", "/vms", "VM.Backup", ("list_backups",)),
    _Reads("pve", "/nodes", "Sys.Syslog", ("get_logs",)),
    _Reads("pve", "/pool", "Pool.Audit", ("get_pools",)),
    _Reads("pve", "/vms", "VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted|VM.Monitor", ("get_guest_ips",)),
    _Reads("pbs", "/datastore", "Datastore.Audit", ("get_datastores", "get_storage", "list_backups")),
    _Reads("pbs", "/system", "Sys.Audit",
           ("get_nodes", "get_node_status", "get_recent_tasks", "get_task", "get_metrics_history", "get_logs")),
)  # fmt: skip


def needs() -> Iterator[Need]:
    """Of all reading tools, then of all actions."""
    for row in READS:
        yield from (Need(tool, row.kind, row.path, row.privilege) for tool in row.tools)
    yield from action_needs()


def action_needs() -> Iterator[Need]:
    """From the actions' own rows; `/vms/{vmid}` counts as /vms."""
    from mqtt_bridge.actions import ACTIONS  # noqa: PLC0415 - not needed to list tools

    for row in ACTIONS.values():
        for privilege in row.privileges:
            yield Need(row.name, row.kind, privilege.path.partition("/{")[0] or "/", privilege.name)


def above(level: Level) -> Iterator[str]:
    """The actions whose risk is above a level."""
    from mqtt_bridge.actions import ACTIONS  # noqa: PLC0415 - not needed to list tools

    return (name for name, row in ACTIONS.items() if not allows(level, row.risk))


class PermissionRequest(Arguments):
    """Of which site."""

    site: str | None = Field(default=None, description="only this site")
    include_details: bool = Field(default=False, description="also the privileges by path")


class Lack(asking.Part):
    """A privilege that is missing, and what it would make work."""

    privilege: str
    path: str
    extent: Extent = Field(description="some: the token has it on parts of what is below the path")
    role: str | None = Field(description="smallest built-in role that has it")
    needed_by: tuple[str, ...]
    commands: str = Field(description="to be run as root on the Proxmox host")


class SiteRights(asking.Part):
    """What the token of a site may do. Actions have a dot in their names: guest.start."""

    site: str
    kind: Kind
    token: str
    works: tuple[str, ...] = Field(description="what is named nowhere needs no privilege")
    partly: tuple[str, ...] = Field(description="work for some guests, nodes or storages only")
    blocked: tuple[str, ...]
    lacks: tuple[Lack, ...] = Field(description="the smallest role first")
    privileges: dict[str, tuple[str, ...]] | None = Field(
        default=None, description="by path, where they differ from those of the path above; null: not asked for"
    )


class PermissionsAnswer(Answer):
    """Rights in Proxmox. What MCP_ALLOW and MCP_TOOLSETS leave out of this server comes on top."""

    level: Level = Field(description="what this caller may do here at most")
    above_level: tuple[str, ...] = Field(default=(), description="actions that the level forbids")
    sites: tuple[SiteRights, ...] = ()

    def text(self) -> str:
        lines = []
        for s in self.sites:
            lines.append(f"{s.site} ({s.kind}), token {s.token}: {len(s.works)} work, {len(s.blocked)} do not")
            lines.append(f"  works: {' '.join(s.works) or 'nothing'}")
            lines += [f"  only for some: {' '.join(s.partly)}"] if s.partly else []
            for lack in s.lacks:
                lines.append(f"  lacks {lack.privilege} on {lack.path}, for {' '.join(lack.needed_by)}:")
                lines += [f"    {line}" for line in lack.commands.splitlines()]
            lines += [f"  {path}: {' '.join(held)}" for path, held in (s.privileges or {}).items()]
        if self.above_level:
            lines.append(f"The level here is {self.level!r}, which forbids: {' '.join(self.above_level)}")
        return words.answer("Rights of the tokens in Proxmox", "\n".join(lines), self)


async def get_permissions(call: Call, args: PermissionRequest) -> PermissionsAnswer:
    """One call per site."""
    clients = {**asking.sites(call, "pve", args.site), **asking.sites(call, "pbs", args.site)}
    heard = await asking.together({site: asking.granted(client) for site, client in clients.items()})
    heard.require()
    rights = [_rights(clients[site], held, details=args.include_details) for site, held in heard.answers.items()]
    level = call.principal.level
    return PermissionsAnswer(
        **asking.now(call, *heard.notes, complete=not heard.errors),
        level=level,
        above_level=tuple(above(level)),
        sites=tuple(rights),
    )


def _rights(client: "ProxmoxClient", held: Permissions, *, details: bool) -> SiteRights:
    at = client.site.endpoints[0]
    mine = [need for need in needs() if need.kind == at.kind]
    extents: dict[str, list[Extent]] = {}
    lacking: dict[tuple[str, str], list[str]] = {}
    for need in mine:
        extent = _extent(held, need)
        extents.setdefault(need.user, []).append(extent)
        if extent != "all":
            lacking.setdefault((need.path, need.privilege), []).append(need.user)
    return SiteRights(
        site=client.site.slug,
        kind=at.kind,
        token=f"{at.user}!{at.token_name}",
        works=tuple(user for user, each in extents.items() if set(each) == {"all"}),
        partly=tuple(user for user, each in extents.items() if "none" not in each and "some" in each),
        blocked=tuple(user for user, each in extents.items() if "none" in each),
        lacks=tuple(sorted((_lack(at, held, *key, users) for key, users in lacking.items()), key=_rank(at.kind))),
        privileges=_differences(held) if details else None,
    )


def _extent(held: Permissions, need: Need) -> Extent:
    names = alternatives(need.privilege)
    if any(holds(held, need.path, name) for name in names):
        return "all"
    below = (need.path, "/pool") if need.path in {"/vms", "/storage"} else (need.path,)
    return "some" if any(anywhere(held, path, name) for path in below for name in names) else "none"


def _lack(at: Endpoint, held: Permissions, path: str, privilege: str, users: Iterable[str]) -> Lack:
    return Lack(
        privilege=privilege,
        path=path,
        extent=_extent(held, Need("", at.kind, path, privilege)),
        role=smallest_role(at.kind, privilege),
        needed_by=tuple(dict.fromkeys(users)),
        commands=grant_lines(at.kind, path, privilege, at.user, at.token_name),
    )


def _rank(kind: Kind) -> Callable[[Lack], tuple[int, str, str]]:
    """Sorts by how much a role gives: the tables list the small ones first; no built-in role comes last."""
    roles = [role for role, _ in (PVE_ROLES if kind == "pve" else PBS_ROLES)]
    return lambda lack: (roles.index(lack.role) if lack.role in roles else len(roles), lack.path, lack.privilege)


def _differences(held: Permissions) -> dict[str, tuple[str, ...]]:
    """A path that says what the one above says adds nothing."""
    shown = {
        path: tuple(sorted(listed))
        for path, listed in sorted(held.items())
        if path == "/" or set(listed) != set(_above(held, path))
    }
    return dict(list(shown.items())[:PATHS])


def _above(held: Permissions, path: str) -> Mapping[str, object]:
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        if path in held:
            return held[path]
    return {}


TOOLS = (
    Tool(
        "get_permissions",
        "Rights in Proxmox",
        "Which tools and actions work with the token's privileges, and the exact commands that would grant the rest.",
        "core",
        PermissionRequest,
        PermissionsAnswer,
        get_permissions,
    ),
)
