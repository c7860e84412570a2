"""Sites and nodes."""

from typing import ClassVar

from pydantic import Field

from mqtt_bridge.model import (
    ClusterState,
    DiskState,
    Model,
    NodeMetrics,
    NodeState,
    NodeStatus,
    StorageState,
    TaskInfo,
    ZfsPoolState,
)
from proxmox_mcp.tools import words
from proxmox_mcp.tools.base import Arguments, Call, Listed, Old, Page, SiteArgument, Tool, fresh, merged, paged
from proxmox_mcp.view import Answer, View

TASKS = 10  # of its own that a node shows


class OneSite(Arguments):
    """Which site."""

    old: ClassVar[Old] = {"include_details": None}
    site: str | None = Field(default=None, description="only this site")


class SiteRow(Model):
    """A site: its API and its bridge, and what it says of itself."""

    site: str
    state: str | None = Field(description="online; degraded: works, but not fully; offline: the API does not answer")
    age_s: float | None = Field(description="seconds since the last successful poll")
    reason: str | None = Field(description="why it is not online")
    endpoint: str | None = Field(description="the host that answered last")
    cluster: ClusterState | None
    missing_privileges: tuple[str, ...] = Field(description="features that do not work for lack of one, with the cure")


class ClusterStatus(Answer):
    """All sites."""

    sites: tuple[SiteRow, ...] = ()

    def text(self) -> str:
        rows = [
            (
                s.site,
                s.state,
                c and c.kind,
                c and {True: "yes", False: "NO", None: None}[c.quorate],
                c and f"{c.nodes_online}/{c.nodes_total}",
                c and c.guests_running,
                c and c.guests_total,
                c and c.version,
                s.reason,
            )
            for s in self.sites
            for c in (s.cluster,)
        ]
        head = ("site", "state", "kind", "quorum", "nodes online", "running", "guests", "version", "reason")
        return words.answer(f"{len(self.sites)} sites", words.table(head, rows), self)


async def get_cluster_status(call: Call, args: OneSite) -> ClusterStatus:
    """Each site as a whole."""
    view = await call.view()
    sites = view.sites(args.site)
    return ClusterStatus(**fresh(view, sites), sites=tuple(_site(view, site) for site in sites))


def _site(view: View, site: str) -> SiteRow:
    beat = view.store.beats.get(site)
    bridge = view.bridge(site)
    return SiteRow(
        site=site,
        state=view.site_state(site),
        age_s=view.age(site),
        reason=beat.value.reason if beat else None,
        endpoint=beat.value.endpoint if beat else None,
        cluster=view.cluster(site),
        missing_privileges=tuple(
            f"{m.feature}: {m.cure}" for m in (bridge.missing if bridge else ()) if m.site == site
        ),
    )


# --- nodes -----------------------------------------------------------------------------------------------------------


class NodeFilter(Listed):
    """Which nodes."""

    old: ClassVar[Old] = {"include_details": None}
    status: NodeStatus | None = Field(default=None, description="only nodes in this state")


class NodeRow(Model):
    """A node in a list. null: not known."""

    site: str
    node: str
    status: NodeStatus
    ip: str | None
    version: str | None
    cpus: int | None
    cpu_percent: float | None
    mem: int | None
    maxmem: int | None
    mem_percent: float | None
    disk_percent: float | None = Field(description="root file system")
    uptime: int | None
    guests_running: int | None
    updates: int | None
    ha_state: str | None


class NodeList(Page):
    """A page of nodes."""

    online: int = 0
    offline: int = Field(default=0, description="offline or unknown")
    nodes: tuple[NodeRow, ...] = ()

    def text(self) -> str:
        rows = [
            (
                n.node,
                n.status,
                n.ip,
                words.share(n.cpu_percent),
                words.share(n.mem_percent),
                words.share(n.disk_percent),
                n.guests_running,
                words.span(n.uptime),
                n.version,
            )
            for n in self.nodes
        ]
        head = ("node", "status", "address", "cpu", "memory", "root", "running", "up", "version")
        first = f"{self.total} nodes: {self.online} online, {self.offline} not"
        return words.answer(first, words.table(head, rows), self, more=self.next_cursor)


async def get_nodes(call: Call, args: NodeFilter) -> NodeList:
    """Nodes with their figures."""
    view = await call.view()
    found = [
        n for n in view.nodes(args.site) if args.node in {None, n.state.node} and args.status in {None, n.state.status}
    ]
    shown, cursor = paged(found, lambda n: f"{n.state.site}/{n.state.node}", args)
    online = sum(n.state.status == "online" for n in found)
    return NodeList(
        **fresh(view, view.sites(args.site)),
        total=len(found),
        next_cursor=cursor,
        online=online,
        offline=len(found) - online,
        nodes=tuple(merged(NodeRow, n.state, n.metrics) for n in shown),
    )


