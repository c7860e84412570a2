"""What plans are made of: everything read fresh from Proxmox, never from MQTT, where anyone could have forged it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from mqtt_bridge.actions.row import ActionError
from mqtt_bridge.actions.vmids import Vmids
from mqtt_bridge.errors import PolicyError, UnknownTargetError
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.proxmox.lookup import find_guest, find_node, guest_rows, guests_on, node_rows
from mqtt_bridge.proxmox.own_guests import OwnGuests
from mqtt_bridge.proxmox.permissions import holds
from mqtt_bridge.proxmox.privileges import grant_lines
from mqtt_bridge.targets import (
    DatastoreRef,
    DatastoreTarget,
    GuestRef,
    GuestTarget,
    NodeRef,
    NodeTarget,
    SiteRef,
    StorageRef,
    StorageTarget,
)

SHOWN = 10  # candidates in an error


@dataclass(frozen=True)
class Reading:
    """One planning. `chosen` are the ids that an approval is bound to: they are taken again instead of new ones."""

    clients: Mapping[str, Api]
    own: OwnGuests
    vmids: Vmids
    chosen: Mapping[str, Any] = field(default_factory=dict)

    def api(self, site: str) -> Api:
        """The client of a site."""
        return self.clients[site]

    async def guest(self, ref: GuestRef) -> GuestTarget:
        """The guest with its configuration; UnknownTargetError names the candidates."""
        return await find_guest(self.clients, ref.vmid, ref.site, ref.node, me=self.own.me)

    async def node(self, ref: NodeRef) -> NodeTarget:
        """The node; UnknownTargetError names the candidates."""
        return await find_node(self.clients, ref.node, ref.site)

    async def guests_on(self, node: NodeTarget, *, going_down: bool) -> tuple[GuestTarget, ...]:
        """All guests of a node that is up; with `going_down` the one that we run on is marked."""
        api = self.api(node.site)
        guests = await guests_on(api, node.node)
        return await self.own.mark(api, guests) if going_down else guests

    async def sees_all(self, title: str, node: NodeTarget) -> None:
        """A node goes down with all its guests, those that the token may not see too: then it cannot be judged."""
        api = self.api(node.site)
        permissions = await api.get("access", "permissions")
        listed = [path for path in permissions if path.startswith("/vms/")]
        if all(holds(permissions, path, "VM.Audit") for path in ("/vms", *listed)):
            return
        who = (api.site.endpoints[0].user, api.site.endpoints[0].token_name)
        raise PolicyError(
            f"{title} would take down every guest of {node.label}, and the token may not see all of them.",
            cure=f"So the rules cannot be applied. As root on a node: {grant_lines('pve', '/vms', 'VM.Audit', *who)}",
        )

    async def config(self, guest: GuestTarget) -> Mapping[str, Any]:
        """A guest's configuration as it is now."""
        return dict(await self.api(guest.site).get("nodes", guest.node, guest.type, guest.vmid, "config"))

    async def guest_rows(self, site: str) -> list[Mapping[str, Any]]:
        """All guests of a site, as `/cluster/resources` lists them."""
        return await guest_rows(self.api(site))

    async def storage(self, ref: StorageRef) -> StorageTarget:
        """A storage, where it is active; on `ref.node` if that is given. UnknownTargetError names what there is."""
        site = self.site(SiteRef(ref.site))
        rows = [r for r in await self.api(site).get("cluster", "resources", type="storage") if r.get("storage")]
        found = [r for r in rows if r["storage"] == ref.storage and ref.node in (None, r.get("node"))]
        if not found:
            names = tuple(dict.fromkeys(str(r["storage"]) for r in rows if ref.node in (None, r.get("node"))))
            where = f" on {ref.node}" if ref.node else ""
            raise UnknownTargetError(
                f"There is no storage {ref.storage}{where}, or the token may not see it.",
                cure=f"There are: {', '.join(names[:SHOWN])}." if names else "The token sees none: Datastore.Audit.",
                candidates=names,
            )
        shared = bool(found[0].get("shared"))
        if len(found) > 1 and not shared:
            nodes = tuple(str(r["node"]) for r in found)
            raise UnknownTargetError(
                f"Storage {ref.storage} is another one on each of {', '.join(nodes)}.",
                cure="Name the node.",
                candidates=nodes,
            )
        row = next((r for r in found if r.get("status") == "available"), found[0])
        content = frozenset(str(row.get("content", "")).split(",")) - {""}
        return StorageTarget(site, ref.storage, str(row["node"]), str(row.get("plugintype", "")), shared, content)

    async def datastore(self, ref: DatastoreRef, *, whole: bool = False) -> DatastoreTarget:
        """A Backup Server's datastore; UnknownTargetError names what there is."""
        asked = [s for s, api in self.clients.items() if api.site.kind == "pbs" and ref.site in (None, s)]
        known: dict[str, list[str]] = {}
        for site in asked:
            for row in await self.api(site).get("admin", "datastore"):
                known.setdefault(str(row["store"]), []).append(site)
        sites = known.get(ref.store, [])
        if len(sites) > 1:
            raise UnknownTargetError(
                f"There is a datastore {ref.store} on each of {', '.join(sites)}.",
                cure="Name the site.",
                candidates=tuple(sites),
            )
        if not sites:
            raise UnknownTargetError(
                f"There is no datastore {ref.store}, or the token may not see it.",
                cure=f"There are: {', '.join(known)}."
                if known
                else "No Backup Server is configured, or it shows none.",
                candidates=tuple(known),
            )
        return DatastoreTarget(sites[0], ref.store, whole=whole)

    def site(self, ref: SiteRef) -> str:
        """The Proxmox VE site that is meant; UnknownTargetError where that is not clear."""
        sites = tuple(s for s, api in self.clients.items() if api.site.kind == "pve")
        if ref.site is not None and ref.site in sites:
            return ref.site
        if ref.site is None and len(sites) == 1:
            return sites[0]
        what = f"There is no Proxmox VE site {ref.site}." if ref.site else "There are several sites."
        raise UnknownTargetError(what, cure=f"Name one of: {', '.join(sites) or 'none is there'}.", candidates=sites)

    async def node_names(self, site: str) -> dict[str, bool]:
        """The nodes of a site, and whether each is online."""
        return {str(row["node"]): row.get("status") == "online" for row in await node_rows(self.api(site))}

    async def new_vmid(self, site: str, wanted: int | None) -> tuple[int, Mapping[str, Any]]:
        """The id for a new guest, and what of it was our choice: an approval holds us to that.

        `wanted` must be free. Without it the next free one is taken, never one that another plan of ours holds.
        """
        if wanted is not None:
            await self.vmids.check(self.api(site), wanted)
            return wanted, {}
        held = self.chosen.get("vmid")
        vmid = int(held) if held is not None else await self.vmids.next(self.api(site))
        if held is not None:
            await self.vmids.check(self.api(site), vmid)
        return vmid, {"vmid": vmid}


def among(guests: Collection[GuestTarget], wanted: Collection[int], node: NodeTarget) -> tuple[GuestTarget, ...]:
    """Those of a node's guests that are named; ActionError for one that is not there."""
    touched = tuple(g for g in guests if g.vmid in wanted)
    if absent := sorted(set(wanted) - {g.vmid for g in touched}):
        raise ActionError(f"Not on {node.label}, or templates: {', '.join(map(str, absent))}.", cure="Leave them out.")
    return touched
