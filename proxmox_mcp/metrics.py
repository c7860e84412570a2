"""Prometheus: rows from whoever has figures, rendered when asked. prometheus_client is not needed before that."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from proxmox_mcp.state import State

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from mqtt_bridge.proxmox.calls import CallRecord
    from mqtt_bridge.proxmox.client import ProxmoxClient

BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)  # seconds
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Row:
    """One sample. A counter's name ends in `_total`."""

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


Source = Callable[[], Iterable[Row]]


@dataclass
class Times:
    """A histogram by label: how often, how long altogether, and in which bucket."""

    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    sums: Counter[tuple[str, ...]] = field(default_factory=Counter)
    buckets: Counter[tuple[tuple[str, ...], float]] = field(default_factory=Counter)

    def add(self, labels: tuple[str, ...], seconds: float) -> None:
        """One more that took `seconds`."""
        self.counts[labels] += 1
        self.sums[labels] += seconds  # type: ignore[assignment]
        for bound in BUCKETS:
            if seconds <= bound:
                self.buckets[labels, bound] += 1


class Metrics:
    """What this process counts itself, and the sources that others added (polls and publishes of a bridge)."""

    def __init__(self) -> None:
        self.tools = Times()
        self.calls = Times()
        self.sources: list[Source] = []

    def tool(self, name: str, outcome: Literal["ok", "error"], seconds: float) -> None:
        """One call of a tool."""
        self.tools.add((name, outcome), seconds)

    def watch(self, clients: "Mapping[str, ProxmoxClient]") -> None:
        """Count every API call of these clients, and tell of their hosts."""
        for site, client in clients.items():
            client.observer = self._observer(site)
        self.sources.append(lambda: _hosts(clients))

    def _observer(self, site: str) -> "Callable[[CallRecord], None]":
        def observe(record: "CallRecord") -> None:
            self.calls.add((site, record.host, record.method, record.purpose, str(record.status)), record.seconds)

        return observe

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - only where it is asked for

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(self))
        return generate_latest(registry)


class _Collector:
    """What prometheus_client calls a custom collector."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> "Iterator[Metric]":
        labels = ("site", "host", "method", "purpose", "status")
        yield _histogram("proxmox_mcp_tool_seconds", "Calls of MCP tools", ("tool", "outcome"), self._metrics.tools)
        yield _histogram("proxmox_api_call_seconds", "Calls to the Proxmox API", labels, self._metrics.calls)
        yield from _families(row for source in self._metrics.sources for row in source())


def _families(rows: Iterable[Row]) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    for name, group in by_name.items():
        made = CounterMetricFamily if group[0].kind == "counter" else GaugeMetricFamily
        names = list(group[0].labels)
        family = made(name, group[0].text, labels=names)
        for row in group:
            family.add_metric([row.labels[label] for label in names], row.value)
        yield family


def _histogram(name: str, text: str, labels: tuple[str, ...], times: Times) -> "Metric":
    from prometheus_client.core import HistogramMetricFamily  # noqa: PLC0415

    family = HistogramMetricFamily(name, text, labels=labels)
    for values, count in times.counts.items():
        buckets = [(str(bound), float(times.buckets[values, bound])) for bound in BUCKETS]
        family.add_metric(values, [*buckets, ("+Inf", float(count))], float(times.sums[values]))
    return family


def _hosts(clients: "Mapping[str, ProxmoxClient]") -> Iterator[Row]:
    for site, client in clients.items():
        for host in client.hosts:
            labels = {"site": site, "host": host.name}
            yield Row("proxmox_api_host_up", "gauge", "Whether the host is in use", host.state == "closed", labels)
            if host.latency is not None:
                yield Row("proxmox_api_host_latency_seconds", "gauge", "Of its last answer", host.latency, labels)


def state_rows(state: State) -> Iterator[Row]:
    """The mirror: completeness, size, and the age of each site."""
    view = state.current()
    if view is None:
        yield Row("proxmox_mirror_complete", "gauge", "Whether everything that exists is mirrored", 0.0)
        return
    store = view.store
    yield Row("proxmox_mirror_complete", "gauge", "Whether everything that exists is mirrored", view.mirror.complete)
    yield Row("proxmox_mirror_connected", "gauge", "Whether the mirror has its broker", view.mirror.connected)
    yield Row(
        "proxmox_mirror_direct", "gauge", "1: no bridge is online, Proxmox is polled directly", view.source == "api"
    )
    yield Row("proxmox_mirror_topics", "gauge", "Topics held", len(store.topics))
    yield Row("proxmox_mirror_bytes", "gauge", "Bytes of payload held", store.size)
    for reason in ("invalid", "oversized", "foreign", "dropped"):
        text = "Messages on our topics that were not taken"
        yield Row("proxmox_mirror_ignored_total", "counter", text, store.stats[reason], {"reason": reason})
    for site in store.sites():
        yield from _site_rows(state, site)


def _site_rows(state: State, site: str) -> Iterator[Row]:
    view = state.current()
    beat = view.store.beats.get(site) if view else None
    if view is None or beat is None:
        return
    labels, age = {"site": site}, view.age(site)
    if age is not None:
        yield Row("proxmox_site_age_seconds", "gauge", "Since the last successful poll", age, labels)
    silent = time.monotonic() - beat.monotonic
    yield Row("proxmox_site_heartbeat_age_seconds", "gauge", "Since the bridge last spoke", silent, labels)
    yield Row(
        "proxmox_site_poll_seconds", "gauge", "How long the last poll took", beat.value.duration_ms / 1000, labels
    )
    yield Row("proxmox_site_online", "gauge", "Whether the API answers", view.site_state(site) != "offline", labels)
