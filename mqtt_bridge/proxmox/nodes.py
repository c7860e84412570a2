"""The nodes of one site: rows of `/cluster/resources` and `/cluster/status`, and what `/nodes/N/…` adds."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mqtt_bridge.model import NodeMetrics, NodeState, NodeStatus, utc
from mqtt_bridge.proxmox import rows
from mqtt_bridge.proxmox.guests import BOOT_JITTER, PUSHED
from mqtt_bridge.proxmox.sink import Sink


@dataclass(slots=True)
class NodeRecord:
    """One node between polls. `details`: its `/nodes/N/status`; `slow`: updates, subscription, certificates."""

    name: str
    row: rows.Row = field(default_factory=dict)
    member: rows.Row = field(default_factory=dict)
    details: rows.Row = field(default_factory=dict)
    slow: Mapping[str, Any] = field(default_factory=dict)
    details_at: float | None = None
    details_due: float = 0.0
    slow_due: float = 0.0
    booted: float | None = None
    state: NodeState | None = None
    figures: tuple[float | None, ...] = ()
    published_at: float = 0.0
    running: int | None = None  # guests, as last counted
    pushed_at: float = 0.0  # when its figures were last pushed to us
    lost_at: float | None = None  # when we last saw it go offline


@dataclass(frozen=True)
class NodeChange:
    """A node's state before (None: just seen) and after."""

    old: NodeState | None
    new: NodeState


class NodeBook:
    """All nodes of a site by name."""

    def __init__(self, site: str, sink: Sink, metrics_max_age: float) -> None:
        self.site = site
        self.records: dict[str, NodeRecord] = {}
        self._sink = sink
        self._max_age = metrics_max_age

    def __iter__(self) -> Iterator[NodeRecord]:
        return iter(self.records.values())

    def online(self) -> dict[str, bool]:
        """By name; a node that corosync says is online counts, also before pvestatd has reported."""
        return {r.name: self._status(r) == "online" for r in self}

    def take(self, name: str, row: rows.Row, member: rows.Row, *, running: int | None) -> NodeChange | None:
        """What a poll says of a node; publishes what changed."""
        record = self.records.setdefault(name, NodeRecord(name))
        record.row, record.member = row, member
        change = self.publish(record)
        self._metrics(record, running, fresh=change is not None)
        return change

    def publish(self, record: NodeRecord) -> NodeChange | None:
        """The slow state, if it changed."""
        new = self._build(record)
        old, record.state = record.state, new
        if old == new:
            return None
        if new.status == "offline" and old is not None and old.status != "offline":
            record.lost_at = time.time()
        self._sink.put("node", new, site=self.site, node=record.name)
        return NodeChange(old, new)

    def hurry_those_away(self) -> None:
        """Their details are read at once when they are back."""
        online = self.online()
        for record in self:
            if not online[record.name]:
                record.details_due = 0.0

    def mark_unavailable(self, name: str) -> None:
        """Its data is not to be trusted any more."""
        record = self.records[name]
        if record.state is not None:
            record.state = record.state.model_copy(update={"available": False, "status": "unknown"})
            self._sink.put("node", record.state, site=self.site, node=name)

    def remove(self, name: str) -> None:
        """It left the cluster: its topics are cleared."""
        self.records.pop(name, None)
        self._sink.drop("node_metrics", site=self.site, node=name)
        self._sink.drop("node", site=self.site, node=name)

    @staticmethod
    def _status(record: NodeRecord) -> NodeStatus:
        if "online" in record.member:
            return "online" if record.member["online"] else "offline"
        status = record.row.get("status")
        return status if status in ("online", "offline") else "unknown"

    def _build(self, record: NodeRecord) -> NodeState:
        row, details, slow = record.row, record.details, record.slow
        status = self._status(record)
        uptime = row.get("uptime") if status == "online" else None
        booted = time.time() - uptime if uptime else None
        if booted is None or record.booted is None or abs(booted - record.booted) >= BOOT_JITTER:
            record.booted = booted
        return NodeState(
            site=self.site,
            node=record.name,
            status=status,
            available=status == "online",
            ip=record.member.get("ip"),
            nodeid=record.member.get("nodeid"),
            version=details.get("pveversion"),
            kernel=(details.get("current-kernel") or {}).get("release") or details.get("kversion"),
            cpu_model=(details.get("cpuinfo") or {}).get("model"),
            cpus=row.get("maxcpu"),
            maxmem=row.get("maxmem"),
            maxdisk=row.get("maxdisk"),
            booted_at=utc(record.booted),
            ha_state=row.get("hastate"),
            updates=slow.get("updates"),
            subscription=slow.get("subscription"),
            certificate_expires=utc(slow.get("certificate_expires")),
            details_at=utc(record.details_at),
        )

    def _metrics(self, record: NodeRecord, running: int | None, *, fresh: bool) -> None:
        fresh = fresh or running != record.running
        record.running = running
        if record.state is None or not record.state.available:
            return
        if record.pushed_at and time.monotonic() - record.pushed_at < PUSHED:
            return
        now = time.time()
        figures = rows.node_figures(record.row, record.details)
        if fresh or self._due(record, figures, now):
            self._keep(record, figures, rows.node_metrics(record.row, record.details, running, utc(now) or ""), now)

    def publish_metrics(self, record: NodeRecord, figures: tuple[float | None, ...], metrics: NodeMetrics) -> None:
        """Figures that came another way than by a poll; published past the dead band."""
        now = time.time()
        if self._due(record, figures, now):
            self._keep(record, figures, metrics, now)

    def _due(self, record: NodeRecord, figures: tuple[float | None, ...], now: float) -> bool:
        late = now - record.published_at >= self._max_age or not record.figures
        return late or rows.past_dead_band(record.figures, figures)

    def _keep(self, record: NodeRecord, figures: tuple[float | None, ...], metrics: NodeMetrics, now: float) -> None:
        record.figures, record.published_at = figures, now
        self._sink.put("node_metrics", metrics, site=self.site, node=record.name)
