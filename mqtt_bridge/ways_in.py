"""Every way in, one row each, and how it is made. A listener is imported when it runs: some bring heavy packages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mqtt_bridge.approvals.ballot import Ballot
from mqtt_bridge.chat import Chat
from mqtt_bridge.events.intake import Listener
from mqtt_bridge.model import GuestMetrics, NodeMetrics
from mqtt_bridge.proxmox.inventory import Inventory
from mqtt_bridge.settings.listening import ListenerName, ListenerSettings
from mqtt_bridge.world import AnyInventory, InventoryWorld


@dataclass(frozen=True)
class Given:
    """What a listener may be given. `chat` None: no commands are taken; `ballot` None: no buttons are shown."""

    listen: ListenerSettings
    inventories: Mapping[str, AnyInventory]
    world: InventoryWorld
    chat: Chat | None = None
    ballot: Ballot | None = None

    def knows_host(self, host: str) -> bool:
        """Whether a host of this name is one of our nodes."""
        return bool(self.world.sites_of(host, None))

    def take_pushed(self, site: str, nodes: Mapping[str, NodeMetrics], guests: Mapping[int, GuestMetrics]) -> int:
        """Pushed figures of a site go to its inventory; returns how many of them are known there."""
        inventory = self.inventories.get(site)
        return inventory.take_pushed(nodes, guests) if isinstance(inventory, Inventory) else 0


def _live(given: Given) -> Listener:
    from mqtt_bridge.listeners.live import Live

    return Live(given.listen.live, given.inventories)


def _email(given: Given) -> Listener:
    from mqtt_bridge.listeners.imap import EmailListener

    return EmailListener(given.listen.email, knows_host=given.knows_host)


def _smtp(given: Given) -> Listener:
    from mqtt_bridge.listeners.smtp import SmtpListener

    return SmtpListener(given.listen.smtp)


def _syslog(given: Given) -> Listener:
    from mqtt_bridge.listeners.syslog import SyslogListener

    return SyslogListener(given.listen.syslog)


def _gotify(given: Given) -> Listener:
    from mqtt_bridge.listeners.gotify import GotifyListener

    return GotifyListener(given.listen.gotify)


def _webhook(given: Given) -> Listener:
    from mqtt_bridge.listeners.webhook import WebhookListener

    return WebhookListener(given.listen.webhook, sites=given.world.sites)


def _discord(given: Given) -> Listener:
    from mqtt_bridge.listeners.discord import DiscordIn

    return DiscordIn(given.listen.discord, given.chat, given.ballot)


def _metrics(given: Given) -> Listener:
    from mqtt_bridge.listeners.metrics import MetricsListener

    return MetricsListener(given.listen.metrics, given, given.world.sites_of)


LISTENERS: dict[ListenerName, Callable[[Given], Listener]] = {
    "WEBSOCKET": _live,
    "EMAIL": _email,
    "SMTP": _smtp,
    "SYSLOG": _syslog,
    "GOTIFY_IN": _gotify,
    "WEBHOOK": _webhook,
    "DISCORD_IN": _discord,
    "METRICS": _metrics,
}
