"""A new container: unprivileged unless asked otherwise; of the features only nesting, which a token may set."""

from typing import Any, Self

from pydantic import model_validator

from mqtt_bridge.actions.plan import Plan, Step
from mqtt_bridge.actions.property_string import Value, render
from mqtt_bridge.actions.provision_args import (
    Bridge,
    Cores,
    DiskSize,
    Gateway4,
    Gateway6,
    Ipv4,
    Ipv6,
    Memory,
    Name,
    Nameservers,
    NewVmid,
    Password,
    PoolName,
    SshKeys,
    StorageName,
    Swap,
    Tags,
    Vlan,
    gateways,
)
from mqtt_bridge.actions.provision_new import Birth, begin, born
from mqtt_bridge.actions.provision_vm import PRIVILEGES
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import Action, Args, Bool, Text
from mqtt_bridge.actions.volumes import Volid, read_volume, storage_for, touched
from mqtt_bridge.targets import NodeRef, StorageTarget, Touched

PRIVILEGED = "It will be privileged: root inside it is root on the node."


class LxcArgs(Args):
    """Sizes: `memory` and `swap` MiB, `disk` GiB. `template`: the volume that it is made from."""

    template: Volid
    vmid: NewVmid | None = None
    name: Name | None = None
    cores: Cores = 1
    memory: Memory = 512
    swap: Swap = 512
    storage: StorageName | None = None
    disk: DiskSize = 8
    password: Password | None = None
    ssh_keys: SshKeys = ()
    bridge: Bridge = "vmbr0"
    vlan: Vlan | None = None
    ip: Ipv4 | None = "dhcp"
    gateway: Gateway4 | None = None
    ip6: Ipv6 | None = None
    gateway6: Gateway6 | None = None
    nameserver: Nameservers | None = None
    searchdomain: Name | None = None
    unprivileged: Bool = True
    nesting: Bool | None = None
    onboot: Bool = False
    tags: Tags = ()
    pool: PoolName | None = None
    description: Text | None = None
    start: Bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        gateways(self.ip, self.gateway, "gateway")
        gateways(self.ip6, self.gateway6, "gateway6")
        if self.nesting and not self.unprivileged:  # as Proxmox has it
            raise ValueError("only root itself, no token, may set features of a privileged container")
        return self

    @property
    def nests(self) -> bool:
        """Whether containers can run in it: by default in what is unprivileged."""
        return self.unprivileged if self.nesting is None else self.nesting


async def _plan(reading: Reading, ref: NodeRef, args: LxcArgs) -> Plan:
    birth = await begin(reading, ref, args, "lxc")
    storage = await storage_for(reading, birth.node, args.storage, "rootdir")
    template = await read_volume(reading, birth.node, args.template, ("vztmpl",))
    objects = (Touched(storage), *await touched(reading, template, "read"))
    step = Step("POST", ("nodes", birth.node.node, "lxc"), _params(args, birth, storage))
    return born(CREATE, birth, (step,), objects, args, notes=() if args.unprivileged else (PRIVILEGED,))


def _params(args: LxcArgs, birth: Birth, storage: StorageTarget) -> dict[str, Any]:
    net: dict[str, Value] = {
        "name": "eth0",
        "bridge": args.bridge,
        "firewall": True,
        "tag": args.vlan,
        "ip": args.ip,
        "gw": args.gateway,
        "ip6": args.ip6,
        "gw6": args.gateway6,
    }
    params: dict[str, Any] = {
        "vmid": birth.vmid,
        "ostemplate": args.template,
        "hostname": args.name,
        "cores": args.cores,
        "memory": args.memory,
        "swap": args.swap,
        "rootfs": f"{storage.storage}:{args.disk}",
        "net0": render(net),
        "unprivileged": int(args.unprivileged),
        "features": render({"nesting": True}) if args.nests else None,
        "onboot": 1 if args.onboot else None,
        "nameserver": " ".join(args.nameserver) if args.nameserver else None,
        "searchdomain": args.searchdomain,
        "password": args.password,
        "ssh-public-keys": "\n".join(args.ssh_keys) or None,
        "tags": ";".join(args.tags) or None,
        "pool": args.pool,
        "description": args.description,
        "start": int(args.start),
    }
    return {key: value for key, value in params.items() if value is not None}


CREATE = Action("lxc.create", "Creation", "change", "node", PRIVILEGES, LxcArgs, _plan)
ROWS: tuple[Action, ...] = (CREATE,)
