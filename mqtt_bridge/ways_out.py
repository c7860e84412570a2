"""Every way out, one row each, and how it is made. A notifier is imported when it runs: some bring heavy packages."""

from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo

from mqtt_bridge.notifiers.notice import Notifier
from mqtt_bridge.settings import Settings
from mqtt_bridge.settings.notifying import NotifierName


def _discord(settings: Settings) -> Notifier:
    from mqtt_bridge.notifiers.discord import DiscordNotifier

    return DiscordNotifier(settings.out.discord)


def _gotify(settings: Settings) -> Notifier:
    from mqtt_bridge.notifiers.gotify import GotifyNotifier

    return GotifyNotifier(settings.out.gotify)


def _ntfy(settings: Settings) -> Notifier:
    from mqtt_bridge.notifiers.ntfy import NtfyNotifier

    return NtfyNotifier(settings.out.ntfy)


def _email(settings: Settings) -> Notifier:
    from mqtt_bridge.notifiers.email import EmailNotifier

    zone = settings.notify.timezone
    return EmailNotifier(settings.out.email, zone=ZoneInfo(zone) if zone else None)


def _webhook(settings: Settings) -> Notifier:
    from mqtt_bridge.notifiers.webhook import WebhookNotifier

    return WebhookNotifier(settings.out.webhook)


def _apprise(settings: Settings) -> Notifier:
    from mqtt_bridge.notifiers.apprise import AppriseNotifier

    return AppriseNotifier(settings.out.apprise)


NOTIFIERS: dict[NotifierName, Callable[[Settings], Notifier]] = {
    "DISCORD_OUT": _discord,
    "GOTIFY_OUT": _gotify,
    "NTFY": _ntfy,
    "EMAIL": _email,
    "WEBHOOK": _webhook,
    "APPRISE": _apprise,
}


def enabled(settings: Settings) -> Sequence[Notifier]:
    """Those that run, in the order of the table."""
    return [make(settings) for name, make in NOTIFIERS.items() if name in settings.notify.enabled]
