"""Disks and network interfaces of guests: added, changed, moved, taken away. All go through `actions`."""

from typing import ClassVar, Literal

from pydantic import Field

from mqtt_bridge.targets import GuestRef
from proxmox_mcp.tools.base import Call, NodeArgument, Old, SiteArgument, Tool, Vmid
from proxmox_mcp.tools.control import ControlAnswer, Timing, perform

DISK = "like scsi0, rootfs, mp0"
INTERFACE = r"^net\d{1,2}$"


class _GuestOrder(Timing):
    vmid: Vmid
    node: NodeArgument = None
    site: SiteArgument = None


class AddDisk(_GuestOrder):
    """A new, empty disk."""

    old: ClassVar[Old] = {"mp": "disk", "size": "size_gb"}
    storage: str
    size_gb: int = Field(ge=1)
    bus: Literal["scsi", "virtio", "sata", "ide"] | None = Field(default=None, description="VMs; scsi unless given")
    disk: str | None = Field(default=None, description="its place, like scsi1; the next free one unless given")
    path: str | None = Field(default=None, description="containers: where it is mounted")
    backup: bool | None = None
    discard: bool | None = None
    ssd: bool | None = None
    iothread: bool | None = None
    read_only: bool | None = Field(default=None, description="containers")


class ResizeDisk(_GuestOrder):
    """To which size."""

    disk: str = Field(description=DISK)
    size: str = Field(description="new size (64G) or growth (+10G)")


class MoveDisk(_GuestOrder):
    """Where to."""

    disk: str = Field(description=DISK)
    storage: str | None = Field(default=None, description="to this storage")
    delete: bool = Field(default=False, description="delete the source; otherwise it stays as an unused disk")
    target_vmid: Vmid | None = Field(default=None, description="or to this guest on the same node")
    target_disk: str | None = None


class RemoveDisk(_GuestOrder):
    """Which one."""

    old: ClassVar[Old] = {"mp": "disk"}
    disk: str = Field(description="like scsi1, mp0, unused0")


class SetInterface(_GuestOrder):
    """What is to be different."""

    old: ClassVar[Old] = {"net": "interface", "macaddr": "mac", "vlan": "tag", "gw": "gateway"}
    interface: str = Field(pattern=INTERFACE, description="like net0")
    bridge: str | None = Field(default=None, description="needed for a new one")
    tag: int | None = Field(default=None, ge=0, le=4094, description="VLAN; 0: none")
    model: str | None = Field(default=None, description="VMs: virtio, e1000, …")
    mac: str | None = None
    firewall: bool | None = None
    rate: float | None = Field(default=None, ge=0, description="MB/s; 0: no limit")
    link_down: bool | None = None
    name: str | None = Field(default=None, description="containers: like eth0")
    ip: str | None = Field(default=None, description="containers: address/prefix, dhcp, manual")
    gateway: str | None = None
    ip6: str | None = None
    gateway6: str | None = None


class RemoveInterface(_GuestOrder):
    """Which one."""

    old: ClassVar[Old] = {"net": "interface"}
    interface: str = Field(pattern=INTERFACE, description="like net1")


async def _do(call: Call, action: str, order: _GuestOrder) -> ControlAnswer:
    return await perform(call, action, GuestRef(order.vmid, order.site, order.node), order)


async def add_disk(call: Call, args: AddDisk) -> ControlAnswer:
    """A disk of a VM, a mount point of a container."""
    return await _do(call, "disk.add", args)


async def resize_disk(call: Call, args: ResizeDisk) -> ControlAnswer:
    """Only ever larger."""
    return await _do(call, "disk.resize", args)


async def move_disk(call: Call, args: MoveDisk) -> ControlAnswer:
    """To another storage or guest."""
    return await _do(call, "disk.move", args)


async def remove_disk(call: Call, args: RemoveDisk) -> ControlAnswer:
    """With its data."""
    return await _do(call, "disk.remove", args)


async def set_network_interface(call: Call, args: SetInterface) -> ControlAnswer:
    """Adds it if it is not there."""
    return await _do(call, "network.set", args)


async def remove_network_interface(call: Call, args: RemoveInterface) -> ControlAnswer:
    """For good."""
    return await _do(call, "network.remove", args)


TOOLS = (
    Tool(
        "add_disk", "Add a disk", "Add an empty disk to a VM, or a mount point on a storage to a container.",
        "hardware", AddDisk, ControlAnswer, add_disk, risk="change", destructive=False, idempotent=False,
    ),
    Tool(
        "resize_disk", "Grow a disk", "Make a guest's disk larger; it cannot shrink.",
        "hardware", ResizeDisk, ControlAnswer, resize_disk, risk="change", destructive=False, idempotent=False,
    ),
    Tool(
        "move_disk", "Move a disk", "Move a guest's disk to another storage, or give it to another guest.",
        "hardware", MoveDisk, ControlAnswer, move_disk, risk="change", destructive=True, idempotent=False,
    ),
    Tool(
        "remove_disk", "Remove a disk", "Take a disk off a guest and delete it with all its data.",
        "hardware", RemoveDisk, ControlAnswer, remove_disk, risk="destroy", destructive=True, idempotent=False,
    ),
    Tool(
        "set_network_interface", "Set a network interface",
        "Add or change a guest's network interface; what is not given stays as it is.",
        "hardware", SetInterface, ControlAnswer, set_network_interface, risk="change", destructive=True,
    ),
    Tool(
        "remove_network_interface", "Remove a network interface", "Take a network interface off a guest.",
        "hardware", RemoveInterface, ControlAnswer, remove_network_interface, risk="change", destructive=True,
    ),
)  # fmt: skip
