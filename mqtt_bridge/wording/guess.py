"""Which channel a text came over, when nobody says."""

import re
from typing import Any

from mqtt_bridge.wording.charset import as_bytes, as_text
from mqtt_bridge.wording.headers import split_head
from mqtt_bridge.wording.loose_json import parsed
from mqtt_bridge.wording.verdict import Channel

_GUESS_LIMIT = 64 * 1024
_TIMES = r"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S{0,16}|\d\d:\d\d:\d\d)"
_SYSLOG = re.compile(rf"(?:\d{{1,5}} )?<\d{{1,3}}>|{_TIMES} \S|[\w.-]{{1,40}}\[\d+\]: |kernel: ")
_TASK_END = re.compile(r"^TASK (?:OK|ERROR|WARNINGS)\b", re.MULTILINE)
_TASK_LINE = re.compile(r"(?:INFO|WARN|ERROR): |starting (?:migration|clone|garbage)|\d{4}-\d\d-\d\dT\S{1,20}: ")
_BY_KEYS: tuple[tuple[frozenset[str], Channel], ...] = (
    (frozenset({"upid"}), "task"),
    (frozenset({"worker_type"}), "task"),
    (frozenset({"tag", "msg", "pri"}), "clusterlog"),
    (frozenset({"msg", "user", "uid"}), "clusterlog"),
    (frozenset({"message", "priority"}), "gotify"),
    (frozenset({"content", "author"}), "discord"),
)


def guess_channel(raw: str | bytes) -> Channel:
    """The channel whose texts look like `raw`; what looks like none is read as the body of a mail."""
    head = raw[:_GUESS_LIMIT]
    text = as_text(head).strip()
    data = parsed(text)
    if data is not None or text[:1] in ("{", "["):
        return _of_data(data)
    if split_head(as_bytes(head))[0]:
        return "email"
    if _TASK_END.search(text) or _TASK_LINE.match(text):
        return "task"
    if "\n" not in text and _SYSLOG.match(text):
        return "syslog"
    if "smartd daemon" in text:
        return "smartd"
    return "zed" if text.startswith("ZFS has ") else "email"


def _of_data(data: Any) -> Channel:
    keys = set(data) if isinstance(data, dict) else set()
    return next((channel for needed, channel in _BY_KEYS if needed <= keys), "webhook")
