"""Listens on the command topics of our sites and answers on `…/result/<id>` and the MQTT 5 response topic.

- On a connection of its own with a clean session: a broker keeps nothing for it, so no command of yesterday comes in.
- A stored (retained) message is no command. In MQTT 5 its flag is kept even where it is published while we listen, or
  sent again by a broker that is bridged to ours. MQTT 3.1.1 hides that, so a word alone is refused there: it has no
  time in it. JSON is safe in both: its `ts` must be fresh and its `id` new.
- An answer goes to a response topic at or below `…/result` alone: a requester could otherwise have us write where it
  may not.
"""

import asyncio
import logging
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mqtt_bridge.commanding.carry import Carrier, Tell, refused, unseen
from mqtt_bridge.commanding.lanes import Follow, Lanes
from mqtt_bridge.commanding.order import KINDS, Answer, Order, Place
from mqtt_bridge.commanding.refusal import CommandError
from mqtt_bridge.commanding.request import Asked, read
from mqtt_bridge.commanding.shutdown_words import urgent
from mqtt_bridge.commanding.words import Vocabulary, Word
from mqtt_bridge.errors import BrokerError, BrokerRefusedError, BrokerUnreachableError
from mqtt_bridge.model import CommandResult, utc
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.topics import KINDS as TOPIC_KINDS
from mqtt_bridge.topics import Topics

log = logging.getLogger(__name__)

ANSWERS = 300  # results that wait for the broker; more refusals are counted only
TOPIC = 512  # characters of a response topic
GOODBYE = 1.5  # seconds for the last results
LARGEST_PACKET = 64 * 1024  # bytes; what is larger than a command may be is answered up to here, and dropped beyond


