"""Points as pvestatd writes them become figures of nodes and guests.

A guest's figures are one point (`system`, object=qemu or lxc), a node's are several (`cpustat`, `memory`, `blockstat`,
`system`), which over UDP come in datagrams of their own. Counters need the sample before: it is kept per guest.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mqtt_bridge.listeners.line_protocol import Point, Value
from mqtt_bridge.model import GuestMetrics, NodeMetrics, percent, utc

KEPT = 120.0  # seconds for which a node's other points, and the last counters of a guest, are remembered
MOST = 50_000  # nodes and guests of which something is remembered at all: names can be made up
_CLOCKS_DIFFER = 600.0  # seconds by which a sender's clock may be wrong before ours counts
_MAX = 2**63
_COUNTERS = ("netin", "netout", "diskread", "diskwrite")
FIELDS = frozenset(
    {*_COUNTERS, "cpu", "mem", "maxmem", "disk", "maxdisk", "uptime", "status", "wait", "avg1", "memused", "memtotal"}
    | {"swapused", "swaptotal", "used", "total"}
)  # those that are read
_NODE_POINTS = frozenset({"cpustat", "memory", "blockstat", "system"})
_GUESTS = frozenset({"qemu", "lxc"})

Fields = dict[str, Value]


class SitesOf(Protocol):
    """Which sites have this node; without a node, which have this guest (`World.sites_of`)."""

    def __call__(self, node: str | None, guest: int | None) -> Sequence[str]: ...


@dataclass(slots=True)
class _Sample:
    node: str
    at: float
    counters: tuple[float | None, ...]
    rates: tuple[float | None, ...]
    seen: float


@dataclass(slots=True)
class _NodePoints:
    at: float = 0.0
    points: dict[str, tuple[float, Fields]] = field(default_factory=dict)


def wanted(line: bytes) -> bool:
    """Whether a line may hold figures that we publish: nine of ten do not (NICs, disks, ballooning, storages)."""
    measurement, _, rest = line.partition(b",")
    if rest.startswith((b"object=qemu,", b"object=lxc,")):
        return measurement == b"system"
    return rest.startswith(b"object=nodes,") and measurement in _WANTED_OF_NODES and b",instance=" not in rest


_WANTED_OF_NODES = frozenset(name.encode() for name in _NODE_POINTS)


class Figures:
    """Takes points; `nodes` and `guests` are what changed since they were last `taken`."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[str, str], _NodePoints] = {}
        self._samples: dict[tuple[str, int], _Sample] = {}
        self._new_nodes: set[tuple[str, str]] = set()
        self._new_guests: dict[tuple[str, int], GuestMetrics] = {}

    def guest(self, site: str, vmid: int, point: Point, at: float) -> None:
        """One guest's `system` point; `at` in Unix seconds."""
        fields = point.fields
        if (site, vmid) not in self._samples and len(self._samples) >= MOST:
            return
        rates = self._rates((site, vmid), point.tags["nodename"], fields, at)
        mem, maxmem, maxdisk = (whole(fields, key) for key in ("mem", "maxmem", "maxdisk"))
        disk = whole(fields, "disk") if point.tags["object"] == "lxc" else None
        self._new_guests[site, vmid] = GuestMetrics(
            cpu_percent=share(fields, "cpu"),
            mem=mem,
            maxmem=maxmem,
            mem_percent=percent(mem, maxmem),
            disk=disk,
            maxdisk=maxdisk,
            disk_percent=percent(disk, maxdisk),
            netin_rate=rates[0],
            netout_rate=rates[1],
            diskread_rate=rates[2],
            diskwrite_rate=rates[3],
            uptime=whole(fields, "uptime"),
            sampled_at=_sampled(at),
        )

    def node(self, site: str, name: str, point: Point, at: float) -> None:
        """One of a node's points."""
        key = (site, name)
        if key not in self._nodes and len(self._nodes) >= MOST:
            return
        held = self._nodes.setdefault(key, _NodePoints())
        held.points[point.measurement] = (time.monotonic(), point.fields)
        held.at = at
        self._new_nodes.add(key)

    def taken(self) -> dict[str, tuple[dict[str, NodeMetrics], dict[int, GuestMetrics]]]:
        """What is new, by site."""
        found: dict[str, tuple[dict[str, NodeMetrics], dict[int, GuestMetrics]]] = {}
        for site, name in self._new_nodes:
            found.setdefault(site, ({}, {}))[0][name] = _node_metrics(self._nodes[site, name])
        for (site, vmid), metrics in self._new_guests.items():
            found.setdefault(site, ({}, {}))[1][vmid] = metrics
        self._new_nodes.clear()
        self._new_guests = {}
        return found

    def forget(self) -> None:
        """What has not been heard of for long."""
        old = time.monotonic() - KEPT
        self._samples = {key: one for key, one in self._samples.items() if one.seen > old}
        self._nodes = {k: one for k, one in self._nodes.items() if any(seen > old for seen, _ in one.points.values())}

    def _rates(self, guest: tuple[str, int], node: str, fields: Fields, at: float) -> tuple[float | None, ...]:
        """Bytes per second since the last sample; None until there are two, and where a counter began anew.

        The clock is the sender's: after a migration it is another one, and the counters begin anew as well.
        """
        counters = tuple(number(fields, name) for name in _COUNTERS)
        last = self._samples.get(guest)
        rates: tuple[float | None, ...] = (None,) * len(_COUNTERS)
        if not whole(fields, "uptime"):
            rates = (0.0,) * len(_COUNTERS) if fields.get("status") == "stopped" else rates
        elif last and last.node == node and at <= last.at:
            return last.rates  # sent again, or late
        elif last and last.node == node and at - last.at <= KEPT:
            pairs = zip(counters, last.counters, strict=True)
            rates = tuple(_rate(now, then, at - last.at) for now, then in pairs)
        self._samples[guest] = _Sample(node, at, counters, rates, time.monotonic())
        return rates


