"""Snapshots of a guest: made, gone back to, deleted."""

from typing import ClassVar

from pydantic import Field

from mqtt_bridge.targets import GuestRef
from proxmox_mcp.tools.base import Call, NodeArgument, Old, SiteArgument, Tool, Vmid
from proxmox_mcp.tools.control import ControlAnswer, Timing, perform


class _Order(Timing):
    old: ClassVar[Old] = {"snapname": "name", "vm_type": None}
    vmid: Vmid
    node: NodeArgument = None
    site: SiteArgument = None

    @property
    def ref(self) -> GuestRef:
        return GuestRef(self.vmid, self.site, self.node)


class CreateOrder(_Order):
    """Which snapshot to make."""

    name: str | None = Field(default=None, description="default: from the time")
    description: str | None = None
    vmstate: bool | None = Field(default=None, description="with memory")


class RollbackOrder(_Order):
    """Which one to go back to."""

    name: str
    start: bool | None = Field(default=None, description="start it afterwards")


class DeleteOrder(_Order):
    """Which one to delete."""

    name: str


async def create_snapshot(call: Call, args: CreateOrder) -> ControlAnswer:
    """Of a VM or a container."""
    return await perform(call, "snapshot.create", args.ref, args)


async def rollback_snapshot(call: Call, args: RollbackOrder) -> ControlAnswer:
    """What was written since is lost."""
    return await perform(call, "snapshot.rollback", args.ref, args)


async def delete_snapshot(call: Call, args: DeleteOrder) -> ControlAnswer:
    """The guest stays as it is."""
    return await perform(call, "snapshot.delete", args.ref, args)


TOOLS = (
    Tool(
        "create_snapshot",
        "Make a snapshot",
        "Snapshot a VM or container.",
        "snapshots",
        CreateOrder,
        ControlAnswer,
        create_snapshot,
        risk="operate",
        idempotent=False,
    ),
    Tool(
        "rollback_snapshot",
        "Go back to a snapshot",
        "What was written since is lost; a running guest is stopped.",
        "snapshots",
        RollbackOrder,
        ControlAnswer,
        rollback_snapshot,
        risk="destroy",
        destructive=True,
        idempotent=False,
    ),
    Tool(
        "delete_snapshot",
        "Delete a snapshot",
        "The guest stays as it is.",
        "snapshots",
        DeleteOrder,
        ControlAnswer,
        delete_snapshot,
        risk="destroy",
        destructive=True,
    ),
)
