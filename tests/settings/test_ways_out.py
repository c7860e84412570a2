"""Every notifier can be made of settings as they are loaded."""

import pytest

from mqtt_bridge import ways_out
from mqtt_bridge.settings import load

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
