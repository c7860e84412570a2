"""A device's discovery configuration, of its rows: what Home Assistant finds on `…/device/<id>/config`.

What holds there (seen on real ones, `docs/homeassistant.md`): an unknown key at top level or in `dev` rejects the whole
device, one component without `uniq_id` too; `def_ent_id` names its domain; an icon is `mdi:…`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mqtt_bridge import __version__
from mqtt_bridge.discovered import GONE, ORIGIN
from mqtt_bridge.homeassistant.chosen import Chosen
from mqtt_bridge.homeassistant.entity import DATA, Does, Entity, Need
from mqtt_bridge.homeassistant.may import May
from mqtt_bridge.homeassistant.thing import COMMAND_TOPICS, EVENT_TOPICS, ROWS, Key, Thing
from mqtt_bridge.homeassistant.triggers import triggers
from mqtt_bridge.model import (
    ClusterState,
    DatastoreState,
    DiskState,
    GuestState,
    NodeState,
    StorageState,
    ZfsPoolState,
)
from mqtt_bridge.proxmox.permissions import Permissions, anywhere, holds
from mqtt_bridge.proxmox.privileges import alternatives
from mqtt_bridge.topics import Topics

Component = dict[str, Any]
_ALIVE = f"{{{{ 'online' if {DATA}.get('available') else 'offline' }}}}"
_SITE_ALIVE = "{{ 'offline' if value=='offline' else 'online' }}"
# A JSON command needs an id of its own and a fresh time; the word is `value`
_COMMAND = (
    '{{"command":"{{{{value}}}}","id":"ha-{{{{(now().timestamp()*1000)|int}}}}-{{{{range(99999)|random}}}}",'
    '"ts":{{{{now().timestamp()}}}},"who":"Home Assistant"{args}}}'
)
_MODELS = {"qemu": "Virtual machine", "lxc": "Container", "cluster": "Cluster", "standalone": "Standalone host",
           "pbs": "Backup Server"}  # fmt: skip


@dataclass(frozen=True)
class Around:
    """What a configuration depends on beside its thing. `full` (percent): a storage is a problem from there on."""

    names: Topics
    bridge: str
    chosen: Chosen
    may: May
    granted: Callable[[str], Permissions]
    url: Callable[[Thing], str | None]
    pbs: frozenset[str] = frozenset()
    full: float = 85.0


@dataclass(frozen=True)
class Config:
    """`left_out`: entities that the token's privileges do not allow, with what is missing; if all, no `payload`.

    `triggers` by their keys: why they are not in the payload, see `triggers.py`.
    """

    payload: bytes
    components: frozenset[tuple[str, str]]
    left_out: frozenset[str] = frozenset()
    triggers: Mapping[str, bytes] = field(default_factory=dict)


def build(thing: Thing, around: Around, known: frozenset[str] = frozenset()) -> Config | None:
    """None: it is no device, or all of its entities are excluded.

    `known`: components that it has already; what the token cannot read any more is not taken away from it.
    """
    maker = _Maker(thing, around)
    components: dict[str, Component] = {}
    told: dict[str, bytes] = {}
    left_out: set[str] = set()
    for row in ROWS[thing.key.kind] if thing.wanted else ():
        enabled = around.chosen.enabled(thing, row)
        if enabled is None or not maker.exists(row):
            continue
        if (unread := maker.unread) and (unread == "asleep" or row.key not in known):
            left_out.add(f"{thing.key.kind}/{row.key}: {_UNREAD[unread]}")
            continue
        if (lacking := maker.lacking(row)) and row.key not in known:
            left_out.add(f"{thing.key.kind}/{row.key}: {lacking}")
            continue
        components[row.key] = maker.component(row, enabled=enabled)
        told |= maker.triggers(row) if enabled else {}
    if not components:
        return Config(b"", frozenset(), frozenset(left_out)) if left_out else None
    whole = {**maker.head(), "cmps": components}
    made = frozenset((key, str(one["p"])) for key, one in components.items())
    payload = json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()
    return Config(payload, made, frozenset(left_out), told)


_ON_NODE = frozenset({"disk", "zpool"})  # read seldom: an earlier run may have left them while their node is away
_UNREAD = {
    "asleep": "DISK_SMART=all, for disks that may sleep",
    "privilege": "Sys.Audit on /",
}


class _Maker:
    """The parts of one device's configuration."""

    def __init__(self, thing: Thing, around: Around) -> None:
        self._thing = thing
        self._around = around
        self._names = around.names
        self._ids = thing.key.ids
        self._base = around.names.base
        self.identity = thing.key.identity(self._base)

    # --- which rows ------------------------------------------------------------------------------------------------

    def exists(self, row: Entity) -> bool:
        """Whether such a thing has it, and may have it."""
        variant = self._thing.variant or ("pbs" if self._thing.key.site in self._around.pbs else "pve")
        if row.variants and variant not in row.variants:
            return False
        if row.evacuation and not self._around.may.evacuate(self._thing):
            return False
        if row.shutdown and not self._around.may.shut_down:
            return False
        return all(self._around.may.do(does, self._thing) for does in row.does)

    @property
    def exists_at_all(self) -> bool:
        """Whether it is a device: of a parent that is none, Home Assistant would make one without a name."""
        rows, chosen = ROWS[self._thing.key.kind], self._around.chosen
        return any(
            chosen.enabled(self._thing, row) is not None and self.exists(row) and not self.lacking(row) for row in rows
        )

    @property
    def unread(self) -> str | None:
        """Why a disk has nothing to show."""
        return self._thing.state.unread if isinstance(self._thing.state, DiskState) else None

    def lacking(self, row: Entity) -> str:
        """The privilege that the token lacks for it; empty: none."""
        granted = self._around.granted(self._thing.key.site)
        if row.needs and not any(_readable(granted, need, self._ids) for need in row.needs):
            return " or ".join(f"{need.privilege} on {need.path}" for need in row.needs)
        rights = (self._around.may.lacks(does, self._thing, granted) for does in row.does)
        return next((f"{right.name} on {right.path.split('/{')[0]}" for right in rights if right), "")

    # --- the device ------------------------------------------------------------------------------------------------

    def head(self) -> dict[str, Any]:
        """All but the components."""
        device = {
            "ids": [self.identity],
            "name": self._thing.label,
            "mf": "Proxmox",
            **self._about(),
            "cu": self._around.url(self._thing),
            "via_device": self._parent(),
        }
        return {
            "dev": {key: value for key, value in device.items() if value},
            "o": {"name": ORIGIN, "sw": __version__},
            "avty": self._available("own", ""),
            "avty_mode": "all",
            "stat_t": self._topic(self._thing.key.topic),
        }

    def _about(self) -> dict[str, str | None]:
        match self._thing.state:
            case GuestState(type=kind, vmid=vmid):
                return {"mdl": _MODELS[kind], "mdl_id": f"{kind}/{vmid}"}
            case NodeState(version=version, cpu_model=cpu):
                return {"mdl": "Node", "mdl_id": cpu, "sw": version and version.split("/")[1 if "/" in version else 0]}
            case ClusterState(kind=kind):
                return {"mdl": _MODELS[kind]}
            case StorageState(type=kind):
                return {"mdl": "Storage", "mdl_id": kind}
            case DatastoreState() | ZfsPoolState() as other:
                return {"mdl": "Datastore" if isinstance(other, DatastoreState) else "ZFS pool"}
            case DiskState(model=model, type=kind, serial=serial):
                return {"mdl": model or "Disk", "mdl_id": kind, "sn": serial}

    def _parent(self) -> str | None:
        site, state = self._thing.key.site, self._thing.state
        if isinstance(state, ClusterState):
            return None
        node = state.node if isinstance(state, GuestState | StorageState | DiskState | ZfsPoolState) else None
        kind: Literal["pbs", "cluster"] = "pbs" if site in self._around.pbs else "cluster"
        above = [Thing(Key(site, "cluster"), ClusterState(site=site, name=site, kind=kind))]
        if node:
            state_of = NodeState(site=site, node=node, status="unknown", available=False)
            above.insert(0, Thing(Key(site, "node", (node,)), state_of))
        return next((one.key.identity(self._base) for one in above if _Maker(one, self._around).exists_at_all), None)

    # --- its components --------------------------------------------------------------------------------------------

    def component(self, row: Entity, *, enabled: bool) -> Component:
        """The row's."""
        full = f"{self._around.full:g}"
        fields: Component = {
            "p": row.platform,
            "name": row.name,
            "uniq_id": f"{self.identity}_{row.key}",
            "def_ent_id": f"{row.platform}.{self._thing.object_id}_{row.key}",
            "val_tpl": row.value.replace("{full}", full),
            "dev_cla": row.device_class,
            "unit_of_meas": row.unit,
            "stat_cla": row.state_class,
            "sug_dsp_prc": row.precision,
            "ic": row.icon,
            "ent_cat": row.category,
            "en": None if enabled else False,
            **self._source(row),
            **self._commands(row.does),
        }
        if row.options:
            fields["evt_typ" if row.platform == "event" else "ops"] = list(row.options)
        return {key: value for key, value in fields.items() if value is not None and value != ""}

    def _source(self, row: Entity) -> Component:
        """Where its values come from, where that is not the thing's own topic."""
        fields: Component = {}
        if row.platform == "event":
            fields |= {"stat_t": self._topic(EVENT_TOPICS[self._thing.key.kind]), "qos": 1}
        elif row.source != "own":
            fields["stat_t"] = self._source_topic(row)
        if row.attributes:
            fields |= {"json_attr_t": self._source_topic(row), "json_attr_tpl": row.attributes}
        if row.reach != "own":
            fields["avty"] = self._available(row.reach, row.alive)
        return fields

    def _source_topic(self, row: Entity) -> str:
        kind = self._thing.key.topic
        named = {
            "own": kind,
            "metrics": f"{kind}_metrics",
            "upkeep": "site_upkeep" if kind == "cluster" else f"{kind}_upkeep",
            "site": "site_state",
            "events": "events",
            "shutdown": "site_shutdown",
        }
        return self._topic(named[row.source])

    def _commands(self, does: tuple[Does, ...]) -> Component:
        if not does:
            return {}
        told = {each.word: args for each in does if (args := self._args(each))}
        given = [f"{{% if value=='{word}' %}},\"args\":{args}{{% endif %}}" for word, args in told.items()]
        fields: Component = {
            "cmd_t": self._topic(COMMAND_TOPICS[self._thing.key.kind]),
            "cmd_tpl": _COMMAND.format(args="".join(given)),
            "qos": 1,
        }
        if len(does) == 1:
            return {**fields, "pl_prs": does[0].word}
        on, off = does
        return {**fields, "pl_on": on.word, "pl_off": off.word, "stat_on": "ON", "stat_off": "OFF"}

    def _args(self, does: Does) -> str:
        evacuates = does.evacuating and self._thing.key.kind == "node" and self._thing.key.site not in self._around.pbs
        return does.evacuating if evacuates and self._around.may.evacuate(self._thing) else does.args

    def triggers(self, row: Entity) -> dict[str, bytes]:
        """For the automations of the UI."""
        if row.platform != "event":
            return {}
        about = {"dev": {"ids": [self.identity], "name": self._thing.label}, "o": {"name": ORIGIN}}
        return dict(triggers(row.options, self._topic(EVENT_TOPICS[self._thing.key.kind]), about))

    def _available(self, reach: str, alive: str) -> list[dict[str, str]]:
        """What must be there: the bridge, the site's API, and the thing itself or the node that it is on."""
        found = [{"t": self._names.build("bridge_state", bridge=self._around.bridge)}]
        if reach != "bridge":
            found.append({"t": self._topic("site_state"), "val_tpl": _SITE_ALIVE})
        node = self._ids.get("node")
        if node and ((reach, self._thing.key.topic) == ("place", "storage") or self._thing.key.topic in _ON_NODE):
            found.append({"t": self._topic("node"), "val_tpl": _ALIVE})
        if alive or (reach == "own" and not isinstance(self._thing.state, ClusterState)):
            found.append({"t": self._topic(self._thing.key.topic), "val_tpl": alive or _ALIVE})
        return found

    def _topic(self, kind: str) -> str:
        return self._names.build(kind, **self._ids)


_OWN = {"/vms": "vmid", "/nodes": "node", "/storage": "storage"}  # what below such a path is the thing's own


def _readable(granted: Permissions, need: Need, ids: Mapping[str, str]) -> bool:
    own = ids.get(_OWN.get(need.path, ""))
    if own is not None:
        return any(holds(granted, f"{need.path}/{own}", each) for each in alternatives(need.privilege))
    return any(anywhere(granted, need.path, each) for each in alternatives(need.privilege))


def without(config: Config, identity: str, gone: Mapping[str, str], passing: Mapping[str, str]) -> bytes:
    """The same with components that are to go: `gone` by their platform alone, as Home Assistant has them removed.

    `passing` are disabled entities, which it must be made to forget first: see `discovered.shed`.
    """
    whole = json.loads(config.payload)
    whole["cmps"] |= {key: {"p": platform} for key, platform in gone.items()}
    for key, platform in passing.items():
        needed: Component = {"event": {"evt_typ": ["gone"]}, "button": {"cmd_t": "-"}, "switch": {"cmd_t": "-"}}
        whole["cmps"][key] = {"p": platform, "uniq_id": f"{identity}_{key}{GONE}", **needed.get(platform, {})}
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()
