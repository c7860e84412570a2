"""What Proxmox is like now: clusters, nodes, guests, storages, disks, datastores."""

from typing import Literal

from pydantic import Field

from mqtt_bridge.model.base import SCHEMA_VERSION, GuestStatus, GuestType, Model, NodeStatus
from mqtt_bridge.model.tasks import TaskStatus


class ClusterState(Model):
    """A site as a whole. `kind` tells a cluster from a standalone host and from a Backup Server."""

    site: str
    name: str
    kind: Literal["cluster", "standalone", "pbs"]
    quorate: bool | None = Field(default=None, description="null for a standalone host and for a Backup Server")
    version: str | None = None
    nodes_total: int = 0
    nodes_online: int = 0
    guests_total: int | None = None
    guests_running: int | None = None
    guests_stopped: int | None = None
    templates: int | None = None
    cpus: int | None = None
    maxmem: int | None = None
    ha_managed: int | None = Field(default=None, description="HA resources; null: not known")
    ha_errors: tuple[str, ...] = ()
    not_backed_up: tuple[int, ...] | None = Field(default=None, description="VMIDs in no backup job; null: not known")


class NodeState(Model):
    """A node's slow facts; its moving figures are NodeMetrics."""

    site: str
    node: str
    status: NodeStatus
    available: bool = Field(description="false while its data is not to be trusted")
    ip: str | None = None
    nodeid: int | None = None
    version: str | None = Field(default=None, description="as in pve-manager/9.2.11/…")
    kernel: str | None = None
    cpu_model: str | None = None
    cpus: int | None = None
    maxmem: int | None = None
    maxdisk: int | None = None
    booted_at: str | None = None
    updates: int | None = Field(default=None, description="pending packages; null: not known")
    ha_state: str | None = None
    subscription: str | None = None
    certificate_expires: str | None = None
    details_at: str | None = None


class NodeMetrics(Model):
    """A node's moving figures."""

    cpu_percent: float | None = None
    mem: int | None = None
    maxmem: int | None = None
    mem_percent: float | None = None
    disk: int | None = Field(default=None, description="root file system")
    maxdisk: int | None = None
    disk_percent: float | None = None
    swap: int | None = None
    maxswap: int | None = None
    load1: float | None = None
    io_wait_percent: float | None = None
    uptime: int | None = Field(default=None, description="seconds")
    guests_running: int | None = None
    sampled_at: str


class GuestState(Model):
    """A virtual machine or container. Its identity is site and VMID: it keeps both when it migrates."""

    site: str
    vmid: int
    type: GuestType
    name: str
    node: str
    status: GuestStatus
    available: bool = Field(description="false while its node is lost or its data is not to be trusted")
    template: bool = False
    lock: str | None = None
    locked_since: str | None = Field(default=None, description="when we first saw the lock")
    tags: tuple[str, ...] = ()
    pool: str | None = None
    ha_state: str | None = None
    cpus: int | None = None
    maxmem: int | None = None
    maxdisk: int | None = None
    started_at: str | None = None
    onboot: bool | None = None
    protection: bool | None = None
    os_type: str | None = None
    agent: bool | None = Field(default=None, description="QEMU guest agent is configured; null: not known")
    ips: tuple[str, ...] | None = Field(default=None, description="as the guest agent or Proxmox tell them")
    last_backup: str | None = None
    backup_covered: bool | None = Field(default=None, description="in some backup job; null: not known")
    backup_stale: bool | None = Field(
        default=None, description="its newest backup is older than EVENT_WS_BACKUP_MAX_AGE; null: not known"
    )
    stopped_by: str | None = Field(default=None, description="who asked for the stop, while it is stopped")
    details_at: str | None = None


class GuestMetrics(Model):
    """A guest's moving figures. A VM's `mem` counts its cache, and Proxmox knows no VM's disk usage."""

    cpu_percent: float | None = None
    mem: int | None = None
    maxmem: int | None = None
    mem_percent: float | None = None
    disk: int | None = Field(default=None, description="containers only")
    maxdisk: int | None = None
    disk_percent: float | None = None
    netin_rate: float | None = None
    netout_rate: float | None = None
    diskread_rate: float | None = None
    diskwrite_rate: float | None = None
    uptime: int | None = Field(default=None, description="seconds")
    sampled_at: str


class StorageState(Model):
    """A storage on one node, or a shared one (`node` null, `nodes` where it is)."""

    site: str
    storage: str
    node: str | None
    nodes: tuple[str, ...] = ()
    shared: bool
    type: str | None = None
    content: tuple[str, ...] = ()
    status: Literal["available", "unknown"]
    available: bool
    used: int | None = None
    total: int | None = None
    used_percent: float | None = None


class DiskState(Model):
    """A physical disk of a node, read every POLL_SLOW_INTERVAL. `disk` is its serial number or WWN, fit for topics.

    Where SMART is not read there are no figures: `asleep`, the disk may sleep and DISK_SMART leaves it alone;
    `privilege`, the token lacks Sys.Audit on /.
    """

    v: int = SCHEMA_VERSION
    site: str
    node: str
    disk: str
    available: bool = Field(description="false while its node is away, and while it is missing from its node's list")
    dev: str = Field(description="as in nvme0n1: another one may be called so after a restart of the node")
    model: str | None = None
    serial: str | None = None
    type: Literal["nvme", "ssd", "hdd", "unknown"] = Field(description="unknown: USB, SAS and virtual disks")
    size_bytes: int | None = None
    health: Literal["PASSED", "FAILED", "UNKNOWN"] = Field(default="UNKNOWN", description="SMART's own verdict")
    wear_pct: float | None = Field(default=None, description="of its life used up; null: not known, or it spins")
    temperature_c: float | None = None
    power_on_hours: int | None = None
    used_by: str | None = Field(default=None, description="as Proxmox says: LVM, ZFS, ext4, partitions, …")
    unread: Literal["asleep", "privilege"] | None = Field(default=None, description="why SMART is not read")
    updated_at: str | None = Field(default=None, description="when this was read")


class ZfsPoolState(Model):
    """A ZFS pool of a node, read every POLL_SLOW_INTERVAL."""

    v: int = SCHEMA_VERSION
    site: str
    node: str
    pool: str
    available: bool = Field(description="false while its node is away, and while it is missing from its node's list")
    health: str = Field(description="ONLINE; DEGRADED, FAULTED, SUSPENDED, UNAVAIL, … are problems")
    size_bytes: int | None = None
    used_bytes: int | None = None
    used_pct: float | None = None
    fragmentation_pct: float | None = None
    errors: str | None = Field(default=None, description="data errors, as zpool tells them; null: none known")
    status: str | None = Field(default=None, description="what zpool says is wrong with it")
    scan: str | None = Field(default=None, description="the last scrub or resilver, or the one that runs")
    updated_at: str | None = Field(default=None, description="when this was read")


class JobRun(Model):
    """The last run of a Backup Server job."""

    status: TaskStatus
    ended_at: str | None = None
    message: str | None = None


class DatastoreState(Model):
    """A datastore of a Proxmox Backup Server."""

    site: str
    store: str
    available: bool
    used: int | None = None
    total: int | None = None
    used_percent: float | None = None
    estimated_full: str | None = None
    namespaces: tuple[str, ...] | None = None
    snapshots: int | None = None
    last_backup: str | None = None
    gc: JobRun | None = None
    verify: JobRun | None = None
    sync: JobRun | None = None
    prune: JobRun | None = None
    unverified: int | None = Field(default=None, description="snapshots whose verification failed; null: not known")
    error: str | None = None
    details_at: str | None = None
