"""What can be done, one row per action: risk, privilege, what it touches, how it is carried out, what to expect.

Paths and parameters are those of the API schema (PVE 9.2; a test holds the rows against it). Left out on purpose:
`skiplock`, `forceStop` (a shutdown that turns into a stop is riskier than its name), `statestorage`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.model import GuestStatus, GuestType
from mqtt_bridge.settings import Level

States = frozenset[GuestStatus]
ArgKind = Literal["int", "bool", "vmids"]
MAX_TIMEOUT = 7200  # seconds; Proxmox's own limit for stopall
RUNNING: States = frozenset({"running"})
STOPPED: States = frozenset({"stopped", "suspended"})
PAUSED: States = frozenset({"paused"})
HIBERNATED: States = frozenset({"suspended"})


class ActionError(BridgeError):
    """What was asked cannot be done: no such action or argument, the wrong kind of guest, a state that forbids it."""


@dataclass(frozen=True)
class Arg:
    """One argument that a caller may give, and the API parameter that it becomes."""

    name: str
    param: str
    kind: ArgKind
    text: str
    minimum: int = 0
    maximum: int = MAX_TIMEOUT


@dataclass(frozen=True)
class Privilege:
    """What the token needs, as Proxmox names it; `path` may have fields."""

    name: str
    path: str


@dataclass(frozen=True)
class Action:
    """One row. States: `done_in` there is nothing to do, `only_in` it makes sense (empty: anywhere).

    `locks` are those that Proxmox tolerates for it. `expect` is the state afterwards (empty: none is claimed).
    `touches`: which guests of the node a node action reaches, by their state; `named` sends their VMIDs along.
    """

    name: str
    title: str
    risk: Level
    target: Literal["guest", "node"]
    path: str
    privileges: tuple[Privilege, ...]
    types: frozenset[GuestType] = frozenset({"qemu", "lxc"})
    method: Literal["POST"] = "POST"
    fixed: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    args: tuple[Arg, ...] = ()
    expect: States = frozenset()
    done_in: States = frozenset()
    only_in: States = frozenset()
    locks: frozenset[str] = frozenset()
    takes_down: bool = False
    restarts: bool = False
    task: bool = True
    touches: States = frozenset()
    named: bool = False
    node_online: bool = True

    def segments(self, **fields: str | int) -> tuple[str | int, ...]:
        """The path for the client: one piece per level."""
        return tuple(fields[part[1:-1]] if part.startswith("{") else part for part in self.path.split("/"))


_POWER = (Privilege("VM.PowerMgmt", "/vms/{vmid}"),)
_TIMEOUT = Arg("timeout", "timeout", "int", "seconds that the guest gets to shut down", minimum=0)
_OVERRULE = Arg("overrule_shutdown", "overrule-shutdown", "bool", "abort a shutdown that is still waiting")
_WORKERS = Arg("max_workers", "max-workers", "int", "guests at a time", minimum=1, maximum=64)
_VMIDS = Arg("vmids", "vms", "vmids", "only these guests of the node (default: all that it concerns)")
_PER_GUEST = Arg("timeout", "timeout", "int", "seconds that each guest gets to shut down", minimum=0)
_FORCE_STOP = Arg("force_stop", "force-stop", "bool", "stop hard what has not shut down in time (Proxmox's default)")
_FORCE_START = Arg("force", "force", "bool", "also guests that do not start at boot")


def _guest(name: str, title: str, risk: Level, **more: Any) -> Action:
    path = f"nodes/{{node}}/{{type}}/{{vmid}}/status/{name}"
    return Action(**{"name": f"guest.{name}", "title": title, "risk": risk, "target": "guest", "path": path,
                     "privileges": _POWER, **more})  # fmt: skip


def _node(name: str, title: str, risk: Level, path: str, privilege: Privilege, **more: Any) -> Action:
    return Action(f"node.{name}", title, risk, "node", f"nodes/{{node}}/{path}", (privilege,), **more)


_REBOOT = _guest(
    "reboot", "Reboot", "operate",
    args=(_TIMEOUT,), expect=RUNNING, only_in=RUNNING, takes_down=True, restarts=True,
)  # fmt: skip
_NODE_POWER = Privilege("Sys.PowerMgmt", "/nodes/{node}")
_ALL_POWER = Privilege("VM.PowerMgmt", "/vms/{vmid}")
_UP: States = RUNNING | PAUSED
_QEMU: frozenset[GuestType] = frozenset({"qemu"})
_LXC: frozenset[GuestType] = frozenset({"lxc"})

TABLE: tuple[Action, ...] = (
    _guest(
        "start", "Start", "operate",
        expect=RUNNING, done_in=RUNNING, only_in=STOPPED, locks=frozenset({"suspended"}),
    ),
    _guest(
        "stop", "Stop", "change",
        args=(_OVERRULE,), expect=STOPPED, done_in=STOPPED, takes_down=True,
    ),
    _guest(
        "shutdown", "Shutdown", "operate",
        args=(_TIMEOUT,), expect=STOPPED, done_in=STOPPED, only_in=RUNNING, takes_down=True,
    ),
    _REBOOT,
    replace(_REBOOT, name="guest.restart", title="Restart"),
    _guest(
        "suspend", "Suspend", "operate",
        types=_QEMU, expect=PAUSED, done_in=PAUSED, only_in=RUNNING, locks=frozenset({"backup"}), takes_down=True,
    ),
    _guest("suspend", "Suspend (experimental)", "operate", types=_LXC, only_in=RUNNING, takes_down=True),
    _guest(
        "resume", "Resume", "operate",
        types=_QEMU, expect=RUNNING, done_in=RUNNING, only_in=PAUSED | HIBERNATED,
        locks=frozenset({"suspended", "backup"}),
    ),
    _guest("resume", "Resume (experimental)", "operate", types=_LXC),
    _guest(
        "hibernate", "Hibernate", "operate",
        path="nodes/{node}/{type}/{vmid}/status/suspend", fixed=MappingProxyType({"todisk": 1}), types=_QEMU,
        privileges=(*_POWER, Privilege("VM.Config.Disk", "/vms/{vmid}"),
                    Privilege("Datastore.AllocateSpace", "/storage")),
        expect=HIBERNATED, done_in=HIBERNATED, only_in=_UP, takes_down=True,
    ),
    _guest("reset", "Reset", "change", types=_QEMU, expect=RUNNING, only_in=_UP, takes_down=True),
    _node(
        "reboot", "Node reboot", "destroy", "status", _NODE_POWER,
        fixed=MappingProxyType({"command": "reboot"}), takes_down=True, task=False, touches=_UP,
    ),
    _node(
        "shutdown", "Node shutdown", "destroy", "status", _NODE_POWER,
        fixed=MappingProxyType({"command": "shutdown"}), takes_down=True, task=False, touches=_UP,
    ),
    _node(
        "startall", "Start of all guests", "operate", "startall", _ALL_POWER,
        args=(_VMIDS, _FORCE_START, _WORKERS), touches=STOPPED, named=True,
    ),
    _node(
        "stopall", "Shutdown of all guests", "destroy", "stopall", _ALL_POWER,
        args=(_VMIDS, _PER_GUEST, _FORCE_STOP, _WORKERS), expect=STOPPED, takes_down=True, touches=_UP, named=True,
    ),
    _node("wakeonlan", "Wake on LAN", "operate", "wakeonlan", _NODE_POWER, task=False, node_online=False),
)  # fmt: skip
NAMES: tuple[str, ...] = tuple(dict.fromkeys(row.name for row in TABLE))


def rows_of(name: str) -> tuple[Action, ...]:
    """The rows of an action: more than one where VMs and containers differ. ActionError if there is none."""
    if rows := tuple(row for row in TABLE if row.name == name):
        return rows
    raise ActionError(f"There is no action {name}.", cure=f"There are: {', '.join(NAMES)}.")


def row_for(name: str, guest: GuestType) -> Action:
    """The row of an action for a type of guest; ActionError if it does not apply to it."""
    rows = rows_of(name)
    if row := next((row for row in rows if guest in row.types), None):
        return row
    word = "containers" if guest == "lxc" else "virtual machines"
    can = ", ".join(r.name.partition(".")[2] for r in TABLE if r.target == "guest" and guest in r.types)
    raise ActionError(f"{rows[0].title} does not exist for {word}.", cure=f"What {word} know: {can}.")


def parameters(row: Action, args: Mapping[str, Any]) -> dict[str, Any]:
    """A caller's arguments as the API's parameters, checked; `vmids` stays a list of numbers."""
    known = {arg.name: arg for arg in row.args}
    if unknown := sorted(args.keys() - known.keys()):
        raise ActionError(f"{row.title} has no argument {unknown[0]}.", cure=f"It takes: {', '.join(known) or 'none'}.")
    given = {known[name].param: _checked(known[name], value) for name, value in args.items() if value is not None}
    return {**given, **row.fixed}


def _checked(arg: Arg, value: Any) -> Any:
    try:
        return _CHECKS[arg.kind](arg, value)
    except (TypeError, ValueError) as error:
        raise ActionError(f"The argument {arg.name} ({arg.text}) is not right: {error}.") from error


def _int(arg: Arg, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("it must be a whole number")
    if not arg.minimum <= value <= arg.maximum:
        raise ValueError(f"it must be from {arg.minimum} to {arg.maximum}")
    return value


def _bool(arg: Arg, value: Any) -> int:
    del arg
    if not isinstance(value, bool):
        raise TypeError("it must be true or false")
    return int(value)


def _vmids(arg: Arg, value: Any) -> tuple[int, ...]:
    del arg
    if not isinstance(value, list | tuple | set | frozenset) or not value:
        raise TypeError("it must be a list of VMIDs with at least one")
    if any(isinstance(v, bool) or not isinstance(v, int) for v in value):
        raise TypeError("every VMID must be a whole number")
    return tuple(sorted(set(value)))


_CHECKS = {"int": _int, "bool": _bool, "vmids": _vmids}
