"""A guest moves to another node. What is in the way is read first: Proxmox finds most of it out halfway.

A running machine moves live, a running container is stopped here and started there (restart migration).
"""

import asyncio
import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from pydantic import Field

from mqtt_bridge.actions.guest_disks import disks
from mqtt_bridge.actions.locks import lock_hint, locked
from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.property_string import parse
from mqtt_bridge.actions.provision_args import GIB, NodeName, StorageName
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import Action, ActionError, Args, Bool, Int, Privilege
from mqtt_bridge.actions.volumes import storage_for
from mqtt_bridge.errors import RejectedError
from mqtt_bridge.proxmox.lookup import find_guest
from mqtt_bridge.targets import GuestRef, GuestTarget, NodeRef, NodeTarget, StorageTarget, Touched

PACE: Final = 1.0  # seconds between two looks at where it is
SETTLE: Final = 5.0  # seconds that the place may lag behind the task
NOT_OFFERED = 501


class MigrateArgs(Args):
    """`online`: by default live where it runs. `timeout`: seconds that a container gets to shut down."""

    target: NodeName
    online: Bool | None = None
    target_storage: StorageName | None = None
    timeout: Annotated[Int, Field(ge=1, le=7200)] | None = None


@dataclass(frozen=True)
class Preflight:
    """What Proxmox says to a migration: `refused` nodes with why, local things, and who would come along."""

    allowed: frozenset[str] | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    local_disks: tuple[Mapping[str, Any], ...] = ()
    devices: tuple[str, ...] = ()
    along: tuple[str, ...] = ()


async def _plan(reading: Reading, ref: GuestRef, args: MigrateArgs) -> Plan:
    guest = await reading.guest(ref)
    target = await reading.node(NodeRef(args.target, guest.site))
    running = guest.state in {"running", "paused"}
    flight = await _preflight(reading, guest, target) if target.node != guest.node else Preflight()
    storage = await _storage(reading, guest, target, args)
    along = [await reading.guest(GuestRef(int(sid.partition(":")[2]), guest.site)) for sid in flight.along]
    objects = [
        Touched(guest),
        Touched(NodeTarget(guest.site, guest.node, online=True), "read"),
        Touched(target, "read"),
    ]
    objects += [Touched(one) for one in along] + ([Touched(storage)] if storage else [])
    path = ("nodes", guest.node, guest.type, guest.vmid, "migrate")
    here = target.node == guest.node
    return Plan(
        MIGRATE,
        reading.api(guest.site),
        guest,
        (Step("POST", path, _params(guest, args, flight, running=running)),),
        tuple(objects),
        functools.partial(_see, target.node),
        args,
        takes_down=running and guest.type == "lxc",
        nothing=f"{guest.label} is on {guest.node} already; nothing was sent." if here else None,
        problem=None if here else _problem(guest, target, flight, args, running=running),
        notes=_notes(guest, flight, along, running=running),
        state=guest.state,
        hint=functools.partial(lock_hint, guest),
    )


async def _storage(reading: Reading, guest: GuestTarget, target: NodeTarget, args: MigrateArgs) -> StorageTarget | None:
    if args.target_storage is None:
        return None
    return await storage_for(reading, target, args.target_storage, "images" if guest.type == "qemu" else "rootdir")


async def _preflight(reading: Reading, guest: GuestTarget, target: NodeTarget) -> Preflight:
    path = ("nodes", guest.node, guest.type, guest.vmid, "migrate")
    try:
        said = await reading.api(guest.site).get(*path, target=target.node)
    except RejectedError as error:
        if error.status != NOT_OFFERED:  # containers have it since PVE 9
            raise
        return Preflight()
    nodes = said.get("allowed_nodes", said.get("allowed-nodes"))
    refused = said.get("not_allowed_nodes") or said.get("not-allowed-nodes") or {}
    return Preflight(
        frozenset(map(str, nodes)) if nodes is not None else None,
        {name: _why(facts) for name, facts in refused.items() if isinstance(facts, Mapping)},
        tuple(disk for disk in said.get("local_disks") or () if not disk.get("is_cloudinit")),
        tuple(map(str, said.get("local_resources") or ())),
        tuple(sid for sid in map(str, said.get("dependent-ha-resources") or ()) if sid != _sid(guest)),
    )


def _sid(guest: GuestTarget) -> str:
    return f"{'vm' if guest.type == 'qemu' else 'ct'}:{guest.vmid}"


def _why(facts: Mapping[str, Any]) -> str:
    """Why a node is refused; Proxmox 9.2 lists the other nodes too, with nothing in them."""
    storages = [str(name) for name in facts.get("unavailable_storages") or ()]
    blocking = [f"{row.get('sid')} ({row.get('cause')})" for row in facts.get("blocking-ha-resources") or ()]
    said = [f"it has not the storage {', '.join(storages)}"] if storages else []
    said += [f"HA rules keep it away from {', '.join(blocking)}"] if blocking else []
    return " and ".join(said)


