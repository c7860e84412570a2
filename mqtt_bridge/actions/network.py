"""Network interfaces of guests: added, changed, taken away. What is not given stays as it is."""

import functools
import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from mqtt_bridge.actions.hardware import config_now, first, plugs, stop_first, unchangeable, write_config
from mqtt_bridge.actions.locks import lock_hint
from mqtt_bridge.actions.plan import Outcome, Plan, Seen
from mqtt_bridge.actions.property_string import HEAD, Value, alter, parse, render
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import Action, ActionError, Args, Bool, Int, Privilege, Word
from mqtt_bridge.errors import ForbiddenError
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.targets import GuestRef, GuestTarget, Touched

MODELS: Final = (
    "virtio", "e1000", "e1000-82540em", "e1000-82544gc", "e1000-82545em", "e1000e", "i82551", "i82557b", "i82559er",
    "ne2k_isa", "ne2k_pci", "pcnet", "rtl8139", "vmxnet3",
)  # fmt: skip
CONTAINERS_ONLY: Final = ("name", "ip", "gateway", "ip6", "gateway6")
_MAC = re.compile(r"[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}")
_LINK_NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}")


def _mac(text: str) -> str:
    if not _MAC.fullmatch(text):
        raise ValueError("it must be the hardware address of one card, like BC:24:11:00:00:01")
    return text.upper()


def _link(text: str) -> str:
    if not _LINK_NAME.fullmatch(text):
        raise ValueError("it must be a name like vmbr0 or eth0, of at most 15 characters")
    return text


def _cidr(text: str, version: int, words: tuple[str, ...]) -> str:
    if text in words:
        return text
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        found = None
    if found is None or found.version != version or "/" not in text:
        raise ValueError(f"it must be {', '.join(words)} or an IPv{version} address with its prefix length")
    return str(found)


def _four(text: str) -> str:
    return _cidr(text, 4, ("dhcp", "manual"))


def _six(text: str) -> str:
    return _cidr(text, 6, ("auto", "dhcp", "manual"))


