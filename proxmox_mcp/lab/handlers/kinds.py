"""What guests of both kinds share: names of tasks, and routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import power
from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.state import Guest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxmox_mcp.lab.tasks import Task
    from proxmox_mcp.lab.world import World

    Change = Callable[[World, Guest, Task], Awaitable[None]]

PREFIX = {"qemu": "qm", "lxc": "vz"}


TASK_NAMES = {("qemu", "migrate"): "qmigrate"}


def guest_task(call: Call, verb: str, step: Change) -> str:
    kind = call.kind
    return call.start(
        TASK_NAMES.get((kind, verb), f"{PREFIX[kind]}{verb}"),
        call.vmid,
        power.work(call.world, call.vmid, call.node.name, kind, step),
    )


def both(method: str, path: str, handler: Any) -> tuple[Route, ...]:
    return tuple((method, f"/nodes/{{node}}/{kind}{path}", handler) for kind in ("qemu", "lxc"))
