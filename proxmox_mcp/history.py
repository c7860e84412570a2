"""Questions about earlier events, beyond the last 50 that are retained: asked of a bridge over MQTT, page by page."""

import asyncio
import base64
import binascii
import json
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.model import Event, HistoryAnswer, HistoryRequest
from mqtt_bridge.mqtt.bus import Bus, Message
from mqtt_bridge.topics import Topics

PATIENCE = 3.0  # seconds that a bridge has to answer
SPARED = 30.0  # seconds in which one that did not is not asked again, so that not every answer is late
LARGEST = 512 * 1024  # bytes of an answer
FIRST = ""  # where a bridge is asked from the beginning
CURE = "Is it online, and may this MQTT user write to …/request/history and read …/response/history?"
END = "-"  # where a bridge has nothing older
_CURSOR = TypeAdapter(dict[str, str])


class HistoryError(BridgeError):
    """The bridge did not answer, or refused the question."""


class HistoryClient:
    """Asks over a connection that somebody else keeps; `take` is shown everything that comes in there."""

    def __init__(self, names: Topics) -> None:
        self._names = names
        self._waiting: dict[str, asyncio.Future[HistoryAnswer]] = {}
        self._subscribed: tuple[int, int] | None = None
        self._silent: dict[str, float] = {}

    def take(self, messages: Iterable[Message]) -> None:
        """Find the answers among what came in."""
        if not self._waiting:
            return
        for message in messages:
            parsed = self._names.parse(message.topic)
            if parsed is None or parsed.kind.name != "history_answer" or len(message.payload) > LARGEST:
                continue
            try:
                answer = HistoryAnswer.model_validate_json(message.payload)
            except ValidationError:
                continue
            waiting = self._waiting.get(answer.id or "")
            if waiting and not waiting.done():
                waiting.set_result(answer)

    async def ask(self, bus: Bus, bridge: str, request: HistoryRequest) -> HistoryAnswer:
        """One page. Raises HistoryError, and BrokerError without a connection or where the broker refuses it."""
        silent = HistoryError(f"Bridge {bridge} does not answer questions about earlier events.", cure=CURE)
        if request.cursor is None and time.monotonic() - self._silent.get(bridge, -SPARED) < SPARED:
            raise silent
        identity = secrets.token_urlsafe(12)
        answered = self._waiting[identity] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(PATIENCE):
                if self._subscribed != (id(bus), bus.generation):
                    await bus.subscribe([self._names.filter("history_answer")], qos=1)
                    self._subscribed = (id(bus), bus.generation)
                asked = request.model_copy(update={"id": identity}).model_dump_json(exclude_none=True)
                await bus.publish(self._names.build("history_request", bridge=bridge), asked.encode(), qos=1)
                answer: HistoryAnswer = await answered
        except TimeoutError:
            self._silent[bridge] = time.monotonic()
            raise silent from None
        finally:
            del self._waiting[identity]
        self._silent.pop(bridge, None)
        if answer.error:
            raise HistoryError(f"Bridge {bridge}: {answer.error}")
        return answer


@dataclass(frozen=True)
class Found:
    """Events of several bridges, newest first. `silent` says of a bridge why nothing of it is among them."""

    events: list[Event]
    cursor: str | None
    silent: Mapping[str, str]


async def pages(
    client: HistoryClient, bus: Bus, bridges: Sequence[str], request: HistoryRequest, cursor: str | None
) -> Found:
    """A page of all bridges' events taken together, and a cursor that says of each where it is.

    Raises BridgeError where no bridge answers. One of several that does not is left out, but not in the middle: who
    comes with a cursor may try again with it.
    """
    places = _places(cursor, bridges)
    answers: dict[str, HistoryAnswer] = {}
    silent: dict[str, str] = {}
    asked = [bridge for bridge in bridges if places[bridge] != END]
    for bridge, answer in zip(asked, await _ask_all(client, bus, asked, request, places), strict=True):
        if isinstance(answer, HistoryAnswer):
            answers[bridge] = answer
        elif cursor is not None or len(asked) == 1:
            raise answer
        else:
            silent[bridge], places[bridge] = str(answer), END
    if asked and not answers:
        raise HistoryError(" ".join(silent.values()))
    taken = _newest(answers, request.limit)
    for bridge, answer in answers.items():
        if count := taken.get(bridge, 0):
            if count < len(answer.events):  # asked again for its cursor
                answers[bridge] = await client.ask(bus, bridge, _at(request, places[bridge], count))
            places[bridge] = answers[bridge].next_cursor or END
        elif not answer.events:
            places[bridge] = answer.next_cursor or END
    events = [event for bridge in taken for event in answers[bridge].events]
    events.sort(key=_when, reverse=True)
    return Found(events, None if set(places.values()) <= {END} else _cursor(places), silent)


async def _ask_all(
    client: HistoryClient, bus: Bus, bridges: Sequence[str], request: HistoryRequest, places: Mapping[str, str]
) -> list[HistoryAnswer | BridgeError]:
    async def one(bridge: str) -> HistoryAnswer | BridgeError:
        try:
            return await client.ask(bus, bridge, _at(request, places[bridge], request.limit))
        except BridgeError as error:
            return error

    return list(await asyncio.gather(*map(one, bridges)))


def _at(request: HistoryRequest, place: str, limit: int) -> HistoryRequest:
    return request.model_copy(update={"cursor": place or None, "limit": limit})


def _newest(answers: Mapping[str, HistoryAnswer], limit: int) -> Counter[str]:
    """How many of each bridge's events belong to the newest `limit` of all.

    A bridge that has more may have something newer than what another one tells behind it: that has to wait.
    """
    known = max((_when(a.events[-1]) for a in answers.values() if a.next_cursor and a.events), default="")
    told = [(_when(event), bridge) for bridge, answer in answers.items() for event in answer.events]
    newest = sorted((pair for pair in told if pair[0] >= known), key=lambda pair: pair[0], reverse=True)
    return Counter(bridge for _, bridge in newest[:limit])


def _when(event: Event) -> str:
    return event.timestamp


def _cursor(places: Mapping[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(places, separators=(",", ":")).encode()).decode().rstrip("=")


def _places(cursor: str | None, bridges: Sequence[str]) -> dict[str, str]:
    if cursor is None:
        return dict.fromkeys(bridges, FIRST)
    try:
        read = _CURSOR.validate_json(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        read = {}
    if not read.keys() & set(bridges):
        raise BridgeError("The cursor is not valid, or not any more.", cure="Start again without one.")
    return {bridge: read.get(bridge, END) for bridge in bridges}
