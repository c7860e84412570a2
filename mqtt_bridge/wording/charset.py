"""Bytes of whatever encoding into text: what is declared is often wrong, valid UTF-8 hardly ever is an accident."""

import codecs
import re

_TEXT_CODEC = re.compile(
    r"(?:utf|us-ascii|ascii|iso|cp\d|windows|koi8|big5|gb|euc|shift|sjis|mac|latin|tis|hz|johab)", re.IGNORECASE
)
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_AS_WINDOWS = {"iso8859-1": "cp1252", "ascii": "cp1252"}  # what browsers and mail programs take them for
_MOSTLY_ASCII = ("iso-2022", "utf-7", "utf7", "hz", "utf-16", "utf16", "utf-32", "utf32")


def decoded(octets: bytes, declared: str | None = None) -> str:
    """Text of `octets`; never fails."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if octets.startswith(mark):
            return octets[len(mark) :].decode(encoding, "replace")
    name = _known(declared) or _wide(octets)
    if name and name.startswith(_MOSTLY_ASCII):
        return octets.decode(name, "replace")
    for candidate in ("utf-8", _AS_WINDOWS.get(name or "", name) or "cp1252"):
        try:
            return octets.decode(candidate)
        except UnicodeError:
            continue
    return _best_effort(octets)


def as_text(raw: str | bytes) -> str:
    """A text of unknown origin."""
    return decoded(raw) if isinstance(raw, bytes) else raw.removeprefix("\ufeff")


def as_bytes(raw: str | bytes) -> bytes:
    """The same text as bytes."""
    return raw if isinstance(raw, bytes) else raw.encode("utf-8", "replace")


def _known(declared: str | None) -> str | None:
    name = (declared or "").strip().strip("'\"").lower()
    if not _TEXT_CODEC.match(name):
        return None
    try:
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        return None


def _wide(octets: bytes) -> str | None:
    """UTF-16 without its mark has a zero in every second place of Latin text."""
    head = octets[:400]
    for offset, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(head) >= 8 and head[offset::2].count(0) > len(head) * 0.4:  # noqa: PLR2004 -- nearly half of all
            return name
    return None


def _best_effort(octets: bytes) -> str:
    """A text cut within a character is UTF-8 still; one that is mostly not is read as Windows reads it."""
    text = octets.decode("utf-8", "replace")
    broken, foreign = text.count("\ufffd"), len(text) - len(text.encode("ascii", "ignore"))
    cut = broken == 1 and text.endswith("\ufffd")
    return text if cut or foreign > 2 * broken else octets.decode("cp1252", "replace")
