"""Disks of guests: added and grown. Containers have mount points, on storages only: never folders of their node."""

import functools
import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from mqtt_bridge.actions import disk_moves
from mqtt_bridge.actions.disk_look import DISK, SLOTS, disk, storage_for
from mqtt_bridge.actions.hardware import (
    GIB,
    below,
    config_now,
    digest,
    first,
    free_key,
    plugs,
    size_of,
    size_text,
    stop_first,
    unchangeable,
    write_config,
)
from mqtt_bridge.actions.locks import lock_hint
from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.property_string import Value, parse, render, volume_of
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import Action, ActionError, Args, Bool, Int, Privilege, Word
from mqtt_bridge.targets import GuestRef, GuestTarget, Touched

LARGEST = 128 * 1024  # GiB
BUSES = frozenset({"scsi", "virtio", "sata", "ide"})
_GROW = re.compile(r"\+?\d+(\.\d+)?[KMGT]")
_PATH = re.compile(r"/[A-Za-z0-9._/ @:+-]*")


def _size(text: str) -> str:
    if not _GROW.fullmatch(text):
        raise ValueError("it must be the new size like 64G, or what it grows by like +10G")
    return text


def _path(text: str) -> str:
    if not _PATH.fullmatch(text) or any(part in {".", ".."} for part in text.split("/")) or text.strip("/") == "":
        raise ValueError("it must be a full path inside the container, like /var/data")
    return text


class AddArgs(Args):
    """`disk` or `bus` says where a VM's goes; a container's has the `path` at which it is mounted."""

    storage: Word
    size_gb: Annotated[Int, Field(ge=1, le=LARGEST)]
    bus: Literal["scsi", "virtio", "sata", "ide"] | None = None
    disk: Word | None = None
    path: Annotated[Word, AfterValidator(_path)] | None = None
    backup: Bool | None = None
    discard: Bool | None = None
    ssd: Bool | None = None
    iothread: Bool | None = None
    read_only: Bool | None = None


class ResizeArgs(Args):
    """`size`: the new size (`64G`), or `+10G`."""

    disk: Word
    size: Annotated[Word, AfterValidator(_size)]


async def _plan_add(reading: Reading, ref: GuestRef, args: AddArgs) -> Plan:
    guest = await reading.guest(ref)
    place = _place(guest, args)
    wrong = place if isinstance(place, ActionError) else _cold(guest, place)
    problem = first((unchangeable(guest), _misfit(guest, args), wrong))
    key = "" if isinstance(place, ActionError) else place
    storage, unfit, room = await storage_for(reading, guest, args.storage, args.size_gb * GIB)
    text = _drive(args) if guest.type == "qemu" else _mount(args)
    return Plan(
        ROWS[0],
        reading.api(guest.site),
        guest,
        (write_config(guest, {key: text}),),
        (Touched(guest), Touched(storage)),
        functools.partial(_see_added, key),
        args,
        problem=problem or unfit,
        state=guest.state,
        notes=(f"New: {key}, {args.size_gb} GiB on {args.storage}.", *room),
        hint=functools.partial(lock_hint, guest),
    )


def _misfit(guest: GuestTarget, args: AddArgs) -> ActionError | None:
    """What this type of guest has not, needs, or has already."""
    if guest.type == "lxc":
        wrong = [name for name in ("bus", "discard", "ssd", "iothread") if getattr(args, name) is not None]
        if wrong:
            return ActionError(f"A container's mount point has no {', '.join(wrong)}.", cure="Leave that out.")
        if args.path is None:
            return ActionError("A container's disk needs the path where it is mounted.", cure="Give path, like /data.")
        return _mounted(guest, args.path)
    if args.path is not None or args.read_only is not None:
        return ActionError("A VM's disk has no path and is not read-only.", cure="Mount it inside the VM.")
    if args.ssd and (args.bus or (args.disk or "").rstrip("0123456789")) == "virtio":
        return ActionError("A virtio disk cannot look like an SSD.", cure="Use scsi, or leave ssd out.")
    return None


def _mounted(guest: GuestTarget, path: str) -> ActionError | None:
    for key, text in guest.config.items():
        if key.startswith("mp") and parse(str(text)).get("mp", "").rstrip("/") == path.rstrip("/"):
            return ActionError(f"{key} of {guest.label} is mounted at {path} already.", cure="Choose another path.")
    return None


def _place(guest: GuestTarget, args: AddArgs) -> str | ActionError:
    """The key that it gets, or why there is none."""
    prefix = "mp" if guest.type == "lxc" else (args.bus or "scsi")
    if args.disk is None:
        return free_key(guest.config, prefix, SLOTS[prefix])
    kind = args.disk.rstrip("0123456789")
    number = args.disk.removeprefix(kind)
    fits = kind in ({"mp"} if guest.type == "lxc" else BUSES) and args.bus in {None, kind}
    if not fits or not number or str(int(number)) != number or int(number) >= SLOTS[kind]:
        return ActionError(f"{args.disk} is no place for a new disk of {guest.label}.", cure="Leave it out.")
    if args.disk in guest.config:
        return ActionError(f"{guest.label} has a {args.disk} already.", cure="Leave it out for the next free one.")
    return args.disk


