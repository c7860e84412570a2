"""Guests that are there: their settings, cloud-init, where they run, and how they end."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from mqtt_bridge.targets import GuestRef
from proxmox_mcp.tools.base import Call, NodeArgument, SiteArgument, Tool, Vmid
from proxmox_mcp.tools.control import ControlAnswer, Timing, given, perform


class _OfGuest(Timing):
    """Which guest."""

    vmid: Vmid
    site: SiteArgument = None
    node: NodeArgument = None


class UpdateOrder(_OfGuest):
    """What to set; what is not named stays."""

    name: str | None = None
    description: str | None = Field(default=None, description="empty: none")
    tags: tuple[str, ...] | None = Field(default=None, description="all that it shall have")
    cores: int | None = None
    sockets: int | None = None
    cpu: str | None = None
    cpu_limit: float | None = Field(default=None, description="cores; 0: none")
    memory: int | None = Field(default=None, description="MiB")
    balloon: int | None = Field(default=None, description="VM: least MiB; 0: none")
    swap: int | None = Field(default=None, description="container: MiB")
    onboot: bool | None = None
    startup_order: int | None = None
    boot: tuple[str, ...] | None = Field(default=None, description="VM: devices in their order, e.g. scsi0")
    agent: bool | None = Field(default=None, description="VM: the guest agent is in it")
    nameserver: tuple[str, ...] | None = Field(default=None, description="container")
    searchdomain: str | None = Field(default=None, description="container")
    protection: bool | None = Field(default=None, description="true; it is not taken off here")


class CloudinitOrder(_OfGuest):
    """What cloud-init shall set."""

    user: str | None = None
    password: str | None = None
    ssh_keys: tuple[str, ...] | None = Field(default=None, description="all that it shall have")
    ip: str | None = Field(default=None, description="dhcp or 192.0.2.5/24")
    gateway: str | None = None
    ip6: str | None = Field(default=None, description="dhcp, auto or an address")
    gateway6: str | None = None
    interface: int | None = Field(default=None, description="number of the card; default 0")
    nameserver: tuple[str, ...] | None = None
    searchdomain: str | None = None
    upgrade: bool | None = Field(default=None, description="upgrade packages at the first boot")
    storage: str | None = Field(default=None, description="make a drive there if it has none")


class MigrateOrder(_OfGuest):
    """Where to."""

    target: str = Field(description="node to move to")
    online: bool | None = Field(default=None, description="default: live if it runs; containers restart")
    target_storage: str | None = Field(default=None, description="for its local disks")
    shutdown_timeout: int | None = Field(default=None, description="container: seconds to shut down")


class TemplateOrder(_OfGuest):
    """Which guest becomes a template."""


class DeleteOrder(_OfGuest):
    """Which guest goes."""

    purge: bool = Field(default=False, description="also out of backup jobs, replication and HA")

    @model_validator(mode="before")
    @classmethod
    def _unforced(cls, given: Any) -> Any:
        """`force` of earlier servers stopped a running guest first."""
        if not isinstance(given, Mapping) or "force" not in given:
            return given
        if given["force"]:
            raise ValueError("a running guest is not deleted: stop it first, and leave force out")
        return {name: value for name, value in given.items() if name != "force"}


def _ref(args: _OfGuest) -> GuestRef:
    return GuestRef(args.vmid, args.site, args.node)


async def update_guest(call: Call, args: UpdateOrder) -> ControlAnswer:
    """If its configuration is still the one that was read."""
    return await perform(call, "guest.update", _ref(args), args)


async def set_cloudinit(call: Call, args: CloudinitOrder) -> ControlAnswer:
    """And the drive anew."""
    return await perform(call, "guest.cloudinit", _ref(args), args)


async def migrate_guest(call: Call, args: MigrateOrder) -> ControlAnswer:
    """After a look at what is in the way."""
    order = {**given(args, "shutdown_timeout"), "timeout": args.shutdown_timeout}
    return await perform(call, "guest.migrate", _ref(args), args, order)


async def convert_to_template(call: Call, args: TemplateOrder) -> ControlAnswer:
    """For good."""
    return await perform(call, "guest.template", _ref(args), args)


async def delete_guest(call: Call, args: DeleteOrder) -> ControlAnswer:
    """With its disks."""
    return await perform(call, "guest.delete", _ref(args), args)


TOOLS = (
    Tool(
        "update_guest",
        "Change a guest",
        "Set name, tags, CPU, memory, boot and more; `details` says what waits for a restart.",
        "provision",
        UpdateOrder,
        ControlAnswer,
        update_guest,
        risk="change",
    ),
    Tool(
        "set_cloudinit",
        "Cloud-init of a VM",
        "Set a VM's login, keys and addresses and write its cloud-init drive anew.",
        "provision",
        CloudinitOrder,
        ControlAnswer,
        set_cloudinit,
        risk="change",
    ),
    Tool(
        "migrate_guest",
        "Migrate a guest",
        "Move a guest to another node. dry_run says what is in the way.",
        "provision",
        MigrateOrder,
        ControlAnswer,
        migrate_guest,
        risk="change",
        destructive=True,
    ),
    Tool(
        "convert_to_template",
        "Convert to a template",
        "Make a stopped guest a template, for good.",
        "provision",
        TemplateOrder,
        ControlAnswer,
        convert_to_template,
        risk="destroy",
        destructive=True,
    ),
    Tool(
        "delete_guest",
        "Delete a guest",
        "Delete a stopped guest with its disks. dry_run says what is lost and what refers to it.",
        "provision",
        DeleteOrder,
        ControlAnswer,
        delete_guest,
        risk="destroy",
        destructive=True,
    ),
)