def _rate(now: float | None, then: float | None, elapsed: float) -> float | None:
    if now is None or then is None or now < then:
        return None
    return round((now - then) / elapsed, 1)


def _node_metrics(held: _NodePoints) -> NodeMetrics:
    old = time.monotonic() - KEPT
    points = {name: fields for name, (seen, fields) in held.points.items() if seen > old}
    cpu, memory, disk = (points.get(name, {}) for name in ("cpustat", "memory", "blockstat"))
    used, total = whole(memory, "memused"), whole(memory, "memtotal")
    return NodeMetrics(
        cpu_percent=share(cpu, "cpu"),
        mem=used,
        maxmem=total,
        mem_percent=percent(used, total),
        disk=whole(disk, "used"),
        maxdisk=whole(disk, "total"),
        disk_percent=percent(whole(disk, "used"), whole(disk, "total")),
        swap=whole(memory, "swapused"),
        maxswap=whole(memory, "swaptotal"),
        load1=number(cpu, "avg1"),
        io_wait_percent=share(cpu, "wait"),
        uptime=whole(points.get("system", {}), "uptime"),
        sampled_at=_sampled(held.at),
    )


def number(fields: Fields, name: str) -> float | None:
    """A figure that can be one: none of ours is negative."""
    value = fields.get(name)
    if isinstance(value, bool | str) or value is None or not math.isfinite(value) or not 0 <= value < _MAX:
        return None
    return float(value)


def whole(fields: Fields, name: str) -> int | None:
    value = fields.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX:
        return value
    found = number(fields, name)
    return None if found is None else int(found)


def share(fields: Fields, name: str) -> float | None:
    """A share of 1 in percent."""
    value = number(fields, name)
    return None if value is None or value > _MAX_SHARE else round(100 * value, 1)


_MAX_SHARE = 1024.0  # a container may use more than its share for a moment; more than this is no share


def _sampled(at: float) -> str:
    now = time.time()
    return utc(at if abs(now - at) <= _CLOCKS_DIFFER else now) or ""


def target(point: Point) -> tuple[str, int | None] | None:
    """The node, and the guest if it is one's: of a point that may be published. None for others."""
    tags = point.tags
    kind = tags.get("object")
    if kind == "nodes" and point.measurement in _NODE_POINTS and "instance" not in tags:
        return (tags["host"], None) if tags.get("host") else None
    if kind in _GUESTS and point.measurement == "system" and tags.get("nodename"):
        vmid = tags.get("vmid", "")
        return (tags["nodename"], int(vmid)) if vmid.isascii() and vmid.isdigit() and len(vmid) < 10 else None  # noqa: PLR2004 -- 100 to 999999999
    return None
