"""A thing that becomes a device: what it is, where its topics are, what it is called."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from mqtt_bridge.homeassistant.disk_rows import DISK_ROWS, ZPOOL_ROWS
from mqtt_bridge.homeassistant.entity import Entity, Kind, State
from mqtt_bridge.homeassistant.guest_rows import ROWS as GUEST_ROWS
from mqtt_bridge.homeassistant.ids import encode, slug
from mqtt_bridge.homeassistant.node_rows import ROWS as NODE_ROWS
from mqtt_bridge.homeassistant.other_rows import CLUSTER_ROWS, DATASTORE_ROWS, STORAGE_ROWS
from mqtt_bridge.model import (
    ClusterState,
    DatastoreState,
    DiskState,
    GuestState,
    NodeState,
    StorageState,
    ZfsPoolState,
)
from mqtt_bridge.targets import DatastoreTarget, GuestTarget, NodeTarget, Target

# which topics carry the states of things, and what they are
OF_TOPIC: Mapping[str, Kind] = {
    "cluster": "cluster",
    "node": "node",
    "guest": "guest",
    "storage": "storage",
    "shared_storage": "storage",
    "datastore": "datastore",
    "disk": "disk",
    "zpool": "zpool",
}
ROWS: Mapping[Kind, tuple[Entity, ...]] = {
    "cluster": CLUSTER_ROWS,
    "node": NODE_ROWS,
    "guest": GUEST_ROWS,
    "storage": STORAGE_ROWS,
    "datastore": DATASTORE_ROWS,
    "disk": DISK_ROWS,
    "zpool": ZPOOL_ROWS,
}
RANK: Mapping[Kind, int] = {
    "cluster": 0, "node": 1, "guest": 2, "storage": 2, "datastore": 2, "disk": 2, "zpool": 2,
}  # parents first  # fmt: skip
EVENT_TOPICS: Mapping[Kind, str] = {"cluster": "cluster_event", "node": "node_event", "guest": "guest_event"}
COMMAND_TOPICS: Mapping[Kind, str] = {
    "cluster": "site_command", "node": "node_command", "guest": "guest_command", "datastore": "datastore_command",
}  # fmt: skip
_IDS: Mapping[str, tuple[str, ...]] = {
    "cluster": (), "node": ("node",), "guest": ("vmid",), "storage": ("node", "storage"),
    "shared_storage": ("storage",), "datastore": ("store",), "disk": ("node", "disk"), "zpool": ("node", "pool"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Key:
    """What a thing is for ever: `topic` is the kind of its topic, `name` the rest of what names it there."""

    site: str
    topic: str
    name: tuple[str, ...] = ()

    @classmethod
    def of(cls, topic: str, ids: Mapping[str, str | int]) -> "Key":
        """Of a state that is published."""
        return cls(str(ids["site"]), topic, tuple(str(ids[each]) for each in _IDS[topic]))

    @property
    def kind(self) -> Kind:
        return OF_TOPIC[self.topic]

    @property
    def whole(self) -> bool:
        """Whether it has as many names as such a thing has: what others may have stored need not."""
        return len(self.name) == len(_IDS[self.topic])

    @property
    def ids(self) -> dict[str, str]:
        """For the topics of it."""
        return {"site": self.site, **dict(zip(_IDS[self.topic], self.name, strict=True))}

    def identity(self, base: str) -> str:
        """The device's id in Home Assistant; `base` keeps two bridges of different base topics apart."""
        return encode((base, self.site, self.kind, *self.name))


@dataclass(frozen=True)
class Thing:
    """A thing as it is now. `twin`: another one of its site is called the same."""

    key: Key
    state: State
    twin: bool = False

    @cached_property
    def variant(self) -> str:
        """What `Entity.variants` names."""
        match self.state:
            case GuestState(type=kind) | ClusterState(kind=kind):
                return kind
            case StorageState(shared=shared):
                return "shared" if shared else "local"
            case DiskState(type=kind):
                return kind
        return ""

    @cached_property
    def target(self) -> Target:
        """As the policy looks at it."""
        match self.state:
            case GuestState() as g:
                return GuestTarget(
                    site=g.site,
                    vmid=g.vmid,
                    type=g.type,
                    node=g.node,
                    name=g.name,
                    state=g.status,
                    tags=frozenset(tag.casefold() for tag in g.tags),
                    pool=g.pool,
                    template=g.template,
                    protection=g.protection,
                )
            case DatastoreState(store=store):
                return DatastoreTarget(self.key.site, store, whole=True)
        return NodeTarget(self.key.site, self.called, online=True)

    @property
    def wanted(self) -> bool:
        """A template never runs: it is no device."""
        return not (isinstance(self.state, GuestState) and self.state.template)

    @property
    def called(self) -> str:
        """Its own name, as Proxmox has it."""
        match self.state:
            case GuestState(name=name) | ClusterState(name=name):
                return name
            case NodeState(node=name) | StorageState(storage=name) | DatastoreState(store=name):
                return name
            case DiskState(disk=name) | ZfsPoolState(pool=name):
                return name

    @property
    def label(self) -> str:
        """The device's name."""
        match self.state:
            case ClusterState(kind=kind, name=name):
                return f"{ {'cluster': 'Cluster', 'standalone': 'Site', 'pbs': 'Backup Server'}[kind] } {name}"
            case GuestState(name=name, vmid=vmid):
                return f"{name} ({vmid})" if self.twin else name
            case StorageState(storage=name, node=node):
                return f"Storage {name} ({node})" if node else f"Storage {name}"
            case DatastoreState(store=name):
                return f"Datastore {name}"
            case DiskState(dev=name, node=node) | ZfsPoolState(pool=name, node=node):
                return f"{'Disk' if isinstance(self.state, DiskState) else 'ZFS pool'} {name} ({node})"
        return self.called

    @cached_property
    def object_id(self) -> str:
        """What its entities' ids begin with, behind the platform."""
        parts = [self.key.site]
        if isinstance(self.state, StorageState) and self.state.node:
            parts.append(self.state.node)
        if isinstance(self.state, DiskState | ZfsPoolState):
            parts += [self.state.node, "disk" if isinstance(self.state, DiskState) else "zfs"]
        if not isinstance(self.state, ClusterState):
            parts.append(self.called)
        if isinstance(self.state, GuestState) and self.twin:
            parts.append(str(self.state.vmid))
        return "_".join(slug(part) for part in parts)

    @property
    def facts(self) -> tuple[object, ...]:
        """What its configuration is made of: equal facts need no new one."""
        match self.state:
            case GuestState() as g:
                return (g.type, g.name, g.node, g.template, g.tags, g.pool, g.protection, self.twin)
            case NodeState(version=version, cpu_model=model):
                return (version, model)
            case ClusterState(kind=kind, name=name, version=version):
                return (kind, name, version)
            case StorageState(type=kind, shared=shared):
                return (kind, shared)
            case DiskState() as d:
                return (d.dev, d.model, d.serial, d.type, d.unread)
        return ()