def _gateway(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("it must be an IP address") from None


Interface = Annotated[Word, Field(pattern=r"^net([0-9]|[12][0-9]|3[01])$")]
Link = Annotated[Word, AfterValidator(_link)]


class SetArgs(Args):
    """`tag` 0 takes the VLAN away, `rate` 0 the limit (megabytes per second). From `name` on: containers only."""

    interface: Interface
    bridge: Link | None = None
    tag: Annotated[Int, Field(ge=0, le=4094)] | None = None
    model: Literal[MODELS] | None = None  # type: ignore[valid-type]
    mac: Annotated[Word, AfterValidator(_mac)] | None = None
    firewall: Bool | None = None
    rate: Annotated[float, Field(ge=0, le=10_240)] | None = None
    link_down: Bool | None = None
    name: Link | None = None
    ip: Annotated[Word, AfterValidator(_four)] | None = None
    gateway: Annotated[Word, AfterValidator(_gateway)] | None = None
    ip6: Annotated[Word, AfterValidator(_six)] | None = None
    gateway6: Annotated[Word, AfterValidator(_gateway)] | None = None


class RemoveArgs(Args):
    """Which one."""

    interface: Interface


async def _plan_set(reading: Reading, ref: GuestRef, args: SetArgs) -> Plan:
    guest = await reading.guest(ref)
    api = reading.api(guest.site)
    old = str(guest.config.get(args.interface, ""))
    problem = first((unchangeable(guest), _misfit(guest, args, old))) or await _no_bridge(api, guest, args)
    new = old if problem else (_card if guest.type == "qemu" else _veth)(guest, args, old)
    return Plan(
        ROWS[0],
        api,
        guest,
        (write_config(guest, {args.interface: new}),),
        (Touched(guest),),
        functools.partial(_see_set, new),
        args,
        problem=problem,
        nothing=f"{args.interface} of {guest.label} is like that already; nothing was sent." if new == old else None,
        takes_down=bool(old) and guest.state == "running",
        state=guest.state,
        notes=_notes(guest, args.interface, old, new),
        hint=functools.partial(lock_hint, guest),
    )


def _notes(guest: GuestTarget, key: str, old: str, new: str) -> tuple[str, ...]:
    if not old:
        return (f"New: {key} = {new}",)
    live = f"{guest.label} is running: its connections through {key} may break."
    change = f"{key} was: {old}" + (f"; it becomes: {new}" if new else "")
    return (change, *((live,) if guest.state == "running" else ()))


def _misfit(guest: GuestTarget, args: SetArgs, old: str) -> ActionError | None:
    """What this type of guest has not, or a new interface lacks."""
    if guest.type == "lxc" and args.model:
        return ActionError("Containers have no card models.", cure="Leave the model out.")
    foreign = [name for name in CONTAINERS_ONLY if getattr(args, name) is not None]
    if guest.type == "qemu" and foreign:
        return ActionError(
            f"A VM's interface has no {', '.join(foreign)} in Proxmox.",
            cure="Addresses inside a VM come from cloud-init (set_cloudinit) or its own configuration.",
        )
    if not old and not args.bridge:
        have = ", ".join(sorted(key for key in guest.config if re.fullmatch(r"net\d+", key))) or "none"
        return ActionError(
            f"{guest.label} has no {args.interface}, and a new one needs a bridge.", cure=f"It has: {have}."
        )
    return None


async def _no_bridge(api: Api, guest: GuestTarget, args: SetArgs) -> ActionError | None:
    """What Proxmox would only find when the guest starts, or when it is plugged in."""
    if not args.bridge:
        return None
    try:
        rows = await api.get("nodes", guest.node, "network", type="any_bridge")
    except ForbiddenError:
        return None
    names = sorted(str(row["iface"]) for row in rows if row.get("iface"))
    if not names or args.bridge in names:
        return None
    return ActionError(
        f"There is no bridge {args.bridge} on {guest.node}, or the token may not use it (SDN.Use).",
        cure=f"There are: {', '.join(names[:10])}.",
    )


def _shared(args: SetArgs) -> dict[str, Value]:
    """What both types of guests have, as far as it is given; None takes a field away."""
    given: dict[str, Value] = {
        name: value for name in ("bridge", "firewall", "link_down") if (value := getattr(args, name)) is not None
    }
    if args.tag is not None:
        given["tag"] = args.tag or None
    if args.rate is not None:
        given["rate"] = f"{args.rate:g}" if args.rate else None
    return given


def _card(guest: GuestTarget, args: SetArgs, old: str) -> str:
    """A VM's: `virtio=BC:24:11:00:00:01,bridge=vmbr0`. Without an address Proxmox makes one up."""
    del guest
    fields = parse(old)
    model = next((name for name in MODELS if name in fields or fields.get(HEAD) == name), fields.get("model", ""))
    address = args.mac or fields.get(model) or fields.get("macaddr") or ""
    wanted = args.model or model or "virtio"
    changes = _shared(args)
    if address:
        gone = {key: None for key in (HEAD, "model", "macaddr", model) if key in fields and key != wanted}
        return alter(old, {**gone, **changes, wanted: address}) if old else render({wanted: address, **changes})
    return alter(old, {model: None, "model": None, **changes}, head=wanted) if old else render(changes, head=wanted)


def _veth(guest: GuestTarget, args: SetArgs, old: str) -> str:
    """A container's: `name=eth0,bridge=vmbr0,hwaddr=…,ip=dhcp,type=veth`."""
    own = {
        "name": args.name,
        "hwaddr": args.mac,
        "ip": args.ip,
        "gw": args.gateway,
        "ip6": args.ip6,
        "gw6": args.gateway6,
    }
    given: dict[str, Value] = {key: value for key, value in own.items() if value is not None}
    given.update(_shared(args))
    for ip, gateway in (("ip", "gw"), ("ip6", "gw6")):
        if given.get(ip) in {"dhcp", "auto", "manual"}:
            given.setdefault(gateway, None)
    if old:
        return alter(old, given)
    given.setdefault("name", _free_name(guest))
    return render({"name": given.pop("name"), **given, "type": "veth"})


def _free_name(guest: GuestTarget) -> str:
    taken = {parse(str(text)).get("name") for key, text in guest.config.items() if re.fullmatch(r"net\d+", key)}
    return next(f"eth{number}" for number in range(len(taken) + 1) if f"eth{number}" not in taken)


async def _see_set(new: str, plan: Plan, outcome: Outcome) -> Seen:
    key, guest = _key(plan), plan.target
    if not isinstance(guest, GuestTarget):
        raise TypeError(guest)
    now = str((await config_now(plan.api, guest)).get(key, ""))
    changed = now != str(guest.config.get(key, ""))
    details = {key: now} if now else {}
    if outcome.ok and _fits(parse(new), parse(now)):
        return Seen(ok=True, message=f"{key} is {now} now.", changed=changed, details=details)
    if not outcome.ok:
        return Seen(ok=False, message=f"{key} is {now or 'not there'}.", changed=changed, details=details)
    text = f"Proxmox took it, but {key} is {now or 'not there'} while it runs: the change waits for its next stop."
    return Seen(ok=False, message=text, changed=changed, details=details)


def _fits(wanted: Mapping[str, str], there: Mapping[str, str]) -> bool:
    """Whether all that was asked for is there; a model without an address gets one."""
    model = wanted.get(HEAD)
    return (model is None or model in there) and all(
        there.get(key, "").casefold() == value.casefold() for key, value in wanted.items() if key != HEAD
    )


def _key(plan: Plan) -> str:
    return str(getattr(plan.args, "interface"))  # noqa: B009 -- of both models


async def _plan_remove(reading: Reading, ref: GuestRef, args: RemoveArgs) -> Plan:
    guest = await reading.guest(ref)
    old = str(guest.config.get(args.interface, ""))
    problem = unchangeable(guest)
    if old and guest.type == "qemu" and guest.state == "running" and not plugs(guest, "network"):
        problem = problem or stop_first(guest, "its option `hotplug` keeps interfaces from being taken away")
    return Plan(
        ROWS[1],
        reading.api(guest.site),
        guest,
        (write_config(guest, {"delete": args.interface}),),
        (Touched(guest),),
        _see_removed,
        args,
        problem=problem,
        nothing=None if old else f"{guest.label} has no {args.interface}; nothing was sent.",
        takes_down=guest.state == "running",
        state=guest.state,
        notes=_notes(guest, args.interface, old, "") if old else (),
        hint=functools.partial(lock_hint, guest),
    )


async def _see_removed(plan: Plan, outcome: Outcome) -> Seen:
    key, guest = _key(plan), plan.target
    if not isinstance(guest, GuestTarget):
        raise TypeError(guest)
    left = str((await config_now(plan.api, guest)).get(key, ""))
    if outcome.ok and left:
        return Seen(ok=False, message=f"Proxmox took it, but {key} stays until it stops.", changed=False)
    text = f"{key} is {left}." if left else f"{key} is gone."
    return Seen(ok=outcome.ok and not left, message=text, changed=not left)


_NETWORK: Final[tuple[Any, ...]] = (Privilege("VM.Config.Network", "/vms/{vmid}"),)
ROWS: tuple[Action, ...] = (
    Action(
        "network.set", "Change of a network interface", "change", "guest",
        (*_NETWORK, Privilege("SDN.Use", "/sdn/zones")), SetArgs, _plan_set,
    ),
    Action("network.remove", "Removal of a network interface", "change", "guest", _NETWORK, RemoveArgs, _plan_remove),
)  # fmt: skip
