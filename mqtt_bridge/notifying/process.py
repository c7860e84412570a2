"""`mqtt-bridge --only notify`: the notifiers in a process of their own, beside the bridge or on another machine.

It polls nothing and needs no Proxmox host. What it has to know comes over MQTT; what it was told is in a journal of its
own, so it needs a STATE_DIR of its own. It is on MQTT as the bridge `<BRIDGE_NAME>-notify`, which has no site.
"""

import logging
import secrets
import time
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from mqtt_bridge import __version__, ways_out
from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.errors import SettingsError
from mqtt_bridge.journal.journal import FILE, Journal
from mqtt_bridge.links import Links
from mqtt_bridge.model import BridgeInfo, utc
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.presence import Presence
from mqtt_bridge.notifying.heartbeat import Heartbeat
from mqtt_bridge.notifying.notify import Notify
from mqtt_bridge.notifying.requests import NotifyRequests
from mqtt_bridge.settings import Settings
from mqtt_bridge.settings.notify_rows import NOTIFIERS
from mqtt_bridge.statedir import StateDir, broker_options
from mqtt_bridge.supervise import Parts
from mqtt_bridge.topics import Topics

log = logging.getLogger(__name__)

HEARTBEAT = 60.0  # seconds between two fetches of HEARTBEAT_URL


def required(settings: Settings) -> BrokerOptions:
    """The broker to listen to; raises SettingsError where that or every notifier is missing."""
    options = broker_options(settings.mqtt)
    problems = []
    if options is None:
        problems.append("MQTT_HOST is missing: `--only notify` listens to the broker that the bridge publishes to.")
    if not settings.notify.enabled:
        names = ", ".join(NOTIFIERS)
        problems.append(f"ENABLED_NOTIFIERS: no notifier is enabled. Name those that shall run: {names}.")
    if options is None or problems:
        raise SettingsError(problems)
    return options


class NotifyProcess:
    """`async with` it. Raises SettingsError without a broker or a notifier, StateDirBusyError beside the bridge."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = f"{settings.general.bridge_name}-notify"
        self.names = Topics(settings.mqtt.base_topic)
        self.parts = Parts()
        self.notify: Notify
        self._instance = secrets.token_hex(8)
        self._since = utc(time.time()) or ""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        options = required(self.settings)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(StateDir(self.settings.general.state_dir))
            path = self.settings.general.state_dir / FILE
            journal = await stack.enter_async_context(Journal(path, max_events=self.settings.events.journal_max_events))
            self.notify = await stack.enter_async_context(self._notifying(journal, options))
            presence = await stack.enter_async_context(Presence(options, self.names, self.name, self.info))
            await stack.enter_async_context(self.parts)
            self.parts.start("bridge info", presence.run)
            self._serve_requests(journal, options)
            if url := self.settings.notify.heartbeat_url:
                self.parts.start("HEARTBEAT_URL", Heartbeat(url, HEARTBEAT, self._trouble).run)
            self._stack = stack.pop_all()
        log.info("Telling %s of what %s publishes", ", ".join(self.notify.info()), options.address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def _notifying(self, journal: Journal, options: BrokerOptions) -> Notify:
        return Notify(
            self.settings.notify,
            ways_out.enabled(self.settings),
            journal,
            lambda take, session: Broker(options, take, role="notify", session=session),
            self.names,
            client_id=f"proxmox-mcp-notify-{self.name}",
            link=Links(self.settings.sites),
            follows=True,
        )

    def _serve_requests(self, journal: Journal, options: BrokerOptions) -> None:
        """For the sites that are configured here, else for all."""
        sites = [site.slug for site in self.settings.sites]
        audit = Audit(self.settings.general.state_dir)
        requests = NotifyRequests(self.notify, journal, self.names, self.name, audit, sites)
        self.parts.start("notify requests", lambda: requests.run(options))

    def _trouble(self) -> str:
        return "" if self.notify.listening else "the broker is away"

    def info(self) -> BridgeInfo:
        """What it is in a few words, as a bridge says it."""
        failed = [f"{part.name}: {part.problem}" for part in self.parts.parts if part.problem]
        return BridgeInfo(
            version=__version__,
            started_at=self._since,
            bridge=self.name,
            instance=self._instance,
            sites=tuple(site.slug for site in self.settings.sites),
            notifiers=self.notify.info(),
            problems=(*failed, *self.notify.problems, *self.settings.unavailable),
        )
