"""Disks that go elsewhere: to another storage, to another guest, or for good."""

import functools
from typing import Annotated, Any, Final

from pydantic import Field

from mqtt_bridge.actions.disk_look import SLOTS, Disk, disk, in_snapshots, snapshots_of, storage_for
from mqtt_bridge.actions.hardware import (
    below,
    config_now,
    digest,
    first,
    free_key,
    plugs,
    size_text,
    stop_first,
    unchangeable,
    write_config,
)
from mqtt_bridge.actions.locks import lock_hint
from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.property_string import volume_of
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import Action, ActionError, Args, Bool, Int, Privilege, Word
from mqtt_bridge.targets import GuestRef, GuestTarget, StorageRef, Touched

Vmid = Annotated[Int, Field(ge=100, le=999_999_999)]


class MoveArgs(Args):
    """Either to a `storage` (`delete`: without keeping the source as unused disk), or to another guest."""

    disk: Word
    storage: Word | None = None
    delete: Bool = False
    target_vmid: Vmid | None = None
    target_disk: Word | None = None


class RemoveArgs(Args):
    """Which one; `unused0` too."""

    disk: Word


async def _plan_move(reading: Reading, ref: GuestRef, args: MoveArgs) -> Plan:
    guest = await reading.guest(ref)
    found = disk(guest, args.disk)
    if isinstance(found, ActionError) or (args.storage is None) == (args.target_vmid is None):
        text = ActionError(
            "A disk moves either to a storage or to another guest.", cure="Give one: storage or target_vmid."
        )
        return _moving(reading, guest, args, {}, found if isinstance(found, ActionError) else text)
    if args.storage is not None:
        return await _to_storage(reading, guest, args, found)
    return await _to_guest(reading, guest, args, found)


def _moving(
    reading: Reading,
    guest: GuestTarget,
    args: MoveArgs,
    params: dict[str, Any],
    problem: ActionError | None,
    **more: Any,
) -> Plan:
    """What both ways share."""
    verb, key = ("move_disk", "disk") if guest.type == "qemu" else ("move_volume", "volume")
    plan: dict[str, Any] = {
        "objects": (Touched(guest),),
        "see": _see_moved,
        "problem": unchangeable(guest) or problem,
        "hint": functools.partial(lock_hint, guest),
        **more,
    }
    step = Step("POST", below(guest, verb), {key: args.disk, **params, **digest(guest)})
    return Plan(
        row=ROWS[0], api=reading.api(guest.site), target=guest, steps=(step,), args=args, state=guest.state, **plan
    )


async def _to_storage(reading: Reading, guest: GuestTarget, args: MoveArgs, found: Disk) -> Plan:
    storage, unfit, room = await storage_for(reading, guest, args.storage or "", found.size)
    source = await reading.storage(StorageRef(found.storage, guest.node, guest.site))
    held = await snapshots_of(reading.api(guest.site), guest, found.volume) if args.delete else ()
    same = f"{args.disk} of {guest.label} is on {args.storage} already; nothing was sent."
    kept = "The source is deleted then." if args.delete else "The source stays as an unused disk and takes its space."
    return _moving(
        reading,
        guest,
        args,
        {"storage": args.storage, "delete": int(args.delete)},
        first((unfit, _still(guest, found), in_snapshots(held, found.volume))),
        objects=(Touched(guest), Touched(storage), Touched(source, "write" if args.delete else "read")),
        nothing=same if found.storage == args.storage else None,
        notes=(f"{args.disk} ({_large(found)}) goes from {found.storage} to {args.storage}. {kept}", *room),
    )


def _still(guest: GuestTarget, found: Disk) -> ActionError | None:
    """What cannot move while the guest runs."""
    if guest.state == "stopped":
        return None
    if guest.type == "lxc":
        return stop_first(guest, "a container's volumes move only while it is stopped")
    if found.kind == "tpmstate":
        return stop_first(guest, "the state of its TPM moves only while it is stopped")
    return None


