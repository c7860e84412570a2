"""The four notifiers over HTTP, each with the server that behaves as its service does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mqtt_bridge.notifiers.discord import DiscordNotifier
from mqtt_bridge.notifiers.gotify import GotifyNotifier
from mqtt_bridge.notifiers.notice import Notifier
from mqtt_bridge.notifiers.ntfy import NtfyNotifier
from mqtt_bridge.notifiers.webhook import WebhookNotifier
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.notifying import (
    DiscordOutSettings,
    GotifyOutSettings,
    NtfySettings,
    WebhookOutSettings,
)
from tests.support.services import (
    DISCORD_TOKEN,
    GOTIFY_TOKEN,
    NTFY_TOKEN,
    DiscordServer,
    GotifyServer,
    NtfyServer,
    Receiver,
    Server,
)

SIGNS = "hidden-signing-secret"
SECRETS = (DISCORD_TOKEN, GOTIFY_TOKEN, NTFY_TOKEN, SIGNS, "hidden-part-of-the-path", "hidden-key")


def discord(server: Any, **_: Any) -> Notifier:
    return DiscordNotifier(DiscordOutSettings(Secret(server.webhook)))


def gotify(server: Any, *, verify: bool = True, token: str = GOTIFY_TOKEN, **_: Any) -> Notifier:
    return GotifyNotifier(GotifyOutSettings(server.url + server.base, Secret(token), verify))


def ntfy(server: Any, *, verify: bool = True, topic: str = "homelab", token: str = NTFY_TOKEN, **_: Any) -> Notifier:
    return NtfyNotifier(NtfySettings(server.url, Secret(topic), Secret(token), verify))


def webhook(server: Any, *, verify: bool = True, ca_file: Path | None = None, secret: str = SIGNS) -> Notifier:
    return WebhookNotifier(WebhookOutSettings(Secret(server.webhook), Secret(secret), ca_file, verify))


@dataclass(frozen=True)
class Channel:
    """`setting` is the one that leads to the service; `tells_id`: its success names the message."""

    server: Callable[[], Server]
    notifier: Callable[..., Notifier]
    setting: str
    tells_id: bool = True


CHANNELS = {
    "discord": Channel(DiscordServer, discord, "DISCORD_OUT_WEBHOOK_URL"),
    "gotify": Channel(GotifyServer, gotify, "GOTIFY_OUT_SERVER_URL"),
    "ntfy": Channel(NtfyServer, ntfy, "NTFY_SERVER_URL"),
    "webhook": Channel(Receiver, webhook, "WEBHOOK_OUT_URL", tells_id=False),
}


@dataclass
class Pair:
    """A notifier that is open, and its server."""

    channel: Channel
    server: Any
    notifier: Notifier
    options: dict[str, Any] = field(default_factory=dict)


@asynccontextmanager
async def opened(name: str, server: Server | None = None, **options: Any) -> AsyncIterator[Pair]:
    channel = CHANNELS[name]
    server = server or channel.server()
    async with server.running(), channel.notifier(server, **options) as notifier:
        yield Pair(channel, server, notifier, options)


def texts_of(error: BaseException | None) -> Iterator[str]:
    """All that a log could show of an exception: its chain too."""
    while error:
        yield f"{error} {error!r} {error.args} {getattr(error, 'cure', '')} {vars(error)}"
        error = error.__cause__ or error.__context__


def assert_no_secret(error: BaseException) -> None:
    for text in texts_of(error):
        assert not [secret for secret in SECRETS if secret in text], text
