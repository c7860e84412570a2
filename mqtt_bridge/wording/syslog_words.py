# ruff: noqa: E501 -- words of several languages
"""How bad a line is that no rule knows: by its words, and by its priority only where they say nothing."""

import re
from typing import Final

from mqtt_bridge.model import Severity

_CRITICAL: Final = re.compile(r"\bpanic\b|\bemerg(?:ency)?\b|\bfatal\b|\bcrit(?:ical)?:", re.IGNORECASE)
_ERROR: Final = re.compile(
    r"\berr(?:or)?s?\b|\bfail(?:ed|ure|s|ing)?\b|\b(?:unable|cannot|could not|can't|can not)\b|\bdenied\b|\bcorrupt"
    r"|\bsegfault\b|\babort(?:ed|ing)\b|\bBUG\b|\bOops\b|\bcrash|\bFehler\b|\béchec\b|\berreur\b|\bfehlgeschlagen\b",
    re.IGNORECASE,
)
_WARNING: Final = re.compile(
    r"\bwarn(?:ing)?\b|\btime(?:d )?out\b|\bnot (?:responding|reachable|available)\b|\bunreachable\b|\blost\b|\brefused\b"
    r"|\bdegraded\b|\bexpired?\b|\bexceeded\b|\bretry|\binvalid\b|\bmissing\b|\boffline\b|\bon battery\b|\bmemory pressure\b|\bstalled?\b|\bstale\b|\battack\b|\bthrottled\b|\boverflow|\btable full\b|\bdropping\b|\bout of memory\b|\bWarnung\b|\bavertissement\b",
    re.IGNORECASE,
)
_HARMLESS: Final = re.compile(
    r"(?<![:\d.])\b(?:no|0|without|zero) (?:error|failure|warning)s?\b|\berrors?[=:] ?0\b|\bfail(?:ed|ures?)[=:] ?0\b|error correction"
    r"|\bfailed to \S+ .{0,40}, ignoring\b|errors=(?:remount-ro|continue|panic)|error handl"
    r"|timeout set to|timeout is \d|errors? collector",
    re.IGNORECASE,
)
_CORRECTED: Final = re.compile(r"\bcorrected (?:\w+ )?errors?\b(?:: [\w ]{0,40}errors?\b)?", re.IGNORECASE)
_BY_PRIORITY: Final[dict[int, Severity]] = {0: "critical", 1: "critical", 2: "critical", 3: "error", 4: "warning"}


def severity_by_text(text: str, priority: int | None = None) -> Severity:
    """What `text` sounds like; `priority` (0 to 7) decides only where it sounds like nothing."""
    text = _CORRECTED.sub("warning", _HARMLESS.sub("", text[:2000]))
    if _CRITICAL.search(text):
        return "critical"
    if _ERROR.search(text):
        return "error"
    if _WARNING.search(text):
        return "warning"
    return _BY_PRIORITY.get(priority, "info") if priority is not None else "info"
