"""What the checks of a site look at, and what they return."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mqtt_bridge.model import (
    ClusterState,
    DatastoreState,
    DiskState,
    GuestState,
    NodeState,
    Severity,
    StorageState,
    TaskInfo,
    ZfsPoolState,
)


@dataclass(frozen=True)
class Facts:
    """One site as mirrored. `now` is Unix seconds; `lock_seen` when each locked guest was first seen locked."""

    site: str
    now: float
    cluster: ClusterState | None = None
    nodes: tuple[NodeState, ...] = ()
    guests: tuple[GuestState, ...] = ()
    storages: tuple[StorageState, ...] = ()
    datastores: tuple[DatastoreState, ...] = ()
    disks: tuple[DiskState, ...] = ()
    zpools: tuple[ZfsPoolState, ...] = ()
    tasks: tuple[TaskInfo, ...] | None = None
    lock_seen: Mapping[int, float] = field(default_factory=dict)
    stale: bool = False
    complete: bool = True
    freshness: str = ""

    @property
    def is_pbs(self) -> bool:
        return self.cluster is not None and self.cluster.kind == "pbs"


@dataclass(frozen=True)
class Found:
    """What a check returns, without the check's name and the site."""

    severity: Severity
    title: str
    evidence: str
    remedy: str
    unknown: bool = False
