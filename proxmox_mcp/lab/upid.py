"""UPIDs as both products write them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PVE = re.compile(
    r"UPID:(?P<node>[a-zA-Z0-9](?:[a-zA-Z0-9\-]*[a-zA-Z0-9])?):(?P<pid>[0-9A-Fa-f]{8}):(?P<pstart>[0-9A-Fa-f]{8,9}):"
    r"(?P<starttime>[0-9A-Fa-f]{8}):(?P<kind>[^:\s]+):(?P<id>[^:\s]*):(?P<user>[^:\s]+):",
)
_PBS = re.compile(
    r"UPID:(?P<node>[a-zA-Z0-9](?:[a-zA-Z0-9\-]*[a-zA-Z0-9])?):(?P<pid>[0-9A-Fa-f]{8}):(?P<pstart>[0-9A-Fa-f]{8,9}):"
    r"(?P<task>[0-9A-Fa-f]{8,16}):(?P<starttime>[0-9A-Fa-f]{8}):(?P<kind>[^:\s]+):(?P<id>[^:\s]*):(?P<user>[^:\s]+):",
)


@dataclass(frozen=True, slots=True)
class Upid:
    node: str
    pid: int
    pstart: int
    starttime: int
    kind: str
    ident: str
    user: str
    task: int | None = None
    """Only Backup Server counts its workers."""

    def __str__(self) -> str:
        count = "" if self.task is None else f"{self.task:08X}:"
        ident = self.ident if self.task is None else escape(self.ident)
        numbers = f"{self.pid:08X}:{self.pstart:08X}:{count}{self.starttime:08X}"
        return f"UPID:{self.node}:{numbers}:{self.kind}:{ident}:{self.user}:"


def escape(ident: str) -> str:
    r"""Escape like systemd: everything but letters, digits, `_` and `.` becomes `\xNN`, `/` becomes `-`."""
    out = "".join(
        "-" if char == "/" else char if char.isalnum() or char in "_." else f"\\x{ord(char):02x}" for char in ident
    )
    return "\\x2e" + out[1:] if out.startswith(".") else out


def well_formed(text: str, *, pbs: bool) -> bool:
    return (_PBS if pbs else _PVE).fullmatch(text) is not None
