"""Answers what comes in on `proxmox/<site>/notify`: told through the notifiers, with each one's outcome as the answer.

Where notifiers run in several processes, each tells and answers for its own, and names the others in `elsewhere`; one
that runs none of the channels that are named leaves the answer to those that do.

Over a fresh session, so that no request is from yesterday; what the broker had stored is refused. The answer goes to
`…/result/<id>`, and to a response topic at or below `…/result`, nowhere else: a requester could otherwise have us write
where it may not. A request without an id and without a response topic gets none.
"""

import asyncio
import logging
import time
import uuid
from collections import Counter, deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from mqtt_bridge.audit.trail import Audit, AuditError
from mqtt_bridge.errors import BridgeError, BrokerError, BrokerRefusedError
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.model import ChannelOutcome, NotifyResult
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.bus import Bus, Message
from mqtt_bridge.notifiers.notice import Notice
from mqtt_bridge.notifying import notices
from mqtt_bridge.notifying.notify import Notify
from mqtt_bridge.notifying.peers import Peers
from mqtt_bridge.notifying.request import UNTITLED, Asked, NotifyRequestError, read_request
from mqtt_bridge.topics import KINDS, SITE_SLUG, Topics
from mqtt_bridge.wording.clean import one_line

log = logging.getLogger(__name__)

A_MINUTE = 30  # requests; more are refused
WAITING = 100  # requests at once; more are counted and dropped
TOPIC = 512  # characters of a response topic
MINUTE = 60.0
SHOWN = 200  # characters of a text in the audit file
PEERS = ("bridge_info", "bridge_state")


@dataclass(frozen=True, slots=True)
class Request:
    """One message on `…/notify`, and where its answer may go."""

    site: str
    message: Message


