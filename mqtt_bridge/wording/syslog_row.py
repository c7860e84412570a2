"""How a rule for a log line looks: a literal that must be there, then a pattern with named groups."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from mqtt_bridge.model import Severity

_FROM_KIND: Final = "kind"
VMID: Final = r"(?P<guest>[1-9]\d{2,8})"
NODE: Final = r"(?P<node>[A-Za-z0-9][\w.-]{0,62})"


@dataclass(frozen=True, slots=True)
class Row:
    """Fits where `has` is in the message and `pattern` (if any) is found there.

    Groups: `node` and `guest` name what is affected; the others become fields. `title` may name them in braces.
    `severity` and `ok` where they are not those of the kind.
    """

    kind: str
    has: str
    pattern: re.Pattern[str] | None = None
    title: str = ""
    severity: Severity | None = None
    ok: bool | Literal["kind"] | None = "kind"


def row(  # noqa: PLR0917 -- the columns of a table
    kind: str,
    has: str,
    pattern: str = "",
    title: str = "",
    severity: Severity | None = None,
    ok: bool | Literal["kind"] | None = "kind",
) -> Row:
    """A Row, its pattern compiled."""
    return Row(kind, has, re.compile(pattern) if pattern else None, title, severity, ok)


def noise(*literals: str) -> tuple[Row, ...]:
    """Rows for what says that nothing has happened."""
    return tuple(Row("noise", literal) for literal in literals)
