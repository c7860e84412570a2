"""What is switched on, and what each part of it needs in Proxmox: from the rows of reads, actions and the bridge."""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from mqtt_bridge.actions import ACTIONS
from mqtt_bridge.actions.row import Action
from mqtt_bridge.proxmox.permissions import PBS_NEEDS, PVE_NEEDS
from mqtt_bridge.settings import Kind, Level, Settings, allows
from proxmox_mcp.tools import ALL
from proxmox_mcp.tools.permissions import READS, Need, action_needs

EVERYTHING = frozenset({"all"})

# Which set's tools ask for an action; the first that fits. One that none fits is wanted with every set.
_SETS = (
    ("guest.exec", "guest"),
    ("guest.clone", "provision"),
    ("guest.update", "provision"),
    ("guest.cloudinit", "provision"),
    ("guest.migrate", "provision"),
    ("guest.template", "provision"),
    ("guest.delete", "provision"),
    ("guest.", "power"),
    ("node.", "power"),
    ("vm.", "provision"),
    ("lxc.", "provision"),
    ("image.", "provision"),
    ("disk.", "hardware"),
    ("network.", "hardware"),
    ("snapshot.", "snapshots"),
    ("backup.", "backups"),
    ("datastore.", "backups"),
)

# With what writes a machine's memory to a disk one can add and remove disks.
_MORE_THAN_ASKED = frozenset({"guest.hibernate"})

# Comes with so much else that it is given only on request.
_UPDATES = "Sys.Modify"
# What reads nothing but needs a privilege that changes something too.
_MORE_THAN_READING = frozenset({"Datastore.AllocateSpace", "VM.Backup", _UPDATES})


@dataclass(frozen=True)
class Asker:
    """Somebody who may ask for actions: how far, and with which sets or names of tools."""

    level: Level
    toolsets: AbstractSet[str] = EVERYTHING

    def wants(self, row: Action) -> bool:
        """Whether any tool or command of theirs carries it out."""
        toolset = set_of(row.name)
        return allows(self.level, row.risk) and (toolset is None or not self.toolsets.isdisjoint({"all", toolset}))


@dataclass(frozen=True)
class Wanted:
    """What a token shall serve. `lean`: nothing that lets it do more than what it is for; `updates`: those too."""

    askers: tuple[Asker, ...]
    read_sets: AbstractSet[str] = EVERYTHING
    log: bool = True
    images: bool = True
    lean: bool = False
    updates: bool = False

    def needs(self, kind: Kind) -> tuple[Need, ...]:
        """Every single need of one product, in a fixed order."""
        found = dict.fromkeys(need for need in (*self._bridge(kind), *self._reads(), *self._actions()))
        return tuple(need for need in found if need.kind == kind and not self._left_out(need))

    def left_out(self, kind: Kind) -> tuple[Need, ...]:
        """What `needs` would have besides."""
        every = (*self._bridge(kind), *self._reads(), *self._actions())
        return tuple(dict.fromkeys(need for need in every if need.kind == kind and self._left_out(need)))

    def actions(self) -> tuple[Action, ...]:
        """The rows that somebody may ask for."""
        return tuple(
            row
            for row in ACTIONS.values()
            if any(asker.wants(row) for asker in self.askers) and (self.images or not row.name.startswith("image."))
        )

    def _bridge(self, kind: Kind) -> Iterator[Need]:
        for need in PVE_NEEDS if kind == "pve" else PBS_NEEDS:
            yield Need(need.feature, kind, need.path, need.privilege)
        if self.log and kind == "pve":
            yield Need("the cluster log of all", "pve", "/", "Sys.Syslog")

    def _reads(self) -> Iterator[Need]:
        tools = {tool.name: tool for tool in ALL}
        for row in READS:
            for name in row.tools:
                if name in tools and tools[name].selected(self.read_sets):
                    yield Need(name, row.kind, row.path, row.privilege)

    def _actions(self) -> Iterator[Need]:
        names = {row.name for row in self.actions()}
        return (need for need in action_needs() if need.user in names)

    def _left_out(self, need: Need) -> bool:
        if need.user in ACTIONS:
            return self.lean and need.user in _MORE_THAN_ASKED
        return need.privilege in _MORE_THAN_READING if self.lean else need.privilege == _UPDATES and not self.updates


def set_of(action: str) -> str | None:
    """The set of tools that asks for an action."""
    return next((toolset for prefix, toolset in _SETS if action.startswith(prefix)), None)


def from_settings(settings: Settings, *, lean: bool = False, updates: bool = False) -> Wanted:
    """What is switched on: the MCP server's level and each named token's, commands over MQTT and in Discord."""
    sets = named(settings.mcp.toolsets)
    tokens = [Asker(token.level, named(token.toolsets) if token.toolsets else sets) for token in settings.mcp.tokens]
    permission = settings.permission
    askers = (
        Asker(permission.mcp_allow, sets),
        *tokens,
        Asker(permission.mqtt_allow),
        Asker(permission.discord_allow),
    )
    return Wanted(
        askers,
        read_sets=frozenset().union(sets, *(one.toolsets for one in tokens)),
        log="WEBSOCKET" in settings.events.enabled,
        images=bool(permission.image_url_allowlist),
        lean=lean,
        updates=updates,
    )


def named(toolsets: Iterable[str]) -> frozenset[str]:
    """With the set of each tool that is named, since actions belong to sets."""
    sets = {tool.name: tool.toolset for tool in ALL}
    return frozenset(toolsets) | {sets[name] for name in toolsets if name in sets}
