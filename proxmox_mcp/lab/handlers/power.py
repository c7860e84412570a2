"""`POST …/status/…` of guests, and what a node does with all of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import power
from proxmox_mcp.lab.build import ROOT_SELF
from proxmox_mcp.lab.call import Call, Handler, Route
from proxmox_mcp.lab.errors import ApiError, TaskError, bad_parameters
from proxmox_mcp.lab.world import ha_sid

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxmox_mcp.lab.state import Guest, Node
    from proxmox_mcp.lab.tasks import Task
    from proxmox_mcp.lab.world import World


@dataclass(frozen=True, slots=True)
class Power:
    """A power action: its task types and what is refused at once, before there is a task."""

    name: str
    qemu: str
    lxc: str
    step: power.Step
    needs_running: tuple[str, ...] = ()
    """Kinds of guest that answer 500 unless they run."""
    needs_stopped: tuple[str, ...] = ()
    refuses_lock: bool = False
    ha: str = ""
    """The state that is requested from the HA manager instead, for a guest that it manages."""


BOTH = ("qemu", "lxc")
ACTIONS: tuple[Power, ...] = (
    Power("start", "qmstart", "vzstart", power.start, needs_stopped=("lxc",), ha="started"),
    Power("stop", "qmstop", "vzstop", power.stop, needs_running=("lxc",), ha="stopped"),
    Power("shutdown", "qmshutdown", "vzshutdown", power.shutdown, needs_running=("lxc",), ha="stopped"),
    Power("reboot", "qmreboot", "vzreboot", power.reboot, needs_running=BOTH),
    Power("reset", "qmreset", "", power.reset, needs_running=("qemu",)),
    Power("suspend", "qmpause", "vzsuspend", power.suspend, needs_running=BOTH, refuses_lock=True),
    Power("resume", "qmresume", "vzresume", power.resume, needs_running=BOTH),
)
_HA_STEPS = {"started": power.start, "stopped": power.shutdown}


def _handler(action: Power) -> Handler:
    def run(call: Call) -> str:
        step, kind = action.step, getattr(action, call.kind)
        guest = call.world.guests.get(call.vmid)
        if guest is not None and (guest.node != call.node.name or guest.kind != call.kind):
            guest = None
        _refuse(action, call, guest)
        if call.params.get("todisk"):
            call.need(f"/vms/{call.vmid}", "VM.Config.Disk")
            step, kind = power.hibernate, "qmsuspend"
        if guest is not None:
            guest.patience = float(call.params.get("timeout", 180.0))
        if guest is not None and action.ha and power.ha_managed(call.world, call.vmid):
            return _through_ha(call, guest, action.ha)
        return call.start(kind, call.vmid, power.work(call.world, call.vmid, call.node.name, call.kind, step))

    return run


def _refuse(action: Power, call: Call, guest: Guest | None) -> None:
    noun = power.NOUN[call.kind]
    if guest is None:
        if call.kind in action.needs_running:
            call.guest  # noqa: B018 - raises the host's words for an unknown guest
        return
    if call.kind in action.needs_running and not guest.running:
        resumable = action.name == "resume" and guest.lock == "suspended"
        if not resumable:
            raise ApiError(500, f"{noun} {guest.vmid} not running")
    if call.kind in action.needs_stopped and guest.running:
        raise ApiError(500, f"{noun} {guest.vmid} already running")
    if action.refuses_lock and guest.lock:
        raise ApiError(500, power.locked(guest))
    if action.name == "shutdown" and guest.paused and not call.params.get("forceStop"):
        raise ApiError(500, "VM is paused - cannot shutdown")


def _through_ha(call: Call, guest: Guest, wanted: str) -> str:
    """The task only hands the wish over; the local resource manager acts a moment later, as root."""
    world, sid = call.world, ha_sid(guest)
    verb = "start" if wanted == "started" else "stop"

    async def work(task: Task) -> None:
        task.say(f"Requesting HA {verb} for {power.NOUN[guest.kind]} {guest.vmid}")
        if not world.quorate:
            raise TaskError("cluster not ready - no quorum?")
        world.ha[sid].state = wanted
        await task.sleep(0.3)
        kind = {"qemu": {"start": "qmstart", "stop": "qmshutdown"}, "lxc": {"start": "vzstart", "stop": "vzshutdown"}}
        step = power.work(world, guest.vmid, guest.node, guest.kind, _HA_STEPS[wanted])
        world.tasks.start(guest.node, kind[guest.kind][verb], str(guest.vmid), ROOT_SELF, step)

    return call.start(f"ha{verb}", guest.vmid, work)


def _chosen(call: Call) -> list[Guest]:
    """Guests of the node, or those of `vms`; each needs VM.PowerMgmt unless one has it on `/`."""
    text = str(call.params.get("vms", ""))
    wanted = {int(part) for part in text.replace(";", ",").split(",") if part}
    if not call.may("/", "VM.PowerMgmt"):
        if not wanted:
            call.need("/", "VM.PowerMgmt")
        for vmid in wanted:
            call.need(f"/vms/{vmid}", "VM.PowerMgmt")
    mine = [guest for guest in call.world.sorted_guests() if guest.node == call.node.name and not guest.template]
    return [guest for guest in mine if not wanted or guest.vmid in wanted]


def startall(call: Call) -> str:
    """Start those with `onboot`, or all that are named when `force` is set."""
    force = call.params.get("force")
    guests = [guest for guest in _chosen(call) if not guest.running and (force or guest.config.get("onboot"))]
    return call.start("startall", "", _each(call.world, guests, "start", ROOT_SELF))


def stopall(call: Call) -> str:
    guests = [guest for guest in _chosen(call) if guest.running]
    return call.start("stopall", "", _each(call.world, guests, "shutdown", ROOT_SELF))


def _each(world: World, guests: list[Guest], action: str, who: Any) -> Callable[[Task], Awaitable[None]]:
    row = next(one for one in ACTIONS if one.name == action)
    verb = "Starting" if action == "start" else "Stopping"

    async def work(task: Task) -> None:
        upids = []
        for guest in guests:
            task.say(f"{verb} {power.NOUN[guest.kind]} {guest.vmid}")
            step = power.work(world, guest.vmid, guest.node, guest.kind, row.step)
            upids.append(world.tasks.start(guest.node, getattr(row, guest.kind), str(guest.vmid), who, step))
            await task.sleep(0.2)
        while any((found := world.tasks.find(upid)) and found.running for upid in upids):
            await task.sleep(0.2)

    return work


def node_command(call: Call) -> None:
    """Reboot or power off: guests are shut down, then the node leaves; after a reboot it comes back."""
    command = call.params["command"]
    node = call.node

    async def work(task: Task) -> None:
        running = [guest for guest in call.world.sorted_guests() if guest.node == node.name and guest.running]
        for guest in running:
            guest.patience = 180.0 / task.speed
        await _each(call.world, running, "shutdown", ROOT_SELF)(task)
        await task.sleep(1.0)

    async def leave(task: Task) -> None:
        await work(task)
        _schedule(call.world, node, comes_back=command == "reboot")

    call.world.tasks.start(node.name, "stopall", "", ROOT_SELF, leave)


def _schedule(world: World, node: Node, *, comes_back: bool) -> None:
    world.power_node(node, up=False, back_after=8.0 / world.options.speed if comes_back else None)


def wakeonlan(call: Call) -> str:
    """Answer the card's address; a node that was shut down comes up. `/nodes/X/wakeonlan` is answered by any node."""
    node = call.node
    if node.name == call.entry:
        raise bad_parameters({"node": "cannot wake local node"})
    if not node.online and node.seen:
        call.world.power_node(node, up=True, back_after=4.0 / call.world.options.speed)
    return f"bc:24:11:ee:00:{node.nodeid:02x}"


def _routes() -> tuple[Route, ...]:
    return tuple(
        ("POST", f"/nodes/{{node}}/{kind}/{{vmid}}/status/{action.name}", _handler(action))
        for action in ACTIONS
        for kind in BOTH
        if getattr(action, kind)
    )


ROUTES: tuple[Route, ...] = (
    *_routes(),
    ("POST", "/nodes/{node}/startall", startall),
    ("POST", "/nodes/{node}/stopall", stopall),
    ("POST", "/nodes/{node}/status", node_command),
    ("POST", "/nodes/{node}/wakeonlan", wakeonlan),
)
