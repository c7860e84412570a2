"""What all new guests have in common: an id that nobody else has, a place, the rules for what they will be, a look."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import Action, ActionError, Args
from mqtt_bridge.errors import ForbiddenError
from mqtt_bridge.model import GuestType
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.proxmox.lookup import find_guest
from mqtt_bridge.targets import NewGuest, NodeRef, NodeTarget, Touched


class Wanted(Protocol):
    """What is asked of every new guest."""

    @property
    def vmid(self) -> int | None: ...
    @property
    def name(self) -> str | None: ...
    @property
    def tags(self) -> tuple[str, ...]: ...
    @property
    def pool(self) -> str | None: ...
    @property
    def start(self) -> bool: ...


@dataclass(frozen=True)
class Birth:
    """Where the new guest will be, and under which id. `chosen` are ids that we picked."""

    api: Api
    node: NodeTarget
    guest: NewGuest
    chosen: Mapping[str, Any]

    @property
    def vmid(self) -> int:
        """Its id."""
        return self.guest.vmid


async def begin(reading: Reading, ref: NodeRef, wanted: Wanted, kind: GuestType) -> Birth:
    """Reads the node and picks an id; ActionError if the id is taken, the pool is not there or the node is down."""
    node = await reading.node(ref)
    if not node.online:
        raise ActionError(f"The {node.label} is offline.", cure="Name another node.")
    await check_pool(reading, node.site, wanted.pool)
    vmid, chosen = await reading.new_vmid(node.site, wanted.vmid)
    tags = frozenset(tag.casefold() for tag in wanted.tags)
    guest = NewGuest(node.site, vmid, kind, node.node, wanted.name or "", tags, wanted.pool)
    return Birth(reading.api(node.site), node, guest, chosen)


async def check_pool(reading: Reading, site: str, pool: str | None) -> None:
    """ActionError for a pool that is not there; one that may not be listed is left to Proxmox."""
    if pool is None:
        return
    try:
        names = [str(row["poolid"]) for row in await reading.api(site).get("pools")]
    except ForbiddenError:
        return
    if pool not in names:
        seen = ", ".join(names[:20]) or "none that the token sees"
        raise ActionError(f"There is no pool {pool}, or the token may not see it.", cure=f"There are: {seen}.")


def born(
    row: Action,
    birth: Birth,
    steps: tuple[Step, ...],
    objects: tuple[Touched, ...],
    args: Args,
    *,
    notes: tuple[str, ...] = (),
    problem: ActionError | None = None,
) -> Plan:
    """The plan of a creation."""
    return Plan(
        row,
        birth.api,
        birth.guest,
        steps,
        (Touched(birth.guest, "create"), Touched(birth.node, "read"), *dict.fromkeys(objects)),
        _see,
        args,
        notes=notes,
        problem=problem,
        chosen=birth.chosen,
    )


async def _see(plan: Plan, outcome: Outcome) -> Seen:
    """A creation that failed leaves nothing behind, or a guest that is not whole: it says which."""
    new = plan.target
    if not isinstance(new, NewGuest):
        raise TypeError(new)
    rows = await plan.api.get("cluster", "resources", type="vm")
    if not any(row.get("vmid") == new.vmid for row in rows):
        text = f"there is no guest {new.vmid} afterwards." if outcome.ok else "nothing was left behind."
        return Seen(ok=False, message=text, changed=False)
    guest = await find_guest({new.site: plan.api}, new.vmid, new.site)
    details = {"vmid": guest.vmid, "node": guest.node, "name": guest.name}
    if not outcome.ok:
        text = f"{guest.label} is there, perhaps not whole."
        return Seen(ok=False, message=text, state=guest.state, details=details)
    if getattr(plan.args, "start", False) and guest.state != "running":
        text = f"{guest.label} was made on {guest.node}, but it is {guest.state}, not running."
        return Seen(ok=False, message=text, state=guest.state, details=details)
    return Seen(ok=True, message=f"it is on {guest.node} and {guest.state}.", state=guest.state, details=details)