def _cold(guest: GuestTarget, key: str) -> ActionError | None:
    """Why it cannot be plugged in while the VM runs."""
    if guest.type == "lxc" or guest.state == "stopped":
        return None
    if key.startswith(("sata", "ide")):
        return stop_first(guest, f"{key} cannot be plugged in then; scsi and virtio can")
    return None if plugs(guest, "disk") else stop_first(guest, "its option `hotplug` keeps disks from being plugged in")


def _drive(args: AddArgs) -> str:
    fields: dict[str, Value] = {
        "backup": args.backup,
        "discard": None if args.discard is None else "on" if args.discard else "ignore",
        "iothread": args.iothread,
        "ssd": args.ssd,
    }
    return render(fields, head=f"{args.storage}:{args.size_gb}")


def _mount(args: AddArgs) -> str:
    return render({"mp": args.path, "backup": args.backup, "ro": args.read_only}, head=f"{args.storage}:{args.size_gb}")


async def _see_added(key: str, plan: Plan, outcome: Outcome) -> Seen:
    if not isinstance(plan.target, GuestTarget):
        raise TypeError(plan.target)
    now = str((await config_now(plan.api, plan.target)).get(key, ""))
    if volume_of(now):
        text = f"{key} is {now} now." + (
            " It has no partitions or file system yet." if not key.startswith("mp") else ""
        )
        return Seen(ok=outcome.ok, message=text, changed=True, details={"disk": key, "volume": volume_of(now)})
    why = "it waits for the guest's next stop" if outcome.ok else "it is not there"
    return Seen(ok=False, message=f"{key}: {why}.", changed=None if outcome.ok else False)


# --- growing ---------------------------------------------------------------------------------------------------------


async def _plan_resize(reading: Reading, ref: GuestRef, args: ResizeArgs) -> Plan:
    guest = await reading.guest(ref)
    found = disk(guest, args.disk)
    size = None if isinstance(found, ActionError) else _grown(found.size, args.size)
    problem = unchangeable(guest) or (found if isinstance(found, ActionError) else _no_growth(guest, found, size))
    old = None if isinstance(found, ActionError) else found.size
    shown = size_text(size) if size is not None else args.size
    return Plan(
        ROWS[1],
        reading.api(guest.site),
        guest,
        (Step("PUT", below(guest, "resize"), {"disk": args.disk, "size": shown, **digest(guest)}),),
        (Touched(guest),),
        functools.partial(_see_resized, size),
        args,
        problem=problem,
        nothing=f"{args.disk} of {guest.label} is {shown} already; nothing was sent." if size and size == old else None,
        state=guest.state,
        notes=(f"It grows from {size_text(old) if old else 'an unknown size'} to {shown}, and cannot shrink again.",),
        hint=functools.partial(lock_hint, guest),
    )


def _grown(old: int | None, wanted: str) -> int | None:
    """The size in bytes that comes of it; None if only Proxmox knows."""
    more = size_of(wanted.removeprefix("+"))
    if not wanted.startswith("+"):
        return more
    return None if old is None or more is None else old + more


def _no_growth(guest: GuestTarget, found: object, size: int | None) -> ActionError | None:
    key, old = getattr(found, "key", ""), getattr(found, "size", None)
    if key.startswith("unused") or not DISK[guest.type].fullmatch(key):
        return ActionError(
            f"{key} is not used by {guest.label}, so it cannot grow.", cure="Attach it in Proxmox first."
        )
    if key.startswith(("efidisk", "tpmstate")):
        return ActionError(f"{key} has the size that it needs.", cure="Name another disk.")
    if size is not None and size > LARGEST * GIB:
        return ActionError(f"More than {LARGEST} GiB is surely a mistake.", cure="Write 64G for 64 GiB.")
    if size is not None and old is not None and size < old:
        return ActionError(
            f"{key} of {guest.label} is {size_text(old)} large, and disks only grow.",
            cure="To make it smaller, add a smaller disk and copy the data.",
        )
    return None


async def _see_resized(size: int | None, plan: Plan, outcome: Outcome) -> Seen:
    if not isinstance(plan.target, GuestTarget) or not isinstance(plan.args, ResizeArgs):
        raise TypeError(plan.target)
    key, guest = plan.args.disk, plan.target
    told = parse(str((await config_now(plan.api, guest)).get(key, ""))).get("size", "")
    changed = told != parse(str(guest.config.get(key, ""))).get("size", "")
    good = outcome.ok and changed and (size is None or size_of(told) == size)
    inside = "" if guest.type == "lxc" else " Its partitions and file system have to be grown inside the VM."
    text = f"{key} is {told or 'of unknown size'} now.{inside if good else ''}"
    return Seen(ok=good, message=text, changed=changed, details={"size": told})


_DISK: Final = Privilege("VM.Config.Disk", "/vms/{vmid}")
_SPACE: Final = Privilege("Datastore.AllocateSpace", "/storage/{storage}")
ROWS: tuple[Action, ...] = (
    Action("disk.add", "Addition of a disk", "change", "guest", (_DISK, _SPACE), AddArgs, _plan_add),
    Action("disk.resize", "Growth of a disk", "change", "guest", (_DISK, _SPACE), ResizeArgs, _plan_resize),
    *disk_moves.ROWS,
)
