"""What is held retained reaches every bus once per change, again after a reconnect, and again when overwritten."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from mqtt_bridge import topics
from mqtt_bridge.errors import BrokerRefusedError, BrokerUnreachableError
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.mqtt.loopback import Loopback, LoopbackClient
from mqtt_bridge.retained import Retained

NAMES = topics.Topics()
STATE = NAMES.build("site_state", site="lab")
OTHER = NAMES.build("site_state", site="other")


class ShakyBus:
    """A bus that can be disconnected; it keeps what was published."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []
        self.refuse: set[str] = set()
        self.generation = 1
        self._up = asyncio.Event()
        self._up.set()
        self._down = asyncio.Event()

    @property
    def connected(self) -> bool:
        return self._up.is_set()

    def drop(self) -> None:
        self._up.clear()
        self._down.set()

    def back(self) -> None:
        self.generation += 1
        self._down.clear()
        self._up.set()

    async def wait_connected(self, after: int = 0) -> int:
        while not (self.connected and self.generation > after):
            await asyncio.sleep(0.005)
        return self.generation

    async def wait_disconnected(self, generation: int) -> None:
        while self.connected and self.generation == generation:
            await asyncio.sleep(0.005)

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, correlation_data: bytes | None = None
    ) -> None:
        reasons = await self.publish_many([Message(topic, payload, qos, retain)])
        if reasons[0]:
            raise BrokerRefusedError("no", reason=reasons[0])

    async def publish_many(self, messages: Sequence[Message]) -> Sequence[str]:
        await asyncio.sleep(0)
        if not self.connected:
            raise BrokerUnreachableError("gone")
        self.published += [(m.topic, m.payload) for m in messages if m.topic not in self.refuse]
        return ["Not authorized" if m.topic in self.refuse else "" for m in messages]

    async def subscribe(self, filters: Sequence[str], **_: object) -> None: ...

    async def unsubscribe(self, filters: Sequence[str]) -> None: ...


@pytest.fixture
async def bus() -> ShakyBus:
    return ShakyBus()


@pytest.fixture
async def retained(bus: ShakyBus) -> AsyncIterator[Retained]:
    held = Retained(NAMES)
    task = asyncio.create_task(held.feed(bus))
    await asyncio.sleep(0)
    yield held
    task.cancel()
    await asyncio.wait([task])


async def test_only_changes_are_published(retained: Retained, bus: ShakyBus) -> None:
    assert retained.put("site_state", "online", site="lab")
    await retained.settled(bus)
    assert not retained.put("site_state", "online", site="lab")
    assert retained.put("site_state", "offline", site="lab")
    await retained.settled(bus)
    assert bus.published == [(STATE, b"online"), (STATE, b"offline")]


async def test_after_a_reconnect_everything_is_published_again_with_its_last_value(
    retained: Retained, bus: ShakyBus
) -> None:
    retained.put("site_state", "online", site="lab")
    retained.put("site_state", "online", site="other")
    await retained.settled(bus)
    bus.drop()
    await asyncio.sleep(0.02)
    retained.put("site_state", "degraded", site="lab")
    retained.put("site_state", "offline", site="lab")
    bus.published.clear()
    bus.back()
    await asyncio.sleep(0.05)
    await retained.settled(bus)
    assert sorted(bus.published) == sorted([(OTHER, b"online"), (STATE, b"offline")])


async def test_a_cleared_topic_is_cleared_also_when_the_broker_was_away(retained: Retained, bus: ShakyBus) -> None:
    retained.put("site_state", "online", site="lab")
    await retained.settled(bus)
    bus.drop()
    await asyncio.sleep(0.02)
    retained.drop("site_state", site="lab")
    bus.back()
    await asyncio.sleep(0.05)
    await retained.settled(bus)
    assert bus.published[-1] == (STATE, b"")


async def test_a_refused_topic_is_told_and_blocks_nothing(retained: Retained, bus: ShakyBus) -> None:
    bus.refuse.add(STATE)
    retained.put("site_state", "online", site="lab")
    retained.put("site_state", "online", site="other")
    await retained.settled(bus)
    assert bus.published == [(OTHER, b"online")]
    assert retained.refused == {STATE: "Not authorized"}
    bus.refuse.clear()
    retained.put("site_state", "offline", site="lab")
    await retained.settled(bus)
    assert not retained.refused


async def test_a_foreign_write_is_put_right(retained: Retained, bus: ShakyBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqtt_bridge.retained.FOREIGN_PAUSE", 0.01)
    retained.put("site_state", "online", site="lab")
    await retained.settled(bus)
    retained.correct(bus, [Message(STATE, b"online")], mine=lambda p: p.site == "lab")
    retained.correct(bus, [Message(STATE, b"forged")], mine=lambda p: p.site == "lab")
    retained.correct(bus, [Message(OTHER, b"forged")], mine=lambda p: p.site == "lab")
    await asyncio.sleep(1.2)
    assert bus.published == [(STATE, b"online"), (STATE, b"online")]
    assert retained.stats["foreign_writes"] == 1


async def test_leftovers_are_cleared_only_for_sites_that_were_seen_completely(
    retained: Retained, bus: ShakyBus
) -> None:
    ghost = NAMES.build("guest", site="lab", vmid=999)
    retained.correct(bus, [Message(ghost, b"{}")], mine=lambda _: True)
    assert retained.sweep(set()) == 0
    assert retained.sweep({"lab"}) == 1
    await retained.settled(bus)
    assert bus.published == [(ghost, b"")]


async def test_a_loopback_client_is_a_bus_too() -> None:
    hub = Loopback()
    got: list[Message] = []
    async with LoopbackClient(hub, got.extend) as reader, hub.client() as writer:
        await reader.subscribe([NAMES.filter("site_state")])
        held = Retained(NAMES)
        task = asyncio.create_task(held.feed(writer))
        held.put("site_state", "online", site="lab")
        await asyncio.sleep(0.01)
        await held.settled(writer)
        await asyncio.sleep(0.01)
        task.cancel()
    assert [(m.topic, m.payload) for m in got] == [(STATE, b"online")]
