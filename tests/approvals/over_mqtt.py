"""Another client of the broker: it sees what is published, and publishes whatever it likes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mqtt_bridge.approvals import Approvals
from mqtt_bridge.approvals.desk import Desk
from mqtt_bridge.approvals.proofs import Claim, key_of, sign
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.topics import Topics
from tests.approvals.making import SECRETS

NAMES = Topics()
PATIENCE = 30.0


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait for it, generously."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(what or "it did not happen") from None


@dataclass
class Client:
    """What it has seen, in order, and what is retained by topic."""

    bus: Broker | None = None
    seen: list[Message] = field(default_factory=list)
    held: dict[str, bytes] = field(default_factory=dict)

    def take(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self.seen.append(message)
            if "/approval/" in message.topic and "/decision/" not in message.topic:
                self.held[message.topic] = message.payload

    def published(self, given: str, site: str = "lab") -> dict[str, Any] | None:
        payload = self.held.get(NAMES.build("approval", site=site, id=given))
        return json.loads(payload) if payload else None

    def results(self, given: str, site: str = "lab") -> list[dict[str, Any]]:
        topic = NAMES.build("result", site=site, id=given)
        return [json.loads(m.payload) for m in self.seen if m.topic == topic]

    async def say(self, given: str, who: str, *, retain: bool = False, **said: Any) -> None:
        await self.raw(given, who, json.dumps(said).encode(), retain=retain)

    async def raw(self, given: str, who: str, payload: bytes, *, retain: bool = False) -> None:
        assert self.bus
        topic = NAMES.build("approval_decision", site="lab", id=given, who=who)
        await self.bus.publish(topic, payload, qos=1, retain=retain)

    async def answer(self, given: str, who: str, *, retain: bool = False, **said: Any) -> dict[str, Any]:
        """What comes back."""
        before = len(self.results(given))
        await self.say(given, who, retain=retain, **said)
        await until(lambda: len(self.results(given)) > before, "no answer to the decision")
        return self.results(given)[-1]


@asynccontextmanager
async def client(options: BrokerOptions) -> AsyncIterator[Client]:
    """Connected and listening."""
    one = Client()
    async with Broker(options, one.take, role="other") as bus:
        one.bus = bus
        await bus.wait_connected()
        await bus.subscribe(["proxmox/#"], qos=1)
        yield one


@asynccontextmanager
async def desk(approvals: Approvals, options: BrokerOptions, *, bound: bool | None = None) -> AsyncIterator[Desk]:
    """The desk for the site `lab`, listening."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(Desk(approvals, options, NAMES, ["lab"], bound=bound))
        if approvals.settings.mqtt != "off":
            await until(lambda: one.active, "the desk does not listen")
        yield one


def proof(given: str, digest: str, who: str = "alice", decision: Any = "approve", **more: str) -> dict[str, str]:
    ts = more.get("ts", str(time.time()))
    claim = Claim(given, decision, digest, who, ts)
    return {"ts": ts, "hmac": sign(key_of(more.get("secret", SECRETS["alice"])), claim)}
