"""WEBHOOK: the event as JSON to any URL, signed if there is a secret.

`X-Proxmox-MCP-Signature` is the HMAC-SHA256, in lower-case hexadecimal, of the bytes `<timestamp>.<body>`, where the
timestamp is that of `X-Proxmox-MCP-Timestamp`: Unix seconds of this attempt. `Idempotency-Key` is the same however
often a delivery is tried. A receiver answers 2xx; 408, 425, 429 and 5xx are tried again.
"""

import hashlib
import hmac
import json
import time
from typing import Any

from mqtt_bridge.notifiers import parts
from mqtt_bridge.notifiers.http import Http, OverHttp, Service
from mqtt_bridge.notifiers.notice import Notice, Sent
from mqtt_bridge.settings.notifying import WebhookOutSettings
from mqtt_bridge.wording.clean import one_line

MAX_BODY = 256 * 1024
_ALLOW = "Check WEBHOOK_OUT_URL, its token, and WEBHOOK_OUT_SECRET on both sides."

# What it answers is not quoted: it may repeat the URL's path, which may be a secret.
SERVICE = Service(
    "The webhook",
    "WEBHOOK_OUT_URL",
    verify_key="WEBHOOK_OUT_VERIFY_TLS",
    cures={
        401: _ALLOW,
        403: _ALLOW,
        404: "Nothing lives at WEBHOOK_OUT_URL: check it (in n8n: is the workflow active?).",
        410: "What lived at WEBHOOK_OUT_URL is gone for good: write the new address there.",
        413: "The receiver's limit is below 256 KiB: raise it.",
    },
)


class WebhookNotifier(OverHttp):
    """A Notifier. There is no `ref`: a receiver sees `notice.incident`."""

    name = "WEBHOOK"

    def __init__(self, settings: WebhookOutSettings) -> None:
        self._url = settings.url.reveal().strip() if settings.url else ""
        self._secret = settings.secret.reveal() if settings.secret else ""
        self._http = Http(SERVICE, secrets=(self._url, self._secret), verify=settings.verify, ca_file=settings.ca_file)

    async def send(self, notice: Notice) -> Sent:
        body = payload(notice)
        reply = await self._http.ask("POST", self._url, body, self._headers(notice, body))
        self._http.taken(reply)
        return Sent(None, str(reply.status))

    def _headers(self, notice: Notice, body: bytes) -> dict[str, str]:
        now = str(int(time.time()))
        headers = {"X-Proxmox-MCP-Timestamp": now, "Idempotency-Key": one_line(notice.id)}
        if self._secret:
            signed = hmac.new(self._secret.encode(), f"{now}.".encode() + body, hashlib.sha256)
            headers["X-Proxmox-MCP-Signature"] = signed.hexdigest()
        return headers


def payload(notice: Notice) -> bytes:
    """The event as on MQTT, or what looks like one for a digest, a test, a message; and `notice`: what is told of it.

    At most MAX_BODY: of a digest that is larger, the last events are left out (`notice.events` counts all).
    """
    events = [event.model_dump(mode="json") for event in notice.events]
    told = {
        "id": notice.id,
        "kind": notice.kind,
        "title": parts.title(notice),
        "text": parts.text(notice),
        "severity": notice.severity,
        "incident": notice.incident,
        "url": parts.link(notice),
        "log": parts.log(notice),
        "facts": dict(parts.facts(notice)),
        "tags": list(notice.tags),
        "events": len(events),
    }
    if len(events) == 1:
        return _dumped({**events[0], "notice": told})
    like = {
        "id": notice.id,
        "kind": f"notice.{notice.kind}",
        "title": told["title"],
        "message": told["text"],
        "source": "NOTIFY",
        "timestamp": notice.at,
        "site": notice.site,
        "severity": notice.severity,
    }
    return _dumped(
        {**like, "events": _fitting(events, MAX_BODY - len(_dumped({**like, "notice": told}))), "notice": told}
    )


def _fitting(events: list[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    kept = []
    room -= len(', "events": []')
    for event in events:
        room -= len(_dumped(event)) + len(", ")
        if room < 0:
            break
        kept.append(event)
    return kept


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
