"""What ends a guest: made a template, which never runs again, or deleted with its disks."""

import asyncio
import functools
from collections.abc import Mapping
from typing import Any

from mqtt_bridge.actions.guest_disks import disks
from mqtt_bridge.actions.locks import lock_hint, locked
from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import Action, ActionError, Args, Bool, NoArgs, Privilege
from mqtt_bridge.actions.volumes import foreign
from mqtt_bridge.errors import ForbiddenError
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.proxmox.lookup import find_guest
from mqtt_bridge.targets import GuestRef, GuestTarget, Touched


class DeleteArgs(Args):
    """`purge`: also out of backup jobs, replication and HA, where it is named."""

    purge: Bool = False


async def _plan_template(reading: Reading, ref: GuestRef, args: NoArgs) -> Plan:
    guest = await reading.guest(ref)
    nothing = f"{guest.label} is a template already; nothing was sent." if guest.template else None
    snapshots = await _snapshots(reading, guest)
    return Plan(
        TEMPLATE,
        reading.api(guest.site),
        guest,
        (Step("POST", ("nodes", guest.node, guest.type, guest.vmid, "template"), task=False),),
        (Touched(guest), *await foreign(reading, guest, "write")),
        _see_template,
        args,
        nothing=nothing,
        problem=None if nothing else _not_a_template(guest, snapshots),
        notes=("There is no way back: a template never runs, it is only cloned.",),
        state=guest.state,
        hint=functools.partial(lock_hint, guest),
    )


def _not_a_template(guest: GuestTarget, snapshots: tuple[str, ...]) -> ActionError | None:
    if guest.state not in {"stopped", "unknown"}:
        return ActionError(f"{guest.label} is {guest.state}: it must be stopped first.", cure="Shut it down.")
    if snapshots:
        named = ", ".join(snapshots[:10])
        return ActionError(f"{guest.label} has snapshots: {named}.", cure="Delete them first: a template has none.")
    return locked(guest)


async def _snapshots(reading: Reading, guest: GuestTarget) -> tuple[str, ...]:
    path = ("nodes", guest.node, guest.type, guest.vmid, "snapshot")
    rows = await reading.api(guest.site).get(*path)
    return tuple(str(row["name"]) for row in rows if row.get("name") != "current")


async def _see_template(plan: Plan, outcome: Outcome) -> Seen:
    before = plan.target
    guest = await find_guest({before.site: plan.api}, _vmid(plan), before.site)
    if outcome.ok and guest.template:
        return Seen(ok=True, message="it is a template now.", state=guest.state)
    return Seen(ok=False, message="it is no template.", state=guest.state, changed=guest.template)


def _vmid(plan: Plan) -> int:
    if not isinstance(plan.target, GuestTarget):
        raise TypeError(plan.target)
    return plan.target.vmid


async def _plan_delete(reading: Reading, ref: GuestRef, args: DeleteArgs) -> Plan:
    guest = await reading.guest(ref)
    refers, snapshots = await asyncio.gather(_refers(reading.api(guest.site), guest), _snapshots(reading, guest))
    params = {"purge": int(args.purge), "destroy-unreferenced-disks": 0}
    return Plan(
        DELETE,
        reading.api(guest.site),
        guest,
        (Step("DELETE", ("nodes", guest.node, guest.type, guest.vmid), params),),
        (Touched(guest, "destroy"),),
        _see_delete,
        args,
        problem=_not_now(guest, refers, purge=args.purge),
        notes=_lost(guest, snapshots, refers, purge=args.purge),
        state=guest.state,
        hint=functools.partial(lock_hint, guest),
    )


class _Refers:
    """What else in the cluster names a guest. `unseen` is what the token may not read."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.replication: list[str] = []
        self.unseen: list[str] = []


async def _refers(api: Api, guest: GuestTarget) -> _Refers:
    found = _Refers()
    for what, path, take in (
        ("backup jobs", ("cluster", "backup"), _backup_job),
        ("replication jobs", ("cluster", "replication"), _replication_job),
    ):
        try:
            rows = await api.get(*path)
        except ForbiddenError:
            found.unseen.append(what)
            continue
        if not rows:
            found.unseen.append(what)
        for row in rows:
            take(found, guest, row)
    return found


def _backup_job(found: _Refers, guest: GuestTarget, row: Mapping[str, Any]) -> None:
    if str(guest.vmid) in str(row.get("vmid", "")).split(","):
        found.jobs.append(str(row.get("id", "?")))


def _replication_job(found: _Refers, guest: GuestTarget, row: Mapping[str, Any]) -> None:
    if str(row.get("guest")) == str(guest.vmid):
        found.replication.append(f"{row.get('id', '?')} to {row.get('target', '?')}")


def _not_now(guest: GuestTarget, refers: _Refers, *, purge: bool) -> ActionError | None:
    if problem := locked(guest):
        return problem
    if guest.state not in {"stopped", "unknown"}:
        return ActionError(f"{guest.label} is {guest.state}: it must be stopped first.", cure="Shut it down.")
    holds = (["HA manages it"] if guest.ha else []) + (["it is replicated"] if refers.replication else [])
    if holds and not purge:
        cure = "With purge=true it is taken out of that too."
        return ActionError(f"{guest.label} cannot be deleted alone: {' and '.join(holds)}.", cure=cure)
    return None


def _lost(guest: GuestTarget, snapshots: tuple[str, ...], refers: _Refers, *, purge: bool) -> tuple[str, ...]:
    """What goes with it, and what is left that names it."""
    volumes = [disk.volume for disk in disks(guest.config, guest.type)]
    notes = [f"Its disks are destroyed: {', '.join(volumes) or 'it has none'}. Backups of it stay."]
    if snapshots:
        notes.append(f"So are its snapshots: {', '.join(snapshots[:10])}.")
    if guest.template:
        notes.append("It is a template: Proxmox refuses while linked clones of it are there.")
    if refers.jobs:
        named = ", ".join(refers.jobs)
        notes.append(
            f"Backup jobs name it: {named}. {'It is taken out.' if purge else 'It stays named (purge=false).'}"
        )
    if refers.replication:
        notes.append(f"Replication jobs: {', '.join(refers.replication)}.")
    if guest.ha:
        notes.append("HA manages it.")
    notes += [f"No {what} are shown: there are none, or the token may not see them." for what in refers.unseen]
    return tuple(notes)


async def _see_delete(plan: Plan, outcome: Outcome) -> Seen:
    vmid = _vmid(plan)
    rows = await plan.api.get("cluster", "resources", type="vm")
    there = any(row.get("vmid") == vmid for row in rows)
    if outcome.ok and not there:
        return Seen(ok=True, message="it is gone.")
    text = "it is still there." if there else "it is gone."
    return Seen(ok=False, message=text, state=plan.state if there else None, changed=not there)


_ALLOCATE = (Privilege("VM.Allocate", "/vms/{vmid}"),)
TEMPLATE = Action(
    "guest.template", "Conversion to a template", "destroy", "guest", _ALLOCATE, NoArgs, _plan_template, takes_down=True
)
DELETE = Action("guest.delete", "Deletion", "destroy", "guest", _ALLOCATE, DeleteArgs, _plan_delete, takes_down=True)
ROWS: tuple[Action, ...] = (TEMPLATE, DELETE)
