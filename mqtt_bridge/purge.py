"""Clear every retained topic of ours at a broker: states, metrics, and Home Assistant discovery that we published."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial

from mqtt_bridge.discovered import is_ours, shed
from mqtt_bridge.errors import BridgeError, BrokerRefusedError
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.topics import TABLE, DiscoveryTopics, Topics

log = logging.getLogger(__name__)

QUIET = 1.0  # seconds without a message after which a broker has sent all it holds
SETTLE = 3.0  # seconds in which Home Assistant lets go of disabled entities
EACH, LONGEST = 0.3, 60.0  # and for each device, also where it is busy or runs on something small; at most
WINDOW = 500  # publishes under way at once
ROUNDS = 50  # a broker that drops what exceeds its queue is asked again


class _Collector:
    def __init__(self, names: Topics, discovery_prefix: str) -> None:
        self.topics: set[str] = set()
        self.configs: dict[str, bytes] = {}
        self._last = 0.0
        self._names = names
        self._discovery = f"{discovery_prefix}/"

    def __call__(self, messages: Sequence[Message]) -> None:
        self._last = asyncio.get_running_loop().time()
        for message in messages:
            if message.retain and message.payload and self._is_ours(message):
                self.topics.add(message.topic)
                if config := shed(message.payload) if message.topic.startswith(self._discovery) else b"":
                    self.configs[message.topic] = config

    async def quiet(self, seconds: float) -> None:
        """Wait until nothing has come for so long."""
        clock = asyncio.get_running_loop().time
        self._last = clock()
        rest = seconds
        while rest > 0:
            await asyncio.sleep(rest)
            rest = self._last + seconds - clock()

    def _is_ours(self, message: Message) -> bool:
        if message.topic.startswith(self._discovery):
            return is_ours(message.payload)
        return self._names.parse(message.topic) is not None


async def purge(
    options: BrokerOptions, names: Topics, *, discovery_prefix: str = "homeassistant", dry_run: bool = False
) -> list[str]:
    """Clear (or with `dry_run` only list) our retained topics; returns them sorted.

    Raises BridgeError while a bridge is online there, because it would publish them again at once.
    """
    found: set[str] = set()
    for _ in range(ROUNDS):
        collector = _Collector(names, discovery_prefix)
        async with Broker(options, collector, role="purge") as broker:
            await broker.first_attempt()
            if not dry_run:
                await _refuse_while_online(options, names)
            filters = [names.filter(kind.name) for kind in TABLE if kind.retain]
            discovery = DiscoveryTopics(discovery_prefix)
            await _gather(broker, collector, [*filters, discovery.configs, discovery.triggers])
            fresh = collector.topics - found
            found |= collector.topics
            if not fresh or dry_run:
                break
            if collector.configs:
                await _publish(broker, collector.configs)
                pause = min(SETTLE + EACH * len(collector.configs), LONGEST)
                log.info("Home Assistant gets %.0f s to let go of %d devices", pause, len(collector.configs))
                await asyncio.sleep(pause)
            await _publish(broker, dict.fromkeys(sorted(fresh, key=partial(_order, names, discovery)), b""))
    return sorted(found)


def _order(names: Topics, discovery: DiscoveryTopics, topic: str) -> tuple[bool, bool, str]:
    """Triggers, devices, and then the states that they show."""
    return names.parse(topic) is not None, discovery.identity(topic) is not None, topic


async def _publish(broker: Broker, payloads: Mapping[str, bytes]) -> None:
    """Many at once: one by one, Nagle at the broker and our delayed acknowledgements cost 40 ms each."""
    topics = list(payloads)
    for start in range(0, len(topics), WINDOW):
        several = topics[start : start + WINDOW]
        await asyncio.gather(*(broker.publish(topic, payloads[topic], qos=1, retain=True) for topic in several))


async def _gather(broker: Broker, collector: _Collector, filters: Sequence[str]) -> None:
    for topic_filter in filters:
        try:
            await broker.subscribe([topic_filter])
        except BrokerRefusedError:
            continue  # what may not be read cannot be listed; what may is
        await collector.quiet(QUIET / 10)
    await collector.quiet(QUIET)


async def _refuse_while_online(options: BrokerOptions, names: Topics) -> None:
    online: set[str] = set()

    def take(messages: Sequence[Message]) -> None:
        for message in messages:
            parsed = names.parse(message.topic)
            if parsed and message.payload == b"online":
                online.add(parsed.ids["bridge"])

    async with Broker(options, take, role="purge") as broker:
        await broker.wait_connected()
        await broker.subscribe([names.filter("bridge_state")])
        await asyncio.sleep(QUIET / 2)
    if online:
        raise BridgeError(
            f"Bridge {', '.join(sorted(online))} is online and would publish everything again.", cure="Stop it first."
        )
