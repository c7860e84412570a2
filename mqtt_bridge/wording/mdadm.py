"""What `mdadm --monitor` mails (mdadm, Monitor.c), in the words of its versions since 2003."""

import re
from collections.abc import Mapping

from mqtt_bridge.model import Severity
from mqtt_bridge.wording.notice import Notice, short_name
from mqtt_bridge.wording.rules import node_of, verdict
from mqtt_bridge.wording.verdict import Verdict

_EVENTS = (
    r"(?P<event>DegradedArray|DeviceDisappeared|FailSpare|Fail|SparesMissing|TestMessage|NewArray|SpareActive|MoveSpare"
    r"|RebuildStarted|RebuildFinished|Rebuild\d\d)"
)
_TITLE = re.compile(rf"{_EVENTS} event on (?P<array>/dev/[^\s:]{{1,100}})(?::(?P<node>[\w.-]{{1,255}}))?")
_BODY = re.compile(
    rf"{_EVENTS} event (?:had been|has been|was)? ?detected on md device (?P<array>/dev/[\w/.-]{{1,100}})"
)
_RUNNING_ON = re.compile(r"running on[: \t]{1,8}([\w.-]{1,255})")
_COMPONENT = re.compile(r"component device (/dev/[\w/-]{1,100})")

_DEGRADED = ("storage.md.degraded", None, False)
_WARNING = ("storage.md.warning", None, None)
_ROWS: Mapping[str, tuple[str, Severity | None, bool | None]] = {
    "DegradedArray": _DEGRADED,
    "DeviceDisappeared": _DEGRADED,
    "Fail": _DEGRADED,
    "FailSpare": _DEGRADED,
    "SparesMissing": _WARNING,
    "TestMessage": ("notification.test", None, None),
    "NewArray": ("system.mail", "info", None),
    "SpareActive": ("system.mail", "info", True),
    "MoveSpare": _WARNING,
    "RebuildFinished": ("system.mail", "info", True),
}


def read(notice: Notice) -> Verdict | None:
    """A mail of mdadm's monitor, or None."""
    title, body = _TITLE.search(notice.head[:2000]), _BODY.search(notice.body[:20_000])
    found = body or title
    if not found:
        return None
    kind, severity, ok = _ROWS.get(found["event"], ("system.mail", "info", None))
    host, component = _RUNNING_ON.search(notice.body[:20_000]), _COMPONENT.search(notice.body[:20_000])
    facts = {"device": found["array"].rstrip("."), "component": component[1] if component else None}
    return verdict(
        kind,
        notice,
        severity=severity,
        node=short_name(host[1] if host else None) or short_name(title["node"] if title else None) or node_of(notice),
        ok=ok,
        fields={"type": "mdadm", "event": found["event"], **{k: v for k, v in facts.items() if v}},
    )
