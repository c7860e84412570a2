"""Text from outside, made harmless to show: what cannot be seen is taken out, and the length is bounded."""

import re
import unicodedata

TITLE_LIMIT = 200
MESSAGE_LIMIT = 4000
_ELLIPSIS = "…"

# What stays of what Unicode calls control: newline and tab. Bidi overrides and isolates, zero-width characters, soft
# hyphens, byte order marks, variation selectors and the tag block (which can hold a whole invisible sentence) go.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff\ud800-\udfff]"
)
_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]{0,40}[A-Za-z]|\][^\x07\x1b\n]{0,200}(?:\x07|\x1b\\)|[@-Z\\-_])")
_SPACES = re.compile(r"\s+")
_BLANK_LINES = re.compile(r"\n{3,}")
_TRAILING = re.compile(r"[ \t]{1,400}(?=\n|$)")
_MARKS_ALLOWED = 4


def clean(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """`text` without what cannot be seen, at most `limit` characters; newlines and tabs stay."""
    visible = _few_marks(_without_invisible(text[: 4 * limit + 1000]))
    visible = _BLANK_LINES.sub("\n\n", _TRAILING.sub("", visible)).strip("\n")
    return _capped(visible, limit, cut=len(text) > 4 * limit + 1000)


def one_line(text: str, limit: int = TITLE_LIMIT) -> str:
    """The same in one line."""
    return _capped(_SPACES.sub(" ", _few_marks(_without_invisible(text[: 4 * limit + 1000]))).strip(), limit)


def _without_invisible(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    return _INVISIBLE.sub("", _ESCAPE_SEQUENCE.sub("", text))


def _few_marks(text: str) -> str:
    """At most four combining marks in a row: more of them paint over the lines around."""
    if text.isascii():
        return text
    kept, run = [], 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) else 0
        if run <= _MARKS_ALLOWED:
            kept.append(character)
    return "".join(kept)


def _capped(text: str, limit: int, *, cut: bool = False) -> str:
    if len(text) > limit:
        return text[: max(limit - 1, 0)].rstrip() + _ELLIPSIS
    return text + _ELLIPSIS if cut and len(text) < limit else text
