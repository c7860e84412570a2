"""Cloud-init of a virtual machine: who may log in, with which addresses; the drive is written anew."""

from typing import Annotated, Any, Self
from urllib.parse import quote

from pydantic import Field, model_validator

from mqtt_bridge.actions.locks import locked
from mqtt_bridge.actions.plan import Plan, Step
from mqtt_bridge.actions.property_string import Value, alter, volume_of
from mqtt_bridge.actions.provision_args import (
    Gateway4,
    Gateway6,
    Ipv4,
    Ipv6,
    Name,
    Nameservers,
    Password,
    SshKeys,
    StorageName,
    User,
    gateways,
)
from mqtt_bridge.actions.provision_update import change
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import Action, ActionError, Args, Bool, Int, Privilege
from mqtt_bridge.actions.volumes import storage_for
from mqtt_bridge.targets import GuestRef, GuestTarget, NodeRef, Touched

SLOTS = ("ide2", "ide0", "ide1", "ide3")  # where a drive is added, the usual one first


class CloudinitArgs(Args):
    """`interface`: the card, by its number, that the addresses are for. `storage`: where to make a drive if none is."""

    user: User | None = None
    password: Password | None = None
    ssh_keys: SshKeys | None = None
    interface: Annotated[Int, Field(ge=0, le=31)] = 0
    ip: Ipv4 | None = None
    gateway: Gateway4 | None = None
    ip6: Ipv6 | None = None
    gateway6: Gateway6 | None = None
    nameserver: Nameservers | None = None
    searchdomain: Name | None = None
    upgrade: Bool | None = None
    storage: StorageName | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.ip is not None:  # without it, what is set already stays
            gateways(self.ip, self.gateway, "gateway")
        if self.ip6 is not None:
            gateways(self.ip6, self.gateway6, "gateway6")
        return self


async def _plan(reading: Reading, ref: GuestRef, args: CloudinitArgs) -> Plan:
    guest = await reading.guest(ref)
    if problem := _misfit(guest, args) or locked(guest):
        return change(SET, reading, guest, args, {}, problem=problem)
    drive, objects = await _drive(reading, guest, args)
    params = {**_params(guest, args), **drive}
    again = Step("PUT", ("nodes", guest.node, "qemu", guest.vmid, "cloudinit"), task=False)
    note = f"{guest.label} applies it at its next start."
    return change(SET, reading, guest, args, params, removed=_removed(args), then=(again,), notes=(note,),
                  objects=objects)  # fmt: skip


def _misfit(guest: GuestTarget, args: CloudinitArgs) -> ActionError | None:
    if guest.type == "lxc":
        return ActionError(
            f"{guest.label} is a container, which has no cloud-init.",
            cure="Its name, name servers and search domain: update_guest (guest.update); its addresses: "
            "set_network_interface; a password or keys are set when it is made.",
        )
    if f"net{args.interface}" not in guest.config and (args.ip or args.ip6):
        return ActionError(f"{guest.label} has no network card net{args.interface}.", cure="Name another interface.")
    if _has_drive(guest) or args.storage is not None:
        return None
    return ActionError(
        f"{guest.label} has no cloud-init drive.", cure="Name a storage that takes images: one is made there."
    )


def _has_drive(guest: GuestTarget) -> bool:
    return any("cloudinit" in volume_of(str(v)) for k, v in guest.config.items() if k.rstrip("0123456789") in _BUSES)


_BUSES = frozenset({"ide", "sata", "scsi", "virtio"})


async def _drive(
    reading: Reading, guest: GuestTarget, args: CloudinitArgs
) -> tuple[dict[str, Any], tuple[Touched, ...]]:
    if _has_drive(guest) or args.storage is None:
        return {}, ()
    node = await reading.node(NodeRef(guest.node, guest.site))
    storage = await storage_for(reading, node, args.storage, "images")
    free = [slot for slot in SLOTS if slot not in guest.config]
    if not free:
        raise ActionError(f"{guest.label} has no free IDE slot for a cloud-init drive.", cure="Take a CD drive out.")
    return {free[0]: f"{storage.storage}:cloudinit"}, (Touched(storage),)


def _params(guest: GuestTarget, args: CloudinitArgs) -> dict[str, Any]:
    key = f"ipconfig{args.interface}"
    addresses = {"ip": args.ip, "gw": args.gateway, "ip6": args.ip6, "gw6": args.gateway6}
    given: dict[str, Value] = {name: value for name, value in addresses.items() if value is not None}
    if args.ip == "dhcp":
        given.setdefault("gw", None)
    if args.ip6 in {"dhcp", "auto"}:
        given.setdefault("gw6", None)
    params = {
        "ciuser": args.user,
        "cipassword": args.password,
        "sshkeys": quote("\n".join(args.ssh_keys), safe="") if args.ssh_keys else None,
        key: alter(str(guest.config.get(key, "")), given) if given else None,
        "nameserver": " ".join(args.nameserver) if args.nameserver else None,
        "searchdomain": args.searchdomain,
        "ciupgrade": None if args.upgrade is None else int(args.upgrade),
    }
    return {name: value for name, value in params.items() if value is not None}


def _removed(args: CloudinitArgs) -> tuple[str, ...]:
    """An empty list of keys takes them out."""
    return ("sshkeys",) if args.ssh_keys == () else ()


SET = Action(
    "guest.cloudinit",
    "Cloud-init",
    "change",
    "guest",
    (Privilege("VM.Config.Cloudinit", "/vms/{vmid}"), Privilege("VM.Config.Network", "/vms/{vmid}")),
    CloudinitArgs,
    _plan,
)
ROWS: tuple[Action, ...] = (SET,)
