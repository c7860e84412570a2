"""High availability: what is managed, by which rules or groups, and how its managers do."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from mqtt_bridge.errors import ProxmoxError
from proxmox_mcp.tools import asking, words
from proxmox_mcp.tools.base import Call, Page, Paged, Tool, Vmid, paged

if TYPE_CHECKING:
    from mqtt_bridge.proxmox.client import ProxmoxClient

Row = dict[str, Any]
_MIGRATED = "migrated to rules"  # what Proxmox 9 says of groups
_NO_SUCH_PATH = 501  # what Proxmox 8 says of rules


class HaFilter(Paged):
    """Which resources."""

    site: str | None = Field(default=None, description="only this site")
    node: str | None = Field(default=None, description="only those that are there")
    vmid: Vmid | None = Field(default=None, description="only this guest")
    state: str | None = Field(default=None, description="only those in this state, e.g. started, error")


class HaResource(asking.Part):
    """One guest under HA."""

    site: str
    sid: str
    vmid: int | None
    requested: str | None = Field(description="the state that is wanted")
    state: str | None = Field(description="the state that the manager sees")
    node: str | None
    group: str | None
    max_restart: int | None
    max_relocate: int | None
    comment: str


class HaPlacement(asking.Part):
    """A rule (Proxmox 9) or a group (8)."""

    site: str
    name: str
    kind: str
    resources: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    affinity: str | None = None
    strict: bool | None = None
    enabled: bool = True
    comment: str = ""


class HaManager(asking.Part):
    """How the managers of a site do."""

    site: str
    quorate: bool | None
    master: str | None
    status: tuple[str, ...] = Field(description="master, fencing and local managers, in Proxmox's words")


class HaAnswer(Page):
    """High availability."""

    managers: tuple[HaManager, ...] = ()
    resources: tuple[HaResource, ...] = ()
    rules: tuple[HaPlacement, ...] = ()

    def text(self) -> str:
        lines = [
            f"{m.site}: quorum {_yes(m.quorate)}, master {m.master or 'none'}; {'; '.join(m.status)}"
            for m in self.managers
        ]
        rows = ((r.sid, r.site, r.requested, r.state, r.node, r.group, r.comment) for r in self.resources)
        listed = words.table(("resource", "site", "wanted", "state", "node", "group", "comment"), rows)
        rules = [
            f"{r.kind} {r.name}: {' '.join((*r.resources, *r.nodes))} {r.affinity or ''}{'' if r.enabled else ' (off)'}"
            for r in self.rules
        ]
        body = "\n".join([*lines, *([listed] if self.resources else []), *rules])
        return words.answer(f"{self.total} HA resources", body, self, more=self.next_cursor)


def _yes(value: bool | None) -> str:
    return "not known" if value is None else "yes" if value else "LOST"


async def get_ha_resources(call: Call, args: HaFilter) -> HaAnswer:
    """Resources, rules or groups, and managers of each site."""
    clients = asking.hosts(call, args.site)
    heard = await asking.together({site: _site(client) for site, client in clients.items()})
    heard.require()
    found = [row for site, answer in heard.answers.items() for row in _resources(site, answer) if _fits(row, args)]
    shown, cursor = paged(found, lambda r: f"{r.site}/{r.sid}", args)
    notes = [*heard.notes, *(note for answer in heard.answers.values() for note in answer.notes)]
    return HaAnswer(
        **asking.now(call, *notes, complete=not notes),
        total=len(found),
        next_cursor=cursor,
        managers=tuple(_manager(site, answer.answers.get("current") or []) for site, answer in heard.answers.items()),
        resources=tuple(shown),
        rules=tuple(rule for site, answer in heard.answers.items() for rule in _placements(site, answer)),
    )


async def _site(client: "ProxmoxClient") -> asking.Heard[str, list[Row]]:
    paths = {"resources": ("resources",), "current": ("status", "current"), "rules": ("rules",), "groups": ("groups",)}
    heard = await asking.together(
        {name: client.get("cluster", "ha", *path, deadline=asking.DEADLINE) for name, path in paths.items()}
    )
    if "resources" in heard.errors:
        raise heard.errors["resources"]
    heard.errors = {name: error for name, error in heard.errors.items() if not _other_release(name, error)}
    return heard


def _other_release(name: str, error: ProxmoxError) -> bool:
    """Groups became rules with Proxmox 9: each release has one of them."""
    return (name == "groups" and _MIGRATED in error.message) or (name == "rules" and error.status == _NO_SUCH_PATH)


def _resources(site: str, heard: asking.Heard[str, list[Row]]) -> list[HaResource]:
    services = {row.get("sid"): row for row in heard.answers.get("current", ()) if row.get("type") == "service"}
    rows = sorted(heard.answers["resources"], key=lambda row: str(row["sid"]))
    return [_resource(site, row, services.get(row["sid"], {})) for row in rows]


def _resource(site: str, row: Row, service: Mapping[str, Any]) -> HaResource:
    number = str(row["sid"]).rpartition(":")[2]
    return HaResource(
        site=site,
        sid=str(row["sid"]),
        vmid=int(number) if number.isdigit() else None,
        requested=row.get("state"),
        state=service.get("crm_state") or service.get("state"),
        node=service.get("node"),
        group=row.get("group"),
        max_restart=row.get("max_restart", service.get("max_restart")),
        max_relocate=row.get("max_relocate", service.get("max_relocate")),
        comment=asking.clean(row.get("comment")),
    )


def _fits(row: HaResource, args: HaFilter) -> bool:
    return (
        args.node in {None, row.node}
        and args.vmid in {None, row.vmid}
        and args.state in {None, row.state, row.requested}
    )


def _manager(site: str, rows: list[Row]) -> HaManager:
    by_type = {str(row.get("type")): row for row in rows}
    quorum = by_type.get("quorum", {}).get("quorate")
    told = [row for row in rows if row.get("type") in {"master", "lrm", "fencing"}]
    return HaManager(
        site=site,
        quorate=None if quorum is None else bool(int(quorum)),
        master=by_type.get("master", {}).get("node"),
        status=tuple(f"{row['type']} {asking.clean(row.get('status'))}" for row in told),
    )


def _placements(site: str, heard: asking.Heard[str, list[Row]]) -> list[HaPlacement]:
    rules = [
        HaPlacement(
            site=site,
            name=str(row.get("rule")),
            kind=str(row.get("type") or "rule"),
            resources=_names(row.get("resources")),
            nodes=_names(row.get("nodes")),
            affinity=row.get("affinity"),
            strict=bool(row["strict"]) if "strict" in row else None,
            enabled=not row.get("disable"),
            comment=asking.clean(row.get("comment")),
        )
        for row in heard.answers.get("rules", ())
    ]
    groups = [
        HaPlacement(
            site=site,
            name=str(row.get("group")),
            kind="group",
            nodes=_names(row.get("nodes")),
            strict=bool(row.get("restricted")),
            comment=asking.clean(row.get("comment")),
        )
        for row in heard.answers.get("groups", ())
    ]
    return [*rules, *groups]


def _names(value: object) -> tuple[str, ...]:
    """`a,b` or a list of them."""
    parts = value if isinstance(value, list) else str(value or "").split(",")
    return tuple(str(part).strip() for part in parts if str(part).strip())


TOOLS = (
    Tool(
        "get_ha_resources",
        "High availability",
        "HA resources with wanted and seen state, HA rules (or groups), and how the managers do.",
        "history",
        HaFilter,
        HaAnswer,
        get_ha_resources,
    ),
)