async def _to_guest(reading: Reading, guest: GuestTarget, args: MoveArgs, found: Disk) -> Plan:
    other = await reading.guest(GuestRef(args.target_vmid or 0, guest.site))
    key = args.target_disk or free_key(other.config, found.kind, SLOTS.get(found.kind, 1))
    wrong = key if isinstance(key, ActionError) else _not_there(guest, other, found, key)
    target = "target-disk" if guest.type == "qemu" else "target-volume"
    return _moving(
        reading,
        guest,
        args,
        {"target-vmid": other.vmid, target: str(key), **digest(other, "target-digest")},
        first((wrong, unchangeable(other))),
        objects=(Touched(guest), Touched(other)),
        see=functools.partial(_see_given, other, str(key)),
        takes_down=False,
        notes=(f"{args.disk} ({_large(found)}) with its data becomes {key} of {other.label}.",),
    )


def _not_there(guest: GuestTarget, other: GuestTarget, found: Disk, key: str) -> ActionError | None:
    """Why the other guest cannot take it: the first row that fits."""
    whole = found.key == "rootfs" or found.kind in {"efidisk", "tpmstate"}
    rows = (
        (other.vmid == guest.vmid, f"{other.label} is the guest that has it.", "Name another one."),
        (other.type != guest.type, f"{other.label} is of another type: VMs and containers do not share disks.", ""),
        (other.node != guest.node, f"{other.label} is on {other.node}, {guest.label} on {guest.node}.",
         "Migrate one of them to the node of the other first."),
        (whole, f"{guest.label} does not start without its {found.key}.", "Clone the guest instead."),
        (key in other.config, f"{other.label} has a {key} already.", "Leave target_disk out for the next free one."),
        (key.rstrip("0123456789") not in SLOTS, f"{key[:40]} is no place for a disk.", "Leave target_disk out."),
    )  # fmt: skip
    wrong = next((ActionError(text, cure=cure) for fits, text, cure in rows if fits), None)
    if wrong is None and guest.state != "stopped" and found.kind != "unused":
        return stop_first(guest, "a disk that it uses cannot be given away")
    if wrong is None and other.state != "stopped" and other.type == "lxc":
        return stop_first(other, "it cannot be given a volume then")
    return wrong


def _large(found: Disk) -> str:
    return size_text(found.size) if found.size else "of unknown size"


async def _see_moved(plan: Plan, outcome: Outcome) -> Seen:
    guest, args = plan.target, plan.args
    if not isinstance(guest, GuestTarget) or not isinstance(args, MoveArgs):
        raise TypeError(guest)
    now = await config_now(plan.api, guest)
    before, volume = volume_of(str(guest.config.get(args.disk, ""))), volume_of(str(now.get(args.disk, "")))
    left = _unused(now, before)
    rest = f" The source is still there as {left}." if left else ""
    good = outcome.ok and volume.startswith(f"{args.storage}:") and not (args.delete and left)
    details = {"volume": volume, **({"unused": left} if left else {})}
    return Seen(ok=good, message=f"{args.disk} is {volume} now.{rest}", changed=volume != before, details=details)


async def _see_given(other: GuestTarget, key: str, plan: Plan, outcome: Outcome) -> Seen:
    guest, args = plan.target, plan.args
    if not isinstance(guest, GuestTarget) or not isinstance(args, MoveArgs):
        raise TypeError(guest)
    left = args.disk in await config_now(plan.api, guest)
    volume = volume_of(str((await config_now(plan.api, other)).get(key, "")))
    good = outcome.ok and bool(volume) and not left
    text = f"{other.label} has {volume} as {key} now." if volume else f"{other.label} has no {key}."
    details = {"disk": key, "volume": volume} if volume else {}
    return Seen(ok=good, message=f"{text}{f' {guest.label} still has {args.disk}.' if left else ''}", changed=not left,
                details=details)  # fmt: skip


def _unused(config: Any, volume: str) -> str:
    """The key under which a volume is kept."""
    keys = (key for key, text in config.items() if key.startswith("unused") and volume_of(str(text)) == volume)
    return next(keys, "")


# --- for good --------------------------------------------------------------------------------------------------------