class OneNode(Arguments):
    """Which node."""

    node: str = Field(description="node name")
    site: SiteArgument = None


class GuestOnNode(Model):
    """A guest in a few words."""

    vmid: int
    name: str
    type: str
    status: str


class NodeAnswer(Answer):
    """Everything known about a node."""

    state: NodeState
    metrics: NodeMetrics | None = Field(default=None, description="null: none known, e.g. while it is offline")
    guests: tuple[GuestOnNode, ...] = ()
    storages: tuple[StorageState, ...] = Field(default=(), description="its own and the shared ones it can reach")
    disks: tuple[DiskState, ...] = Field(default=(), description="physical ones; read every POLL_SLOW_INTERVAL")
    zpools: tuple[ZfsPoolState, ...] = ()
    tasks: tuple[TaskInfo, ...] = Field(default=(), description="its latest, newest first, of the site's last 50")

    def text(self) -> str:
        s, m = self.state, self.metrics
        facts = {
            "address": s.ip,
            "version": s.version,
            "kernel": s.kernel,
            "cpu": m and words.share(m.cpu_percent),
            "load": m and m.load1,
            "memory": m and words.share(m.mem_percent),
            "root": m and words.share(m.disk_percent),
            "up": m and words.span(m.uptime),
            "updates": s.updates,
            "certificate until": s.certificate_expires,
        }
        body = "; ".join(f"{name} {value}" for name, value in facts.items() if value is not None)
        guests = words.table(
            ("vmid", "name", "type", "status"), ((g.vmid, g.name, g.type, g.status) for g in self.guests)
        )
        tables = "\n".join(table for table in (guests, self._disks(), self._zpools()) if table)
        return words.answer(f"Node {s.node}: {s.status}, {len(self.guests)} guests", f"{body}\n{tables}", self)

    def _disks(self) -> str:
        head = ("disk", "model", "type", "SMART", "wear", "temperature", "used by")
        rows = (
            (
                d.dev,
                d.model,
                d.type,
                {"asleep": "not asked: it may sleep", "privilege": "not allowed", None: d.health}[d.unread],
                words.share(d.wear_pct),
                None if d.temperature_c is None else f"{d.temperature_c:.0f} °C",
                d.used_by,
            )
            for d in self.disks
        )
        return words.table(head, rows) if self.disks else ""

    def _zpools(self) -> str:
        rows = ((p.pool, p.health, words.share(p.used_pct), p.errors) for p in self.zpools)
        return words.table(("ZFS pool", "health", "used", "errors"), rows) if self.zpools else ""


async def get_node_status(call: Call, args: OneNode) -> NodeAnswer:
    """One node with its guests, storages and latest tasks."""
    view = await call.view()
    node = view.node(args.node, site=args.site)
    site, name = node.state.site, node.state.node
    return NodeAnswer(
        **fresh(view, [site]),
        state=node.state,
        metrics=node.metrics,
        guests=tuple(
            GuestOnNode(vmid=g.state.vmid, name=g.state.name, type=g.state.type, status=g.state.status)
            for g in view.guests(site)
            if g.state.node == name
        ),
        storages=tuple(s for s in view.storages(site) if s.node == name or name in s.nodes),
        disks=tuple(d for d in view.disks(site) if d.node == name),
        zpools=tuple(p for p in view.zpools(site) if p.node == name),
        tasks=tuple(t for t in view.tasks(site) if t.node == name)[:TASKS],
    )


TOOLS = (
    Tool(
        "get_cluster_status",
        "Sites",
        "Each site as a whole: is its API answering, quorum, nodes online, guests running, versions, HA errors, and "
        "what the API token may not see. A good first call.",
        "core",
        OneSite,
        ClusterStatus,
        get_cluster_status,
    ),
    Tool(
        "get_nodes",
        "Nodes",
        "List Proxmox nodes with status, CPU, memory, root disk, uptime, running guests and pending updates.",
        "core",
        NodeFilter,
        NodeList,
        get_nodes,
    ),
    Tool(
        "get_node_status",
        "One node",
        "Everything about one node: figures, versions, certificate, its guests, storages, "
        "physical disks (SMART, wear, temperature), ZFS pools and latest tasks.",
        "core",
        OneNode,
        NodeAnswer,
        get_node_status,
    ),
)
