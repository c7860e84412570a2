"""What a simulated Proxmox Backup Server consists of."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab.push.notifier import Notifier

if TYPE_CHECKING:
    from proxmox_mcp.lab.access import Access
    from proxmox_mcp.lab.clock import Clock
    from proxmox_mcp.lab.state import Load, LogEntry
    from proxmox_mcp.lab.tasks import Tasks


@dataclass(slots=True)
class PbsSnapshot:
    kind: str
    """vm, ct or host."""
    ident: str
    time: int
    size: int
    namespace: str = ""
    owner: str = "root@pam"
    comment: str = ""
    protected: bool = False
    verified: str = ""
    """`ok`, `failed` or empty: never verified."""
    verify_upid: str = ""

    @property
    def label(self) -> str:
        """Name it as reports do: `ns/lab:vm/100/2026-01-31T01:00:00Z`."""
        at = datetime.fromtimestamp(self.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"{f'ns/{self.namespace}:' if self.namespace else ''}{self.kind}/{self.ident}/{at}"


@dataclass(slots=True)
class Datastore:
    name: str
    path: str
    total: int
    used: float
    growth: float
    comment: str
    gc_schedule: str
    since: float
    snapshots: list[PbsSnapshot] = field(default_factory=list)
    namespaces: list[str] = field(default_factory=list)
    gc_upid: str = ""
    gc_end: int = 0
    gc_state: str = "OK"
    filled: float | None = None
    maintenance: str = ""


@dataclass(slots=True)
class PbsJob:
    """A verify, sync or prune job; `config` is what its listing says."""

    ident: str
    kind: str
    store: str
    schedule: str
    config: dict[str, Any]
    last_upid: str = ""
    last_state: str = ""
    last_end: int = 0


@dataclass(slots=True)
class PbsHost:
    name: str
    clock: Clock
    access: Access
    tasks: Tasks
    load: Load
    booted_at: float
    cores: int
    memory: int
    fingerprint: str = ""
    datastores: dict[str, Datastore] = field(default_factory=dict)
    jobs: dict[str, PbsJob] = field(default_factory=dict)
    notifier: Notifier = field(default_factory=lambda: Notifier("pbs"))
    journal: deque[LogEntry] = field(default_factory=deque)
    """That of the whole lab; a server shows what is its own."""
