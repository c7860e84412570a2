"""Power: start, stop and the like. What changes something goes through `actions`, which reads its target fresh.

`status` and `config` are reads and work for whoever sees the tool. With read-only settings the tools are not listed at
all: get_guest answers both.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from mqtt_bridge.redact import redact
from mqtt_bridge.targets import GuestRef, NodeRef
from proxmox_mcp.tools.base import Call, NodeArgument, SiteArgument, Tool, Vmid
from proxmox_mcp.tools.control import ControlAnswer, Timing, actions, perform

VmCommand = Literal[
    "start", "stop", "shutdown", "restart", "reboot", "suspend", "resume", "hibernate", "reset", "status", "config"
]
LxcCommand = Literal["start", "stop", "shutdown", "restart", "reboot", "suspend", "resume", "status", "config"]
NodeCommand = Literal["reboot", "shutdown", "startall", "stopall", "wakeonlan"]
READS = {"status": ("status", "current"), "config": ("config",)}


class VmOrder(Timing):
    """What to do with which virtual machine. `force` (of earlier servers): a shutdown that does not ask is a stop."""

    vmid: Vmid
    command: VmCommand
    node: NodeArgument = None
    site: SiteArgument = None
    shutdown_timeout: int | None = Field(
        default=None, ge=0, le=7200, description="shutdown, reboot: seconds that the guest gets"
    )

    @model_validator(mode="before")
    @classmethod
    def _forced(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or "force" not in given:
            return given
        kept = {name: value for name, value in given.items() if name != "force"}
        if given["force"] in {None, False}:
            return kept
        if given["force"] is not True or kept.get("command") not in {"stop", "shutdown"}:
            raise ValueError("force is true or false, and for stop and shutdown only")
        return {**kept, "command": "stop"}


class LxcOrder(VmOrder):
    """What to do with which container."""

    command: LxcCommand


class NodeOrder(Timing):
    """What to do with which node."""

    node: str = Field(description="node name")
    command: NodeCommand
    site: SiteArgument = None
    vmids: tuple[int, ...] | None = Field(default=None, description="startall, stopall: only these guests of the node")


async def _guest(call: Call, order: VmOrder) -> ControlAnswer:
    if order.command in READS:
        return await _read(call, order)
    ref = GuestRef(order.vmid, order.site, order.node)
    return await perform(call, f"guest.{order.command}", ref, order, {"timeout": order.shutdown_timeout})


async def _read(call: Call, order: VmOrder) -> ControlAnswer:
    """`status` and `config`, from Proxmox now."""
    from mqtt_bridge.proxmox.lookup import find_guest  # noqa: PLC0415 - not needed to list tools

    actions(call)
    guest = await find_guest(call.services.clients, order.vmid, order.site, order.node)
    path = ("nodes", guest.node, guest.type, guest.vmid, *READS[order.command])
    return ControlAnswer(
        source="api",
        age_s=0,
        action=f"guest.{order.command}",
        site=guest.site,
        target=guest.vmid,
        node=guest.node,
        ok=True,
        changed=False,
        status="done",
        message=f"{guest.label} on {guest.node} is {guest.state}.",
        state_after=guest.state,
        details=redact(await call.client(guest.site).get(*path)),
    )


async def execute_vm_command(call: Call, args: VmOrder) -> ControlAnswer:
    """A virtual machine's power; the VMID decides, so a container's works too."""
    return await _guest(call, args)


async def execute_lxc_command(call: Call, args: LxcOrder) -> ControlAnswer:
    """A container's power."""
    return await _guest(call, args)


async def execute_node_command(call: Call, args: NodeOrder) -> ControlAnswer:
    """A node's power."""
    return await perform(call, f"node.{args.command}", NodeRef(args.node, args.site), args, {"vmids": args.vmids})


TOOLS = (
    Tool(
        "execute_vm_command",
        "Control a virtual machine",
        "Start, shut down (gently), stop (hard), reboot (restart is the same), suspend, resume, hibernate or reset a "
        "VM; or read its status or config from Proxmox now.",
        "power",
        VmOrder,
        ControlAnswer,
        execute_vm_command,
        risk="operate",
        destructive=True,
        idempotent=False,
    ),
    Tool(
        "execute_lxc_command",
        "Control a container",
        "Start, shut down (gently), stop (hard), reboot (restart is the same), suspend or resume a "
        "container; or read its status or config from Proxmox now.",
        "power",
        LxcOrder,
        ControlAnswer,
        execute_lxc_command,
        risk="operate",
        destructive=True,
        idempotent=False,
    ),
    Tool(
        "execute_node_command",
        "Control a node",
        "Reboot or shut down a node, start or shut down all its guests (or only `vmids` of them), or wake it over the "
        "network.",
        "power",
        NodeOrder,
        ControlAnswer,
        execute_node_command,
        risk="operate",
        destructive=True,
        idempotent=False,
    ),
)
