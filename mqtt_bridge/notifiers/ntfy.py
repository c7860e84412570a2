"""NTFY: a message of a topic, on ntfy.sh or a server of one's own.

The reports of an incident share a sequence id: from ntfy 2.16 on the later one takes the earlier one's place, and so
does the same notice sent twice. Older servers ignore it. Limits: https://docs.ntfy.sh/publish/#limitations. A message
of 4 096 bytes would become an attachment, JSON of 8 192 be refused, and Firebase cut what is beyond 4 000.
"""

import hashlib
import re
from typing import Any

from mqtt_bridge.notifiers import parts
from mqtt_bridge.notifiers.fitting import begin, end, json_bytes
from mqtt_bridge.notifiers.http import Http, OverHttp, Service, object_of
from mqtt_bridge.notifiers.notice import Notice, RefusedError, Sent
from mqtt_bridge.settings.notifying import NtfySettings
from mqtt_bridge.wording.clean import one_line

PRIORITIES = {"info": 2, "warning": 3, "error": 4, "critical": 5}
HEARD = 3  # a recovery is `info`, but who was told of the failure shall notice it
ICONS = {"info": "information_source", "warning": "warning", "error": "x", "critical": "rotating_light"}
RECOVERED = "white_check_mark"
TITLE, MESSAGE = 200, 3500  # bytes in JSON
_TEXT, _LINK, _TAG, _TAGS = 2000, 600, 60, 5
_NAME = re.compile(r"[-_A-Za-z0-9]{1,64}")
_QUOTA = frozenset({42905, 42908})  # a day's, not a minute's
_QUOTA_WAIT = 1800.0
_HOW = "Make an access token in ntfy that may write to NTFY_TOPIC, and write it into NTFY_TOKEN."

SERVICE = Service(
    "ntfy",
    "NTFY_SERVER_URL",
    verify_key="NTFY_VERIFY_TLS",
    cures={
        400: "Check NTFY_TOPIC.",
        401: _HOW,
        403: _HOW,
        413: "Its server allows too little: message-size-limit.",
    },
    explain=lambda answer: str(answer.get("error", "")),
)


class NtfyNotifier(OverHttp):
    """A Notifier. `ref` is the message's id."""

    name = "NTFY"

    def __init__(self, settings: NtfySettings) -> None:
        self._url = settings.server_url.strip().rstrip("/") + "/"
        self._topic = settings.topic.reveal() if settings.topic else ""
        self._token = settings.token.reveal() if settings.token else ""
        self._http = Http(SERVICE, secrets=(self._token, self._topic), verify=settings.verify)

    async def send(self, notice: Notice) -> Sent:
        if not _NAME.fullmatch(self._topic):
            cure = "NTFY_TOPIC takes 1 to 64 letters, digits, - and _."
            raise RefusedError("That is no topic of ntfy.", cure=cure)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        reply = await self._http.ask("POST", self._url, payload(notice, self._topic), headers)
        after = _QUOTA_WAIT if object_of(reply).get("code") in _QUOTA else None
        message = self._http.taken(reply, after=after).get("id")
        if isinstance(message, str):
            return Sent(one_line(message, 64), f"{reply.status}, message {one_line(message, 64)}")
        if reply.whole:
            raise self._http.foreign()
        return Sent(None, str(reply.status))


def payload(notice: Notice, topic: str) -> dict[str, Any]:
    """Plain text: nothing in it is markup. Not all of ntfy's apps know Markdown."""
    recovered = notice.kind == "recovery"
    priority = PRIORITIES[notice.severity]
    tags = (begin(one_line(tag).replace(",", " "), _TAG, json_bytes) for tag in notice.tags[:_TAGS])
    found: dict[str, Any] = {
        "topic": topic,
        "title": begin(parts.title(notice), TITLE, json_bytes),
        "message": _message(notice),
        "priority": max(priority, HEARD) if recovered else priority,
        "tags": [RECOVERED if recovered else ICONS[notice.severity], *filter(None, tags)],
        "sequence_id": _sequence(notice),
    }
    if url := parts.link(notice, _LINK):
        found |= {"click": url, "actions": [{"action": "view", "label": "Open Proxmox", "url": url}]}
    return found


def _message(notice: Notice) -> str:
    told = begin(parts.told(notice), _TEXT, json_bytes)
    facts = " · ".join(f"{label}: {value}" for label, value in parts.facts(notice))
    head = "\n".join(filter(None, (told, facts, parts.footline(notice))))
    head = begin(head, MESSAGE, json_bytes)
    room = MESSAGE - json_bytes(head + "\n\n")
    log = end(parts.log(notice), room, json_bytes) if room > _TAG else ""
    return "\n\n".join(filter(None, (head, log))) or begin(parts.title(notice), MESSAGE, json_bytes)


def _sequence(notice: Notice) -> str:
    """A recovery stands beside the failure: taking its place might make no sound."""
    name = notice.incident if notice.incident and notice.kind != "recovery" else notice.id
    return name if _NAME.fullmatch(name) else hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
