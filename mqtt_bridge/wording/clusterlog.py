"""An entry of the cluster log, as pmxcfs writes it and `GET /cluster/log` gives it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from mqtt_bridge.wording.syslog import read_line, read_syslog
from mqtt_bridge.wording.syslog_frames import LINE_LIMIT, Frame, short_host, text_of
from mqtt_bridge.wording.verdict import Verdict

DEBUG: Final = 7
"""The least of the priorities."""
FAR: Final = 1e11
"""Unix seconds beyond any that are meant."""


def read_clusterlog(raw: str | bytes, now: float | None = None) -> Verdict:
    """What an entry `{"time", "pri", "tag", "pid", "node", "user", "msg"}` tells; other text is read as a log line."""
    text = text_of(raw)
    try:
        entry: Any = json.loads(text) if text.startswith(("{", "[")) else None
    except (ValueError, RecursionError):
        entry = None
    if isinstance(entry, dict) and isinstance(entry.get("data"), list):
        entry = entry["data"]
    if isinstance(entry, list) and entry:
        entry = entry[0]
    return read_log_entry(entry) if isinstance(entry, dict) and "msg" in entry else read_syslog(raw, now)


def read_log_entry(entry: Mapping[str, Any]) -> Verdict:
    """The same for an entry that is parsed already."""
    tag, pid, at = entry.get("tag"), entry.get("pid"), entry.get("time")
    priority, node, user = entry.get("pri"), entry.get("node"), entry.get("user")
    frame = Frame(
        message=str(entry.get("msg") or "")[:LINE_LIMIT],
        program=tag[:80] if isinstance(tag, str) else "",
        host=short_host(node) if isinstance(node, str) else None,
        pid=str(pid)[:20] if isinstance(pid, int | str) and not isinstance(pid, bool) else None,
        priority=priority if isinstance(priority, int) and 0 <= priority <= DEBUG else None,
        at=float(at) if isinstance(at, int | float) and 0 < at < FAR else None,
    )
    verdict = read_line(frame)
    if isinstance(user, str) and user and "user" not in verdict.fields:
        return replace(verdict, fields={**verdict.fields, "user": user[:120]})
    return verdict
