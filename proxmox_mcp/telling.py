"""Asks over MQTT that somebody be told something, and gathers what each process with notifiers says came of it."""

import asyncio
import secrets
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from pydantic import ValidationError

from mqtt_bridge.errors import BrokerError
from mqtt_bridge.model import NotifyRequest, NotifyResult
from mqtt_bridge.mqtt.bus import Bus, Message
from mqtt_bridge.topics import KINDS, Topics

PATIENCE = 25.0  # seconds: a bridge itself waits 20 for what the services answer
LARGEST = 64 * 1024  # bytes of an answer


class TellingClient:
    """Works over a connection that somebody else keeps; `take` is shown everything that comes in there."""

    def __init__(self, names: Topics) -> None:
        self._names = names
        self._waiting: dict[str, dict[str, asyncio.Future[NotifyResult]]] = {}

    def take(self, messages: Iterable[Message]) -> None:
        """Find the answers among what came in."""
        if not self._waiting:
            return
        for message in messages:
            parsed = self._names.parse(message.topic)
            if parsed is None or parsed.kind.name != "result" or len(message.payload) > LARGEST:
                continue
            if parsed.ids["id"] in self._waiting:
                self._found(self._waiting[parsed.ids["id"]], message.payload)

    @staticmethod
    def _found(waiting: Mapping[str, "asyncio.Future[NotifyResult]"], payload: bytes) -> None:
        try:
            result = NotifyResult.model_validate_json(payload)
        except ValidationError:
            return
        answer = waiting.get(result.bridge)
        if answer is not None and not answer.done():
            answer.set_result(result)

    async def ask(
        self, bus: Bus, site: str, request: NotifyRequest, bridges: Collection[str], *, patience: float = PATIENCE
    ) -> Mapping[str, NotifyResult]:
        """The answers of these bridges; one that says nothing in time is left out. Raises BrokerError."""
        identity = request.id or secrets.token_urlsafe(16)
        topic = self._names.build("result", site=site, id=identity)
        loop = asyncio.get_running_loop()
        answers = self._waiting[identity] = {bridge: loop.create_future() for bridge in bridges}
        try:
            await bus.subscribe([topic], qos=KINDS["result"].qos)
            asked = request.model_copy(update={"id": identity}).model_dump_json(exclude_none=True)
            await bus.publish(self._names.build("notify", site=site), asked.encode(), qos=KINDS["notify"].qos)
            await asyncio.wait(answers.values(), timeout=patience)
            return {bridge: answer.result() for bridge, answer in answers.items() if answer.done()}
        finally:
            del self._waiting[identity]
            with suppress(BrokerError):
                await bus.unsubscribe([topic])
