"""The bridge, put together: STATE_DIR's owner, a broker, the pollers, and the watch over our own topics."""

import asyncio
import logging
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Self

from mqtt_bridge import __version__, ways_out
from mqtt_bridge.actions import ACTIONS, Actions, Standing
from mqtt_bridge.approvals import witness
from mqtt_bridge.approvals.approvals import Approvals
from mqtt_bridge.approvals.ballot import Ballot
from mqtt_bridge.approvals.office import Around, Office
from mqtt_bridge.audit import events as audit_events
from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.chat import Chat
from mqtt_bridge.claim import Claim, SiteTakenError, rival_in, yields_to
from mqtt_bridge.commanding.carry import Carrier
from mqtt_bridge.commanding.commands import Commands
from mqtt_bridge.commanding.own_words import WORDS as OWN_WORDS
from mqtt_bridge.commanding.shutdown_words import WORDS as SHUTDOWN_WORDS
from mqtt_bridge.commanding.words import Vocabulary
from mqtt_bridge.errors import BrokerError
from mqtt_bridge.evacuation import Around as Evacuating
from mqtt_bridge.evacuation import Evacuation
from mqtt_bridge.evacuation.telling import tell
from mqtt_bridge.events.events import JOURNAL, Events
from mqtt_bridge.homeassistant.service import HomeAssistant
from mqtt_bridge.links import Links
from mqtt_bridge.model import BridgeInfo, Heartbeat, utc
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions, Will
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.mqtt.embedded import EmbeddedBroker
from mqtt_bridge.notifying.heartbeat import Heartbeat as HeartbeatPing
from mqtt_bridge.notifying.maintenance import Maintenance
from mqtt_bridge.notifying.notify import Notify
from mqtt_bridge.notifying.requests import NotifyRequests
from mqtt_bridge.pollers import Pollers
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.proxmox.inventory import Inventory
from mqtt_bridge.proxmox.pulse import Writer
from mqtt_bridge.proxmox.urgent import UrgentApi
from mqtt_bridge.settings import Settings
from mqtt_bridge.site_shutdown.book import Book
from mqtt_bridge.site_shutdown.service import STANDING, SiteShutdowns, may
from mqtt_bridge.statedir import StateDir, broker_options
from mqtt_bridge.topics import TABLE, Parsed

log = logging.getLogger(__name__)

INFO_EVERY = 2.0
SWEEP = 1.0  # seconds between two looks at what is left over
HEARTBEAT = 60.0  # seconds between two fetches of HEARTBEAT_URL
PATIENCE = 5.0  # seconds that a broker may be away at the start before events are taken without it
GOODBYE = 1.5  # seconds for the last publish, `offline`
SHARED = "approval"  # other processes publish theirs too: `approvals.board` sees to it
GUARDED = [kind.name for kind in TABLE if kind.retain and kind.name != SHARED]


def same_cluster_twice(inventories: Iterable[object]) -> Iterator[str]:
    """Sites that turn out to be one cluster: each of its guests would then exist twice."""
    seen: dict[str, str] = {}
    for inventory in inventories:
        if isinstance(inventory, Inventory) and inventory.cluster_name:
            first = seen.setdefault(inventory.cluster_name, inventory.site.slug)
            if first != inventory.site.slug:
                yield (
                    f"Sites {first} and {inventory.site.slug} are both the cluster {inventory.cluster_name}: "
                    "configure it once, as PVE_CLUSTER_NAME with PVE_CLUSTER_SUBNODES."
                )


