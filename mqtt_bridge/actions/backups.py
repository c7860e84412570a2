"""Backups of a guest: made with vzdump, deleted from a storage.

`remove=0` is always sent, so that making one never prunes others; scripts, dump directories and the like are never.
"""

import functools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from mqtt_bridge.actions.backup_lookup import BackupVolume, content, find_backup
from mqtt_bridge.actions.guest_disks import can_snapshot
from mqtt_bridge.actions.locks import lock_hint, locked
from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import Action, ActionError, Args, Bool, Privilege, Text, Word
from mqtt_bridge.actions.volumes import foreign
from mqtt_bridge.model import utc
from mqtt_bridge.proxmox.segments import Volume
from mqtt_bridge.targets import BackupTarget, GuestRef, GuestTarget, StorageRef, StorageTarget, Touched

Row = Mapping[str, Any]
Mode = Literal["snapshot", "suspend", "stop"]
COMPRESS = {"none": "0", "zstd": "zstd", "gzip": "gzip", "lzo": "lzo"}
SHOWN = 5


class CreateArgs(Args):
    """`storage`: if not given, a Backup Server, else a shared one, else any that takes backups.

    `notes` may hold {{guestname}}, {{vmid}}, {{node}}.
    """

    storage: Word | None = None
    mode: Mode | None = None
    compress: Literal["none", "zstd", "gzip", "lzo"] | None = None
    notes: Annotated[Text, Field(max_length=900)] | None = None
    protected: Bool | None = None


class DeleteArgs(Args):
    """Which one: its volume id."""

    volume: BackupVolume


async def _plan_create(reading: Reading, ref: GuestRef, args: CreateArgs) -> Plan:
    guest = await reading.guest(ref)
    api = reading.api(guest.site)
    places = _usable(guest, await api.get("nodes", guest.node, "storage", content="backup", enabled=1))
    wanted = args.storage or reading.chosen.get("storage")
    place = next((each for each in places if wanted in {None, each.storage}), None)
    if place is None:
        raise _no_storage(guest, args.storage, places)
    before = await content(reading, place, guest.vmid)
    mode = await _mode(api, guest, args.mode or "snapshot")
    stopping = mode != "snapshot" and guest.state in {"running", "paused"}
    return Plan(
        ACTIONS["backup.create"],
        api,
        guest,
        (Step("POST", ("nodes", guest.node, "vzdump"), _vzdump(guest, place, args)),),
        (
            Touched(guest, "write" if stopping else "read"),
            Touched(place, "write"),
            *await foreign(reading, guest, "read"),
        ),
        functools.partial(_see_created, reading, place, frozenset(str(row["volid"]) for row in before)),
        args,
        takes_down=stopping,
        problem=locked(guest),
        chosen={} if args.storage else {"storage": place.storage},
        notes=_create_notes(guest, place, places, args, mode),
        narrow="" if args.mode or not stopping else _CANNOT,
        state=guest.state,
        hint=functools.partial(lock_hint, guest),
    )


_CANNOT = "Its disks cannot be snapshotted, so it would be suspended meanwhile."


async def _mode(api: Any, guest: GuestTarget, wanted: Mode) -> Mode:
    """What vzdump will do: a running container whose disks cannot be snapshotted is suspended instead."""
    if wanted == "snapshot" and guest.type == "lxc" and guest.state == "running" and not await can_snapshot(api, guest):
        return "suspend"
    return wanted


def _vzdump(guest: GuestTarget, place: StorageTarget, args: CreateArgs) -> dict[str, Any]:
    """A Backup Server compresses by itself. In notes, line ends and backslashes are escaped as vzdump wants it."""
    params: dict[str, Any] = {
        "vmid": str(guest.vmid),
        "storage": place.storage,
        "mode": args.mode or "snapshot",
        "remove": 0,
    }
    if place.type != "pbs":
        params["compress"] = COMPRESS[args.compress or "zstd"]
    if args.notes is not None:
        params["notes-template"] = args.notes.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", " ")
    return params | ({"protected": 1} if args.protected else {})


def _usable(guest: GuestTarget, rows: list[Row]) -> tuple[StorageTarget, ...]:
    """Backup storages that the guest's node reaches now: Backup Servers first, then shared ones, then by name."""
    found = (
        StorageTarget(
            guest.site, str(row["storage"]), guest.node, str(row.get("type") or ""), bool(row.get("shared")),
            frozenset(str(row.get("content") or "").split(",")),
        )
        for row in rows
        if row.get("active")
    )  # fmt: skip
    return tuple(sorted(found, key=lambda place: (place.type != "pbs", not place.shared, place.storage)))


