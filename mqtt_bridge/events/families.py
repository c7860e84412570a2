"""What makes two reports the same happening: kinds in families, with what identifies each and how long it lasts.

Windows are seconds of event time.

- `window`: reports of one moment lie at most this far apart (a mail is written a little after the task's end). In a
  family that is no run it is the longest gap since the last report.
- `span`: the longest run, or the longest that a repeating report stays one happening; then there is a reminder.
- `again`: through one channel the same thing is told once; a second time, later than this, is a new happening.
  None: the channel repeats itself as long as it lasts (pvestatd every 10 s, each failed login).
- `recovers`: what is well again ends the happening and shares its correlation; the next failure is a new one.
- `closes`: a happening of that family on the same target ends (a started guest was not "stopped just now" any more).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

HOUR = 3600.0
DAY = 24 * HOUR
SLACK = 60.0  # clocks of two hosts, and a log line written before its task
HOLD = 7 * DAY  # how long after its beginning a happening can still be ended by its recovery


@dataclass(frozen=True, slots=True)
class Family:
    """`run`: it has a start and an end, known by task id, and parts between them."""

    name: str
    window: float = 600
    span: float = HOUR
    again: float | None = None
    run: bool = False
    recovers: bool = False
    closes: str = ""


def _run(name: str, window: float = 600, again: float = 120, span: float = 12 * HOUR, closes: str = "") -> Family:
    return Family(name, window=window, span=span, again=again, run=True, closes=closes)


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        _run("backup"),
        _run("gc"),
        _run("prune"),
        _run("sync"),
        _run("verify"),
        _run("tape"),
        _run("certificate"),
        _run("guest.start", window=120, again=30, span=900, closes="guest.stop"),
        _run("guest.stop", window=120, again=30, span=900, closes="guest.start"),
        _run("guest.migrate", window=180, again=30),
        _run("task", window=120, again=30),
        Family("replication", window=180, span=180, again=60),
        Family("node", window=900, span=2 * HOUR, recovers=True),
        Family("cluster", window=600, recovers=True),
        Family("site", window=600, recovers=True),
        Family("corosync", window=300, recovers=True),
        Family("storage", window=600, recovers=True),
        Family("storage.usage", window=900, span=6 * HOUR, recovers=True),
        Family("zfs", window=900, recovers=True),
        Family("md", window=900, recovers=True),
        Family("disk", window=900),
        # smartd looks every half hour and logs it each time: that is one happening, with a reminder now and then
        Family("disk.smart", window=HOUR, span=6 * HOUR, recovers=True),
        Family("disk.missing", window=900, recovers=True),
        Family("ceph", window=600, recovers=True),
        Family("link", window=120, span=900, recovers=True),
        Family("auth", window=300),
        Family("updates", window=1800, span=1800, again=600),
        Family("test", window=120, span=120, again=30),
        Family("ha", window=300, span=900, again=30),
        Family("guest.pause", window=120, span=900, recovers=True),
        Family("oom", window=60, span=300),
        Family("guest.monitor", window=300),
        Family("audit", window=60, span=60),
        Family("other", window=120, span=900),
    )
}

TASK_FAMILIES: Mapping[str, str] = {
    "vzdump": "backup",
    "garbage_collection": "gc",
    "prune": "prune", "prunejob": "prune", "prune-group": "prune",
    "sync": "sync", "syncjob": "sync", "pull": "sync",
    "verify": "verify", "verificationjob": "verify", "verify_group": "verify", "verify_snapshot": "verify",
    "tape-backup": "tape", "tape-backup-job": "tape",
    "acmerenew": "certificate", "acmenewcert": "certificate",
    "acme-renew-cert": "certificate", "acme-new-cert": "certificate",
    "qmstart": "guest.start", "vzstart": "guest.start",
    "qmstop": "guest.stop", "vzstop": "guest.stop", "qmshutdown": "guest.stop", "vzshutdown": "guest.stop",
    "qmigrate": "guest.migrate", "vzmigrate": "guest.migrate",
}  # fmt: skip
"""Any other type of task is the family `task`, of which the task id alone tells one from the next."""

PHASES: Mapping[str, tuple[str, str]] = {
    "backup.job.started": ("backup", "start"),
    "backup.job.finished": ("backup", "end"),
    "backup.job.warning": ("backup", "end"),
    "backup.job.failed": ("backup", "end"),
    "backup.guest.started": ("backup", "part"),
    "backup.guest.finished": ("backup", "part"),
    "backup.guest.failed": ("backup", "part"),
    **{f"{name}.{end}": (name, "end") for name in ("gc", "prune", "sync", "verify") for end in ("finished", "failed")},
    "verify.chunk.failed": ("verify", "part"),
    "tape.backup.finished": ("tape", "end"),
    "tape.backup.failed": ("tape", "end"),
    "tape.load.requested": ("tape", "part"),
    "certificate.renewal.failed": ("certificate", "end"),
    "replication.failed": ("replication", "report"),
    "guest.started": ("guest.start", "end"),
    "guest.start.failed": ("guest.start", "end"),
    "guest.starting": ("guest.start", "start"),
    "guest.stopped": ("guest.stop", "end"),
    "guest.stopped.unexpected": ("guest.stop", "end"),
    "guest.stopping": ("guest.stop", "start"),
    "guest.migrated": ("guest.migrate", "end"),
    "node.offline": ("node", "report"),
    "node.fencing": ("node", "report"),
    "node.fenced": ("node", "report"),
    "node.shutdown": ("node", "report"),
    "node.online": ("node", "recovery"),
    "watchdog.expired": ("node", "report"),
    "watchdog.expiring": ("node", "report"),
    "quorum.lost": ("cluster", "report"),
    "quorum.ok": ("cluster", "recovery"),
    "cluster.membership.changed": ("cluster", "report"),
    "corosync.token.lost": ("cluster", "report"),
    "datastore.error": ("storage", "report"),
    "datastore.ok": ("storage", "recovery"),
    "guest.paused": ("guest.pause", "report"),
    "guest.suspended": ("guest.pause", "report"),
    "guest.resumed": ("guest.pause", "recovery"),
    "site.offline": ("site", "report"),
    "site.degraded": ("site", "report"),
    "site.online": ("site", "recovery"),
    "corosync.link.down": ("corosync", "report"),
    "corosync.link.up": ("corosync", "recovery"),
    "storage.usage.high": ("storage.usage", "report"),
    "storage.usage": ("storage.usage", "report"),
    "storage.zfs.scrub.finished": ("zfs", "report"),
    "storage.zfs.resilver.finished": ("zfs", "report"),
    "storage.zfs.trim.finished": ("zfs", "report"),
    "ceph.health.cleared": ("ceph", "recovery"),
    "disk.smart.failing": ("disk.smart", "report"),
    "disk.smart.ok": ("disk.smart", "recovery"),
    "disk.missing": ("disk.missing", "report"),
    "disk.found": ("disk.missing", "recovery"),
    "network.link.down": ("link", "report"),
    "network.link.up": ("link", "recovery"),
    "auth.failed": ("auth", "report"),
    "auth.succeeded": ("auth", "report"),
    "update.available": ("updates", "report"),
    "notification.test": ("test", "report"),
    "guest.oom": ("oom", "report"),
    "node.oom": ("oom", "report"),
    "cgroup.oom": ("oom", "report"),
    "guest.agent.timeout": ("guest.monitor", "report"),
    "guest.qmp.timeout": ("guest.monitor", "report"),
    "guest.qmp.failed": ("guest.monitor", "report"),
}

PREFIXES: tuple[tuple[str, str], ...] = (
    ("audit.action.", "audit"),
    ("storage.zfs.", "zfs"),
    ("storage.md.", "md"),
    ("storage.usage.", "storage.usage"),
    ("storage.", "storage"),
    ("disk.", "disk"),
    ("ha.", "ha"),
    ("ceph.", "ceph"),
    ("certificate.", "certificate"),
)
"""For kinds without a row of their own. What is well (`ok`, info) recovers, where the family does."""


@lru_cache(1024)
def family_of(kind: str, *, well: bool) -> tuple[Family, str]:
    """The family of a kind, and its phase in a happening: start, part, end, report or recovery."""
    parts = kind.split(".")
    if parts[0] == "task" and len(parts) > 2:  # noqa: PLR2004 -- task, type, outcome
        return FAMILIES[TASK_FAMILIES.get(parts[1], "task")], "start" if parts[-1] == "started" else "end"
    name, phase = PHASES.get(kind) or (_by_prefix(kind), "report")
    family = FAMILIES[name]
    if family.run and phase == "report":
        phase = "end"
    if phase == "report" and well and family.recovers and kind not in PHASES:
        phase = "recovery"
    return family, phase


def _by_prefix(kind: str) -> str:
    return next((name for prefix, name in PREFIXES if kind.startswith(prefix)), "other")
