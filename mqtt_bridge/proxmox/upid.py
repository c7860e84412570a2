"""Task ids: `UPID:node:pid:pstart:starttime:type:id:user:`; a Backup Server's have one more field after pstart.

Every number is hexadecimal. The id of a Backup Server's task is escaped as systemd escapes unit names.
Patterns: PVE::Tools::upid_decode and the Backup Server's API schema.
"""

import re
from dataclasses import dataclass
from typing import Literal, Self

_NODE = r"(?P<node>[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
_HEAD = rf"UPID:{_NODE}:(?P<pid>[0-9A-Fa-f]{{8}}):(?P<pstart>[0-9A-Fa-f]{{8,9}})"
_TAIL = r"(?P<starttime>[0-9A-Fa-f]{8}):(?P<type>[^:\s]+):(?P<id>[^:\s]*):(?P<user>[^:\s]+):"
_PVE = re.compile(rf"{_HEAD}:{_TAIL}")
_PBS = re.compile(rf"{_HEAD}:(?P<task_id>[0-9A-Fa-f]{{8,16}}):{_TAIL}")
_ESCAPED = re.compile(r"\\x([0-9a-fA-F]{2})")

_VMID = re.compile(r"[1-9][0-9]{2,8}")
_BACKUP_GROUP = re.compile(r"(?:^|[:/])(?:vm|ct)/([1-9][0-9]{2,8})(?:/|$)")
_GUEST_TYPES = re.compile(r"qm|vz|ha|vnc|spice|resize|move_volume|imgcopy|pull|push|download|migrate|clone")


@dataclass(frozen=True, slots=True)
class Upid:
    """A task id taken apart. `starttime` is Unix seconds, `pstart` clock ticks since boot, `id` unescaped."""

    node: str
    pid: int
    pstart: int
    starttime: int
    type: str
    id: str
    user: str
    task_id: int | None
    text: str
    kind: Literal["pve", "pbs"]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for anything that is not exactly one UPID."""
        pve = _PVE.fullmatch(text)
        found = pve or _PBS.fullmatch(text)
        if not found:
            raise ValueError(f"{text[:120]!r} is not a task id (UPID)")
        part = found.groupdict()
        return cls(
            node=part["node"],
            pid=int(part["pid"], 16),
            pstart=int(part["pstart"], 16),
            starttime=int(part["starttime"], 16),
            type=part["type"],
            id=part["id"] if pve else _unescape(part["id"]),
            user=part["user"],
            task_id=None if pve else int(part["task_id"], 16),
            text=text,
            kind="pve" if pve else "pbs",
        )

    @property
    def guest(self) -> int | None:
        """The VMID that the task is about, if it is about one guest."""
        if self.kind == "pbs":
            found = _BACKUP_GROUP.search(self.id)
            return int(found[1]) if found else None
        if _VMID.fullmatch(self.id) and _GUEST_TYPES.match(self.type):
            return int(self.id)
        return None


def _unescape(text: str) -> str:
    r"""`-` stands for `/`, `\x2d` for the byte 2d; the whole is UTF-8."""
    slashes = text.replace("-", "/")
    octets = _ESCAPED.sub(lambda m: chr(int(m[1], 16)), slashes)
    try:
        return octets.encode("latin-1").decode()
    except UnicodeError:
        return octets