def _no_storage(guest: GuestTarget, wanted: str | None, places: tuple[StorageTarget, ...]) -> ActionError:
    there = ", ".join(place.storage for place in places)
    cure = f"There are: {there}." if there else "Give one the content type backup, and the token Datastore.Audit on it."
    what = (
        f"{wanted} is no active backup storage of {guest.node}." if wanted else f"{guest.node} has no backup storage."
    )
    return ActionError(what, cure=cure)


def _create_notes(
    guest: GuestTarget, place: StorageTarget, places: tuple[StorageTarget, ...], args: CreateArgs, mode: Mode
) -> tuple[str, ...]:
    notes = []
    if args.storage is None and len(places) > 1:
        others = ", ".join(each.storage for each in places if each != place)
        notes.append(f"It goes to {place.storage}; there are also {others}.")
    if mode != "snapshot" and guest.state == "running":
        how = "shut down and started again" if mode == "stop" else "suspended meanwhile"
        notes.append(f"It runs and is {how}.")
    if mode != (args.mode or "snapshot"):
        notes.append(_CANNOT)
    return tuple(notes)


async def _see_created(
    reading: Reading, place: StorageTarget, before: frozenset[str], plan: Plan, outcome: Outcome
) -> Seen:
    guest = plan.target
    if not isinstance(guest, GuestTarget):
        raise TypeError(guest)
    new = [row for row in await content(reading, place, guest.vmid) if row["volid"] not in before]
    if not new:
        text = f"no new backup of it is on {place.storage}."
        return Seen(ok=False, message=text, changed=False)
    row = max(new, key=lambda each: int(each.get("ctime") or 0))
    details = {
        "volume": row["volid"],
        "storage": place.storage,
        "size": row.get("size"),
        "created_at": utc(row.get("ctime")),
    }
    return Seen(ok=outcome.ok, message=f"{row['volid']} is there.", details=details)


# --- deletion --------------------------------------------------------------------------------------------------------


async def _plan_delete(reading: Reading, ref: StorageRef, args: DeleteArgs) -> Plan:
    found = await find_backup(reading, ref, args.volume)
    place, backup = found.storage, found.target
    left = [row for row in await content(reading, place, backup.vmid) if row["volid"] != args.volume]
    path = ("nodes", place.node, "storage", place.storage, "content", Volume(args.volume))
    return Plan(
        ACTIONS["backup.delete"],
        reading.api(place.site),
        backup,
        (Step("DELETE", path),),
        (Touched(backup, "destroy"), Touched(place, "write")),
        functools.partial(_see_deleted, reading, place),
        args,
        notes=_delete_notes(found.row, left, place),
    )


def _delete_notes(row: Row, left: list[Row], place: StorageTarget) -> tuple[str, ...]:
    """What an approver has to know: how old it is, and what remains."""
    age = (datetime.now(UTC).timestamp() - int(row.get("ctime") or 0)) / 86400
    notes = [f"Made {utc(row.get('ctime'))}, {age:.0f} days ago; {int(row.get('size') or 0) / 2**30:.1f} GiB."]
    newest = max((int(each.get("ctime") or 0) for each in left), default=0)
    if not newest:
        notes.append(f"It is the last backup of this guest on {place.storage}.")
    else:
        notes.append(f"{len(left)} others of this guest stay on {place.storage}, the newest of {utc(newest)}.")
    return tuple(notes)


async def _see_deleted(reading: Reading, place: StorageTarget, plan: Plan, outcome: Outcome) -> Seen:
    backup = plan.target
    if not isinstance(backup, BackupTarget):
        raise TypeError(backup)
    there = any(row["volid"] == backup.volume for row in await content(reading, place, backup.vmid))
    text = f"it is {'still there' if there else 'gone'}."
    return Seen(ok=outcome.ok and not there, message=text, changed=not there)


ROWS: tuple[Action, ...] = (
    Action(
        "backup.create", "Backup", "operate", "guest",
        (Privilege("VM.Backup", "/vms/{vmid}"), Privilege("Datastore.AllocateSpace", "/storage/{storage}")),
        CreateArgs, _plan_create,
    ),
    Action(
        "backup.delete", "Deletion", "destroy", "storage",
        (Privilege("VM.Backup", "/vms/{vmid}"), Privilege("Datastore.AllocateSpace", "/storage/{storage}")),
        DeleteArgs, _plan_delete,
    ),
)  # fmt: skip
ACTIONS = {row.name: row for row in ROWS}
