"""InfluxDB's line protocol: `measurement,tag=value field=1,text="two words" 1693252591000000000`.

A line is one point; texts with a line break inside are not understood (Proxmox sends none). Nothing here raises, and
every pattern takes time in proportion to the line.
"""

import math
import re
from collections.abc import Container
from dataclasses import dataclass

MAX_LINE = 64 * 1024  # bytes; Proxmox's longest are about 2 KiB

Value = float | int | bool | str

_KEY = r"(?:[^\\,= \t]|\\.)+"
_HEAD = re.compile(rf"((?:[^\\, \t]|\\.)+)((?:,{_KEY}=(?:[^\\, \t]|\\.)*)*)[ \t]+")
_TAG = re.compile(rf",({_KEY})=((?:[^\\, \t]|\\.)*)")
_FIELD = re.compile(rf'({_KEY})=(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))(,?)')
_TIME = re.compile(r"[ \t]+(-?[0-9]{1,19})[ \t]*")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,4})?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_INTEGER = re.compile(r"([+-]?[0-9]{1,19})[iu]")
_ESCAPED = re.compile(r"\\([\\,= \t\"])")
_BOOLEANS = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), False),
}


@dataclass(frozen=True, slots=True)
class Point:
    """One line. `time` is in the unit that the sender says (nanoseconds unless told otherwise)."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, Value]
    time: int | None


def parse(line: bytes, only: Container[str] | None = None) -> Point | None:
    """The point of one line without its end; None for what is no point. Fields that are no values are left out.

    `only`: the fields that are wanted; others are checked for their form and not read.
    """
    if len(line) > MAX_LINE:
        return None
    text = line.decode("utf-8", "replace")
    head = _HEAD.match(text.lstrip())
    if head is None:
        return None
    text = text.lstrip()
    fields, at = _fields(text, head.end(), only)
    rest = text[at:]
    time = _TIME.fullmatch(rest)
    if fields is None or (rest.strip() and time is None):
        return None
    tags = {_plain(tag[1]): _plain(tag[2]) for tag in _TAG.finditer(head[2])}
    return Point(_plain(head[1]), tags, fields, int(time[1]) if time else None)


def _fields(text: str, at: int, only: Container[str] | None) -> tuple[dict[str, Value] | None, int]:
    """The fields and where they end; None when they end with a comma, or none of them is one."""
    found: dict[str, Value] = {}
    some = False
    while field := _FIELD.match(text, at):
        name, quoted, bare, comma = field.groups()
        if only is None or name in only:
            value = _plain(quoted) if quoted is not None else _value(bare)
            if value is not None:
                found[_plain(name)] = value
        else:
            some = True
        at = field.end()
        if not comma:
            return (found if found or some else None), at
    return None, at


def _value(bare: str) -> Value | None:
    if _WHOLE.fullmatch(bare):
        return int(bare)
    if integer := _INTEGER.fullmatch(bare):
        return int(integer[1])
    if _NUMBER.fullmatch(bare):
        number = float(bare)
        return number if math.isfinite(number) else None
    return _BOOLEANS.get(bare)


def _plain(text: str) -> str:
    """Without the escapes; a backslash before anything else is one."""
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text
