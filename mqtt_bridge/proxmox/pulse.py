"""A site's state and heartbeat: is its API answering, fully, and since when not."""

import logging
import time
from dataclasses import dataclass

from mqtt_bridge.model import Heartbeat, SiteStatus, utc
from mqtt_bridge.proxmox.sink import Sink

log = logging.getLogger(__name__)

FAILURES_TO_OFFLINE = 2  # one failed poll may be a node that fails over; at start the first one counts


@dataclass(frozen=True)
class Writer:
    """Who publishes a site: the bridge's name, this run's random id, when it started."""

    bridge: str
    instance: str
    since: str


class Pulse:
    """Published at every poll, good or not."""

    def __init__(self, site: str, sink: Sink, writer: Writer, interval: float) -> None:
        self.site = site
        self.status: SiteStatus | None = None
        self.reason: str | None = None
        self.polls = 0
        self.failed_polls = 0
        self.last_duration = 0.0
        self._sink = sink
        self._writer = writer
        self.interval = interval  # seconds between polls, as it is at present
        self._polled_at: float | None = None
        self._failures = 0

    def good(self, started: float, duration: float, endpoint: str | None, degraded: str | None) -> None:
        """A poll that brought data; `degraded` says what of it is missing."""
        self.polls += 1
        self._failures = 0
        self._polled_at, self.last_duration = started, duration
        self._set("degraded" if degraded else "online", degraded)
        self._beat(duration, endpoint)

    def failed(self, duration: float, endpoint: str | None, reason: str) -> None:
        """A poll that brought nothing."""
        self.polls += 1
        self.failed_polls += 1
        self._failures += 1
        if self._failures >= FAILURES_TO_OFFLINE or self.status is None:
            self._set("offline", reason)
        self.reason = reason
        self._beat(duration, endpoint)

    def _set(self, status: SiteStatus, reason: str | None) -> None:
        if status != self.status:
            log.log(
                logging.INFO if status == "online" else logging.WARNING,
                "Site %s is %s.%s",
                self.site,
                status,
                f" {reason}" if reason else "",
            )
        self.status, self.reason = status, reason
        self._sink.put("site_state", status, site=self.site)

    def _beat(self, duration: float, endpoint: str | None) -> None:
        beat = Heartbeat(
            bridge=self._writer.bridge,
            instance=self._writer.instance,
            since=self._writer.since,
            interval_s=self.interval,
            polled_at=utc(self._polled_at),
            sent_at=utc(time.time()) or "",
            duration_ms=round(duration * 1000),
            endpoint=endpoint,
            reason=self.reason,
        )
        self._sink.put("heartbeat", beat, site=self.site)
