"""Snapshots of a guest: made, gone back to, deleted.

Going back throws away all that was written since, so it destroys the guest's data. Deleting one leaves the guest as it
is (its role is `write`), but nobody can go back to it any more, so its risk is `destroy` too.
"""

import functools
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictStr

from mqtt_bridge.actions.guest_disks import can_snapshot, guest_disks
from mqtt_bridge.actions.locks import lock_hint, locked
from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import Action, ActionError, Args, Bool, Privilege, Text
from mqtt_bridge.actions.volumes import foreign
from mqtt_bridge.model import utc
from mqtt_bridge.proxmox.lookup import reread
from mqtt_bridge.targets import GuestRef, GuestTarget, Touched

HERE = "current"  # Proxmox's name for the guest as it is
RESERVED = frozenset({HERE, "pending"})
SHOWN = 10
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]+")
Row = Mapping[str, Any]
Rows = dict[str, Row]


def _name(given: str) -> str:
    if not _NAME.fullmatch(given):
        raise ValueError("it must begin with a letter and go on with letters, digits, '_' and '-' (2 to 40 in all)")
    if given.lower() in RESERVED:
        raise ValueError(f"{given} is Proxmox's own word")
    return given


SnapshotName = Annotated[StrictStr, Field(max_length=40), AfterValidator(_name)]


class CreateArgs(Args):
    """`name`: from the time (UTC) if not given. `vmstate`: with the memory of a running VM."""

    name: SnapshotName | None = Field(default=None, serialization_alias="snapname")
    description: Text | None = None
    vmstate: Bool | None = None


class RollbackArgs(Args):
    """`start`: start it afterwards. A snapshot with memory starts by itself."""

    name: SnapshotName
    start: Bool | None = None


class DeleteArgs(Args):
    """Which one."""

    name: SnapshotName


async def _plan_create(reading: Reading, ref: GuestRef, args: CreateArgs) -> Plan:
    guest = await reading.guest(ref)
    api = reading.api(guest.site)
    known = await _snapshots(reading, guest)
    chosen = {} if args.name else {"name": str(reading.chosen.get("name") or f"at-{datetime.now(UTC):%Y%m%d-%H%M%S}")}
    name = args.name or chosen["name"]
    params = {"snapname": name, **args.params("name")}
    if not params.get("vmstate"):
        params.pop("vmstate", None)  # containers do not know it, and it is the default
    return Plan(
        ACTIONS["snapshot.create"],
        api,
        guest,
        (Step("POST", (*_path(guest), "snapshot"), params),),
        (Touched(guest), *await foreign(reading, guest, "write")),
        functools.partial(_see_created, name),
        args,
        problem=_busy(guest, "snapshot")
        or _create_problem(guest, known, name, args)
        or await _storage_problem(reading, guest),
        chosen=chosen,
        notes=_memory_note(guest, args),
        state=guest.state,
        hint=functools.partial(lock_hint, guest),
    )


def _create_problem(guest: GuestTarget, known: Rows, name: str, args: CreateArgs) -> ActionError | None:
    if name in known:
        return ActionError(f"{guest.label} has a snapshot {name} already.", cure="Take another name.")
    if args.vmstate and guest.type == "lxc":
        return ActionError(
            f"{guest.label} is a container, whose memory Proxmox cannot keep.", cure="Leave out vmstate."
        )
    if args.vmstate and guest.state not in {"running", "paused"}:
        return ActionError(f"{guest.label} is {guest.state}: it has no memory to keep.", cure="Leave out vmstate.")
    return None


async def _storage_problem(reading: Reading, guest: GuestTarget) -> ActionError | None:
    """Proxmox says whether all disks can; which one cannot is told by its storage."""
    api = reading.api(guest.site)
    if await can_snapshot(api, guest):
        return None
    found = await guest_disks(api, guest)
    cannot = [disk for disk in found if disk.cannot_snapshot] or list(found)
    named = "; ".join(map(str, cannot)) or "none of its disks is on a storage that can"
    return ActionError(
        f"{guest.label} cannot be snapshotted: {named}.",
        cure="Snapshots need qcow2 files, lvmthin, zfs, btrfs or rbd: move the disk there, or make a backup instead.",
    )


