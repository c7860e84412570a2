"""From what was asked to what would be sent: reads everything that the action touches, sends nothing."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from mqtt_bridge.errors import PolicyError
from mqtt_bridge.proxmox.action_rows import Action, ActionError, parameters, row_for, rows_of
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.proxmox.lookup import find_guest, find_node, guests_on
from mqtt_bridge.proxmox.own_guests import OwnGuests
from mqtt_bridge.proxmox.permissions import holds
from mqtt_bridge.proxmox.privileges import grant_lines
from mqtt_bridge.targets import GuestRef, GuestTarget, NodeRef, NodeTarget, Target
from mqtt_bridge.whoami import Identity

LOCKS: Mapping[str, str] = {
    "backup": "a backup of it runs, or one was cut off",
    "clone": "it is being cloned, or that was cut off",
    "create": "it is being created or restored, or that was cut off",
    "disk": "one of its disks is being moved or resized, or that was cut off",
    "migrate": "it is being migrated, or that was cut off",
    "rollback": "it is being rolled back to a snapshot, or that was cut off",
    "snapshot": "a snapshot of it is being made, or that was cut off",
    "snapshot-delete": "a snapshot of it is being deleted, or that was cut off",
    "suspending": "it is being suspended to disk, or that was cut off",
    "suspended": "it is suspended to disk: start or resume brings it back",
}
CURES: Mapping[str, str] = {
    "stopped": "Start it instead.",
    "suspended": "Start or resume it first: it is suspended to disk.",
    "paused": "Resume it first, or stop it.",
}


def lock_text(guest: GuestTarget, lock: str) -> tuple[str, str]:
    """What a lock means, and what to do about it."""
    why = LOCKS.get(lock, "Proxmox is working on it, or was cut off")
    unlock = "qm" if guest.type == "qemu" else "pct"
    return why, f"Wait until that is over; if nothing of the kind runs, `{unlock} unlock {guest.vmid}` on {guest.node}."


@dataclass(frozen=True)
class Plan:
    """One action on one target, ready to be judged. `guests` are those of the node that a node action reaches."""

    row: Action
    api: Api
    target: Target
    params: Mapping[str, Any] = field(default_factory=dict)
    guests: tuple[GuestTarget, ...] = ()
    chosen: bool = False

    @property
    def objects(self) -> tuple[Target, ...]:
        """Everything that it touches."""
        return (self.target, *self.guests)

    @property
    def segments(self) -> tuple[str | int, ...]:
        """The path, piece by piece."""
        if isinstance(self.target, GuestTarget):
            return self.row.segments(node=self.target.node, type=self.target.type, vmid=self.target.vmid)
        return self.row.segments(node=self.target.node)

    @property
    def body(self) -> dict[str, Any]:
        """The parameters. A bulk action always names its guests, so that none is reached that was not judged."""
        named = {"vms": ",".join(str(guest.vmid) for guest in self.guests)} if self.row.named else {}
        return {**self.params, **named}

    def nothing_to_do(self) -> str | None:
        """Why nothing needs to be sent; raises ActionError if it makes no sense at all. Proxmox has the last word."""
        if isinstance(self.target, GuestTarget):
            return _guest_check(self.row, self.target)
        return _node_check(self.row, self.target, self.guests)


def _guest_check(row: Action, guest: GuestTarget) -> str | None:
    if guest.template:
        raise ActionError(f"{guest.label} is a template, which never runs.", cure="Clone it and use the clone.")
    if guest.state in row.done_in:
        return f"{guest.label} is already {guest.state}; nothing was sent."
    if guest.lock and guest.lock not in row.locks:
        why, cure = lock_text(guest, guest.lock)
        raise ActionError(f"{guest.label} is locked ({guest.lock}): {why}.", cure=cure)
    if row.only_in and guest.state not in (*row.only_in, "unknown"):
        needed = " or ".join(sorted(row.only_in))
        raise ActionError(
            f"{guest.label} is {guest.state}; {row.title.lower()} needs it {needed}.", cure=CURES.get(guest.state, "")
        )
    return None


def _node_check(row: Action, node: NodeTarget, guests: tuple[GuestTarget, ...]) -> str | None:
    if row.node_online and not node.online:
        raise ActionError(f"The {node.label} is offline.", cure="Wake it (wakeonlan) or look at the machine itself.")
    if not row.node_online and node.online:
        return f"The {node.label} is already online; nothing was sent."
    if row.named and not guests:
        return f"There is no guest on {node.label} that this concerns; nothing was sent."
    return None


class Planner:
    """Makes plans. `me` is this machine, for finding the guest that we run on."""

    def __init__(self, clients: Mapping[str, Api], me: Identity) -> None:
        self._clients = clients
        self._own = OwnGuests(me)

    async def plan(self, action: str, ref: GuestRef | NodeRef, args: Mapping[str, Any]) -> Plan:
        """Reads the target and what else is touched; UnknownTargetError, ActionError for what cannot be meant."""
        row = rows_of(action)[0]
        if isinstance(ref, GuestRef) and row.target == "guest":
            return await self._guest(action, ref, args)
        if isinstance(ref, NodeRef) and row.target == "node":
            return await self._node(row, ref, args)
        raise ActionError(f"{row.title} ({action}) is for a {row.target}.", cure=f"Name the {row.target}.")

    async def _guest(self, action: str, ref: GuestRef, args: Mapping[str, Any]) -> Plan:
        guest = await find_guest(self._clients, ref.vmid, ref.site, ref.node, me=self._own.me)
        row = row_for(action, guest.type)
        return Plan(row, self._clients[guest.site], guest, parameters(row, args))

    async def _node(self, row: Action, ref: NodeRef, args: Mapping[str, Any]) -> Plan:
        params = parameters(row, args)
        wanted = params.pop("vms", None)
        node = await find_node(self._clients, ref.node, ref.site)
        api = self._clients[node.site]
        guests = await self._guests(row, api, node, wanted) if row.touches and node.online else ()
        return Plan(row, api, node, params, guests, chosen=wanted is not None)

    async def _guests(
        self, row: Action, api: Api, node: NodeTarget, wanted: Collection[int] | None
    ) -> tuple[GuestTarget, ...]:
        if not row.named:
            await _sees_all(api, row, node)
        present = await guests_on(api, node.node)
        if wanted is None:
            touched = tuple(g for g in present if g.state in row.touches or g.state == "unknown")
        else:
            touched = tuple(g for g in present if g.vmid in wanted)
            if absent := sorted(set(wanted) - {g.vmid for g in touched}):
                raise ActionError(
                    f"Not on {node.label}, or templates: {', '.join(map(str, absent))}.", cure="Leave them out."
                )
        return await self._own.mark(api, touched) if row.takes_down else touched


async def _sees_all(api: Api, row: Action, node: NodeTarget) -> None:
    """A node goes down with all its guests, those that the token may not see too: then it cannot be judged."""
    permissions = await api.get("access", "permissions")
    listed = [path for path in permissions if path.startswith("/vms/")]
    if all(holds(permissions, path, "VM.Audit") for path in ("/vms", *listed)):
        return
    who = (api.site.endpoints[0].user, api.site.endpoints[0].token_name)
    raise PolicyError(
        f"{row.title} would take down every guest of {node.label}, and the token may not see all of them.",
        cure=f"So the rules cannot be applied. As root on a node: {grant_lines('pve', '/vms', 'VM.Audit', *who)}",
    )
