"""Addresses of nodes and guests."""

from pydantic import Field

from mqtt_bridge.model import GuestState, GuestStatus, Model
from proxmox_mcp.tools import words
from proxmox_mcp.tools.base import Call, Listed, Page, Tool, Vmid, fresh, merged, named_like, paged


class AddressFilter(Listed):
    """Which guests."""

    vmid: Vmid | None = Field(default=None, description="only this guest")
    name: str | None = Field(default=None, description="guest name as a glob")
    address: str | None = Field(default=None, description="address as a glob, e.g. 192.168.1.*: who has it?")


class NodeAddress(Model):
    """A node's cluster address."""

    site: str
    node: str
    ip: str | None = Field(description="null: not known")


class GuestAddress(Model):
    """A guest's addresses. null: not known (no agent, no rights, or not running)."""

    site: str
    vmid: int
    name: str
    node: str
    status: GuestStatus
    ips: tuple[str, ...] | None
    agent: bool | None = Field(description="QEMU guest agent is configured; null: not known, or a container")
    netin_rate: float | None = Field(description="bytes per second")
    netout_rate: float | None


class NetworkInfo(Page):
    """Addresses."""

    unknown: int = Field(default=0, description="running guests among them whose addresses are not known")
    nodes: tuple[NodeAddress, ...] = ()
    guests: tuple[GuestAddress, ...] = ()

    def text(self) -> str:
        nodes = words.table(("node", "address"), ((n.node, n.ip) for n in self.nodes)) if self.nodes else ""
        rows = ((g.vmid, g.name, g.node, g.status, None if g.ips is None else " ".join(g.ips)) for g in self.guests)
        body = words.table(("vmid", "name", "node", "status", "addresses"), rows)
        head = f"{len(self.nodes)} nodes, {self.total} guests; of {self.unknown} running ones no address is known"
        return words.answer(head, f"{nodes}\n{body}", self, more=self.next_cursor)


def _fits(guest: GuestState, args: AddressFilter) -> bool:
    return (
        not guest.template
        and args.node in {None, guest.node}
        and args.vmid in {None, guest.vmid}
        and named_like(args.name, guest.name)
        and (args.address is None or any(named_like(args.address, ip) for ip in guest.ips or ()))
    )


async def get_network_info(call: Call, args: AddressFilter) -> NetworkInfo:
    """Who has which address."""
    view = await call.view()
    found = [g for g in view.guests(args.site) if _fits(g.state, args)]
    shown, cursor = paged(found, lambda g: f"{g.state.site}/{g.state.vmid}", args)
    alone = args.vmid is not None or args.name is not None or args.address is not None
    return NetworkInfo(
        **fresh(view, view.sites(args.site)),
        total=len(found),
        next_cursor=cursor,
        unknown=sum(g.state.ips is None and g.state.status == "running" for g in found),
        nodes=()
        if alone
        else tuple(
            NodeAddress(site=n.state.site, node=n.state.node, ip=n.state.ip)
            for n in view.nodes(args.site)
            if args.node in {None, n.state.node}
        ),
        guests=tuple(merged(GuestAddress, g.state, g.metrics) for g in shown),
    )


TOOLS = (
    Tool(
        "get_network_info",
        "Addresses",
        "Addresses of nodes and guests, by guest, name or address. A VM's come from its guest agent, so they may be "
        "unknown.",
        "core",
        AddressFilter,
        NetworkInfo,
        get_network_info,
    ),
)