def _memory_note(guest: GuestTarget, args: CreateArgs) -> tuple[str, ...]:
    if guest.state == "running" and guest.type == "qemu" and not args.vmstate:
        return ("It runs and its memory is not kept: going back is like after a power cut.",)
    return ()


async def _plan_rollback(reading: Reading, ref: GuestRef, args: RollbackArgs) -> Plan:
    guest = await reading.guest(ref)
    api = reading.api(guest.site)
    known = await _snapshots(reading, guest)
    found = known.get(args.name)
    newer = _newer(known, args.name)
    problem = _busy(guest, "rollback") or _unknown(guest, known, args.name) or await _order_problem(api, guest, newer)
    if found and found.get("snapstate"):
        problem = ActionError(f"The snapshot {args.name} was never finished.", cure="Delete it and take another one.")
    starts = bool(args.start or (found or {}).get("vmstate"))
    return Plan(
        ACTIONS["snapshot.rollback"],
        api,
        guest,
        (Step("POST", (*_path(guest), "snapshot", args.name, "rollback"), args.params("name")),),
        (Touched(guest, "destroy"), *await foreign(reading, guest, "destroy")),
        functools.partial(_see_rolled_back, args.name, starts),
        args,
        problem=problem,
        notes=_rollback_notes(guest, found or {}, newer, starts=starts) if not problem else (),
        state=guest.state,
        hint=functools.partial(lock_hint, guest),
    )


async def _order_problem(api: Any, guest: GuestTarget, newer: list[str]) -> ActionError | None:
    """ZFS goes back to the newest snapshot only."""
    zfs = [disk for disk in await guest_disks(api, guest) if disk.kind == "zfspool"] if newer else []
    if not zfs:
        return None
    return ActionError(
        f"{guest.label} cannot go back past newer snapshots: {zfs[0]} goes back to the newest only.",
        cure=f"Newer ones, to be deleted first if nobody needs them: {', '.join(newer[-SHOWN:])}.",
    )


def _rollback_notes(guest: GuestTarget, found: Row, newer: list[str], *, starts: bool) -> tuple[str, ...]:
    notes = [f"All that was written since {utc(found.get('snaptime')) or 'it was made'} is lost, its settings too."]
    if newer:
        notes.append(f"Newer snapshots, which stay: {', '.join(newer[-SHOWN:])}.")
    after = "runs again afterwards" if starts else "stays stopped afterwards"
    if guest.state == "stopped":
        notes.append("It is stopped" + (" and is started afterwards." if starts else "."))
    else:
        notes.append(f"It is {guest.state}: it is stopped for this, and {after}.")
    return tuple(notes)


async def _plan_delete(reading: Reading, ref: GuestRef, args: DeleteArgs) -> Plan:
    guest = await reading.guest(ref)
    known = await _snapshots(reading, guest)
    found = known.get(args.name, {})
    children = sorted(name for name, row in known.items() if row.get("parent") == args.name)
    notes = [f"Made {utc(found.get('snaptime')) or 'at an unknown time'}. Nobody can go back to it any more."]
    if children:
        notes.append(f"Made after it, and kept: {', '.join(children[:SHOWN])}.")
    return Plan(
        ACTIONS["snapshot.delete"],
        reading.api(guest.site),
        guest,
        (Step("DELETE", (*_path(guest), "snapshot", args.name)),),
        (Touched(guest), *await foreign(reading, guest, "write")),
        functools.partial(_see_deleted, args.name),
        args,
        problem=_unknown(guest, known, args.name) or locked(guest),
        notes=tuple(notes) if found else (),
        state=guest.state,
        hint=functools.partial(lock_hint, guest),
    )


# --- what is there ---------------------------------------------------------------------------------------------------


