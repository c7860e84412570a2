"""A guest's settings: what it is called, what it gets, how it starts. Disks and networks have actions of their own.

What Proxmox keeps for the next stop is told as pending. Protected tags, and the flag `protection`, are taken off by
nobody here: the policy refuses to change a guest with such a tag, and the flag can only be set.
"""

import functools
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from mqtt_bridge.actions.locks import lock_hint, locked
from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.property_string import alter, parse, render
from mqtt_bridge.actions.provision_args import (
    Cores,
    CpuType,
    Device,
    Memory,
    Name,
    Nameservers,
    Sockets,
    Swap,
    Tags,
)
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import Action, ActionError, Args, Bool, Int, Privilege, Text
from mqtt_bridge.model import GuestType
from mqtt_bridge.proxmox.rows import split_list
from mqtt_bridge.targets import GuestRef, GuestTarget, Touched

_NUMBER = re.compile(r"\d{1,12}(\.\d{1,6})?")
Order = Annotated[Int, Field(ge=0, le=1_000_000)]
Limit = Annotated[float, Field(ge=0, le=128, strict=False)]


class UpdateArgs(Args):
    """`tags` are all that it shall have; an empty text or list takes a setting out. `memory`, `swap` in MiB.

    `cpu_limit` in cores, 0 for none; `startup_order` for starts at boot, lower ones first.
    """

    name: Name | None = None
    description: Text | None = None
    tags: Tags | None = None
    cores: Cores | None = None
    sockets: Sockets | None = None
    cpu: CpuType | None = None
    cpu_limit: Limit | None = None
    memory: Memory | None = None
    balloon: Swap | None = None
    swap: Swap | None = None
    onboot: Bool | None = None
    startup_order: Order | None = None
    boot: Annotated[tuple[Device, ...], Field(min_length=1, max_length=20)] | None = None
    agent: Bool | None = None
    nameserver: Nameservers | None = None
    searchdomain: Name | None = None
    protection: Literal[True] | None = None


ONLY: Mapping[GuestType, frozenset[str]] = {
    "qemu": frozenset({"sockets", "cpu", "balloon", "boot", "agent"}),
    "lxc": frozenset({"swap", "nameserver", "searchdomain"}),
}
INSTEAD = {"nameserver": "set_cloudinit (guest.cloudinit) does that for virtual machines.",
           "searchdomain": "set_cloudinit (guest.cloudinit) does that for virtual machines."}  # fmt: skip


async def _plan(reading: Reading, ref: GuestRef, args: UpdateArgs) -> Plan:
    guest = await reading.guest(ref)
    problem = _misfit(guest, args) or locked(guest)
    params, removed = ({}, ()) if problem else _changes(guest, args)
    return change(UPDATE, reading, guest, args, params, removed=removed, problem=problem or _none_given(args))


def _none_given(args: UpdateArgs) -> ActionError | None:
    if any(getattr(args, name) is not None for name in type(args).model_fields):
        return None
    return ActionError(
        "Nothing was named that shall be changed.", cure=f"One of: {', '.join(UpdateArgs.model_fields)}."
    )


def change(
    row: Action,
    reading: Reading,
    guest: GuestTarget,
    args: Args,
    params: Mapping[str, Any],
    *,
    removed: tuple[str, ...] = (),
    problem: ActionError | None = None,
    then: tuple[Step, ...] = (),
    notes: tuple[str, ...] = (),
    objects: tuple[Touched, ...] = (),
) -> Plan:
    """A plan that changes a guest's configuration, if it still is the one that was read (`digest`), and then more."""
    wanted = {
        key: value for key, value in params.items() if key in HIDDEN or not same(key, guest.config.get(key), value)
    }
    gone = tuple(key for key in removed if key in guest.config)
    sent = {**wanted, **({"delete": ",".join(gone)} if gone else {}), "digest": guest.config.get("digest")}
    method: Literal["POST", "PUT"] = "POST" if guest.type == "qemu" else "PUT"
    step = Step(method, ("nodes", guest.node, guest.type, guest.vmid, "config"), sent, task=False)
    steps = ((step,) if wanted or gone else ()) + then
    return Plan(
        row,
        reading.api(guest.site),
        guest,
        steps,
        (Touched(guest), *objects),
        functools.partial(see, wanted, gone),
        args,
        problem=problem,
        nothing=None if steps or problem else f"{guest.label} is so already; nothing was sent.",
        notes=notes,
        state=guest.state,
        hint=functools.partial(lock_hint, guest),
    )


