"""Keys that nothing reads: typing errors, and settings of versions to come."""

import difflib

from mqtt_bridge.settings import sites
from mqtt_bridge.settings.later import LATER
from mqtt_bridge.settings.row import SECRET_FILE, Row
from mqtt_bridge.settings.sources import Report, Sources
from mqtt_bridge.settings.table import FAMILIES, KEYS

_OURS = FAMILIES | {"PVE_", "PBS_"}
_NEAR = 0.8  # below it, a similar key is more likely someone else's
_WORDS = {"1": "true", "yes": "true", "on": "true", "0": "false", "no": "false", "off": "false"}


def unknown_keys(sources: Sources, prefixes: set[str], report: Report) -> None:
    """Of `.env`, and of those given one by one; an environment is full of what belongs to others."""
    listed = sorted(KEYS | {row.key for row in sites.rows(prefixes)})
    meant = set(sources.of("override"))  # for nobody else
    for key in (*sources.of(".env"), *sorted(meant)):
        if key in KEYS or sites.known(prefixes, key) or any(_matches(row, key) for row in LATER):
            continue
        near = difflib.get_close_matches(key.upper(), listed, n=1, cutoff=0.7)
        hint = f"did you mean {near[0]}?" if near else "docs/configuration.md lists them all."
        if key in meant or any(key.upper().startswith(family) for family in _OURS):
            named = key.startswith(("PVE_NODE_", "PBS_NODE_"))
            hint = f"it names no node of {key[:8]}S." if named and not near else hint
            report.problem(key, f"is no setting: {hint}")
        elif near and difflib.SequenceMatcher(None, key.upper(), near[0]).ratio() >= _NEAR:
            report.warning(f"{key} is no setting: {hint}")
        elif key.endswith("_TOKEN_VALUE"):
            name = key.removesuffix("_TOKEN_VALUE")
            report.warning(f"{key} is not used: {name} is in none of PVE_NODES, PBS_NODES, PVE_CLUSTER_SUBNODES.")


def _matches(row: Row, key: str) -> bool:
    plain = key.removesuffix(SECRET_FILE) if row.secret else key
    return plain.startswith(row.key[:-1]) if row.key.endswith("*") else plain == row.key


def unavailable(sources: Sources) -> tuple[str, ...]:
    """A sentence for each thing that is asked for and does not exist yet."""
    sentences = {}
    for key, given in sources.given.items():
        row = next((r for r in LATER if r.key == key), None) or next((r for r in LATER if _matches(r, key)), None)
        if row and given.text and not (row.shared and given.origin == "environment") and _asks(row, given.text):
            verb = "are" if row.part.startswith("the event listeners") else "is"
            sentences[key] = f"{key} is set but {row.part} {verb} not available in this version; it is ignored."
    return tuple(sentences[key] for key in sorted(sentences))


def _asks(row: Row, text: str) -> bool:
    """Whether `text` asks for more than the default does."""
    said = _WORDS.get(text.casefold(), text.casefold())
    return said not in {"false", _WORDS.get(row.default.casefold(), row.default.casefold())}
