"""What all payloads share."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from mqtt_bridge import severity

Severity = severity.Severity
SEVERITIES = severity.SEVERITIES
Trust = severity.Trust

SiteStatus = Literal["online", "degraded", "offline"]
NodeStatus = Literal["online", "offline", "unknown"]
GuestType = Literal["qemu", "lxc"]
GuestStatus = Literal["running", "stopped", "paused", "suspended", "unknown"]

SCHEMA_VERSION = 1


def utc(seconds: float | str | None) -> str | None:
    """Unix seconds as ISO 8601 in UTC; None and 0 are "never", and so is what no calendar has."""
    if not seconds:
        return None
    try:
        moment = datetime.fromtimestamp(float(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def percent(part: float | None, whole: float | None) -> float | None:
    """`part` of `whole` in percent with one decimal; None where either is not known or `whole` is 0."""
    if part is None or not whole:
        return None
    return round(100 * part / whole, 1)


class Model(BaseModel):
    """Frozen; unknown keys of a newer writer are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def payload(self) -> bytes:
        """The MQTT payload: compact JSON."""
        return self.model_dump_json().encode()
