"""The listeners' sections of Settings, from their rows."""

from dataclasses import replace
from typing import Any

from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.event_rows import EVENT_ROWS, FILTERED, LISTENERS
from mqtt_bridge.settings.listening import EventSettings, Filters, ListenerName, ListenerSettings
from mqtt_bridge.settings.row import Row
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
    per_listener = {name: Filters(**fields) for name in FILTERED if (fields := _fields(sources, f"filters.{name}."))}
    events = EventSettings(
        enabled=enabled(sources),
        filters=Filters(**_fields(sources, "filters.all.")),
        per_listener=per_listener,
        **_fields(sources, "events."),
    )
    return events, ListenerSettings(**sections)


def enabled(sources: Sources) -> frozenset[ListenerName]:
    """Those whose own flag is true or which are in the list; a flag that says false wins."""
    if sources.value(_ROWS["ENABLE_EVENT_LISTENERS"]) is False:
        return frozenset()
    listed = sources.value(_ROWS["ENABLED_EVENT_LISTENERS"]) or ()
    flags = {name: sources.value(_ROWS[f"{prefix}_ENABLED"]) for name, (prefix, _) in LISTENERS.items()}
    return frozenset(name for name, flag in flags.items() if flag or (flag is None and name in listed))  # type: ignore[misc]


def _fields(sources: Sources, into: str) -> dict[str, Any]:
    rows = (row for row in EVENT_ROWS if row.into.startswith(into))
    return {row.into.removeprefix(into): value for row in rows if (value := _value(sources, row)) is not None}


def _value(sources: Sources, row: Row) -> Any:
    value = sources.value(row)
    return Secret(value) if row.secret and value is not None else value
