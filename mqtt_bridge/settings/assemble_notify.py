"""The notifiers' sections of Settings, from their rows."""

import re
from dataclasses import replace
from typing import Any

from mqtt_bridge.settings.notify_rows import NOTIFIERS, NOTIFY_ROWS
from mqtt_bridge.settings.notifying import NotifierName, NotifySettings, OutSettings, Routing
from mqtt_bridge.settings.plugins import fields, running
from mqtt_bridge.settings.sources import Sources

_ROWS = {row.key: row for row in NOTIFY_ROWS}
_WEBHOOK = re.compile(r"(?:/webhooks/|discord://(?:[^@/,]{0,100}@)?)(\d{1,20})/")
PORTS = {"starttls": 587, "tls": 465, "none": 25}


def notifying(sources: Sources) -> tuple[NotifySettings, OutSettings]:
    """What is common to all notifiers, and each one's own section."""
    defaults = OutSettings()
    sections = {
        section: replace(getattr(defaults, section), **_fields(sources, f"out.{section}."))
        for _, section in NOTIFIERS.values()
    }
    email = sections["email"]
    if sources.value(_ROWS["NOTIFY_EMAIL_PORT"]) is None:
        sections["email"] = replace(email, port=PORTS[email.security])
    told = enabled_notifiers(sources)
    routing = {str(name): Routing(**_fields(sources, f"routing.{name}.")) for name in told}
    return NotifySettings(enabled=told, routing=routing, **_fields(sources, "notify.")), OutSettings(**sections)


def enabled_notifiers(sources: Sources) -> frozenset[NotifierName]:
    """Those that run."""
    return running(sources, _ROWS, NOTIFIERS, "ENABLED_NOTIFIERS")  # type: ignore[return-value]


def own_webhooks(out: OutSettings) -> frozenset[int]:
    """The ids of the Discord webhooks that we post through: DISCORD_IN may read the same channel."""
    urls = (url.reveal() for url in (out.discord.webhook_url, out.apprise.urls) if url)
    return frozenset(int(found) for url in urls for found in _WEBHOOK.findall(url))


def _fields(sources: Sources, into: str) -> dict[str, Any]:
    return fields(sources, NOTIFY_ROWS, into)
