"""A new virtual machine, with the defaults of Proxmox's own web interface."""

from dataclasses import dataclass
from typing import Any, Self

from pydantic import model_validator

from mqtt_bridge.actions.plan import Plan, Step
from mqtt_bridge.actions.property_string import Value, render
from mqtt_bridge.actions.provision_args import (
    GIB,
    Bridge,
    Cores,
    CpuType,
    DiskSize,
    Memory,
    Name,
    NewVmid,
    OsType,
    PoolName,
    Sockets,
    StorageName,
    Tags,
    Vlan,
)
from mqtt_bridge.actions.provision_new import Birth, begin, born
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import Action, ActionError, Args, Bool, Privilege, Text
from mqtt_bridge.actions.volumes import Volid, Volume, read_volume, storage_for, touched
from mqtt_bridge.targets import NodeRef, NodeTarget, StorageTarget, Touched

IMPORTED = ("import", "images")  # contents that a disk can be made from


class VmArgs(Args):
    """Sizes: `memory` MiB, `disk` GiB. `import_from`: a volume that becomes the first disk, grown to `disk`."""

    vmid: NewVmid | None = None
    name: Name | None = None
    cores: Cores = 1
    sockets: Sockets = 1
    memory: Memory = 2048
    cpu: CpuType = "x86-64-v2-AES"
    ostype: OsType = "l26"
    uefi: Bool = False
    storage: StorageName | None = None
    disk: DiskSize | None = None
    diskless: Bool = False
    import_from: Volid | None = None
    iso: Volid | None = None
    cloudinit: Bool = False
    bridge: Bridge = "vmbr0"
    vlan: Vlan | None = None
    agent: Bool = False
    onboot: Bool = False
    tags: Tags = ()
    pool: PoolName | None = None
    description: Text | None = None
    start: Bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.diskless and (self.disk is not None or self.import_from is not None or self.uefi or self.cloudinit):
            raise ValueError("diskless goes without disk, import_from, uefi and cloudinit")
        return self


DEFAULT_DISK = 32  # GiB, as in the web interface


@dataclass(frozen=True)
class _Media:
    """What the machine is made of, read: the disks' storage, and volumes that it is given."""

    storage: StorageTarget | None
    source: Volume | None
    iso: Volume | None
    objects: tuple[Touched, ...]


async def _plan(reading: Reading, ref: NodeRef, args: VmArgs) -> Plan:
    birth = await begin(reading, ref, args, "qemu")
    media = await _media(reading, birth.node, args)
    grown = _grown(args, media.source)
    path = ("nodes", birth.node.node, "qemu")
    steps = [Step("POST", path, {**_params(args, birth, media), "start": int(args.start and grown is None)})]
    if grown is not None:
        steps.append(Step("PUT", (*path, birth.vmid, "resize"), {"disk": "scsi0", "size": f"{grown}G"}))
        if args.start:
            steps.append(Step("POST", (*path, birth.vmid, "status", "start")))
    return born(CREATE, birth, tuple(steps), media.objects, args, problem=_too_small(args, media.source))


async def _media(reading: Reading, node: NodeTarget, args: VmArgs) -> _Media:
    objects: list[Touched] = []
    storage = source = iso = None
    if not args.diskless:
        storage = await storage_for(reading, node, args.storage, "images")
        objects.append(Touched(storage))
    if args.import_from is not None:
        source = await read_volume(reading, node, args.import_from, IMPORTED)
        objects += await touched(reading, source, "read")
    if args.iso is not None:
        iso = await read_volume(reading, node, args.iso, ("iso",))
        objects += await touched(reading, iso, "read")
    return _Media(storage, source, iso, tuple(objects))


def _grown(args: VmArgs, source: Volume | None) -> int | None:
    """GiB to grow an imported disk to: an import has the size of its source."""
    if source is None or args.disk is None or (source.size is not None and args.disk * GIB == source.size):
        return None
    return args.disk


def _too_small(args: VmArgs, source: Volume | None) -> ActionError | None:
    if source is None or source.size is None or args.disk is None or args.disk * GIB >= source.size:
        return None
    least = -(-source.size // GIB)
    return ActionError(f"{source.volid} is larger than {args.disk} GiB.", cure=f"Give disk={least} or more, or none.")


def _params(args: VmArgs, birth: Birth, media: _Media) -> dict[str, Any]:
    given = args.params(
        "uefi", "storage", "disk", "diskless", "import_from", "iso", "cloudinit", "bridge", "vlan", "tags", "start",
        "agent", "onboot",
    )  # fmt: skip
    drives = _drives(args, media)
    net = render({"bridge": args.bridge, "firewall": True, "tag": args.vlan}, head="virtio")
    flags = {name: 1 for name in ("agent", "onboot") if getattr(args, name)}
    params = {**given, **flags, **drives, "vmid": birth.vmid, "scsihw": "virtio-scsi-single", "net0": net}
    params["boot"] = render({"order": tuple(name for name in ("scsi0", "ide2", "net0") if _boots(name, params, args))})
    if args.tags:
        params["tags"] = ";".join(args.tags)
    return params


def _boots(device: str, params: dict[str, Any], args: VmArgs) -> bool:
    return device in params and (device != "ide2" or args.iso is not None)


def _drives(args: VmArgs, media: _Media) -> dict[str, Any]:
    """The CD drive is ide2, as in the web interface; a cloud-init drive is there, or on ide0 beside an ISO."""
    drives: dict[str, Any] = {"ide2": render({"media": "cdrom"}, head=args.iso)} if args.iso else {}
    if media.storage is None:
        return drives
    name = media.storage.storage
    disk: dict[str, Value] = {"iothread": True, "import-from": args.import_from}
    size = 0 if args.import_from else args.disk or DEFAULT_DISK
    drives["scsi0"] = render(disk, head=f"{name}:{size}")
    if args.uefi:
        drives |= {"bios": "ovmf", "machine": "q35"}
        drives["efidisk0"] = render({"efitype": "4m", "pre-enrolled-keys": True}, head=f"{name}:1")
    if args.cloudinit:
        drives["ide0" if args.iso else "ide2"] = f"{name}:cloudinit"
    return drives


PRIVILEGES = (
    Privilege("VM.Allocate", "/vms/{vmid}"),
    *(Privilege(f"VM.Config.{name}", "/vms/{vmid}") for name in ("CPU", "Disk", "Memory", "Network", "Options")),
    Privilege("Datastore.AllocateSpace", "/storage/{storage}"),
    Privilege("SDN.Use", "/sdn/zones/{zone}"),
)
HARDWARE = Privilege("VM.Config.HWType", "/vms/{vmid}")  # scsihw, machine
CREATE = Action("vm.create", "Creation", "change", "node", (*PRIVILEGES, HARDWARE), VmArgs, _plan)
ROWS: tuple[Action, ...] = (CREATE,)
