"""Runs a program in a VM through its guest agent. What it printed goes to whoever asked, and nowhere else."""

from pydantic import Field

from mqtt_bridge.targets import GuestRef
from proxmox_mcp.tools.base import Call, NodeArgument, SiteArgument, Tool, Vmid
from proxmox_mcp.tools.control import ControlAnswer, Timing, perform


class GuestCommand(Timing):
    """Which program, with what."""

    vmid: Vmid
    argv: tuple[str, ...] = Field(min_length=1, description='like ["df", "-h"]; no shell line')
    input_data: str | None = Field(default=None, description="standard input")
    timeout: float = Field(default=60, gt=0, le=3600, description="seconds to wait")
    node: NodeArgument = None
    site: SiteArgument = None


async def run_guest_command(call: Call, args: GuestCommand) -> ControlAnswer:
    """Exit code, stdout and stderr are in `details`."""
    return await perform(call, "guest.exec", GuestRef(args.vmid, args.site, args.node), args)


TOOLS = (
    Tool(
        "run_guest_command",
        "Run a program in a VM",
        "Run a program in a running VM through its guest agent; exit code, stdout and stderr (64 kB each) come back.",
        "guest",
        GuestCommand,
        ControlAnswer,
        run_guest_command,
        risk="exec",
        destructive=True,
        idempotent=False,
    ),
)
