"""Ids that Home Assistant takes (`[A-Za-z0-9_-]`), made so that no two things ever share one."""

import re
import unicodedata
from collections.abc import Iterable

_OTHER = re.compile(r"[^A-Za-z0-9-]")
_PART = re.compile(r"(?:[A-Za-z0-9-]|__[0-9a-f]{1,5}_|__10[0-9a-f]{4}_)+")
_ESCAPED = re.compile(r"__([0-9a-f]+)_")
_NOT_WORD = re.compile(r"[^a-z0-9]+")


def encode(parts: Iterable[str]) -> str:
    """The parts joined by `_`; what is no letter, digit or hyphen in them becomes its code point, as `__2e_`."""
    return "_".join(_OTHER.sub(lambda found: f"__{ord(found[0]):x}_", part) for part in parts)


def decode(text: str) -> tuple[str, ...] | None:
    """The parts of what `encode` made; None for anything else."""
    parts, at = [], 0
    while found := _PART.match(text, at):
        parts.append(_ESCAPED.sub(lambda hit: chr(int(hit[1], 16)), found[0]))
        at = found.end() + 1
        if found.end() == len(text):
            return tuple(parts) if encode(parts) == text else None
        if text[found.end()] != "_":
            return None
    return None


def slug(text: str) -> str:
    """As Home Assistant writes names in entity ids; `unnamed` where nothing is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return _NOT_WORD.sub("_", plain.lower()).strip("_") or "unnamed"
