"""Happenings as channels tell them, and how they are expected to be put together."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mqtt_bridge.events.correlate import Correlator, Placement
from mqtt_bridge.events.normalise import iso
from mqtt_bridge.model import Event
from mqtt_bridge.severity import Severity, Trust

NIGHT = 1_795_140_000
_NUMBERS = itertools.count()

TRUST: Mapping[str, Trust] = {
    "WEBSOCKET": "api",
    "EMAIL": "authenticated",
    "WEBHOOK": "authenticated",
    "GOTIFY_IN": "authenticated",
    "SYSLOG": "unauthenticated",
    "SMTP": "unauthenticated",
}
FAILED: Mapping[bool | None, Severity] = {True: "info", None: "info", False: "error"}


def upid(kind: str, about: str = "", *, node: str = "pve1", at: int = 0, pid: int = 1) -> str:
    return f"UPID:{node}:{pid:08X}:0000ABCD:{NIGHT + at:08X}:{kind}:{about}:root@pam:"


def told(
    source: str,
    kind: str,
    at: float = 0,
    *,
    node: str | None = "pve1",
    guest: int | None = None,
    ok: bool | None = None,
    severity: Severity | None = None,
    trust: Trust | None = None,
    site: str = "lab",
    title: str = "",
    guests: Mapping[int, bool | None] | None = None,
    **metadata: Any,
) -> Event:
    if kind.endswith((".failed", ".lost", ".offline")) and ok is None:
        ok = False
    if kind.endswith(".finished") and ok is None:
        ok = True
    if guests:
        metadata["guests"] = [{"vmid": vmid, "ok": end} for vmid, end in guests.items()]
    return Event(
        id=f"e{next(_NUMBERS)}",
        kind=kind,
        title=title or kind,
        source=source,
        timestamp=iso(int(NIGHT + at)),
        site=site,
        node=node,
        guest=guest,
        severity=severity or FAILED[ok],
        ok=ok,
        trust=trust or TRUST[source],
        metadata=metadata,
    )


def place(events: Sequence[Event], correlator: Correlator | None = None) -> list[Placement]:
    correlator = Correlator() if correlator is None else correlator
    return [correlator.place(event) for event in events]


def stored(events: Sequence[Event], correlator: Correlator | None = None) -> list[Event]:
    """As they would lie in the journal."""
    return [
        event.model_copy(update={"correlation_id": one.correlation_id, "duplicate_of": one.duplicate_of})
        for event, one in zip(events, place(events, correlator), strict=True)
    ]


@dataclass(frozen=True)
class Scenario:
    """Each row: an event, the letter of its correlation, the position of what it duplicates; whether it is surer."""

    name: str
    rows: Sequence[tuple[Event, str, int | tuple[int, str] | None]] = field(default_factory=tuple)

    @property
    def events(self) -> list[Event]:
        return [event for event, _, _ in self.rows]


def backup_failure(*, at: int = 0, pid: int = 1, guest: int = 101, node: str = "pve1") -> list[Event]:
    """One failed backup of one guest, as six channels tell it."""
    task = upid("vzdump", str(guest), node=node, at=at, pid=pid)
    where: dict[str, Any] = {"node": node, "guest": guest}
    return [
        told("WEBSOCKET", "task.vzdump.failed", at + 42, upid=task, **where),
        told("EMAIL", "backup.job.failed", at + 43, guests={guest: False}, **where),
        told("WEBHOOK", "backup.job.failed", at + 43, guests={guest: False}, job="backup-sw", **where),
        told("GOTIFY_IN", "backup.job.failed", at + 43, guests={guest: False}, **where),
        told("SYSLOG", "backup.guest.failed", at + 41, **where),
        told("SYSLOG", "task.vzdump.failed", at + 42, upid=task, **where),
        told("WEBSOCKET", "task.vzdump.failed", at + 42, upid=task, tag="pvedaemon", **where),
    ]
