"""The notifiers' sections of Settings, from their rows."""

from dataclasses import replace
from typing import Any

from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.notify_rows import NOTIFIERS, NOTIFY_ROWS
from mqtt_bridge.settings.notifying import NotifierName, NotifySettings, OutSettings, Routing
from mqtt_bridge.settings.row import Row
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
    running = enabled_notifiers(sources)
    routing = {str(name): Routing(**_fields(sources, f"routing.{name}.")) for name in running}
    return NotifySettings(enabled=running, routing=routing, **_fields(sources, "notify.")), OutSettings(**sections)


def enabled_notifiers(sources: Sources) -> frozenset[NotifierName]:
    """Those whose own flag is true or which are in the list; a flag that says false wins."""
    listed = sources.value(_ROWS["ENABLED_NOTIFIERS"]) or ()
    flags = {name: sources.value(_ROWS[f"{prefix}_ENABLED"]) for name, (prefix, _) in NOTIFIERS.items()}
    return frozenset(name for name, flag in flags.items() if flag or (flag is None and name in listed))  # type: ignore[misc]


def _fields(sources: Sources, into: str) -> dict[str, Any]:
    rows = (row for row in NOTIFY_ROWS if row.into.startswith(into))
    return {row.into.removeprefix(into): value for row in rows if (value := _value(sources, row)) is not None}


def _value(sources: Sources, row: Row) -> Any:
    value = sources.value(row)
    return Secret(value) if row.secret and value is not None else value
