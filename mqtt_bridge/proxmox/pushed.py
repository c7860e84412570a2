"""Figures that Proxmox pushes to us: published like polled ones, and a reason to poll less often.

A push can be forged, so it never changes a state, and nothing that no poll has seen.
"""

import time
from collections.abc import Mapping
from typing import TypeVar

from mqtt_bridge.model import GuestMetrics, NodeMetrics
from mqtt_bridge.proxmox import rows
from mqtt_bridge.proxmox.guests import GuestBook
from mqtt_bridge.proxmox.nodes import NodeBook

FED = 60.0  # seconds for which a push counts
SLOW = 30.0  # seconds between polls meanwhile, unless POLL_INTERVAL is longer

M = TypeVar("M", GuestMetrics, NodeMetrics)


class Pushed:
    """What one site was pushed."""

    def __init__(self, guests: GuestBook, nodes: NodeBook, interval: float) -> None:
        self._guests = guests
        self._nodes = nodes
        self._interval = interval
        self._fed_until = 0.0

    def interval(self) -> float:
        """Seconds between two polls, at present."""
        return max(self._interval, SLOW) if time.monotonic() < self._fed_until else self._interval

    def take(self, nodes: Mapping[str, NodeMetrics], guests: Mapping[int, GuestMetrics]) -> int:
        """Publish what is past the dead band; returns how many of them are known here."""
        known = sum(self._guest(vmid, told) for vmid, told in guests.items())
        known += sum(self._node(name, told) for name, told in nodes.items())
        if known:
            self._fed_until = time.monotonic() + FED
        return known

    def _guest(self, vmid: int, told: GuestMetrics) -> bool:
        record = self._guests.records.get(vmid)
        if record is None:
            return False
        if record.state is None or not record.state.available:
            return True
        record.pushed_at = time.monotonic()
        whole = _over(rows.guest_metrics(record.row, record.rates.values, told.sampled_at), told)
        figures = (
            whole.cpu_percent, whole.mem_percent, whole.netin_rate, whole.netout_rate, whole.diskread_rate,
            whole.diskwrite_rate,
        )  # fmt: skip
        self._guests.publish_metrics(record, figures, whole)
        return True

    def _node(self, name: str, told: NodeMetrics) -> bool:
        record = self._nodes.records.get(name)
        if record is None:
            return False
        if record.state is None or not record.state.available:
            return True
        record.pushed_at = time.monotonic()
        polled = rows.node_metrics(record.row, record.details, record.running, told.sampled_at)
        whole = _over(polled, told)
        figures = (whole.cpu_percent, whole.mem_percent, whole.disk_percent, whole.io_wait_percent)
        self._nodes.publish_metrics(record, figures, whole)
        return True


def _over(polled: M, told: M) -> M:
    """What a push leaves out is as it was polled."""
    return polled.model_copy(update={k: v for k, v in told if v is not None})
