"""Answers what comes in on `proxmox/<site>/notify`: told through the notifiers, with each one's outcome as the answer.

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
from dataclasses import dataclass, field, replace

from mqtt_bridge import notices
from mqtt_bridge.broker import Broker, BrokerOptions
from mqtt_bridge.bus import Bus, Message
from mqtt_bridge.errors import BridgeError, BrokerError, BrokerRefusedError
from mqtt_bridge.journal import Journal
from mqtt_bridge.model import ChannelOutcome, NotifyResult
from mqtt_bridge.notifiers.notice import Notice
from mqtt_bridge.notify import Notify
from mqtt_bridge.notify_request import UNTITLED, Asked, NotifyRequestError, read_request
from mqtt_bridge.topics import KINDS, SITE_SLUG, Topics
from mqtt_bridge.wording.clean import one_line

log = logging.getLogger(__name__)

A_MINUTE = 30  # requests; more are refused
WAITING = 100  # requests at once; more are counted and dropped
TOPIC = 512  # characters of a response topic
MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """One message on `…/notify`, and where its answer may go."""

    site: str
    message: Message


@dataclass
class NotifyRequests:
    """`run` it supervised. `sites`: only requests for these are answered; none: for every site.

    `stats` counts told, refused (with an error as the answer) and dropped (stored, or too many).
    """

    notify: Notify
    journal: Journal
    names: Topics
    bridge: str
    sites: Collection[str] = ()
    a_minute: int = A_MINUTE
    stats: Counter[str] = field(default_factory=Counter)
    _recent: deque[float] = field(default_factory=deque)
    _waiting: deque[Request] = field(default_factory=deque)
    _under_way: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, options: BrokerOptions) -> None:
        """On a connection of its own, until cancelled."""
        async with Broker(options, self.take, role="requests") as bus:
            await self.serve(bus)

    def take(self, messages: Sequence[Message]) -> None:
        """What the bus has received: its `on_messages`."""
        for message in messages:
            parsed = self.names.parse(message.topic)
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
                await bus.subscribe([wanted], qos=KINDS["notify"].qos, retain_handling=2, retain_as_published=True)
            except BrokerRefusedError as error:
                log.error("No notice can be asked for: %s", error)  # noqa: TRY400 -- the sentence says it all
            except BrokerError:
                continue

    # --- one request -------------------------------------------------------------------------------------------------

    async def _answer(self, bus: Bus, request: Request) -> None:
        self._under_way += 1
        try:
            await self._answered(bus, request)
        finally:
            self._under_way -= 1

    async def _answered(self, bus: Bus, request: Request) -> None:
        result = await self.answer(request.site, request.message.payload)
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

    async def answer(self, site: str, payload: bytes) -> NotifyResult:
        """Tell it, and wait a while for what the services say."""
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

    async def _told(self, site: str, asked: Asked) -> NotifyResult:
        notice = _notice(site, asked)
        enabled = {name.casefold(): name for name in self.notify.info()}
        wanted = list(dict.fromkeys(asked.channels)) if asked.channels is not None else list(enabled)
        known = [enabled[name.casefold()] for name in wanted if name.casefold() in enabled]
        channels = {name: _unknown(enabled.values()) for name in wanted if name.casefold() not in enabled}
        before = await self.journal.rows("SELECT notifier FROM deliveries WHERE notice = ?", [notice.id])
        if known:
            told = await self.notify.tell(notice, known)
            channels |= {name: ChannelOutcome(status=one.status, detail=one.detail) for name, one in told.items()}
        self.stats["told" if known else "refused"] += 1
        return NotifyResult(
            id=asked.id,
            bridge=self.bridge,
            ok=bool(channels) and all(one.status == "delivered" for one in channels.values()),
            channels=channels,
            repeated=bool(known) and {row[0] for row in before} >= set(known),
            error=None if channels else "The request names no channel.",
        )

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
