"""Answers questions about earlier events that come in on `proxmox/bridge/<bridge>/request/history`.

Where an answer may go: to `…/response/history` or below it, nowhere else. A requester needs the right to write to one
topic only; if it could name any topic, it could have us write where it may not: to another device's command topic, or
to Home Assistant's discovery. Answers are never retained, so no state of ours can be replaced by one.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from mqtt_bridge.errors import BridgeError, BrokerRefusedError, BrokerUnreachableError
from mqtt_bridge.events.history_request import HistoryRequestError, read_request
from mqtt_bridge.events.lists import fitting
from mqtt_bridge.journal.journal import Journal, Stored
from mqtt_bridge.mqtt.bus import Bus, Message
from mqtt_bridge.topics import KINDS, Topics

log = logging.getLogger(__name__)

LARGEST_ANSWER = 256 * 1024  # bytes
FRAME = 1024  # of those, for what is around the events: an id has up to 128 characters, each up to 6 bytes in JSON
WAITING = 100  # requests that wait; more are counted and dropped
SHORTENED = 16 * 1024  # characters of a message that alone would not fit
TOPIC = 512  # characters of a response topic


class History:
    """`take` what a bus of one's own receives, and `serve` it: a fresh session, so that no request is from yesterday.

    One for each bus, on which its answers go out. `stats` counts answered, refused (with an error as the answer) and
    dropped (too many, retained, nowhere to answer).
    """

    def __init__(self, journal: Journal, names: Topics, bridge: str) -> None:
        self.stats: Counter[str] = Counter()
        self.request_topic = names.build("history_request", bridge=bridge)
        self.answer_topic = names.build("history_answer", bridge=bridge)
        self._journal = journal
        self._waiting: deque[Message] = deque()
        self._wake = asyncio.Event()
        self._serving = False

    def take(self, messages: Sequence[Message]) -> None:
        """What the bus has received: its `on_messages`."""
        for message in messages:
            if message.topic != self.request_topic:
                continue
            if message.retain or len(self._waiting) >= WAITING:
                self.stats["dropped"] += 1
                continue
            self._waiting.append(message)
            self._wake.set()

    async def serve(self, bus: Bus) -> None:
        """Answer, one after the other, until cancelled."""
        if self._serving:
            raise RuntimeError("a History serves one bus: make another one for the second bus")
        self._serving = True
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen(bus))
                group.create_task(self._answer_all(bus))
        finally:
            self._serving = False

    async def _listen(self, bus: Bus) -> None:
        generation = 0
        while True:
            generation = await bus.wait_connected(generation)
            try:
                await bus.subscribe([self.request_topic], qos=KINDS["history_request"].qos, retain_handling=2)
            except BrokerRefusedError as error:
                log.error("History cannot be asked for: %s", error)  # noqa: TRY400 -- the sentence says it all
            except BrokerUnreachableError:
                continue

    async def _answer_all(self, bus: Bus) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._answer(bus, self._waiting.popleft())

    async def _answer(self, bus: Bus, request: Message) -> None:
        topic = self.answer_topic if request.response_topic is None else request.response_topic
        if not self.may_answer_to(topic):
            refusal = f"The response topic must be {self.answer_topic}, or below it without wildcards."
            topic, payload = self.answer_topic, self._refuse(refusal, None)
        else:
            payload = await self.answer(request.payload)
        try:
            await bus.publish(
                topic, payload, qos=KINDS["history_answer"].qos, correlation_data=request.correlation_data
            )
        except BridgeError as error:  # whoever asked asks again
            self.stats["dropped"] += 1
            log.warning("An answer about earlier events was not sent: %s", error)

    def may_answer_to(self, topic: str) -> bool:
        """Whether it is the topic for answers, or below it."""
        inside = topic == self.answer_topic or topic.startswith(f"{self.answer_topic}/")
        return inside and len(topic) <= TOPIC and topic.isprintable() and not set("+#") & set(topic)

    async def answer(self, payload: bytes) -> bytes:
        """The answer to a request: a HistoryAnswer as JSON."""
        try:
            asked = read_request(payload)
            stored, following = await self._journal.history_rows(asked.query(time.time()))
        except HistoryRequestError as error:
            return self._refuse(error.message, error.identity)
        except BridgeError as error:
            return self._refuse(str(error), None)
        self.stats["answered"] += 1
        return _page(asked.id, stored, following)

    def _refuse(self, message: str, identity: str | None) -> bytes:
        self.stats["refused"] += 1
        return to_json({"id": identity, "events": [], "next_cursor": None, "error": message})


def _page(identity: str | None, stored: Sequence[Stored], following: str | None) -> bytes:
    """As many of the events as fit; one that alone would not is shortened, so that every page goes on."""
    room = LARGEST_ANSWER - FRAME
    bodies = fitting((one.body for one in stored), room)
    if stored and not bodies:
        bodies = [_shortened(stored[0])]
    if len(bodies) < len(stored):
        following = stored[len(bodies) - 1].cursor
    frame: dict[str, Any] = {"id": identity, "next_cursor": following, "error": None}
    return to_json(frame)[:-1] + b',"events":[' + b",".join(bodies) + b"]}"


def _shortened(stored: Stored) -> bytes:
    event = stored.event
    fields = {"message": event.message[:SHORTENED], "metadata": {"shortened": True}, "context": {}, "related": ()}
    return event.model_copy(update={**fields, "title": event.title[:1000]}).payload()
