"""New guests: made, or cloned from others; and the images that they are made from."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from mqtt_bridge.settings import Settings
from mqtt_bridge.targets import GuestRef, NodeRef, StorageRef
from proxmox_mcp.tools.base import Call, NodeArgument, Old, SiteArgument, Tool, Vmid
from proxmox_mcp.tools.control import ControlAnswer, Timing, given, perform

FreeVmid = Annotated[Vmid | None, Field(description="default: the next free one")]


class _New(Timing):
    """What every new guest has."""

    old: ClassVar[Old] = {"cpus": "cores", "disk_size": "disk", "network_bridge": "bridge"}
    node: str = Field(description="node name")
    vmid: FreeVmid = None
    site: SiteArgument = None
    name: str | None = None
    cores: int | None = None
    memory: int | None = Field(default=None, description="MiB")
    disk: int | None = Field(default=None, description="GiB")
    storage: str | None = Field(default=None, description="for the disk; default: the first that takes disks")
    bridge: str | None = Field(default=None, description="default vmbr0")
    vlan: int | None = None
    tags: tuple[str, ...] | None = None
    pool: str | None = None
    description: str | None = None
    onboot: bool | None = None
    start: bool | None = Field(default=None, description="start it once it is there")


class NewVm(_New):
    """A virtual machine."""

    iso: str | None = Field(default=None, description="volume for the CD drive (list_images)")
    import_from: str | None = Field(default=None, description="volume that becomes the disk, grown to `disk`")
    cloudinit: bool | None = Field(default=None, description="with a cloud-init drive")
    ostype: str | None = Field(default=None, description="l26 (default), win11, other, ...")
    cpu: str | None = None
    uefi: bool | None = None
    agent: bool | None = Field(default=None, description="the guest agent is in it")
    diskless: bool | None = None


class NewLxc(_New):
    """A container."""

    old: ClassVar[Old] = {**_New.old, "ostemplate": "template", "hostname": "name", "rootfs": "disk"}
    template: str = Field(description="volume of a container template (list_images)")
    swap: int | None = Field(default=None, description="MiB")
    password: str | None = Field(default=None, description="root's")
    ssh_keys: tuple[str, ...] | None = None
    ip: str | None = Field(default=None, description="dhcp (default) or 192.0.2.5/24")
    gateway: str | None = None
    ip6: str | None = Field(default=None, description="dhcp, auto or an address")
    gateway6: str | None = None
    nameserver: tuple[str, ...] | None = None
    searchdomain: str | None = None
    unprivileged: bool | None = Field(default=None, description="default true")
    nesting: bool | None = Field(default=None, description="default: if unprivileged")


class CloneOrder(Timing):
    """What to clone, and what it becomes."""

    old: ClassVar[Old] = {"hostname": "name"}
    vmid: Vmid
    newid: FreeVmid = None
    site: SiteArgument = None
    node: NodeArgument = None
    name: str | None = None
    full: bool | None = Field(default=None, description="default: templates linked, others in full")
    target: str | None = Field(default=None, description="node for the clone")
    storage: str | None = Field(default=None, description="full clones: where the disks go")
    pool: str | None = None
    snapshot: str | None = Field(default=None, description="clone this snapshot")
    description: str | None = None


class ImageOrder(Timing):
    """What to fetch, and where to."""

    url: str = Field(description="https, of a host in IMAGE_URL_ALLOWLIST")
    checksum: str = Field(description="SHA-256 or SHA-512")
    storage: str
    content: Literal["iso", "vztmpl", "import"]
    filename: str | None = Field(default=None, description="default: the URL's; an import ends in .qcow2, .raw, .vmdk")
    node: NodeArgument = None
    site: SiteArgument = None


async def create_vm(call: Call, args: NewVm) -> ControlAnswer:
    """Made as Proxmox's own wizard makes it."""
    return await perform(call, "vm.create", NodeRef(args.node, args.site), args, _with_vmid(args))


async def create_lxc(call: Call, args: NewLxc) -> ControlAnswer:
    """From a template."""
    return await perform(call, "lxc.create", NodeRef(args.node, args.site), args, _with_vmid(args))


def _with_vmid(args: _New) -> dict[str, Any]:
    return {**given(args), "vmid": args.vmid}


async def clone_guest(call: Call, args: CloneOrder) -> ControlAnswer:
    """Of a VM, a container or a template."""
    return await perform(call, "guest.clone", GuestRef(args.vmid, args.site, args.node), args)


async def download_image(call: Call, args: ImageOrder) -> ControlAnswer:
    """By Proxmox itself."""
    order = given(args, "storage")
    return await perform(call, "image.download", StorageRef(args.storage, args.node, args.site), args, order)


def _without_list(settings: Settings) -> str:
    return "" if settings.permission.image_url_allowlist else "IMAGE_URL_ALLOWLIST names no host to download from."


TOOLS = (
    Tool(
        "download_image",
        "Download an image",
        "Have Proxmox download an ISO, container template or disk image; the checksum is checked.",
        "provision",
        ImageOrder,
        ControlAnswer,
        download_image,
        risk="change",
        idempotent=False,
        useless=_without_list,
    ),
    Tool(
        "create_vm",
        "Create a virtual machine",
        "A new VM with Proxmox's defaults, from an ISO, an imported disk image or empty.",
        "provision",
        NewVm,
        ControlAnswer,
        create_vm,
        risk="change",
        idempotent=False,
    ),
    Tool(
        "create_lxc",
        "Create a container",
        "A new container from a template, unprivileged by default.",
        "provision",
        NewLxc,
        ControlAnswer,
        create_lxc,
        risk="change",
        idempotent=False,
    ),
    Tool(
        "clone_guest",
        "Clone a guest",
        "A new guest from a VM, container or template; `details` has its VMID.",
        "provision",
        CloneOrder,
        ControlAnswer,
        clone_guest,
        risk="change",
        idempotent=False,
    ),
)
