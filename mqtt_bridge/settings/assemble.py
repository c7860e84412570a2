"""The listeners' sections of Settings, from their rows."""

from dataclasses import replace
from typing import Any

from mqtt_bridge.settings.event_rows import EVENT_ROWS, FILTERED, LISTENERS
from mqtt_bridge.settings.listening import EventSettings, Filters, ListenerName, ListenerSettings
from mqtt_bridge.settings.plugins import fields, running
from mqtt_bridge.settings.sources import Sources

_ROWS = {row.key: row for row in EVENT_ROWS}
IMAP_PLAIN_PORT = 143


def listening(sources: Sources) -> tuple[EventSettings, ListenerSettings]:
    """What is common to all listeners, and each one's own section."""
    defaults = ListenerSettings()
    sections = {
        section: replace(getattr(defaults, section), **_fields(sources, f"listen.{section}."))
        for _, section in LISTENERS.values()
    }
    if sources.value(_ROWS["EVENT_EMAIL_IMAP_PORT"]) is None and sections["email"].security != "tls":
        sections["email"] = replace(sections["email"], port=IMAP_PLAIN_PORT)
    per_listener = {name: Filters(**chosen) for name in FILTERED if (chosen := _fields(sources, f"filters.{name}."))}
    events = EventSettings(
        enabled=enabled(sources),
        filters=Filters(**_fields(sources, "filters.all.")),
        per_listener=per_listener,
        **_fields(sources, "events."),
    )
    return events, ListenerSettings(**sections)


def enabled(sources: Sources) -> frozenset[ListenerName]:
    """Those that run; none where ENABLE_EVENT_LISTENERS is false."""
    if sources.value(_ROWS["ENABLE_EVENT_LISTENERS"]) is False:
        return frozenset()
    return running(sources, _ROWS, LISTENERS, "ENABLED_EVENT_LISTENERS")  # type: ignore[return-value]


def _fields(sources: Sources, into: str) -> dict[str, Any]:
    return fields(sources, EVENT_ROWS, into)
