"""The notifiers' sections of Settings, from their rows."""

from dataclasses import replace
from typing import Any

from mqtt_bridge.settings.notify_rows import NOTIFIERS, NOTIFY_ROWS
from mqtt_bridge.settings.notifying import NotifierName, NotifySettings, OutSettings, Routing
from mqtt_bridge.settings.plugins import fields, running
from mqtt_bridge.settings.sources import Sources

_ROWS = {row.key: row for row in NOTIFY_ROWS}
PORTS = {"starttls": 587, "tls": 465, "none": 25}


def notifying(sources: Sources) -> tuple[NotifySettings, OutSettings]:
    """What is common to all notifiers, and each one's own section."""
    defaults = OutSettings()
    sections = {
        section: replace(getattr(defaults, section), **_fields(sources, f"out.{section}."))
        for _, section in NOTIFIERS.values()
    }
    email = sections["email"]
    if sources.value(_ROWS["NOTIFY_EMAIL_PORT"]) is None:
        sections["email"] = replace(email, port=PORTS[email.security])
    told = enabled_notifiers(sources)
    routing = {str(name): Routing(**_fields(sources, f"routing.{name}.")) for name in told}
    return NotifySettings(enabled=told, routing=routing, **_fields(sources, "notify.")), OutSettings(**sections)


def enabled_notifiers(sources: Sources) -> frozenset[NotifierName]:
    """Those that run."""
    return running(sources, _ROWS, NOTIFIERS, "ENABLED_NOTIFIERS")  # type: ignore[return-value]


def _fields(sources: Sources, into: str) -> dict[str, Any]:
    return fields(sources, NOTIFY_ROWS, into)
