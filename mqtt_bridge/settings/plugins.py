"""What listeners and notifiers share in their settings: which of them run, and the fields of each one's section.

A table of them has, by name, what the keys begin with and the name of the section.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import voluptuous as vol

from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import values as v
from mqtt_bridge.settings.row import Row
from mqtt_bridge.settings.sources import Sources

Plugins = Mapping[str, tuple[str, str]]


def names(plugins: Plugins) -> v.Shape:
    """A list of their names in any case; `none` is nobody."""

    def parse(text: str) -> tuple[str, ...]:
        listed = tuple(dict.fromkeys(part.upper() for part in v.split(text)))
        for position, part in enumerate(listed, start=1):
            if part not in plugins and part != "NONE":
                raise vol.Invalid(f"entry {position} is none of {', '.join(plugins)}")
        return tuple(part for part in listed if part != "NONE")

    return v.Shape(f"list of {', '.join(plugins)}, or none", parse)


def running(sources: Sources, rows: Mapping[str, Row], plugins: Plugins, listed_in: str) -> frozenset[str]:
    """Those whose own flag is true or which are in the list; a flag that says false wins."""
    listed = sources.value(rows[listed_in]) or ()
    flags = {name: sources.value(rows[f"{prefix}_ENABLED"]) for name, (prefix, _) in plugins.items()}
    return frozenset(name for name, flag in flags.items() if flag or (flag is None and name in listed))


def fields(sources: Sources, rows: Iterable[Row], into: str) -> dict[str, Any]:
    """The values of the rows that go `into` a section, by the name of its field; what is not set is left out."""
    found = {row.into.removeprefix(into): (row, sources.value(row)) for row in rows if row.into.startswith(into)}
    return {name: Secret(value) if row.secret else value for name, (row, value) in found.items() if value is not None}
