"""The events of a shutdown: `site.shutdown.started` and its end, one happening."""

import time
import uuid

from mqtt_bridge.model import Event, utc
from mqtt_bridge.site_shutdown.progress import Progress
from mqtt_bridge.wording.kinds import ok_of, severity_of

SOURCE = "SHUTDOWN"
LONGEST = 2000  # characters of a message
LISTED = 200  # VMIDs
_TITLES = {
    "started": "Site {site} is being shut down",
    "aborted": "The shutdown of site {site} was aborted",
    "done": "Site {site} is shut down",
    "failed": "The shutdown of site {site} did not take everything down",
}


def of_step(before: Progress | None, now: Progress) -> list[Event]:
    """What is new since then, and worth an event."""
    if before is None or before.id != now.id:
        return [_event(now, "started")]
    return [_event(now, now.phase)] if before.phase != now.phase else []


def _event(progress: Progress, what: str) -> Event:
    kind = f"site.shutdown.{what}"
    order = progress.order
    return Event(
        id=str(uuid.uuid5(uuid.UUID(progress.id), kind)),
        kind=kind,
        title=_TITLES[what].format(site=progress.site),
        message=progress.message[:LONGEST],
        source=SOURCE,
        timestamp=utc(time.time()) or "",
        site=progress.site,
        severity=severity_of(kind),
        ok=ok_of(kind),
        metadata={
            "by": order.who or order.principal,
            "reason": order.reason,
            "back": progress.back,
            "guests": len(progress.vmids),
            "guests_down": len(progress.down),
            "not_down": list(progress.remaining[:LISTED]) if what == "failed" else [],
            "left_out": list(progress.left_out[:LISTED]),
            "ha_stopped": list(progress.published().ha_stopped[:LISTED]),
        },
        correlation_id=progress.id,
    )
