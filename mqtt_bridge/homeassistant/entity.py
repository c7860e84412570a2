"""The shape of the tables: what an entity is, as a row, before it belongs to a thing."""

from dataclasses import dataclass
from typing import Literal

from mqtt_bridge.model import (
    ClusterState,
    DatastoreState,
    DiskState,
    GuestState,
    NodeState,
    StorageState,
    ZfsPoolState,
)

Kind = Literal["cluster", "node", "guest", "storage", "datastore", "disk", "zpool"]
KINDS: tuple[Kind, ...] = ("cluster", "node", "guest", "storage", "datastore", "disk", "zpool")
Platform = Literal["binary_sensor", "sensor", "switch", "button", "event", "update"]
Source = Literal["own", "metrics", "upkeep", "site", "events", "shutdown"]
Reach = Literal["own", "place", "site", "bridge"]
State = ClusterState | NodeState | GuestState | StorageState | DatastoreState | DiskState | ZfsPoolState

PERCENT = "%"


@dataclass(frozen=True)
class Need:
    """What the token must hold to read this: at what is the thing's own below `path`, else anywhere there."""

    path: str
    privilege: str


@dataclass(frozen=True)
class Does:
    """A command: its word, and the row of the table of actions that it stands for (empty: it changes nothing there).

    `args`: JSON, as it stands in the command; `evacuating`: the same where the settings let it move guests too.
    """

    word: str
    action: str = ""
    args: str = ""
    evacuating: str = ""


@dataclass(frozen=True)
class Entity:
    """One row. `value` is a template; `source` the topic that it reads.

    `variants` are the kinds of thing that have it (empty: all): guest types, cluster kinds, `pve` or `pbs` nodes.
    `reach` says what must be there for it to be available: `own` the thing itself, `place` its node, `site`, `bridge`.
    `needs`: one of these is enough. `attributes`: a template that gives JSON. `alive`: a template of the thing's own
    topic for its availability, where that is another than the field `available`. `evacuation`: it exists only where the
    settings let a maintenance move guests; `shutdown`: only where they let the whole site be shut down.
    """

    key: str
    platform: Platform
    name: str
    value: str = ""
    source: Source = "own"
    device_class: str = ""
    unit: str = ""
    state_class: str = ""
    precision: int | None = None
    icon: str = ""
    category: Literal["", "diagnostic", "config"] = ""
    enabled: bool = True
    dangerous: bool = False
    variants: frozenset[str] = frozenset()
    needs: tuple[Need, ...] = ()
    reach: Reach = "own"
    does: tuple[Does, ...] = ()
    options: tuple[str, ...] = ()
    attributes: str = ""
    alive: str = ""
    evacuation: bool = False
    shutdown: bool = False


def acknowledge(reach: Reach = "own") -> Entity:
    """Somebody takes care of what is wrong there: no more reminders of it."""
    return Entity(
        "acknowledge", "button", "Acknowledge problems", does=(Does("acknowledge"),), reach=reach,
        icon="mdi:account-wrench", category="config", enabled=False,
    )  # fmt: skip


# --- templates -------------------------------------------------------------------------------------------------------
# A topic that is cleared brings an empty payload, for which `value_json` does not exist.

DATA = "(value_json|default({}))"
MOVE, JUMP, PAUSE = 2, 25, 180  # percentage points, percentage points, seconds


def get(name: str) -> str:
    """A field as it is; null becomes `unknown`."""
    return f"{{{{ {DATA}.get('{name}') }}}}"


def scaled(name: str, unit: int) -> str:
    """A figure in larger units: over MQTT Home Assistant shows it as it comes."""
    return f"{{% set n={DATA}.get('{name}') %}}{{{{ none if n is none else (n/{unit})|round(2) }}}}"


def yes(condition: str, *known: str) -> str:
    """ON or OFF; unknown while one of the fields `known` is null. The condition sees the payload as `v`."""
    unknown = " or ".join(f"v.get('{name}') is none" for name in known) or "not v"
    return f"{{% set v={DATA} %}}{{{{ none if {unknown} else 'ON' if {condition} else 'OFF' }}}}"


def calm(name: str, *, move: float = MOVE, jump: float = JUMP, pause: int = PAUSE) -> str:
    """A figure that the recorder need not write at every poll.

    What moved by `move` is taken over every `pause` seconds, what moved by `jump` at once; and so is a zero of what is
    not up, or a guest that is stopped would show the last figure before for ever.
    """
    return (
        f"{{% set v={DATA} %}}{{% set n=v.get('{name}') %}}{{% set o=this.state|float(none) %}}"
        f"{{{{ n if n is none or o is none or (n==0 and not v.get('uptime')) or (n-o)|abs>={jump:g} "
        f"or ((n-o)|abs>={move:g} and "
        f"as_timestamp(now())-as_timestamp(this.last_changed)>={pause}) else this.state }}}}"
    )
