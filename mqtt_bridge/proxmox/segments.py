"""What goes into a request: path segments that cannot leave their place, and parameters as each product wants them.

Neither proxmoxer nor requests escapes a path: `nodes("a/../../x")` really requests another one.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from mqtt_bridge.errors import UnknownTargetError
from mqtt_bridge.proxmox.upid import Upid
from mqtt_bridge.settings import Kind

_PLAIN = re.compile(r"[A-Za-z0-9._:@!~+-]{1,256}")
_VOLUME = re.compile(r"[A-Za-z][A-Za-z0-9._-]*:[^\x00-\x1f\x7f\\]{1,1024}")
_NAMES_FOLLOW = frozenset(
    {
        "content",
        "datastore",
        "disks",
        "domains",
        "endpoints",
        "groups",
        "jobs",
        "lxc",
        "matchers",
        "network",
        "nodes",
        "pools",
        "prune",
        "qemu",
        "realms",
        "remote",
        "resources",
        "roles",
        "rules",
        "services",
        "snapshot",
        "storage",
        "sync",
        "tasks",
        "token",
        "users",
        "verify",
    }
)
_WORD = re.compile(r"[a-z]+(-[a-z]+)*")


class Volume(str):
    """A volume id as a path segment: `local:backup/vzdump-qemu-100-….vma.zst`. Its slashes are meant."""

    __slots__ = ()

    @property
    def volid(self) -> str:
        """As plain text."""
        return str(self)


Segment = str | int | Volume | Upid


def build(segments: Sequence[Segment]) -> str:
    """The path below /api2/json, without a slash at its start; raises UnknownTargetError for what cannot be a name."""
    if not segments:
        raise ValueError("a request without a path")
    return "/".join(_one(segment) for segment in segments)


def _one(segment: Segment) -> str:
    if isinstance(segment, Volume):
        return _volume(segment.volid)
    if isinstance(segment, Upid):
        return quote(segment.text, safe=":@!")
    text = str(segment)
    if _PLAIN.fullmatch(text) and text not in {".", ".."}:
        return text
    if text.startswith("UPID:"):
        return _upid(text)
    raise UnknownTargetError(f"{text[:80]!r} cannot be the name of anything in Proxmox.", cure="Check its spelling.")


def _upid(text: str) -> str:
    try:
        return quote(Upid.parse(text).text, safe=":@!")
    except ValueError as error:
        raise UnknownTargetError(f"{error}.", cure="Copy it from a list of tasks.") from error


def _volume(volid: str) -> str:
    names = volid.partition(":")[2].split("/")
    if not _VOLUME.fullmatch(volid) or any(name in {"", ".", ".."} for name in names):
        raise UnknownTargetError(f"{volid[:120]!r} is not a volume id.", cure="It looks like storage:content/name.")
    return quote(volid, safe="/:@!~+")


def template(segments: Sequence[Segment]) -> str:
    """The path with every name replaced by `*`: few enough different ones for metrics."""
    out: list[str] = []
    named = False
    for segment in segments:
        fixed = isinstance(segment, str) and not named and _WORD.fullmatch(segment) is not None
        out.append(str(segment) if fixed else "*")
        named = fixed and segment in _NAMES_FOLLOW
    return "/".join(out)


def node_of(segments: Sequence[Segment]) -> str | None:
    """The node that answers: /nodes/X/… is passed on to X by whichever host was asked."""
    return str(segments[1]) if len(segments) > 1 and segments[0] == "nodes" else None


def encode(kind: Kind, params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters for the wire: None left out, booleans 0/1 (PVE) or true/false (PBS); a list is sent repeatedly."""
    return {key: _value(kind, key, value) for key, value in params.items() if value is not None}


def _value(kind: Kind, key: str, value: Any) -> str | list[str]:
    if isinstance(value, list | tuple):
        return [str(_value(kind, key, each)) for each in value]
    if isinstance(value, bool):
        return ("true" if value else "false") if kind == "pbs" else str(int(value))
    if isinstance(value, str | int | float):
        return str(value)
    raise TypeError(f"parameter {key} is a {type(value).__name__}: the API takes text, numbers, booleans and lists")
