"""Questions about earlier events, beyond the last 50 that are retained: asked of a bridge over MQTT, page by page."""

import asyncio
import base64
import binascii
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence

from pydantic import TypeAdapter, ValidationError

from mqtt_bridge.bus import Bus, Message
from mqtt_bridge.errors import BridgeError
from mqtt_bridge.model import Event, HistoryAnswer, HistoryRequest
from mqtt_bridge.topics import Topics

PATIENCE = 3.0  # seconds that a bridge has to answer
LARGEST = 512 * 1024  # bytes of an answer
FIRST = ""  # where a bridge is asked from the beginning
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
        """One page. Raises HistoryError and, without a connection, BrokerUnreachableError."""
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
            raise HistoryError(f"Bridge {bridge} does not answer questions about earlier events.") from None
        finally:
            del self._waiting[identity]
        if answer.error:
            raise HistoryError(f"Bridge {bridge}: {answer.error}")
        return answer


async def pages(
    client: HistoryClient, bus: Bus, bridges: Sequence[str], request: HistoryRequest, cursor: str | None
) -> tuple[list[Event], str | None]:
    """A page of each bridge's events, merged with the newest first, and a cursor that says of each where it is."""
    places = _places(cursor, bridges)
    asked = [bridge for bridge in bridges if places[bridge] != END]
    answers = await asyncio.gather(
        *(client.ask(bus, b, request.model_copy(update={"cursor": places[b] or None})) for b in asked)
    )
    places |= {bridge: answer.next_cursor or END for bridge, answer in zip(asked, answers, strict=True)}
    events = sorted((e for answer in answers for e in answer.events), key=lambda e: e.timestamp, reverse=True)
    return events, None if set(places.values()) == {END} else _cursor(places)


def _cursor(places: Mapping[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(places, separators=(",", ":")).encode()).decode().rstrip("=")


def _places(cursor: str | None, bridges: Sequence[str]) -> dict[str, str]:
    if cursor is None:
        return dict.fromkeys(bridges, FIRST)
    try:
        read = _CURSOR.validate_json(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        raise BridgeError("The cursor is not valid.", cure="Start again without one.") from None
    return {bridge: read.get(bridge, END) for bridge in bridges}
