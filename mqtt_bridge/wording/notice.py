"""What mail, Gotify and webhook have in common: a titled text with what its sender said about it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property

SCAN_LIMIT = 256 * 1024
_HEADLINE_LINES = 3
_HEADLINE_WIDTH = 400
_SUBJECT = re.compile(
    r"^[ \t>*]{0,8}(?:Subject|Betreff|Objet|Asunto|Oggetto|Onderwerp|Assunto|Temat|Тема|Ämne):"
    r"[ \t*]{0,8}([^\n]{1,400})$",
    re.MULTILINE | re.IGNORECASE,
)
_LABEL = re.compile(r"[^\W_](?:[\w-]{0,61}[^\W_])?")
_ADDRESS = re.compile(r"[\d.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_PLACEHOLDERS = frozenset({"hostname", "host", "node", "nodename", "fqdn", "unknown", "none", "null", "n"})


@dataclass(frozen=True)
class Notice:
    """`host` is the node as the sender's fields name it, `sender` the host that it came from (weaker).

    `severity` and `type` are what the sender declared, `at` its time in Unix seconds. `circular`: a newsletter or a
    mailing list; `personal`: no sign that a machine wrote it. Words in such texts alarm less.
    """

    title: str = ""
    text: str = ""
    severity: str | None = None
    type: str | None = None
    host: str | None = None
    sender: str | None = None
    at: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    truncated: bool = False
    circular: bool = False
    personal: bool = False

    @cached_property
    def head(self) -> str:
        """What rules for titles look at: the title and that of a mail quoted below, or else the text's first lines."""
        if not self.title.strip():
            return " \n".join(self.first_lines)
        forwarded = _SUBJECT.search(self.text[:20_000])
        return f"{self.title.strip()}\n{forwarded[1]}" if forwarded else self.title.strip()

    @property
    def first_lines(self) -> list[str]:
        lines = (line.strip()[:_HEADLINE_WIDTH] for line in self.text[:20_000].split("\n"))
        return [line for line in lines if line.strip(" `*#-=|")][:_HEADLINE_LINES]

    @cached_property
    def body(self) -> str:
        """The text as far as rules look: its first part, and the end of a long one."""
        if len(self.text) <= SCAN_LIMIT:
            return self.text
        return self.text[: SCAN_LIMIT // 2] + "\n" + self.text[-SCAN_LIMIT // 2 :]


def short_name(host: str | None) -> str | None:
    """The node's short name in `host`; None for an address, a placeholder or what no host can be called."""
    name = (host or "").strip().strip("'\"`*.,;:()[]")
    if not name or _ADDRESS.fullmatch(name):
        return None
    label = name.split(".")[0]
    if name.lower() in _PLACEHOLDERS or label.lower() == "localhost":
        return None
    return label if _LABEL.fullmatch(label) else None


_MILLISECONDS = 1e11
_LATEST = 4e9  # the year 2096
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d{1,9})?[ ]?(?:Z|[+-]\d\d:?\d\d)")
_FRACTION = re.compile(r"\.(\d{1,9})")


def moment(text: str | float | None) -> float | None:
    """Unix seconds of a number, of ISO 8601 with its offset, or of a mail's date; None for anything else."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        seconds = text / 1000 if abs(text) > _MILLISECONDS else float(text)
        return seconds if 0 < seconds < _LATEST else None
    value = (text or "").strip() if isinstance(text, str) else ""
    if re.fullmatch(r"\d{9,13}(?:\.\d{1,9})?", value):
        return moment(float(value))
    return _iso(value) or _mail_date(value)


def _iso(value: str) -> float | None:
    if not _ISO.fullmatch(value):
        return None
    try:
        read = datetime.fromisoformat(_FRACTION.sub(lambda f: "." + f[1][:6].ljust(6, "0"), value).replace(" +", "+"))
    except ValueError:
        return None
    return read.astimezone(UTC).timestamp()


def _mail_date(value: str) -> float | None:
    try:
        read = parsedate_to_datetime(value[:100])
        seconds = read.timestamp() if read.tzinfo else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return seconds if seconds and 0 < seconds < _LATEST else None
