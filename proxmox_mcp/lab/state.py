"""What a simulated PVE cluster consists of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

GuestKind = Literal["qemu", "lxc"]
DiskKind = Literal["ssd", "hdd", "nvme"]
GIB = 1024**3
MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Load:
    """What a guest or node does with its resources: shapes of the walks in `figures`."""

    cpu: float
    """Mean share of its cores."""
    memory: float
    """Mean share of its memory."""
    network: float
    """Bytes per second in."""
    disk: float
    """Bytes per second read."""
    phase: float
    """Shifts the waves, so that no two guests move alike."""


@dataclass(slots=True)
class Snapshot:
    name: str
    time: int
    description: str = ""
    parent: str = ""
    vmstate: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    prepared: bool = False
    """Begun and never finished: `snapstate` says `prepare`, and nobody can go back to it."""


@dataclass(slots=True)
class Report:
    """What pvestatd last told the cluster about a guest."""

    at: float
    status: str
    name: str
    template: int
    figures: str
    """The figures as a piece of JSON."""
    numbers: tuple[float, ...]


@dataclass(slots=True)
class Guest:
    vmid: int
    kind: GuestKind
    node: str
    config: dict[str, Any]
    load: Load
    running: bool = False
    paused: bool = False
    pid: int = 0
    started_at: float = 0.0
    pool: str = ""
    snapshots: list[Snapshot] = field(default_factory=list)
    pending: dict[str, Any] = field(default_factory=dict)
    agent_dead: bool = False
    deaf: bool = False
    """It does not hear that it is to shut down."""
    patience: float = 180.0
    """Seconds that the shutdown under way waits for it."""
    report: Report | None = None
    """None until pvestatd has reported the guest for the first time."""
    report_tick: int = -1
    entry: str = ""
    """The cached `/cluster/resources` entry; emptied by every change."""
    breaks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What this guest can't do (`start`, `snapshot`, `backup`): the log lines, the last is the task's error."""

    @property
    def name(self) -> str:
        key = "name" if self.kind == "qemu" else "hostname"
        return str(self.config.get(key, f"{'VM' if self.kind == 'qemu' else 'CT'}{self.vmid}"))

    @property
    def tags(self) -> str:
        return str(self.config.get("tags", ""))

    @property
    def lock(self) -> str:
        return str(self.config.get("lock", ""))

    @lock.setter
    def lock(self, value: str) -> None:
        self.config.pop("lock", None)
        if value:
            self.config["lock"] = value
        self.entry = ""

    @property
    def template(self) -> bool:
        return bool(self.config.get("template"))

    @property
    def cores(self) -> int:
        return int(self.config.get("cores", 1)) * int(self.config.get("sockets", 1))

    @property
    def memory(self) -> int:
        """Bytes."""
        return int(self.config.get("memory", 512)) * MIB

    @property
    def qmpstatus(self) -> str:
        if not self.running:
            return "stopped"
        return "paused" if self.paused else "running"

    @property
    def agent(self) -> bool:
        return str(self.config.get("agent", "0")).startswith(("1", "enabled=1"))

    @property
    def digest(self) -> str:
        return hashlib.sha1(repr(sorted(self.config.items())).encode(), usedforsecurity=False).hexdigest()

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.vmid}"


@dataclass(slots=True)
class Disk:
    devpath: str
    model: str
    serial: str
    size: int
    kind: DiskKind
    used: str
    wearout: int
    health: str = "PASSED"
    temperature: int = 31
    power_on_hours: int = 12000
    asked: int = 0
    """How often smartctl was run on it: each time would have woken it."""


@dataclass(slots=True)
class Zpool:
    name: str
    size: int
    alloc: int
    device: str
    health: str = "ONLINE"
    frag: int = 4


@dataclass(slots=True)
class Node:
    name: str
    nodeid: int
    ip: str
    cores: int
    memory: int
    disk: int
    load: Load
    booted_at: float
    cpu_model: str = "AMD EPYC 7302P 16-Core Processor"
    online: bool = True
    seen: bool = True
    """False: a member that never joined; it has no address and no reports."""
    lost_at: float = 0.0
    api_down: bool = False
    daemon_down: bool = False
    """pvedaemon is not running: what is done as root gets no answer, the rest does."""
    hanging: bool = False
    subscription: str = "notfound"
    updates: tuple[tuple[str, str, str], ...] = ()
    """Package, old and new version."""
    disks: list[Disk] = field(default_factory=list)
    zpools: list[Zpool] = field(default_factory=list)
    pids: int = 1000
    log_uid: int = 0
    fingerprint: str = ""
    ha_state: str = ""
    """What the HA manager thinks of it; empty: online, if there is anything to manage."""
    certificate_days: float | None = None
    """A fault: its certificate ends in so many days."""


@dataclass(slots=True)
class Volume:
    volid: str
    content: str
    format: str
    size: int
    ctime: int
    vmid: int = 0
    notes: str = ""
    protected: bool = False
    verification: str = ""
    used: int = 0
    subtype: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    """A backup's: what the guest was configured as."""


@dataclass(slots=True)
class Storage:
    name: str
    kind: str
    content: str
    shared: bool
    total: int
    used: float
    """Share that is used at the start."""
    growth: float = 0.0
    """Bytes per second."""
    path: str = ""
    nodes: tuple[str, ...] = ()
    """Empty: on all nodes."""
    disabled: bool = False
    server: str = ""
    export: str = ""
    datastore: str = ""
    pool: str = ""
    volumes: dict[str, list[Volume]] = field(default_factory=dict)
    """By node; shared storages under the empty name."""
    filled: float | None = None
    """A fault's share that is used."""
    offline_on: set[str] = field(default_factory=set)
    since: float = 0.0
    offline_since: float = 0.0

    def on(self, node: str) -> list[Volume]:
        return self.volumes.setdefault("" if self.shared else node, [])

    def serves(self, node: str) -> bool:
        return not self.nodes or node in self.nodes

    def active(self, node: str) -> bool:
        return not self.disabled and node not in self.offline_on and "" not in self.offline_on


@dataclass(slots=True)
class Pool:
    name: str
    comment: str = ""
    storages: tuple[str, ...] = ()


@dataclass(slots=True)
class BackupJob:
    ident: str
    schedule: str
    storage: str
    mode: str
    vmids: tuple[int, ...] = ()
    everything: bool = False
    exclude: tuple[int, ...] = ()
    pool: str = ""
    enabled: bool = True
    comment: str = ""
    keep: str = "keep-daily=7,keep-weekly=4"


@dataclass(slots=True)
class HaResource:
    sid: str
    state: str = "started"
    comment: str = ""
    crm_state: str = ""
    """What the HA manager makes of it, where that is not what is wanted: error, fence, recovery, ..."""


@dataclass(slots=True)
class LogEntry:
    uid: int
    node: str
    time: int
    pid: int
    pri: int
    tag: str
    user: str
    msg: str