def _misfit(guest: GuestTarget, args: UpdateArgs) -> ActionError | None:
    """What this kind of guest does not have."""
    other: GuestType = "lxc" if guest.type == "qemu" else "qemu"
    wrong = sorted(name for name in ONLY[other] if getattr(args, name) is not None)
    if wrong:
        word = "containers" if other == "lxc" else "virtual machines"
        return ActionError(f"{wrong[0]} is for {word}; {guest.label} is none.", cure=INSTEAD.get(wrong[0], ""))
    absent = [device for device in args.boot or () if device not in guest.config]
    if absent:
        return ActionError(f"{guest.label} has no {absent[0]} to boot from.", cure=f"It has: {_bootable(guest)}.")
    return None


def _bootable(guest: GuestTarget) -> str:
    found = [
        k
        for k in guest.config
        if k.rstrip("0123456789") in {"scsi", "virtio", "sata", "ide", "net"} and k[-1].isdigit()
    ]
    return ", ".join(sorted(found)) or "none"


def _changes(guest: GuestTarget, args: UpdateArgs) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Parameters to set, and keys to take out."""
    plain = ("cores", "sockets", "cpu", "memory", "balloon", "swap", "searchdomain", "onboot", "protection")
    params: dict[str, Any] = {
        key: int(value) if isinstance(value, bool) else value
        for key in plain
        if (value := getattr(args, key)) is not None
    }
    removed: list[str] = []
    for key, text in (("description", args.description), ("tags", None if args.tags is None else ";".join(args.tags))):
        if text:
            params[key] = text
        elif text is not None:
            removed.append(key)
    if args.name is not None:
        params["name" if guest.type == "qemu" else "hostname"] = args.name
    if args.cpu_limit is not None:
        params["cpulimit"] = f"{args.cpu_limit:g}"
    if args.startup_order is not None:
        params["startup"] = alter(str(guest.config.get("startup", "")), {"order": args.startup_order})
    if args.boot is not None:
        params["boot"] = render({"order": args.boot})
    if args.agent is not None:
        params["agent"] = _agent(str(guest.config.get("agent", "")), on=args.agent)
    if args.nameserver is not None:
        params["nameserver"] = " ".join(args.nameserver)
    return params, tuple(removed)


def _agent(old: str, *, on: bool) -> str:
    """The agent's other settings stay."""
    return alter(old, {"enabled": on}) if "enabled" in parse(old) else alter(old, {}, head=on)


def same(key: str, there: Any, wanted: Any) -> bool:
    """Proxmox gives numbers as numbers or as text, and sorts tags."""
    if key == "tags":
        return {t.casefold() for t in split_list(there)} == {t.casefold() for t in split_list(wanted)}
    if there is None:
        return False
    return _comparable(there) == _comparable(wanted)


def _comparable(value: Any) -> float | str:
    text = str(value).rstrip("\n")
    return float(text) if _NUMBER.fullmatch(text) else text


async def see(wanted: Mapping[str, Any], gone: tuple[str, ...], plan: Plan, outcome: Outcome) -> Seen:
    """What of it is in force, and what waits for the guest's next stop."""
    guest = plan.target
    if not isinstance(guest, GuestTarget):
        raise TypeError(guest)
    rows = await plan.api.get("nodes", guest.node, guest.type, guest.vmid, "pending")
    now = {str(row["key"]): row for row in rows if "key" in row}
    waiting = [key for key in (*wanted, *gone) if "pending" in now.get(key, {}) or now.get(key, {}).get("delete")]
    missed = [key for key, value in wanted.items() if key not in waiting and not _there(now.get(key, {}), key, value)]
    missed += [key for key in gone if key in now and key not in waiting]
    details: dict[str, Any] = {"pending": waiting} if waiting else {}
    if missed or not outcome.ok:
        text = f"not changed: {', '.join(missed)}." if missed else "the change is there."
        return Seen(ok=False, message=text, state=guest.state, changed=None, details=details)
    done = [key for key in (*wanted, *gone) if key not in waiting]
    said = [f"changed: {', '.join(done)}."] if done else []
    said += [f"These wait until it is stopped and started: {', '.join(waiting)}."] if waiting else []
    return Seen(ok=True, message=" ".join(said) or "it is done.", state=guest.state, details=details)


HIDDEN = frozenset({"cipassword"})  # Proxmox answers stars


def _there(row: Mapping[str, Any], key: str, value: Any) -> bool:
    if str(value).endswith(":cloudinit"):  # Proxmox names the drive that it makes
        return "cloudinit" in str(row.get("value"))
    return key in HIDDEN or same(key, row.get("value"), value)


UPDATE = Action(
    "guest.update",
    "Change",
    "change",
    "guest",
    tuple(Privilege(f"VM.Config.{name}", "/vms/{vmid}") for name in ("Options", "CPU", "Memory")),
    UpdateArgs,
    _plan,
)
ROWS: tuple[Action, ...] = (UPDATE,)