async def _plan_remove(reading: Reading, ref: GuestRef, args: RemoveArgs) -> Plan:
    """A disk that is used is taken off first; only if that was seen to work, its volume is deleted."""
    guest = await reading.guest(ref)
    api = reading.api(guest.site)
    found = disk(guest, args.disk)
    plan: dict[str, Any] = {"row": ROWS[1], "api": api, "target": guest, "see": _see_removed, "args": args,
                            "state": guest.state, "hint": functools.partial(lock_hint, guest)}  # fmt: skip
    if isinstance(found, ActionError):
        return Plan(**plan, steps=(), objects=(Touched(guest, "destroy"),), problem=found)
    storage = await reading.storage(StorageRef(found.storage, guest.node, guest.site))
    held = await snapshots_of(api, guest, found.volume)
    return Plan(
        **plan,
        steps=_removal(guest, found),
        objects=(Touched(guest, "destroy"), Touched(storage)),
        takes_down=guest.state != "stopped" and found.kind != "unused",
        problem=first((unchangeable(guest), _needed(guest, found), in_snapshots(held, found.volume))),
        notes=_loss(guest, found),
    )


def _removal(guest: GuestTarget, found: Disk) -> tuple[Step, ...]:
    """Proxmox keeps what is taken off as the first free unused disk."""
    if found.kind == "unused":
        return (write_config(guest, {"delete": found.key}),)
    kept = str(free_key(guest.config, "unused", SLOTS["unused"]))
    last = Step("POST" if guest.type == "qemu" else "PUT", below(guest, "config"), {"delete": kept}, task=False)
    return write_config(guest, {"delete": found.key}), last


def _needed(guest: GuestTarget, found: Disk) -> ActionError | None:
    """Why it cannot be taken off now."""
    if found.key == "rootfs":
        return ActionError(f"{guest.label} is nothing without its rootfs.", cure="delete_guest deletes all of it.")
    if guest.state == "stopped" or found.kind == "unused":
        return None
    if guest.type == "lxc":
        return stop_first(guest, "a container's mount points go only while it is stopped")
    if found.kind not in {"scsi", "virtio"} or not plugs(guest, "disk"):
        return stop_first(guest, f"{found.key} cannot be taken off then")
    return None


def _loss(guest: GuestTarget, found: Disk) -> tuple[str, ...]:
    boot = found.key in str(guest.config.get("boot", "")).replace("order=", "").split(";")
    out = found.fields.get("backup") == "0"
    return tuple(
        text
        for text, fits in (
            (f"All data of {found.volume} ({_large(found)}) are lost.", True),
            (f"{guest.label} boots from it.", boot),
            (f"{guest.label} is running.", guest.state != "stopped"),
            ("It is left out of backups: there may be no copy.", out),
        )
        if fits
    )


async def _see_removed(plan: Plan, outcome: Outcome) -> Seen:
    guest, args = plan.target, plan.args
    if not isinstance(guest, GuestTarget) or not isinstance(args, RemoveArgs):
        raise TypeError(guest)
    volume = volume_of(str(guest.config.get(args.disk, "")))
    now = await config_now(plan.api, guest)
    kept = _unused(now, volume)
    if volume_of(str(now.get(args.disk, ""))) == volume and not args.disk.startswith("unused"):
        return Seen(ok=False, message=f"{args.disk} is still attached; nothing was deleted.", changed=False)
    if kept:
        taken = not args.disk.startswith("unused")
        text = f"{'It was taken off, but its' if taken else 'Its'} volume {volume} is still there as {kept}."
        return Seen(ok=False, message=text, changed=taken, details={"unused": kept})
    return Seen(ok=outcome.ok, message=f"{args.disk} is gone, and its volume {volume} is deleted.", changed=True)


_DISK: Final = Privilege("VM.Config.Disk", "/vms/{vmid}")
_SPACE: Final = Privilege("Datastore.AllocateSpace", "/storage/{storage}")
ROWS: tuple[Action, ...] = (
    Action("disk.move", "Move of a disk", "change", "guest", (_DISK, _SPACE), MoveArgs, _plan_move),
    Action("disk.remove", "Removal of a disk", "destroy", "guest", (_DISK, _SPACE), RemoveArgs, _plan_remove),
)