class Commands:
    """`run` it supervised. `sites`: whose commands are ours. `listening`: the connection whose topics were granted."""

    def __init__(
        self, words: Vocabulary, carrier: Callable[[Tell], Carrier], names: Topics, bridge: str, sites: Collection[str]
    ) -> None:
        self.stats: Counter[str] = Counter()
        self._words = words
        self._names = names
        self._bridge = bridge
        self._sites = tuple(sites)
        self._carrier = carrier(self._tell)
        self._lanes: Lanes[Order] = Lanes(self._do, urgent=urgent)
        self._answers: deque[Answer] = deque()
        self._wake = asyncio.Event()
        self._bus: Broker | None = None
        self.listening = 0

    async def run(self, options: BrokerOptions) -> None:
        """Until cancelled; then what was not seen to its end is told as that."""
        self._lanes = Lanes(self._do, urgent=urgent)
        async with Broker(options, self.take, role="commands", max_packet=LARGEST_PACKET) as bus:
            self._bus = bus
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._listen(bus))
                    group.create_task(self._lanes.serve())
                    group.create_task(self._publish_all(bus))
            finally:
                await self._farewell(bus)

    @property
    def info(self) -> dict[str, int]:
        """What became of what came in, by outcome."""
        dropped = self._bus.dropped if self._bus else 0
        return {**self.stats, **({"dropped": dropped} if dropped else {})}

    # --- what comes in -----------------------------------------------------------------------------------------------

    async def _listen(self, bus: Broker) -> None:
        generation = 0
        wanted = [self._names.filter(kind, site=site) for kind in KINDS for site in self._sites]
        while True:
            generation = await bus.wait_connected(generation)
            try:
                await bus.subscribe(wanted, qos=1, retain_handling=2, retain_as_published=True)
                self.listening = generation
            except BrokerRefusedError as error:
                log.error("No command can be given over MQTT: %s", error)  # noqa: TRY400 -- the sentence says it all
            except BrokerError:
                continue

    def take(self, messages: Sequence[Message]) -> None:
        """What the bus has received: its `on_messages`."""
        for message in messages:
            parsed = self._names.parse(message.topic)
            if parsed is None or parsed.kind.name not in KINDS or parsed.site not in self._sites:
                continue
            self.stats["received"] += 1
            if message.payload:
                self._take(Place.of(parsed), message)
            else:
                self.stats["empty"] += 1  # that is how a stored message is cleared

    def _take(self, place: Place, message: Message) -> None:
        asked = None
        try:
            now = time.time()
            asked = read(message.payload, now)
            self._accept(place, message, asked, now)
        except CommandError as error:
            identity = error.identity or (asked.id if asked else None) or uuid.uuid4().hex
            known = {"id": identity, "site": place.site, "target": place.name}
            known |= {"command": asked.command} if asked else {}
            self._answer(message, known | refused(error, error.code))

    def _accept(self, place: Place, message: Message, asked: Asked, now: float) -> None:
        if message.retain:
            cure = f"Publish without retain, and an empty retained message to {message.topic} to clear it."
            raise CommandError("A stored (retained) message is no command.", "retained", cure=cure)
        ref = place.ref
        word = self._words.find(place.kind, asked.command, force=asked.force)
        order = Order(place, ref, asked, word, asked.id or uuid.uuid4().hex, message, now)
        if asked.bare:
            self._may_be_bare(place, word)
        if not self._lanes.add(place, order):
            raise CommandError("Too many commands wait already; this one is not done.", "busy", cure="Send it later.")

    def _may_be_bare(self, place: Place, word: Word) -> None:
        example = f'{{"command": "{word.text}", "id": "<a new one>", "ts": <Unix seconds>}}'
        if word.risk != "operate":
            raise CommandError(f"{word.text} is too much for a word alone.", "bare_word", cure=f"Send {example}.")
        if self._bus is None or self._bus.protocol != "5":
            text = "Over MQTT 3.1.1 a word alone cannot be told from a stored one that is sent again."
            raise CommandError(text, "bare_word", cure=f"Send {example}.")
        if any(one.asked.bare and one.word.action == word.action for one in self._lanes.lane(place)):
            raise CommandError(f"{word.text} is under way there already.", "repeated")

    # --- what is done ------------------------------------------------------------------------------------------------

    async def _do(self, order: Order, follow: Follow) -> None:
        self._tell(order, await self._carrier.do(order, follow))

    def _tell(self, order: Order, fields: Mapping[str, Any]) -> None:
        self._answer(order.message, {**order.facts, **fields})

    # --- what goes out -----------------------------------------------------------------------------------------------

    def _answer(self, message: Message, fields: Mapping[str, Any]) -> None:
        self.stats[f"refused.{fields['refused']}" if fields.get("refused") else fields["status"]] += 1
        if len(self._answers) >= ANSWERS and fields["status"] == "refused":
            self.stats["unanswered"] += 1
            return
        said = CommandResult(**{"at": utc(time.time()), "bridge": self._bridge, **fields})
        self._answers.append(Answer(message, said))
        self._wake.set()

    async def _publish_all(self, bus: Broker) -> None:
        generation = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._answers:
                try:
                    await self._publish(bus, self._answers[0])
                except BrokerUnreachableError:
                    generation = await bus.wait_connected(generation)
                else:
                    self._answers.popleft()

    async def _publish(self, bus: Broker, answer: Answer) -> None:
        """Raises BrokerUnreachableError; what the broker refuses is counted."""
        topics, hint = self._topics(answer)
        said = answer.result.model_copy(update={"hint": f"{answer.result.hint} {hint}".strip()})
        for topic in topics:
            correlation = answer.message.correlation_data
            try:
                await bus.publish(topic, said.payload(), qos=TOPIC_KINDS["result"].qos, correlation_data=correlation)
            except BrokerRefusedError as error:
                self.stats["unanswered"] += 1
                log.warning("The outcome of a command was not told: %s", error)

    def _topics(self, answer: Answer) -> tuple[list[str], str]:
        """Where it goes, and what is to be said of a response topic that it does not go to."""
        own = self._names.build("result", site=answer.result.site, id=answer.result.id)
        root, asked = own.rpartition("/")[0], answer.message.response_topic
        if asked is None or asked == own:
            return [own], ""
        inside = asked == root or asked.startswith(f"{root}/")
        if inside and len(asked) <= TOPIC and asked.isprintable() and not set("+#") & set(asked):
            return [own, asked], ""
        return [own], f"The response topic must be {root} or below it: this is told here only."

    async def _farewell(self, bus: Broker) -> None:
        for order in self._lanes.rest():
            self._tell(order, unseen(order) if order.begun else refused(_ENDING, _ENDING.code))
        with suppress(TimeoutError, BrokerError):
            async with asyncio.timeout(GOODBYE):
                while self._answers:
                    await self._publish(bus, self._answers[0])
                    self._answers.popleft()


_ENDING = CommandError("The bridge is ending: this was not begun.", "ending", cure="Send it anew when it is back.")