def _path(guest: GuestTarget) -> tuple[str | int, ...]:
    return ("nodes", guest.node, guest.type, guest.vmid)


async def _snapshots(reading: Reading, guest: GuestTarget) -> Rows:
    return _sorted(await reading.api(guest.site).get(*_path(guest), "snapshot"))[0]


def _sorted(answer: list[Row]) -> tuple[Rows, str | None]:
    """By name, and which one the guest goes on from."""
    here = next((row.get("parent") for row in answer if row.get("name") == HERE), None)
    return {str(row["name"]): row for row in answer if row.get("name") != HERE}, here


def _newer(known: Rows, name: str) -> list[str]:
    """Those made after it, oldest first."""
    at = int(known.get(name, {}).get("snaptime") or 0)
    later = {each: int(row.get("snaptime") or 0) for each, row in known.items() if each != name}
    return sorted((each for each, when in later.items() if when > at), key=lambda each: later[each])


def _busy(guest: GuestTarget, what: str) -> ActionError | None:
    if guest.template:
        return ActionError(f"{guest.label} is a template: a {what} of it is not possible.", cure="Clone it first.")
    return locked(guest)


def _unknown(guest: GuestTarget, known: Rows, name: str) -> ActionError | None:
    if name in known:
        return None
    there = ", ".join(sorted(known)[:SHOWN])
    return ActionError(
        f"{guest.label} has no snapshot {name}.", cure=f"There are: {there}." if there else "It has none at all."
    )


# --- what is seen ----------------------------------------------------------------------------------------------------


async def _look(plan: Plan) -> tuple[Rows, str | None, GuestTarget]:
    guest = plan.target
    if not isinstance(guest, GuestTarget):
        raise TypeError(guest)
    known, here = _sorted(await plan.api.get(*_path(guest), "snapshot"))
    return known, here, await reread(plan.api, guest)


async def _see_created(name: str, plan: Plan, outcome: Outcome) -> Seen:
    known, _, now = await _look(plan)
    row = known.get(name)
    there = row is not None and not row.get("snapstate")
    if outcome.ok and there:
        return Seen(ok=True, message=f"the snapshot {name} is there.", state=now.state, details={"snapshot": name})
    what = "is there" if there else "is there, but was never finished" if row else "is not there"
    return Seen(ok=False, message=f"the snapshot {name} {what}.", state=now.state, changed=row is not None)


async def _see_rolled_back(name: str, starts: bool, plan: Plan, outcome: Outcome) -> Seen:
    _, here, now = await _look(plan)
    back = here == name
    as_wanted = now.state in {"running", "paused"} or not starts
    where = f"it goes on from {here or 'no snapshot'} and is {now.state}"
    ok = outcome.ok and back and as_wanted
    return Seen(ok=ok, message=f"{where}{'' if as_wanted else ', though it should run'}.", state=now.state,
                changed=True if ok else None)  # fmt: skip


async def _see_deleted(name: str, plan: Plan, outcome: Outcome) -> Seen:
    known, _, now = await _look(plan)
    there = name in known
    text = f"the snapshot {name} is {'still there' if there else 'gone'}; {len(known)} are left."
    return Seen(ok=outcome.ok and not there, message=text, state=now.state, changed=not there)


_SNAPSHOT = (Privilege("VM.Snapshot", "/vms/{vmid}"),)
ROWS: tuple[Action, ...] = (
    Action("snapshot.create", "Snapshot", "operate", "guest", _SNAPSHOT, CreateArgs, _plan_create),
    Action(
        "snapshot.rollback", "Rollback", "destroy", "guest", (Privilege("VM.Snapshot.Rollback", "/vms/{vmid}"),),
        RollbackArgs, _plan_rollback, takes_down=True,
    ),
    Action("snapshot.delete", "Deletion of a snapshot", "destroy", "guest", _SNAPSHOT, DeleteArgs, _plan_delete),
)  # fmt: skip
ACTIONS = {row.name: row for row in ROWS}
