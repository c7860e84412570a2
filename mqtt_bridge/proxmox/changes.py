"""What the pollers find to be different, for whoever subscribed; what it means is for others to say."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from mqtt_bridge.model import (
    DatastoreState,
    DiskState,
    GuestState,
    GuestStatus,
    NodeState,
    StorageState,
    TaskInfo,
    ZfsPoolState,
)

Reason = Literal["task", "restart", "lock", "migration", "node"]


@dataclass(frozen=True, slots=True)
class Why:
    """What explains what a guest does. `by` asked for it; `at` (Unix seconds) is when its task ended."""

    reason: Reason
    by: str | None = None
    upid: str | None = None
    at: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class GuestChanged:
    """`old` None: just seen. `was` is the last status that was known before this one (never `unknown`).

    `why` is what explains a stop. One without has waited until the tasks had settled: nobody asked for it.
    """

    old: GuestState | None
    new: GuestState
    at: float
    was: GuestStatus | None = None
    why: Why | None = None
    created: bool = False  # `old` is None, and it did not exist before: it was not merely hidden from us


@dataclass(frozen=True, slots=True)
class GuestGone:
    """Proven gone, and no longer published. `why`: the task that destroyed it, where one was seen."""

    last: GuestState
    at: float
    why: Why | None = None


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """`old` None: just seen."""

    old: NodeState | None
    new: NodeState
    at: float


@dataclass(frozen=True, slots=True)
class QuorumChanged:
    site: str
    quorate: bool
    at: float


@dataclass(frozen=True, slots=True)
class StorageChanged:
    """`node_up`: some node that has it is up, so that `available: false` is the storage's own fault."""

    identity: str
    new: StorageState
    node_up: bool
    at: float


@dataclass(frozen=True, slots=True)
class DatastoreChanged:
    new: DatastoreState
    at: float


@dataclass(frozen=True, slots=True)
class DiskRead:
    """A disk as its node tells it, at each reading; `missing`: the node has just ceased to list it."""

    new: DiskState
    missing: bool
    at: float


@dataclass(frozen=True, slots=True)
class ZfsPoolRead:
    """The same of a ZFS pool."""

    new: ZfsPoolState
    missing: bool
    at: float


@dataclass(frozen=True, slots=True)
class BackupsRead:
    """Coverage and last backups of all guests were read; they are in the guests' states."""

    site: str
    guests: tuple[GuestState, ...]
    covered: bool  # whether coverage could be read at all
    at: float


@dataclass(frozen=True, slots=True)
class TasksListed:
    """One look at the list of recent tasks, which holds only the newest of each node."""

    site: str
    tasks: tuple[TaskInfo, ...]
    online: Mapping[str, bool]
    at: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All there is, after the first poll that brought it or when somebody subscribes later.

    `complete` false: the API hid something, so that what is absent may exist.
    """

    site: str
    guests: tuple[GuestState, ...]
    nodes: tuple[NodeState, ...]
    storages: tuple[StorageChanged, ...]
    datastores: tuple[DatastoreState, ...]
    quorate: bool | None
    complete: bool
    at: float


Change = (
    GuestChanged
    | GuestGone
    | NodeChanged
    | QuorumChanged
    | StorageChanged
    | DatastoreChanged
    | DiskRead
    | ZfsPoolRead
    | BackupsRead
    | TasksListed
    | Snapshot
)
Take = Callable[[Change], None]


class Feed:
    """Hands changes to those who subscribed, in order and at once; they must not block."""

    def __init__(self) -> None:
        self._takers: list[Take] = []
        self._snapshot: Callable[[], Snapshot] | None = None

    def ready(self, snapshot: Callable[[], Snapshot]) -> None:
        """There has been a first poll: subscribers get a snapshot, later ones as they come."""
        if self._snapshot is None:
            self._snapshot = snapshot
            if self._takers:
                self.tell(snapshot())

    def tell(self, change: Change) -> None:
        for take in self._takers:
            take(change)

    def snapshot(self) -> Snapshot | None:
        """All there is now; None before the first poll."""
        return self._snapshot() if self._snapshot else None

    @contextmanager
    def subscribe(self, take: Take) -> Iterator[None]:
        """While it is open, `take` gets every change: first the snapshot, once there is one."""
        self._takers.append(take)
        if self._snapshot is not None:
            take(self._snapshot())
        try:
            yield
        finally:
            self._takers.remove(take)
