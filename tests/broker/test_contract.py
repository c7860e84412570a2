"""What every bus must do alike, whatever is behind it."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest

from mqtt_bridge.mqtt.bus import Message
from tests.broker.conftest import Hub
from tests.broker.inbox import Inbox, until


async def test_a_message_reaches_its_subscribers_and_nobody_else(hub: Hub) -> None:
    near, far = Inbox(), Inbox()
    async with hub.connect(near.put) as one, hub.connect(far.put) as two, hub.connect(None) as sender:
        for bus in (one, two, sender):
            await bus.wait_connected()
        await one.subscribe(["t/one"], qos=1)
        await two.subscribe(["t/two"], qos=1)
        await sender.publish("t/one", b"\x00\xff", qos=1)
        assert await near.has(1) == [Message("t/one", b"\x00\xff", qos=1)]
        assert far.messages == []


async def test_retained_messages_are_kept_marked_and_cleared(hub: Hub) -> None:
    live, late, last = Inbox(), Inbox(), Inbox()
    async with hub.connect(live.put) as early, hub.connect(late.put) as second, hub.connect(last.put) as third:
        for bus in (early, second, third):
            await bus.wait_connected()
        await early.subscribe(["r/#"], qos=1)
        await early.publish("r/a", b"old", retain=True)
        await early.publish("r/a", b"new", retain=True)
        await early.publish("r/b", b"gone", retain=True)
        await early.publish("r/b", b"", retain=True)
        await live.has(4)
        assert {message.retain for message in live.messages} == {False}, "to a live subscriber nothing is a stored one"
        await second.subscribe(["r/#"], qos=1)
        assert await late.has(1) == [Message("r/a", b"new", qos=1, retain=True)]
        await third.publish("r/other", b"x")
        assert last.messages == [], "no subscription, no messages"


async def test_who_connects_is_not_sent_what_others_subscribed_to(hub: Hub) -> None:
    mine, others = Inbox(), Inbox()
    async with hub.connect(others.put) as other:
        await other.wait_connected()
        await other.publish("seen/by/others", b"x", retain=True)
        await other.subscribe(["seen/#", "seen/by/others"])
        async with hub.connect(mine.put) as bus:
            await bus.wait_connected()
            await other.publish("seen/by/others", b"y", retain=True)
            await others.has(3)
            assert mine.messages == []


WILDCARDS: dict[str, set[str]] = {
    "a/+": {"a/b"},
    "a/#": {"a", "a/b", "a/b/c"},
    "+/+/+": {"a/b/c"},
    "+": {"a"},
    "a/b": {"a/b"},
    "A/b": set(),
}


async def test_wildcards_of_live_and_of_stored_messages(hub: Hub) -> None:
    live, stored = ({topic_filter: Inbox() for topic_filter in WILDCARDS} for _ in range(2))
    async with AsyncExitStack() as stack:

        async def subscribe(inboxes: dict[str, Inbox]) -> None:
            for topic_filter, inbox in inboxes.items():
                bus = await stack.enter_async_context(hub.connect(inbox.put))
                await bus.wait_connected()
                await bus.subscribe([topic_filter], qos=1)

        await subscribe(live)
        sender = await stack.enter_async_context(hub.connect(None))
        await sender.wait_connected()
        for topic in ("a", "a/b", "a/b/c"):
            await sender.publish(topic, b"x", retain=True)
        await subscribe(stored)
        await live["a/#"].has(3)
        await stored["a/#"].has(3)
        assert {f: set(inbox.topics) for f, inbox in live.items()} == WILDCARDS
        assert {f: set(inbox.topics) for f, inbox in stored.items()} == WILDCARDS


async def test_unsubscribe(hub: Hub) -> None:
    inbox = Inbox()
    async with hub.connect(inbox.put) as bus:
        await bus.wait_connected()
        await bus.subscribe(["u/a", "u/b"], qos=1)
        await bus.unsubscribe(["u/a"])
        await bus.publish("u/a", b"1")
        await bus.publish("u/b", b"2")
        assert [m.topic for m in await inbox.has(1)] == ["u/b"]


async def test_subscribing_again_raises_the_qos(hub: Hub) -> None:
    inbox = Inbox()
    async with hub.connect(inbox.put) as bus:
        await bus.wait_connected()
        await bus.subscribe(["q"], qos=0)
        await bus.subscribe(["q"], qos=1)
        await bus.publish("q", b"x", qos=1)
        assert [m.qos for m in await inbox.has(1)] == [1]


async def test_one_topic_keeps_its_order(hub: Hub) -> None:
    inbox = Inbox()
    async with hub.connect(inbox.put) as bus, hub.connect(None) as sender:
        await bus.wait_connected()
        await sender.wait_connected()
        await bus.subscribe(["o"], qos=1)
        sent = [b"%d" % i for i in range(300)]
        async with asyncio.TaskGroup() as group:
            for payload in sent:
                group.create_task(sender.publish("o", payload, qos=1))
        await inbox.has(300)
        assert inbox.payloads == sent


async def test_thousands_of_retained_messages_arrive_at_qos_0(hub: Hub) -> None:
    inbox = Inbox()
    count = 2000
    async with hub.connect(inbox.put) as bus, hub.connect(None) as sender:
        await bus.wait_connected()
        await sender.wait_connected()
        async with asyncio.TaskGroup() as group:
            for i in range(count):
                group.create_task(sender.publish(f"many/{i}", b"x" * 300, retain=True))
        await bus.subscribe(["many/#"])
        assert len({m.topic for m in await inbox.has(count)}) == count
        assert inbox.batches < count, "messages come in batches"


async def test_messages_are_delivered_in_the_loops_thread(hub: Hub) -> None:
    threads: set[int] = set()
    seen = asyncio.Event()

    def note(_: Sequence[Message]) -> None:
        threads.add(threading.get_ident())
        seen.set()

    async with hub.connect(note) as bus:
        await bus.wait_connected()
        await bus.subscribe(["x"])
        await bus.publish("x", b"1")
        async with asyncio.timeout(15):
            await seen.wait()
    assert threads == {threading.get_ident()}


async def test_generations(hub: Hub) -> None:
    async with hub.connect(None) as bus:
        assert await bus.wait_connected() == 1
        assert (bus.connected, bus.generation) == (True, 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await bus.wait_connected(after=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await bus.wait_disconnected(1)


async def test_a_topic_with_a_wildcard_cannot_be_published_to(hub: Hub) -> None:
    async with hub.connect(None) as bus:
        await bus.wait_connected()
        with pytest.raises(ValueError, match="."):
            await bus.publish("a/+", b"x")


async def test_many_at_once_arrive_in_order(hub: Hub) -> None:
    inbox = Inbox()
    async with hub.connect(inbox.put) as bus:
        await bus.wait_connected()
        await bus.subscribe(["many/#"], qos=1)
        messages = [Message(f"many/{n % 7}", b"%d" % n, qos=1) for n in range(600)]
        assert await bus.publish_many(messages) == [""] * 600
        assert await bus.publish_many([]) == []
        await inbox.has(600)
        for topic in range(7):
            assert [m.payload for m in inbox.messages if m.topic == f"many/{topic}"] == [
                m.payload for m in messages if m.topic == f"many/{topic}"
            ]


async def test_many_at_once_of_both_qos_are_kept(hub: Hub) -> None:
    inbox = Inbox()
    async with hub.connect(None) as bus, hub.connect(inbox.put) as late:
        await bus.wait_connected()
        await late.wait_connected()
        await bus.publish_many([Message(f"both/{n}", b"x", qos=n % 2, retain=True) for n in range(300)])
        await late.subscribe(["both/#"])
        # what a slow broker takes only after the subscription comes twice: as it is published, and as it is retained
        await until(lambda: set(inbox.topics) == {f"both/{n}" for n in range(300)})