def _params(guest: GuestTarget, args: MigrateArgs, flight: Preflight, *, running: bool) -> dict[str, Any]:
    params: dict[str, Any] = {"target": args.target}
    if guest.type == "lxc":
        params |= {"restart": 1, "timeout": args.timeout} if running else {}
        params |= {"target-storage": args.target_storage}
    else:
        online = running if args.online is None else args.online and running
        params |= {"online": 1} if online else {}
        params |= {"with-local-disks": 1} if online and _copied(flight) else {}
        params |= {"targetstorage": args.target_storage}
    return {key: value for key, value in params.items() if value is not None}


def _copied(flight: Preflight) -> list[Mapping[str, Any]]:
    return [disk for disk in flight.local_disks if not disk.get("cdrom")]


def _problem(
    guest: GuestTarget, target: NodeTarget, flight: Preflight, args: MigrateArgs, *, running: bool
) -> ActionError | None:
    if problem := locked(guest):
        return problem
    if not target.online:
        return ActionError(f"The {target.label} is offline.", cure="Name another node.")
    if running and args.online is False:
        cure = "Shut it down first, or leave online out."
        how = "offline" if guest.type == "qemu" else "without a restart"
        return ActionError(f"{guest.label} is {guest.state}: it cannot be migrated {how}.", cure=cure)
    return _refused(guest, target, flight) or _in_the_way(guest, flight)


def _refused(guest: GuestTarget, target: NodeTarget, flight: Preflight) -> ActionError | None:
    why = flight.refused.get(target.node, "")
    if not why and (flight.allowed is None or target.node in flight.allowed):
        return None
    others = sorted((flight.allowed or frozenset()) - {guest.node, target.node})
    cure = f"It can go to: {', '.join(others)}." if others else "Proxmox names no node that it can go to."
    return ActionError(f"{guest.label} cannot go to {target.node}{f': {why}' if why else ''}.", cure=cure)


def _in_the_way(guest: GuestTarget, flight: Preflight) -> ActionError | None:
    if flight.devices:
        named = ", ".join(flight.devices)
        return ActionError(f"{guest.label} uses devices of {guest.node}: {named}.", cure="Take them off it first.")
    if discs := [str(disk.get("volid")) for disk in flight.local_disks if disk.get("cdrom")]:
        return ActionError(f"{guest.label} has {discs[0]} in its CD drive, a local image.", cure="Take it out first.")
    mounts = ((key, str(text)) for key, text in guest.config.items() if guest.type == "lxc" and key.startswith("mp"))
    bound = [key for key, text in mounts if text.startswith("/") and parse(text).get("shared") != "1"]
    if bound:
        return ActionError(f"{guest.label} mounts a folder of {guest.node} ({bound[0]}).", cure="Take it off it first.")
    return None


def _notes(guest: GuestTarget, flight: Preflight, along: list[GuestTarget], *, running: bool) -> tuple[str, ...]:
    notes = []
    if running:
        live = "It runs: it moves live." if guest.type == "qemu" else "It runs: it is stopped here and started there."
        notes.append(live)
    if copied := _copied(flight):
        size = sum(int(disk.get("size") or 0) for disk in copied)
        named = ", ".join(str(disk.get("volid")) for disk in copied[:10])
        notes.append(f"Local disks are copied, {size / GIB:.1f} GiB: {named}.")
    if guest.type == "lxc":
        notes.append(f"Its volumes: {', '.join(disk.volume for disk in disks(guest.config, 'lxc')) or 'none'}.")
    if guest.ha:
        notes.append("HA manages it: the HA manager moves it, a while after the task.")
    if along:
        notes.append(f"HA rules take along: {', '.join(one.label for one in along)}.")
    if flight.allowed is not None:
        notes.append(f"Proxmox says that it can go to: {', '.join(sorted(flight.allowed)) or 'no node'}.")
    return tuple(notes)


async def _see(wanted: str, plan: Plan, outcome: Outcome) -> Seen:
    """Where it is, looked at until it is there: with HA the task only asks for the move."""
    before = plan.target
    if not isinstance(before, GuestTarget):
        raise TypeError(before)
    until = time.monotonic() + (outcome.left if before.ha else min(SETTLE, outcome.left))
    while True:
        rows = await plan.api.get("cluster", "resources", type="vm", purpose="poll")
        arrived = any(row.get("vmid") == before.vmid and row.get("node") == wanted for row in rows)
        if not outcome.ok or arrived or time.monotonic() >= until:
            break
        await asyncio.sleep(PACE)
    guest = await find_guest({before.site: plan.api}, before.vmid, before.site)
    there = guest.node == wanted
    kept = guest.state == before.state or before.state not in {"running", "paused"}
    text = f"it is on {guest.node} and {guest.state}."
    return Seen(ok=outcome.ok and there and kept, message=text, state=guest.state, changed=there,
                details={"node": guest.node})  # fmt: skip


MIGRATE = Action(
    "guest.migrate",
    "Migration",
    "change",
    "guest",
    (Privilege("VM.Migrate", "/vms/{vmid}"),),
    MigrateArgs,
    _plan,
)
ROWS: tuple[Action, ...] = (MIGRATE,)
