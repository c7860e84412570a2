"""The guests of one site: what the last poll said, what details add, and what of it is worth publishing."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mqtt_bridge.model import GuestMetrics, GuestState, GuestStatus, utc
from mqtt_bridge.proxmox import rows
from mqtt_bridge.proxmox.sink import Sink

HOLD = 15.0  # seconds that a state read directly outlives what pvestatd, every 10 s, still says of before
PUSHED = 30.0  # seconds for which figures pushed to us are newer than polled ones
BOOT_JITTER = 30  # seconds by which a boot time computed from the uptime may wander


@dataclass(frozen=True)
class GuestDetails:
    """What costs a call of its own per guest; None until it was read."""

    qmpstatus: str | None = None
    onboot: bool | None = None
    protection: bool | None = None
    os_type: str | None = None
    agent: bool | None = None
    ips: tuple[str, ...] | None = None
    at: str | None = None


@dataclass(slots=True)
class GuestRecord:
    """One guest between polls."""

    vmid: int
    row: rows.Row
    facts: tuple[Any, ...] = ()
    rates: rows.Rates = field(default_factory=rows.Rates)
    figures: tuple[float | None, ...] = ()
    published_at: float = 0.0
    state: GuestState | None = None
    details: GuestDetails = field(default_factory=GuestDetails)
    details_due: float = 0.0
    booted: float | None = None
    locked_since: float | None = None
    missing: int = 0
    hold: tuple[str, float] | None = None
    stop: tuple[str, float] | None = None  # who asked for it, when
    last_backup: float | None = None
    covered: bool | None = None
    stale: bool | None = None
    known: GuestStatus | None = None  # the last status that was not `unknown`
    pushed_at: float = 0.0  # when its figures were last pushed to us

    @property
    def type(self) -> str:
        return str(self.row["type"])

    @property
    def node(self) -> str:
        return str(self.row["node"])


@dataclass(frozen=True)
class Change:
    """A guest's state before and after; `old` is None for one just seen. `was`: the last known status before."""

    old: GuestState | None
    new: GuestState
    was: GuestStatus | None = None


