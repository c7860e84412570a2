"""Texts of any length into a service's limits, each counted as that service counts."""

import json
from collections.abc import Callable, Iterable

Size = Callable[[str], int]  # additive: the size of two texts is the sum of theirs

_MARK = "…"
_BACK = 40  # so many characters are given up for a cut between words


def utf16(text: str) -> int:
    """UTF-16 code units: never less than code points, which Discord's API counts, and what its clients show."""
    return len(text) + sum(character > "\uffff" for character in text)


def json_bytes(text: str) -> int:
    """Bytes of UTF-8 once it stands in JSON: never less than the bytes of the text itself."""
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")) - 2


def begin(atoms: Iterable[str], limit: int, size: Size = utf16) -> str:
    """As many of `atoms` as fit, whole ones only (a character, an escaped one); what is cut ends with an ellipsis."""
    kept: list[str] = []
    used = room = 0
    for atom in atoms:
        used += size(atom)
        if used > limit:
            return _between_words(kept[:room]) + _MARK if limit >= size(_MARK) else ""
        kept.append(atom)
        if used + size(_MARK) <= limit:
            room = len(kept)
    return "".join(kept)


def _between_words(kept: list[str]) -> str:
    for at in range(len(kept) - 1, max(len(kept) - _BACK, 0), -1):
        if kept[at].isspace():
            return "".join(kept[:at]).rstrip()
    return "".join(kept).rstrip()


def end(text: str, limit: int, size: Size = utf16) -> str:
    """The last lines that fit, after an ellipsis where some are missing: a log says at its end what went wrong."""
    if size(text) <= limit:
        return text
    room = limit - size(_MARK + "\n")
    kept: list[str] = []
    for line in reversed(text.split("\n")):
        room -= size(line + "\n")
        if room < 0:
            break
        kept.append(line)
    return "\n".join([_MARK, *reversed(kept)]) if kept else _last_characters(text, limit, size)


def _last_characters(text: str, limit: int, size: Size) -> str:
    room, at = limit - size(_MARK), len(text)
    while at and (room := room - size(text[at - 1])) >= 0:
        at -= 1
    return _MARK + text[at:] if limit >= size(_MARK) else ""
