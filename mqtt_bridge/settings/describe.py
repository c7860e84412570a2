"""`proxmox-mcp config`: what is in force, and from where."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mqtt_bridge.redact import redact_text
from mqtt_bridge.secret import STARS
from mqtt_bridge.settings import sites
from mqtt_bridge.settings.later import LATER
from mqtt_bridge.settings.row import Row
from mqtt_bridge.settings.sources import Origin, Report, Sources, collect
from mqtt_bridge.settings.table import FIXED, GROUPS

_ONLY_IF_SET = frozenset({"one host", "host", "cluster"})


@dataclass(frozen=True)
class Described:
    """One line of `proxmox-mcp config`: a secret is stars, a wrong value is not repeated."""

    group: str
    key: str
    value: str
    origin: Origin


def describe(
    environ: Mapping[str, str],
    env_file: Path | None = None,
    *,
    search: bool = True,
    overrides: Mapping[str, str] | None = None,
) -> list[Described]:
    """What is in force and from where, in the order of the table. Works for settings with mistakes too."""
    report = Report()
    sources = collect(report, environ, env_file, search=search, overrides=overrides)
    names = sites.Names(sources, report)
    names.register()
    shown = [row for row in FIXED if row.group not in _ONLY_IF_SET or sources.has(row.key)]
    shown += [row for row in sites.rows(names.prefixes) if sources.has(row.key)]
    order = {group: position for position, group in enumerate(GROUPS)}
    shown.sort(key=lambda row: order[row.group])
    shown += [row for row in LATER if not row.shared and sources.has(row.key)]
    for row in shown:
        sources.value(row)
    return [Described(row.group, row.key, _shown(sources, row), sources.origin(row.key)) for row in shown]


def _shown(sources: Sources, row: Row) -> str:
    if row.secret:
        return STARS if sources.has(row.key) else ""
    if row.key in sources.invalid:
        return "(wrong: see `proxmox-mcp check`)"
    written = sources.given[row.key].text if sources.has(row.key) else ""
    return sources.scrub(redact_text(written)) or row.default or (f"({row.unset})" if row.unset else "")