class Bridge:
    """`async with` it. `fatal` ends with an error when this bridge has to give way to another."""

    def __init__(self, settings: Settings, *, standby: bool = False, embedded_port: int | None = None) -> None:
        self.settings = settings
        self.writer = Writer(settings.general.bridge_name, secrets.token_hex(8), utc(time.time()) or "")
        self.pollers = Pollers(settings, self.writer)
        self.events = Events(self.pollers, settings.general.state_dir / JOURNAL)
        self.maintenance = Maintenance(self.events.journal, tells=bool(settings.notify.enabled))
        self.options: BrokerOptions = BrokerOptions(host="")
        self.broker_kind = "configured"
        self.fatal: asyncio.Future[None]
        self._standby = standby
        self._embedded_port = settings.mqtt.embedded_port if embedded_port is None else embedded_port
        self.notify: Notify | None = None
        self.commands: Commands | None = None
        self.shutdowns: SiteShutdowns | None = None
        self.approvals = Approvals(settings.general.state_dir, settings.approval)
        self.evacuation = self._evacuating()
        self.office: Office | None = None
        self.homeassistant: HomeAssistant | None = None
        self._stack = AsyncExitStack()
        self._broker: Broker | None = None
        self._published = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.fatal = asyncio.get_running_loop().create_future()
        async with AsyncExitStack() as stack:
            state = await stack.enter_async_context(StateDir(self.settings.general.state_dir))
            self.evacuation.load()
            await stack.enter_async_context(self.approvals)
            self.options = await self._open_broker(stack)
            state.tell(self.options, self.settings.mqtt.base_topic)
            await stack.enter_async_context(self.pollers)
            await stack.enter_async_context(self.events)
            if self.settings.homeassistant.discovery:
                self.homeassistant = HomeAssistant(
                    self.pollers, self.events.journal, self.maintenance, self.approvals, self.evacuation.state
                )
            previous = state.swap_instance(self.writer.instance)
            self._broker = await stack.enter_async_context(self._connection())
            stack.push_async_callback(self._say_offline)
            if not self._standby:
                await self._begin_notifying(stack)
            self.pollers.parts.start("broker", lambda: self._publish(previous))
            self.pollers.parts.start("bridge info", self._tell)
            if self.homeassistant:
                self.pollers.parts.start("Home Assistant", partial(self.homeassistant.run, self.options, self.ready))
            if url := self.settings.notify.heartbeat_url:
                self.pollers.parts.start("HEARTBEAT_URL", HeartbeatPing(url, HEARTBEAT, self._trouble).run)
            self.pollers.poll()
            if not self._standby:
                self.pollers.parts.start("events without a broker", self._listen_anyway)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def broker(self) -> Broker:
        """The connection that publishes."""
        if self._broker is None:
            raise RuntimeError("the bridge is not open")
        return self._broker

    async def ready(self) -> None:
        """Wait until the first poll of every site is on MQTT."""
        await self.pollers.polled_once()
        await self._published.wait()
        await self.pollers.retained.settled(self.broker)

    async def _open_broker(self, stack: AsyncExitStack) -> BrokerOptions:
        configured = broker_options(self.settings.mqtt)
        if configured:
            return configured
        embedded = EmbeddedBroker(
            self.settings.general.state_dir,
            bind=self.settings.mqtt.embedded_bind,
            port=self._embedded_port,
            base_topic=self.settings.mqtt.base_topic,
        )
        options = await stack.enter_async_context(embedded)
        self.broker_kind = embedded.kind
        log.info("MQTT broker of our own (%s) at %s", embedded.kind, options.address)
        return options

    def _listen_to_events(self) -> None:
        """Not before it is known that the sites are ours: what another bridge's senders told us would be stranded."""
        if not self.events.listeners:
            vouched = any(approver.discord for approver in self.settings.approval.approvers)
            ballot = Ballot(self.approvals) if vouched else None
            self.events.listen(self.settings.events.enabled, self._chat(), ballot)

    async def _listen_anyway(self) -> None:
        """A broker that is away costs no events: they wait in the journal."""
        while not self._published.is_set():
            await asyncio.sleep(PATIENCE)
            if not self.broker.connected:
                self._listen_to_events()
        await asyncio.get_running_loop().create_future()

    def _chat(self) -> Chat:
        """What answers commands given in a chat."""
        return Chat(self.events.world, self._actions(), self.settings.permission.discord_allow)

    def _actions(self, clients: Mapping[str, Api] | None = None, standing: Standing | None = None) -> Actions:
        """The one entry to what changes something."""
        audit = Audit(self.settings.general.state_dir)
        return Actions(
            self.pollers.clients if clients is None else clients,
            self.settings.permission,
            audit,
            approvals=self.approvals,
            after=self.pollers.refresh,
            expecting=self.maintenance.expect,
            standing=standing,
        )

    def _evacuating(self) -> Evacuation:
        """Moves guests of nodes in maintenance away, as MQTT commands may."""
        return Evacuation(
            Evacuating(
                self.pollers.clients,
                self._actions(),
                self.settings.permission,
                self.maintenance.active,
                self.approvals.pending,
                partial(tell, self.events.journal),
                self.settings.general.state_dir,
                lambda site: self.shutdowns is not None and self.shutdowns.running(site),
            )
        )

    def _shutting_down(self) -> SiteShutdowns:
        """What shuts whole sites down, on an entry that has the operator's standing word for it and waits for none."""
        settings, retained = self.settings, self.pollers.retained
        clients = {slug: UrgentApi(client) for slug, client in self.pollers.clients.items()}
        book = Book(self.events.journal, retained, lambda: retained.settled(self.broker))
        sites = [site.slug for site in settings.sites if site.kind == "pve"]
        audit = Audit(settings.general.state_dir)
        standing = STANDING if may(settings.permission) else None
        return SiteShutdowns(
            self._actions(clients, standing),
            settings.permission,
            clients=clients,
            book=book,
            audit=audit,
            sites=sites,
            begins=self.evacuation.call_off,
        )

    async def _take_commands(self) -> None:
        """Over MQTT, until cancelled."""
        names, sites = self.pollers.retained.names, [s.slug for s in self.settings.sites]
        carrier = partial(
            Carrier,
            self._actions(),
            self.maintenance,
            Audit(self.settings.general.state_dir),
            self.approvals.use_command_id,
            self.settings.permission.mqtt_allow,
            evacuation=self.evacuation,
            shutdowns=self.shutdowns,
            known=self.pollers.sees,
        )
        words = Vocabulary(ACTIONS.values(), (*OWN_WORDS, *SHUTDOWN_WORDS))
        self.commands = Commands(words, carrier, names, self.writer.bridge, sites)
        await self.commands.run(self.options)

    async def _begin_notifying(self, stack: AsyncExitStack) -> None:
        if self.settings.notify.enabled and self.notify is None:
            self.notify = await stack.enter_async_context(self._notifying())
            self._serve_requests(self.notify)
        if self.office is None:
            self.office = await stack.enter_async_context(self._deciding())
            intake = self.events.pipeline.intake(audit_events.SOURCE)
            told = audit_events.AuditEvents(self.settings.general.state_dir)
            self.pollers.parts.start("actions as events", lambda: told.run(intake))

    def _deciding(self) -> Office:
        """Approvals on MQTT, told to approvers, and as events."""
        around = Around(
            self.options,
            self.pollers.retained.names,
            [s.slug for s in self.settings.sites],
            self.events.pipeline.intake(witness.SOURCE),
            announce=self.notify.tell if self.notify else None,
            bound={"mosquitto": True, "amqtt": False}.get(self.broker_kind),
        )
        return Office(self.approvals, self.settings, around)

    def _notifying(self) -> Notify:
        """The notifiers on a connection of their own, with our journal beside it."""
        world = self.events.world
        return Notify(
            self.settings.notify,
            ways_out.enabled(self.settings),
            self.events.journal,
            lambda take, session: Broker(self.options, take, role="notify", session=session),
            self.pollers.retained.names,
            client_id=f"proxmox-mcp-notify-{self.writer.bridge}",
            link=Links(self.settings.sites),
            guests=lambda: (guest for site in world.sites for guest in world.guests(site)),
        )

    def _serve_requests(self, notify: Notify) -> None:
        """What others want to have told; for our own sites only."""
        names, sites = self.pollers.retained.names, [s.slug for s in self.settings.sites]
        audit = Audit(self.settings.general.state_dir)
        requests = NotifyRequests(notify, self.events.journal, names, self.writer.bridge, audit, sites)
        self.pollers.parts.start("notify requests", lambda: requests.run(self.options))

    def _connection(self) -> Broker:
        names = self.pollers.retained.names
        will = Will(names.build("bridge_state", bridge=self.writer.bridge), b"offline")
        return Broker(self.options, self._guard, role="bridge", will=will)

    async def _say_offline(self) -> None:
        """A clean goodbye sends no will, so say it ourselves."""
        retained = self.pollers.retained
        retained.put("bridge_state", "offline", bridge=self.writer.bridge)
        if self.broker.connected and self._published.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE):
                    await retained.settled(self.broker)

    # --- publishing -------------------------------------------------------------------------------------------------

    async def _publish(self, previous: str) -> None:
        sites = [s.slug for s in self.settings.sites]
        claim = Claim(self.options, self.pollers.retained.names, sites, self.writer, previous=previous)
        try:
            await claim.make(standby=self._standby)
        except SiteTakenError as error:
            self._give_way(error)
            await asyncio.get_running_loop().create_future()
        await self._begin_notifying(self._stack)  # a standby tells nothing until it has taken over
        self.shutdowns = self._shutting_down()
        self.pollers.parts.start("site shutdown", self.shutdowns.run)
        if self.settings.permission.mqtt_allow != "read":  # and not before the sites are ours
            self.pollers.parts.start("commands", self._take_commands)
        self.pollers.parts.start("evacuation", self.evacuation.run)
        self._listen_to_events()
        history = self.events.history()
        async with (
            Broker(self.options, self._guard, role="guard") as guard,
            Broker(self.options, history.take, role="history") as asked,
        ):
            await self._listen()
            async with asyncio.TaskGroup() as group:
                group.create_task(self.pollers.retained.feed(self.broker))
                group.create_task(self.events.feed(self.broker))
                group.create_task(self._keep_listening())
                group.create_task(self._watch(guard))
                group.create_task(history.serve(asked))
                self._published.set()

    def _give_way(self, error: SiteTakenError) -> None:
        if not self.fatal.done():
            self.fatal.set_exception(error)

    # --- our own topics, as the broker has them -----------------------------------------------------------------------

    async def _listen(self) -> int:
        """See others' writes as they come. MQTT 5 spares us our own; with 3.1.1 the guard sees to it."""
        generation = await self.broker.wait_connected()
        if self.broker.protocol == "5":
            with suppress(BrokerError):
                await self.broker.subscribe(self._guarded(), no_local=True, retain_handling=2)
        return generation

    async def _keep_listening(self) -> None:
        generation = self.broker.generation
        while True:
            await self.broker.wait_connected(generation)
            generation = await self._listen()

    async def _watch(self, guard: Broker) -> None:
        """What others have stored on our topics is put right, leftovers of earlier runs are cleared.

        Over a connection of its own: Mosquitto drops what exceeds a client's queue, so a flood of stored messages
        must not stand before the acknowledgements of what we publish.
        """
        generation = 0
        while True:
            generation = await guard.wait_connected(generation)
            await self.pollers.polled_once()
            await self.pollers.retained.settled(self.broker)
            with suppress(BrokerError):
                await self._tidy(guard, generation)
            await guard.wait_disconnected(generation)

    async def _tidy(self, guard: Broker, generation: int) -> None:
        """Ask for what is stored, again after each clearing: a broker may have dropped some of it."""
        ask = True
        while guard.connected and guard.generation == generation:
            if ask:
                for topic_filter in self._guarded():
                    await guard.subscribe([topic_filter])
            await asyncio.sleep(SWEEP)
            if ask and guard.protocol == "5":
                await guard.unsubscribe(self._guarded())
            ask = self.pollers.retained.sweep(self._clean_sites(), self._awaited) > 0

    def _guarded(self) -> list[str]:
        names, sites = self.pollers.retained.names, [{"site": s.slug} for s in self.settings.sites]
        own = [{"bridge": self.writer.bridge}]
        return [names.filter(k, **ids) for k in GUARDED for ids in (own if k.startswith("bridge_") else sites)]

    def _clean_sites(self) -> set[str]:
        return {slug for slug, inventory in self.pollers.inventories.items() if inventory.complete}

    def _awaited(self, parsed: Parsed) -> bool:
        return self.pollers.awaited(parsed.site, parsed.kind.name, parsed.ids)

    def _mine(self, parsed: Parsed) -> bool:
        if parsed.kind.name == SHARED:
            return False
        if parsed.kind.name.startswith("bridge_"):
            return parsed.ids["bridge"] == self.writer.bridge
        return parsed.site in self.pollers.inventories

    def _guard(self, messages: Sequence[Message]) -> None:
        if not self._published.is_set():
            return
        names = self.pollers.retained.names
        for message in messages:
            rival = rival_in(message, names, self.writer, self.pollers.inventories)
            if rival and not message.retain:
                self._meet(*rival)
        self.pollers.retained.correct(self.broker, messages, mine=self._mine)

    def _meet(self, site: str, beat: Heartbeat) -> None:
        log.error("Bridge %s publishes site %s too", beat.bridge, site)
        if yields_to(self.writer, beat):
            self._give_way(SiteTakenError(f"Site {site} is published by another bridge too, which was there first."))

    # --- what we say of ourselves ------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        while True:
            self.pollers.retained.put("bridge_info", self.info(), bridge=self.writer.bridge)
            await asyncio.sleep(INFO_EVERY)

    def _trouble(self) -> str:
        """Why HEARTBEAT_URL is not fetched at present; empty: all is well."""
        if not self.broker.connected:
            return "the broker is away"
        alive = any(i.pulse.status not in (None, "offline") for i in self.pollers.inventories.values())
        return self.events.problem if alive else "no site answers"

    def info(self) -> BridgeInfo:
        """This bridge in a few words; no secrets."""
        inventories = self.pollers.inventories.values()
        parts = (*self.pollers.parts.parts, *self.events.parts.parts)
        problems = [f"{p.name}: {p.problem}" for p in parts if p.problem]
        problems += same_cluster_twice(inventories)
        problems += [self.events.problem] if self.events.problem else []
        problems += self.notify.problems if self.notify else []
        problems += self.office.problems if self.office else []
        problems += self.homeassistant.problems if self.homeassistant else []
        refused = self.pollers.retained.refused
        if refused:
            problems.append(f"The broker refuses {len(refused)} of our topics, {next(iter(refused))} among them.")
        return BridgeInfo(
            version=__version__,
            started_at=self.writer.since,
            bridge=self.writer.bridge,
            instance=self.writer.instance,
            sites=tuple(s.slug for s in self.settings.sites),
            listeners=self.events.info(),
            notifiers=self.notify.info() if self.notify else {},
            commands=self.commands.info if self.commands else {},
            homeassistant=self.homeassistant.info() if self.homeassistant else None,
            missing=tuple(m for i in inventories for m in i.missing),
            problems=(*problems, *self.settings.unavailable),
            limits={
                "poll_details_budget": self.settings.api.poll_details_budget,
                "rate_limit": self.settings.api.rate_limit,
                "journal_max_events": self.settings.events.journal_max_events,
            },
        )
