"""Every notifier can be made of settings as they are loaded."""

import re
from pathlib import Path

import pytest

from mqtt_bridge import ways_out
from mqtt_bridge.settings import load
from mqtt_bridge.settings.row import SECRET_FILE
from mqtt_bridge.settings.table import ROWS

WRITTEN = {
    "DISCORD_OUT_WEBHOOK_URL": "https://discord.com/api/webhooks/1/x",
    "GOTIFY_OUT_SERVER_URL": "https://gotify.lan",
    "GOTIFY_OUT_APP_TOKEN": "A.token",
    "NTFY_TOPIC": "homelab",
    "NOTIFY_EMAIL_SERVER": "mail.lan",
    "NOTIFY_EMAIL_FROM": "pve@example.org",
    "NOTIFY_EMAIL_TO": "ann@example.org",
    "WEBHOOK_OUT_URL": "https://n8n.lan/webhook/x",
    "APPRISE_URLS": "json://127.0.0.1:9/x",
}


@pytest.mark.parametrize("name", list(ways_out.NOTIFIERS))
async def test_it_starts_and_ends(name: str) -> None:
    settings = load({**WRITTEN, "ENABLED_NOTIFIERS": name}, search=False, hosts=False)
    (notifier,) = ways_out.enabled(settings)
    assert notifier.name == name
    async with notifier:
        pass


@pytest.mark.parametrize("page", ["notifiers.md", "notifications.md"])
def test_every_key_of_the_page_exists(page: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    written = set(re.findall(r"^([A-Z][A-Z0-9_]+)=", text, re.MULTILINE))
    named = set(re.findall(r"`((?:NOTIFY|DISCORD_OUT|GOTIFY_OUT|NTFY|WEBHOOK_OUT|APPRISE)_[A-Z_]+[A-Z])`", text))
    assert written | named
    keys = {key if key in ROWS else key.removesuffix(SECRET_FILE) for key in written | named}
    assert keys - {"NOTIFY_EMAIL"} <= set(ROWS)
