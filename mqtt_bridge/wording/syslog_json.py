"""Log lines in JSON: journald's export (`journalctl -o json`), Vector, GELF, and what looks like them."""

import json
import re
from typing import Final

_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "message": ("MESSAGE", "message", "short_message", "msg", "log", "line"),
    "host": ("_HOSTNAME", "hostname", "host", "HOSTNAME", "fromhost", "source"),
    "program": (
        "SYSLOG_IDENTIFIER", "appname", "app_name", "app-name", "programname", "program", "ident", "process",
        "_COMM", "_syslog_identifier", "_program", "_appname", "application_name", "identifier", "tag", "syslogtag",
    ),
    "pid": ("_PID", "SYSLOG_PID", "procid", "pid", "_pid"),
    "priority": ("PRIORITY", "severity", "priority", "level"),
}  # fmt: skip
_OCTET: Final = 255
_DIGITS: Final = 17
_TAG: Final = re.compile(r"(?P<program>[^\[\]\s:]{1,80})(?:\[(?P<pid>\d{1,10})\])?:?")
_MICROSECONDS: Final = ("__REALTIME_TIMESTAMP", "_SOURCE_REALTIME_TIMESTAMP")


def _text(value: object) -> str | None:
    """A value as text; journald writes a message that is not UTF-8 as an array of bytes."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, dict):
        return _text(value.get("name") or value.get("hostname"))
    if isinstance(value, list) and value and all(isinstance(n, int) and 0 <= n <= _OCTET for n in value):
        return bytes(value).decode("utf-8", "replace")
    return None


def read_json(text: str) -> dict[str, str] | None:
    """The parts of a JSON log line by our names; None if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    told: dict[str, str] = {}
    for name, keys in _NAMES.items():
        value = next((v for v in (_text(found.get(key)) for key in keys) if v is not None), None)
        if value is not None:
            told[name] = value
    if "message" not in told:
        return None
    tag = _TAG.fullmatch(told.get("program", ""))
    if tag:
        told["program"] = tag["program"]
        if tag["pid"]:
            told.setdefault("pid", tag["pid"])
    stamp = next((v for v in (_text(found.get(key)) for key in _MICROSECONDS) if v and v.isdigit()), None)
    if stamp and len(stamp) <= _DIGITS:
        told["at"] = str(int(stamp) / 1e6)
    return told
