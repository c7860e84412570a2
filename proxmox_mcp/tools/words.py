"""The short texts that people (and agents without structured output) read: a head line, then rows."""

from collections.abc import Iterable, Sequence

from mqtt_bridge.wording.clean import one_line
from proxmox_mcp.view import Answer

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
HEAD = 400  # characters of a head line, which may have names in it
MINUTE, HOUR, DAY = 60, 3600, 86_400


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under a head, separated by bars; what is not known is a dash. No cell can make a row of its own."""
    return "\n".join(" | ".join("-" if c in {None, ""} else _cell(str(c)) for c in row) for row in (head, *rows))


def _cell(text: str) -> str:
    return text if text.isascii() and text.isprintable() and "|" not in text else one_line(text).replace("|", "¦")


def size(number: float | None) -> str | None:
    """Bytes as people read them."""
    if number is None:
        return None
    value, unit = float(number), 0
    while value >= 1024 and unit < len(UNITS) - 1:  # noqa: PLR2004
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {UNITS[unit]}"  # noqa: PLR2004


def share(percent: float | None) -> str | None:
    """`12.5 %`."""
    return None if percent is None else f"{percent:g} %"


def span(seconds: float | None) -> str | None:
    """`3 d 4 h`, `5 min`."""
    if seconds is None:
        return None
    whole = int(seconds)
    if whole >= DAY:
        return f"{whole // DAY} d {whole % DAY // HOUR} h"
    return f"{whole // HOUR} h {whole % HOUR // MINUTE} min" if whole >= HOUR else f"{whole // MINUTE} min"


def answer(head: str, body: str, about: Answer, *, more: str | None = None) -> str:
    """A head line that says how old it is, the body, and the notes."""
    age = "age not known" if about.age_s is None else f"{about.age_s:.0f} s old"
    state = ", stale" if about.stale else ""
    state += "" if about.complete else ", incomplete"
    lines = [
        f"{one_line(head, HEAD)} ({age}{state}, from {about.source})",
        body,
        *(f"Note: {note}" for note in about.notes),
    ]
    if more:
        lines.append(f"There is more: cursor={more}")
    return "\n".join(line for line in lines if line)