class GuestBook:
    """All guests of a site by VMID."""

    def __init__(self, site: str, sink: Sink, metrics_max_age: float) -> None:
        self.site = site
        self.records: dict[int, GuestRecord] = {}
        self._sink = sink
        self._max_age = metrics_max_age

    def __iter__(self) -> Iterator[GuestRecord]:
        return iter(self.records.values())

    def take(self, row: rows.Row, online: Mapping[str, bool], now: float) -> Change | None:
        """One row of `/cluster/resources`; publishes what changed and returns it."""
        vmid = int(row["vmid"])
        record = self.records.get(vmid)
        if record is None:
            record = self.records[vmid] = GuestRecord(vmid, row)
        record.missing = 0
        if not row.get("name") and record.row.get("name"):
            row = {**row, "name": record.row["name"]}  # pvestatd has not reported yet
        record.row = self._held(record, row, now)
        change = self._state(record, online=online.get(record.node, False), now=now)
        self._metrics(record, now, fresh=change is not None)
        return change

    def refresh(self, record: GuestRecord, current: rows.Row, online: Mapping[str, bool]) -> Change | None:
        """A guest's own `status/current`, read after an action or a task: newer than the next polls."""
        now = time.time()
        record.hold = (str(current.get("status")), now + HOLD)
        fresh = {k: current[k] for k in ("status", "name", "tags", "uptime") if current.get(k) is not None}
        record.row = {**record.row, **fresh, "lock": current.get("lock")}
        if current.get("qmpstatus"):
            record.details = replace(record.details, qmpstatus=str(current["qmpstatus"]))
        record.details_due = 0.0
        return self._state(record, online=online.get(record.node, True), now=now, force=True)

    def set_details(self, record: GuestRecord, details: GuestDetails, online: Mapping[str, bool]) -> Change | None:
        """What the details loop read."""
        record.details = details
        return self._state(record, online=online.get(record.node, False), now=time.time(), force=True)

    def touch(self, record: GuestRecord, online: Mapping[str, bool]) -> Change | None:
        """Something beside the row changed (backup, coverage, who stopped it)."""
        return self._state(record, online=online.get(record.node, False), now=time.time(), force=True)

    def mark_unavailable(self, records: Iterable[GuestRecord]) -> None:
        """Their data is not to be trusted any more (the first step of being gone)."""
        for record in records:
            if record.state is not None and record.state.available:
                record.state = record.state.model_copy(update={"available": False, "status": "unknown"})
                record.facts = ()
                self._sink.put("guest", record.state, site=self.site, vmid=record.vmid)

    def remove(self, vmid: int) -> None:
        """It is gone: its topics are cleared."""
        self.records.pop(vmid, None)
        self._sink.drop("guest_metrics", site=self.site, vmid=vmid)
        self._sink.drop("guest", site=self.site, vmid=vmid)

    def _held(self, record: GuestRecord, row: rows.Row, now: float) -> rows.Row:
        if record.hold is None:
            return row
        status, until = record.hold
        if row.get("status") == status or now > until:
            record.hold = None
            return row
        return {**row, "status": status, "uptime": record.row.get("uptime")}

    def _state(self, record: GuestRecord, *, online: bool, now: float, force: bool = False) -> Change | None:
        facts = (*rows.guest_facts(record.row), online)
        rebooted = self._boot(record, now)
        if facts == record.facts and not force and not rebooted:
            return None
        if record.facts and facts[2] != record.facts[2]:
            record.details_due = 0.0
        record.facts = facts
        new = self._build(record, online=online, now=now)
        old, record.state = record.state, new
        if old == new:
            return None
        self._sink.put("guest", new, site=self.site, vmid=record.vmid)
        was = record.known
        record.known = new.status if new.status != "unknown" else was
        return Change(old, new, was)

    def _boot(self, record: GuestRecord, now: float) -> bool:
        uptime = record.row.get("uptime") if record.row.get("status") == "running" else None
        booted = now - uptime if uptime else None
        if (booted is None) == (record.booted is None) and (
            booted is None or record.booted is None or abs(booted - record.booted) < BOOT_JITTER
        ):
            return False
        record.booted = booted
        return True

    def _build(self, record: GuestRecord, *, online: bool, now: float) -> GuestState:
        row, details = record.row, record.details
        status: GuestStatus = rows.guest_status(row, node_online=online, qmpstatus=details.qmpstatus)
        lock = row.get("lock") or None
        record.locked_since = (record.locked_since or now) if lock else None
        if status in ("running", "paused"):
            record.stop = None
        return GuestState(
            site=self.site,
            vmid=record.vmid,
            type=row["type"],
            name=row.get("name") or f"{'VM' if record.type == 'qemu' else 'CT'} {record.vmid}",
            node=record.node,
            status=status,
            available=status != "unknown",
            template=bool(row.get("template")),
            lock=lock,
            locked_since=utc(record.locked_since),
            tags=rows.split_list(row.get("tags")),
            pool=row.get("pool"),
            ha_state=row.get("hastate"),
            cpus=row.get("maxcpu"),
            maxmem=row.get("maxmem"),
            maxdisk=row.get("maxdisk"),
            started_at=utc(record.booted) if status in ("running", "paused") else None,
            onboot=details.onboot,
            protection=details.protection,
            os_type=details.os_type,
            agent=details.agent,
            ips=details.ips if status == "running" else None,
            last_backup=utc(record.last_backup),
            backup_covered=record.covered,
            backup_stale=record.stale,
            stopped_by=record.stop[0] if record.stop and status in ("stopped", "suspended") else None,
            details_at=details.at,
        )

    def _metrics(self, record: GuestRecord, now: float, *, fresh: bool) -> None:
        if record.state is None or not record.state.available:
            return
        rates = record.rates.update(record.row)
        if record.pushed_at and time.monotonic() - record.pushed_at < PUSHED:
            return
        figures = rows.guest_figures(record.row, rates)
        if fresh or self._due(record, figures, now):
            self._keep(record, figures, rows.guest_metrics(record.row, rates, utc(now) or ""), now)

    def publish_metrics(self, record: GuestRecord, figures: tuple[float | None, ...], metrics: GuestMetrics) -> None:
        """Figures that came another way than by a poll; published past the dead band."""
        now = time.time()
        if self._due(record, figures, now):
            self._keep(record, figures, metrics, now)

    def _due(self, record: GuestRecord, figures: tuple[float | None, ...], now: float) -> bool:
        late = now - record.published_at >= self._max_age or not record.figures
        return late or rows.past_dead_band(record.figures, figures)

    def _keep(self, record: GuestRecord, figures: tuple[float | None, ...], metrics: GuestMetrics, now: float) -> None:
        record.figures, record.published_at = figures, now
        self._sink.put("guest_metrics", metrics, site=self.site, vmid=record.vmid)
