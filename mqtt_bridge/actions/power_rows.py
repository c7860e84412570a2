"""Power: what can be done to guests and nodes, one row each: how it is carried out, and what to expect of it.

Paths and parameters are those of the API schema (PVE 9.2; a test holds the rows against it). Left out on purpose:
`skiplock`, `forceStop` (a shutdown that turns into a stop is riskier than its name), `statestorage`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from mqtt_bridge.actions.row import ActionError, Args, Bool, Int, NoArgs, Privilege, Vmids
from mqtt_bridge.model import GuestStatus, GuestType
from mqtt_bridge.settings import Level

States = frozenset[GuestStatus]
RUNNING: States = frozenset({"running"})
STOPPED: States = frozenset({"stopped", "suspended"})
PAUSED: States = frozenset({"paused"})
HIBERNATED: States = frozenset({"suspended"})
Seconds = Annotated[Int, Field(ge=0, le=7200)]  # Proxmox's own limit for stopall
Workers = Annotated[Int, Field(ge=1, le=64)]


class ShutdownArgs(Args):
    """`timeout`: seconds that the guest gets to shut down."""

    timeout: Seconds | None = None


class StopArgs(Args):
    """`overrule_shutdown`: abort a shutdown that is still waiting."""

    overrule_shutdown: Bool | None = Field(default=None, serialization_alias="overrule-shutdown")


class StartAllArgs(Args):
    """`vmids`: only these guests of the node. `force`: also guests that do not start at boot."""

    vmids: Vmids | None = None
    force: Bool | None = None
    max_workers: Workers | None = Field(default=None, serialization_alias="max-workers")


class StopAllArgs(Args):
    """`timeout`: seconds for each guest. `force_stop`: stop hard what has not shut down in time (the default)."""

    vmids: Vmids | None = None
    timeout: Seconds | None = None
    force_stop: Bool | None = Field(default=None, serialization_alias="force-stop")
    max_workers: Workers | None = Field(default=None, serialization_alias="max-workers")


@dataclass(frozen=True)
class PowerRow:
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
    fixed: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    args: type[Args] = NoArgs
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


def _guest(name: str, title: str, risk: Level, **more: Any) -> PowerRow:
    path = f"nodes/{{node}}/{{type}}/{{vmid}}/status/{name}"
    return PowerRow(**{"name": f"guest.{name}", "title": title, "risk": risk, "target": "guest", "path": path,
                       "privileges": _POWER, **more})  # fmt: skip


def _node(name: str, title: str, risk: Level, path: str, privilege: Privilege, **more: Any) -> PowerRow:
    return PowerRow(f"node.{name}", title, risk, "node", f"nodes/{{node}}/{path}", (privilege,), **more)


_REBOOT = _guest(
    "reboot", "Reboot", "operate",
    args=ShutdownArgs, expect=RUNNING, only_in=RUNNING, takes_down=True, restarts=True,
)  # fmt: skip
_NODE_POWER = Privilege("Sys.PowerMgmt", "/nodes/{node}")
_ALL_POWER = Privilege("VM.PowerMgmt", "/vms/{vmid}")
_UP: States = RUNNING | PAUSED
_QEMU: frozenset[GuestType] = frozenset({"qemu"})
_LXC: frozenset[GuestType] = frozenset({"lxc"})

TABLE: tuple[PowerRow, ...] = (
    _guest(
        "start", "Start", "operate",
        expect=RUNNING, done_in=RUNNING, only_in=STOPPED, locks=frozenset({"suspended"}),
    ),
    _guest(
        "stop", "Stop", "change",
        args=StopArgs, expect=STOPPED, done_in=STOPPED, takes_down=True,
    ),
    _guest(
        "shutdown", "Shutdown", "operate",
        args=ShutdownArgs, expect=STOPPED, done_in=STOPPED, only_in=RUNNING, takes_down=True,
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
        args=StartAllArgs, touches=STOPPED, named=True,
    ),
    _node(
        "stopall", "Shutdown of all guests", "destroy", "stopall", _ALL_POWER,
        args=StopAllArgs, expect=STOPPED, takes_down=True, touches=_UP, named=True,
    ),
    _node("wakeonlan", "Wake on LAN", "operate", "wakeonlan", _NODE_POWER, task=False, node_online=False),
)  # fmt: skip
NAMES: tuple[str, ...] = tuple(dict.fromkeys(row.name for row in TABLE))


def rows_of(name: str) -> tuple[PowerRow, ...]:
    """The rows of a power action: more than one where VMs and containers differ."""
    return tuple(row for row in TABLE if row.name == name)


def row_for(name: str, guest: GuestType) -> PowerRow:
    """The row of a power action for a type of guest; ActionError if it does not apply to it."""
    rows = rows_of(name)
    if row := next((row for row in rows if guest in row.types), None):
        return row
    word = "containers" if guest == "lxc" else "virtual machines"
    can = ", ".join(r.name.partition(".")[2] for r in TABLE if r.target == "guest" and guest in r.types)
    raise ActionError(f"{rows[0].title} does not exist for {word}.", cure=f"What {word} know: {can}.")
