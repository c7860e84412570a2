"""What is sent, and what is remembered of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["info", "notice", "warning", "error", "unknown"]
SEVERITIES: tuple[Severity, ...] = ("info", "notice", "warning", "error", "unknown")
DOMAIN = "lab.example"


def fqdn(host: str) -> str:
    return f"{host}.{DOMAIN}"


class PushError(Exception):
    """A target was not reached or refused; the text is what Proxmox would log."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One notification, rendered; the title of those made from templates ends with a space, as on real hosts."""

    host: str
    """The host that sends it: not always the one it is about."""
    title: str
    text: str
    html: str
    severity: Severity
    timestamp: int
    fields: dict[str, str] = field(default_factory=dict)
    forwarded: bool = False
    """A system mail that is passed on: it has no HTML part."""


@dataclass(frozen=True, slots=True)
class Emitted:
    """One thing that the lab sent, or failed to send."""

    channel: str
    """webhook, gotify, smtp, sendmail, syslog or influxdb."""
    target: str
    """Name of the notification target or metric server; `udp` or `tcp` for syslog."""
    host: str
    what: str
    """The title, the line, or how many lines."""
    error: str = ""
    """Empty when it arrived; a `sendmail` without a relay is queued locally and goes nowhere."""
