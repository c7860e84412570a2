"""What the ZFS event daemon writes (openzfs `cmd/zed/zed.d/*-notify.sh` and its predecessors `*-email.sh`)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mqtt_bridge.model import Severity
from mqtt_bridge.wording.clean import one_line
from mqtt_bridge.wording.notice import Notice, moment, short_name
from mqtt_bridge.wording.rules import node_of, verdict
from mqtt_bridge.wording.verdict import Verdict

_HOST = r"(?: on (?P<node>\S{1,255}))?"
_TITLES = (
    re.compile(rf"ZFS device (?P<cls>fault) for pool (?P<pool>\S{{1,255}}){_HOST}", re.IGNORECASE),
    re.compile(
        rf"ZFS (?P<cls>[\w.]{{1,60}}) (?:event|error)(?: for (?:pool )?(?P<pool>\S{{1,255}}))?{_HOST}", re.IGNORECASE
    ),
    re.compile(rf"ZFS (?P<cls>Scrub Finish|Resilver Finish) for (?P<pool>\S{{1,255}}){_HOST}", re.IGNORECASE),
)
_OPENING = re.compile(
    r"^[ \t>*`]{0,8}(?:ZFS has (?:finished a|detected|posted the following event)|A ZFS (?:pool|device|checksum|io)"
    r"|The number of (?:I/O|checksum) errors associated with a ZFS device)",
    re.IGNORECASE | re.MULTILINE,
)
_FIELD = re.compile(
    r"^[ \t>`]{0,12}(eid|class|host|time|pool|state|vpath|vphys|vguid|vtype|error|errors|status|scan|scrub):"
    r"[ \t]{1,8}(\S[^\n]{0,400})$",
    re.MULTILINE,
)
_POOL_STATE = re.compile(
    r"^[ \t>`]{0,8}pool: (?P<pool>\S{1,255})[ \t]*(?:\n[^\n]{0,20})?\n"
    r"[ \t>`]{0,8}state: (?P<state>DEGRADED|FAULTED|UNAVAIL|SUSPENDED|REMOVED)\b",
    re.MULTILINE,
)
_SCAN_ERRORS = re.compile(r"with (\d{1,12}) errors")
_FINE = re.compile(r"No known data errors", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Class:
    kind: str
    ok: bool | None = False
    ends: bool = False


_DEGRADED, _ERRORS = _Class("storage.zfs.degraded"), _Class("storage.zfs.errors")
_IO, _GONE = _Class("storage.zfs.io"), _Class("storage.zfs.missing")
_CLASSES: Mapping[str, _Class] = {
    "fault": _DEGRADED, "statechange": _DEGRADED, "removed": _DEGRADED, "vdev_remove": _DEGRADED,
    "vdev_open_failed": _DEGRADED, "vdev_corrupt_data": _DEGRADED, "vdev_no_replicas": _DEGRADED,
    "vdev_bad_label": _DEGRADED, "vdev_bad_guid_sum": _DEGRADED, "vdev_too_small": _DEGRADED,
    "vdev_unknown": _DEGRADED,
    "data": _ERRORS, "checksum": _ERRORS, "authentication": _ERRORS,
    "io": _IO, "probe_failure": _IO, "delay": _IO, "deadman": _IO,
    "io_failure": _Class("storage.zfs.suspended"), "zpool": _GONE, "log_replay": _GONE,
    "scrub_finish": _Class("storage.zfs.scrub.finished", ends=True),
    # zpool calls both a scan; the taxonomy has one kind for the end of either, the field `class` tells them apart
    "resilver_finish": _Class("storage.zfs.scrub.finished", ends=True),
    "trim_finish": _Class("system.mail", ends=True),
}  # fmt: skip
_OTHER = _Class("system.mail", ok=None)


def read(notice: Notice) -> Verdict | None:
    """A mail of zed, or a pool's status that says it is not well; else None."""
    title = next((found for pattern in _TITLES if (found := pattern.search(notice.head[:2000]))), None)
    if not title and not _OPENING.search(notice.body[:20_000]):
        return _pool_status(notice)
    facts = _facts(notice.body[:50_000])
    named = (title["cls"] if title else None) or facts.get("class") or _opening_class(notice.body)
    known = _CLASSES.get(re.sub(r"[ .]", "_", named.lower()), _OTHER)
    severity, ok = _end(notice.body, facts) if known.ends else (None, known.ok)
    pool = facts.get("pool", title["pool"] if title else "") or ""
    return verdict(
        known.kind,
        notice,
        severity=severity,
        node=short_name(facts.get("host")) or short_name(title["node"] if title else None) or node_of(notice),
        ok=ok,
        at=moment(facts.get("time")),
        fields={
            "type": "zed",
            "class": one_line(named, 60),
            **{k: v for k, v in {"pool": pool.split(" ")[0], "device": facts.get("vpath"),
                                 "state": facts.get("state")}.items() if v},
        },
    )  # fmt: skip


def _facts(text: str) -> dict[str, str]:
    """The first of each; a pool's own `state:` stands below the event's."""
    facts: dict[str, str] = {}
    for name, value in _FIELD.findall(text):
        facts.setdefault(name, value.strip())
    return facts


def _opening_class(text: str) -> str:
    found = re.search(r"ZFS has (?:finished a|detected an?) (\w{1,20})", text[:20_000], re.IGNORECASE)
    word = found[1].lower() if found else "fault"
    return f"{word}_finish" if word in ("scrub", "resilver", "trim") else word


def _end(text: str, facts: Mapping[str, str]) -> tuple[Severity, bool]:
    """How a scrub, resilver or trim ended: errors, a pool that is not well, or nothing to tell."""
    scan = _SCAN_ERRORS.search(facts.get("scan", "") or facts.get("scrub", "") or text[:20_000])
    bad_data = "errors" in facts and not _FINE.search(facts["errors"])
    if bad_data or (scan and int(scan[1]) > 0):
        return "error", False
    unwell = facts.get("state", "ONLINE") != "ONLINE" or "status" in facts
    return ("warning" if unwell and not _upgrade_only(facts) else "info"), True


def _upgrade_only(facts: Mapping[str, str]) -> bool:
    """A pool whose only trouble is that `zpool upgrade` was not run."""
    return facts.get("status", "").startswith(("Some supported", "The pool is formatted using"))


def _pool_status(notice: Notice) -> Verdict | None:
    """`zpool status` of a sick pool, as scripts mail it."""
    found = _POOL_STATE.search(notice.body[:50_000])
    if not found:
        return None
    kind = "storage.zfs.suspended" if found["state"] == "SUSPENDED" else "storage.zfs.degraded"
    return verdict(
        kind, notice, node=node_of(notice), ok=False, fields={"pool": found["pool"], "state": found["state"]}
    )
