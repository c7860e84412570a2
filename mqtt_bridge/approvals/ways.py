"""An approver's own ways: a notifier each, to an address that is this person's alone. Imported when they are used."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol
from zoneinfo import ZoneInfo

from mqtt_bridge.notifiers.notice import Notifier
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.approving import Approver, WayName
from mqtt_bridge.settings.notifying import AppriseSettings, NotifySettings, OutSettings


class Given(Protocol):
    """What of Settings is needed: the servers that the notifiers use."""

    @property
    def out(self) -> OutSettings: ...
    @property
    def notify(self) -> NotifySettings: ...


def _email(given: Given, address: Secret) -> Notifier:
    from mqtt_bridge.notifiers.email import EmailNotifier  # noqa: PLC0415

    zone = given.notify.timezone
    mine = replace(given.out.email, recipients=(address.reveal(),))
    return EmailNotifier(mine, zone=ZoneInfo(zone) if zone else None)


def _ntfy(given: Given, topic: Secret) -> Notifier:
    from mqtt_bridge.notifiers.ntfy import NtfyNotifier  # noqa: PLC0415

    return NtfyNotifier(replace(given.out.ntfy, topic=topic))


def _gotify(given: Given, token: Secret) -> Notifier:
    from mqtt_bridge.notifiers.gotify import GotifyNotifier  # noqa: PLC0415

    return GotifyNotifier(replace(given.out.gotify, app_token=token))


def _apprise(_given: Given, url: Secret) -> Notifier:
    from mqtt_bridge.notifiers.apprise import AppriseNotifier  # noqa: PLC0415

    return AppriseNotifier(AppriseSettings(urls=url))


WAYS: dict[WayName, Callable[[Given, Secret], Notifier]] = {
    "email": _email,
    "ntfy": _ntfy,
    "gotify": _gotify,
    "apprise": _apprise,
}


def own(given: Given, approver: Approver) -> Sequence[Notifier]:
    """Those of this person, as APPROVERS has them."""
    return [WAYS[name](given, address) for name, address in approver.ways]
