"""Severity and outcome that go with a kind (`docs`: severity by kind); a rule overrides where its text says more."""

from functools import lru_cache
from typing import Final

from mqtt_bridge.model import Severity

_Entry = tuple[Severity, bool | None]

_EXACT: Final[dict[str, _Entry]] = {
    "auth.failed": ("warning", False),
    "auth.succeeded": ("info", True),
    "audit.file.shortened": ("warning", False),
    "backup.job.started": ("info", None),
    "backup.covered": ("info", True),
    "backup.stale": ("warning", False),
    "backup.uncovered": ("warning", False),
    "bridge.events.held": ("warning", None),
    "ceph.health.cleared": ("info", True),
    "ceph.health.warn": ("warning", False),
    "certificate.expiring": ("warning", False),
    "certificate.renewal.failed": ("error", False),
    "cgroup.oom": ("error", False),
    "cluster.filesystem.error": ("critical", False),
    "cluster.lock.timeout": ("warning", False),
    "cluster.membership.changed": ("warning", None),
    "corosync.link.down": ("warning", False),
    "corosync.link.up": ("info", True),
    "corosync.token.lost": ("warning", False),
    "datastore.error": ("error", False),
    "datastore.ok": ("info", True),
    "disk.io.error": ("error", False),
    "disk.found": ("info", True),
    "disk.missing": ("warning", False),
    "disk.smart.attribute": ("info", None),
    "disk.smart.failing": ("critical", False),
    "disk.smart.ok": ("info", True),
    "disk.smart.warning": ("warning", False),
    "disk.temperature.high": ("warning", None),
    "firewall.dropped": ("info", None),
    "guest.agent.timeout": ("warning", False),
    "guest.oom": ("error", False),
    "guest.qmp.failed": ("warning", False),
    "guest.qmp.timeout": ("warning", False),
    "guest.start.failed": ("error", False),
    "guest.stopped.unexpected": ("error", False),
    "ha.service.recovered": ("warning", True),
    "maintenance.evacuation.incomplete": ("warning", False),
    "network.link.down": ("warning", False),
    "network.link.up": ("info", True),
    "network.nic.hang": ("error", False),
    "node.fenced": ("critical", True),
    "node.fencing": ("critical", False),
    "node.offline": ("critical", False),
    "node.oom": ("error", False),
    "node.online": ("info", True),
    "node.shutdown": ("warning", None),
    "node.status": ("info", True),
    "node.status.slow": ("warning", None),
    "node.time.jump": ("warning", False),
    "quorum.lost": ("critical", False),
    "quorum.ok": ("info", True),
    "service.error": ("error", False),
    "site.degraded": ("warning", False),
    "site.offline": ("error", False),
    "site.online": ("info", True),
    "site.shutdown.aborted": ("info", None),
    "site.shutdown.done": ("info", True),
    "site.shutdown.failed": ("error", False),
    "site.shutdown.started": ("warning", None),
    "storage.disabled": ("info", None),
    "storage.md.degraded": ("error", False),
    "storage.md.warning": ("warning", None),
    "storage.nfs.unreachable": ("warning", False),
    "storage.offline": ("warning", False),
    "storage.online": ("info", True),
    "storage.status": ("info", True),
    "storage.usage.high": ("warning", None),
    "storage.usage.ok": ("info", True),
    "storage.zfs.degraded": ("error", False),
    "storage.zfs.errors": ("error", False),
    "storage.zfs.io": ("error", False),
    "storage.zfs.missing": ("error", False),
    "storage.zfs.ok": ("info", True),
    "storage.zfs.scrub.finished": ("info", True),
    "storage.zfs.suspended": ("critical", False),
    "tape.load.requested": ("warning", None),
    "watchdog.expired": ("critical", False),
    "watchdog.expiring": ("critical", False),
}

_PREFIXES: Final[tuple[tuple[str, _Entry], ...]] = (
    ("security.", ("warning", None)),
    ("corosync.", ("warning", None)),
    ("cluster.", ("warning", None)),
    ("watchdog.", ("critical", False)),
)

_ENDINGS: Final[tuple[tuple[str, _Entry], ...]] = (
    (".failed", ("error", False)),
    (".refused", ("warning", False)),
    (".warning", ("warning", True)),
    (".finished", ("info", True)),
)


@lru_cache(maxsize=1024)
def _entry(kind: str) -> _Entry:
    known = _EXACT.get(kind)
    if known:
        return known
    if kind.startswith("audit."):
        return ("warning", False) if kind.endswith((".refused", ".failed")) else ("info", None)
    for prefix, entry in _PREFIXES:
        if kind.startswith(prefix):
            return entry
    for ending, entry in _ENDINGS:
        if kind.endswith(ending):
            return entry
    return ("info", None)


def severity_of(kind: str) -> Severity:
    """The severity of `kind` where its text says nothing else; `info` for a kind that no row knows."""
    return _entry(kind)[0]


def ok_of(kind: str) -> bool | None:
    """Whether `kind` tells of success; None where nothing was tried."""
    return _entry(kind)[1]