@dataclass
class NotifyRequests:
    """`run` it supervised. `sites`: only requests for these are answered; none: for every site.

    `listening`: the broker has granted the subscription.
    `stats` counts told, refused (with an error as the answer) and dropped (stored, or too many).
    """

    notify: Notify
    journal: Journal
    names: Topics
    bridge: str
    audit: Audit
    sites: Collection[str] = ()
    a_minute: int = A_MINUTE
    listening: bool = False
    stats: Counter[str] = field(default_factory=Counter)
    _recent: deque[float] = field(default_factory=deque)
    _waiting: deque[Request] = field(default_factory=deque)
    _under_way: int = 0
    _peers: Peers = field(init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._peers = Peers(self.bridge)

    async def run(self, options: BrokerOptions) -> None:
        """On a connection of its own, until cancelled."""
        async with Broker(options, self.take, role="requests") as bus:
            await self.serve(bus)

    def take(self, messages: Sequence[Message]) -> None:
        """What the bus has received: its `on_messages`."""
        for message in messages:
            parsed = self.names.parse(message.topic)
            if parsed is not None and parsed.kind.name in PEERS:
                self._peers.take(parsed, message)
                continue
            if parsed is None or parsed.kind.name != "notify" or not SITE_SLUG.fullmatch(parsed.site):
                continue
            if self.sites and parsed.site not in self.sites:
                continue
            if message.retain or len(self._waiting) + self._under_way >= WAITING:
                self.stats["dropped"] += 1
                continue
            self._waiting.append(Request(parsed.site, message))
            self._wake.set()

    async def serve(self, bus: Bus) -> None:
        """Answer, several at once: a service that is slow holds up no other request."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(bus))
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    group.create_task(self._answer(bus, self._waiting.popleft()))

    async def _listen(self, bus: Bus) -> None:
        generation = 0
        wanted = self.names.filter("notify")
        while True:
            generation = await bus.wait_connected(generation)
            try:
                with suppress(BrokerRefusedError):  # then each answers as if it were alone
                    await bus.subscribe([self.names.filter(kind) for kind in PEERS])
                await bus.subscribe([wanted], qos=KINDS["notify"].qos, retain_handling=2, retain_as_published=True)
            except BrokerRefusedError as error:
                log.error("No notice can be asked for: %s", error)  # noqa: TRY400 -- the sentence says it all
            except BrokerError:
                continue
            else:
                self.listening = True

    # --- one request -------------------------------------------------------------------------------------------------

    async def _answer(self, bus: Bus, request: Request) -> None:
        self._under_way += 1
        try:
            await self._answered(bus, request)
        finally:
            self._under_way -= 1

    async def _answered(self, bus: Bus, request: Request) -> None:
        result = await self.answer(request.site, request.message.payload)
        if result is None:
            return
        correlation = request.message.correlation_data
        for topic in self._topics(request, result.id):
            try:
                await bus.publish(topic, result.payload(), qos=KINDS["result"].qos, correlation_data=correlation)
            except BridgeError as error:
                self.stats["dropped"] += 1
                log.warning("The outcome of a notice was not sent: %s", error)

    def _topics(self, request: Request, identity: str | None) -> list[str]:
        own = self.names.build("result", site=request.site, id=identity) if identity else None
        asked = request.message.response_topic
        if asked is not None and not self._may_answer_to(request.site, asked):
            self.stats["dropped"] += 1
            asked = None
        return list(dict.fromkeys(topic for topic in (own, asked) if topic))

    def _may_answer_to(self, site: str, topic: str) -> bool:
        root = self.names.build("result", site=site, id="-").rpartition("/")[0]
        inside = topic == root or topic.startswith(f"{root}/")
        return inside and len(topic) <= TOPIC and topic.isprintable() and not set("+#") & set(topic)

    async def answer(self, site: str, payload: bytes) -> NotifyResult | None:
        """Tell it, and wait a while for what the services say. None: it is for other processes alone."""
        try:
            asked = read_request(payload)
            self._limit(asked.id)
            return await self._told(site, asked)
        except NotifyRequestError as error:
            return self._refused(error.message, error.identity)
        except BridgeError as error:
            return self._refused(str(error), asked.id)

    def _limit(self, identity: str | None) -> None:
        now = asyncio.get_running_loop().time()
        while self._recent and self._recent[0] <= now - MINUTE:
            self._recent.popleft()
        if len(self._recent) >= self.a_minute:
            raise NotifyRequestError(f"More than {self.a_minute} requests within a minute: not told.", identity)
        self._recent.append(now)

    async def _told(self, site: str, asked: Asked) -> NotifyResult | None:
        known, others, unknown = self._sorted_out(site, asked)
        if others and not known and not unknown:
            return None
        notice = _notice(site, asked)
        repeated = bool(known) and await self._told_before(notice.id) >= set(known)
        told = await self._tell(site, asked, notice, known, repeated=repeated) if known else {}
        channels = {name: _unknown(self.notify.info()) for name in unknown} | told
        self.stats["told" if known else "refused"] += 1
        return NotifyResult(
            id=asked.id,
            bridge=self.bridge,
            ok=bool(channels) and all(one.status == "delivered" for one in channels.values()),
            channels=channels,
            repeated=repeated,
            elsewhere=others,
            error=None if channels else "The request names no channel.",
        )

    def _sorted_out(self, site: str, asked: Asked) -> tuple[list[str], dict[str, tuple[str, ...]], list[str]]:
        """The channels that run here, those that run elsewhere by process, and those that run nowhere."""
        enabled = {name.casefold(): name for name in self.notify.info()}
        peers = self._peers.of(site)
        if asked.channels is None:
            return list(enabled.values()), {peer: tuple(their.values()) for peer, their in peers.items()}, []
        wanted = {name.casefold(): name for name in asked.channels}
        known = [enabled[name] for name in wanted if name in enabled]
        others = {peer: tuple(their[name] for name in wanted if name in their) for peer, their in peers.items()}
        found = {*enabled, *(name for their in peers.values() for name in their)}
        unknown = [name for folded, name in wanted.items() if folded not in found]
        return known, {peer: names for peer, names in others.items() if names}, unknown

    async def _told_before(self, notice: str) -> set[str]:
        rows = await self.journal.rows("SELECT notifier FROM deliveries WHERE notice = ?", [notice])
        return {str(row[0]) for row in rows}

    async def _tell(
        self, site: str, asked: Asked, notice: Notice, known: Sequence[str], *, repeated: bool
    ) -> dict[str, ChannelOutcome]:
        """With its records in the audit file; what is only answered once more has them already."""
        record = self._record(site, asked, notice, known)
        if not repeated:
            await self.audit.write("notify.intent", **record)
        told = await self.notify.tell(notice, known)
        if not repeated:
            try:
                outcomes = {name: one.status for name, one in told.items()}
                await self.audit.write("notify.outcome", **record, outcomes=outcomes)
            except AuditError as error:
                log.error("Told, but without its outcome in the audit file: %s", error)  # noqa: TRY400 -- says it all
        return {name: ChannelOutcome(status=one.status, detail=one.detail) for name, one in told.items()}

    def _record(self, site: str, asked: Asked, notice: Notice, channels: Sequence[str]) -> dict[str, object]:
        """`principal` is what the requester says it is: MQTT names nobody."""
        return {
            "id": asked.id or notice.id,
            "principal": asked.sender or "",
            "channel": "mqtt",
            "bridge": self.bridge,
            "site": site,
            "channels": list(channels),
            "severity": asked.severity,
            "title": notice.title,
            "text": asked.message[:SHOWN],
        }

    def _refused(self, message: str, identity: str | None) -> NotifyResult:
        self.stats["refused"] += 1
        return NotifyResult(id=identity, bridge=self.bridge, ok=False, error=message)


def _unknown(enabled: Collection[str]) -> ChannelOutcome:
    return ChannelOutcome(status="refused", detail=f"It is not enabled here; there are {', '.join(sorted(enabled))}.")


def _notice(site: str, asked: Asked) -> Notice:
    """The same request under the same id is the same notice."""
    texts = (asked.title, asked.message, asked.severity, asked.sender)
    identity = notices.own_id("asked", site, asked.id, *texts) if asked.id else str(uuid.uuid4())
    title = one_line(asked.title) or UNTITLED
    notice = notices.message(identity, title, asked.message, asked.severity, time.time(), site)
    return replace(notice, facts=(("From", one_line(asked.sender)),)) if asked.sender else notice
