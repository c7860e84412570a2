"""The faults of amqtt 0.12 that are worked around: each of these fails on amqtt as it comes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mqtt_bridge.mqtt import embedded_amqtt
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions, Will
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.mqtt.embedded import EmbeddedBroker
from mqtt_bridge.secret import Secret
from tests.broker.inbox import Inbox, until


@pytest.fixture
async def amqtt(tmp_path: Path) -> AsyncIterator[BrokerOptions]:
    async with EmbeddedBroker(tmp_path, port=0, prefer="amqtt") as options:
        yield options


def _connect_packet(options: BrokerOptions, *, keepalive: int, client_id: bytes = b"raw") -> bytes:
    def text(value: bytes) -> bytes:
        return len(value).to_bytes(2, "big") + value

    assert options.username
    assert options.password
    body = text(b"MQTT") + b"\x04\xc2" + keepalive.to_bytes(2, "big") + text(client_id)
    body += text(options.username.encode()) + text(options.password.reveal().encode())
    return b"\x10" + bytes([len(body)]) + body


async def test_a_socket_without_a_connect_is_hung_up(amqtt: BrokerOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_amqtt, "CONNECT_WITHIN", 0.3)
    for beginning in (b"", b"\x10\x20\x00"):
        reader, writer = await asyncio.open_connection(amqtt.host, amqtt.port)
        writer.write(beginning)
        async with asyncio.timeout(15):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()


async def test_huge_messages_are_not_read(amqtt: BrokerOptions) -> None:
    reader, writer = await asyncio.open_connection(amqtt.host, amqtt.port)
    writer.write(_connect_packet(amqtt, keepalive=60))
    assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
    writer.write(b"\x30\x80\x80\x80\x19" + b"\x00\x01t")  # PUBLISH, 50 MB announced
    async with asyncio.timeout(15):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
    writer.close()
    async with Broker(amqtt) as bus, asyncio.timeout(15):
        await bus.wait_connected()
        await bus.publish("t", b"x" * 900_000)


async def test_a_client_that_falls_silent_is_lost_and_its_will_is_sent(amqtt: BrokerOptions) -> None:
    inbox = Inbox()
    async with Broker(amqtt, inbox.put) as watcher:
        await watcher.wait_connected()
        await watcher.subscribe(["will"])
        async with Broker(replace(amqtt, keepalive=1), will=Will("will", b"offline")) as frozen:
            await frozen.wait_connected()
            assert frozen._link
            frozen._link._client._send_pingreq = lambda: 0  # type: ignore[method-assign, assignment, return-value]
            assert [m.payload for m in await inbox.has(1)] == [b"offline"]


async def test_a_reader_that_stops_reading_does_not_hold_up_the_others(amqtt: BrokerOptions) -> None:
    with socket.create_connection((amqtt.host, amqtt.port)) as stuck:
        stuck.sendall(_connect_packet(amqtt, keepalive=0))
        stuck.sendall(b"\x82\x06\x00\x01\x00\x01#\x00")
        inbox = Inbox()
        async with Broker(amqtt, inbox.put) as bus, asyncio.timeout(15):
            await bus.wait_connected()
            await bus.subscribe(["t"])
            for _ in range(200):
                await bus.publish("t", b"x" * 100_000)
            await inbox.has(200)


async def test_what_was_acknowledged_before_a_goodbye_is_passed_on(amqtt: BrokerOptions) -> None:
    """On Python 3.12 and later, amqtt as it comes acknowledges these 100 and passes 1 on."""
    inbox = Inbox()
    async with Broker(amqtt, inbox.put) as watcher:
        await watcher.wait_connected()
        await watcher.subscribe(["t/#"], qos=1)
        reader, writer = await asyncio.open_connection(amqtt.host, amqtt.port)
        publishes = [b"\x32\x07\x00\x03t/x" + number.to_bytes(2, "big") for number in range(1, 101)]
        writer.write(_connect_packet(amqtt, keepalive=60))
        await reader.readexactly(4)
        writer.write(b"".join(publishes))
        writer.write(b"\xe0\x00")
        await reader.readexactly(4 * len(publishes))  # every PUBACK
        writer.close()
        assert len(await inbox.has(100)) == 100


async def test_a_bridge_its_mirrors_and_a_reader(amqtt: BrokerOptions) -> None:
    """The demo's load: one writer, mirrors that come and go while it writes, and each sees everything in the end."""
    expected = {f"proxmox/pve/guest/{number}": b"%d" % number for number in range(300)}

    async def mirror() -> None:
        seen: dict[str, bytes] = {}

        def put(messages: Sequence[Message]) -> None:
            seen.update({message.topic: message.payload for message in messages})

        async with Broker(amqtt, put) as bus:
            await bus.wait_connected()
            await bus.subscribe(["proxmox/#"])
            await until(lambda: seen == expected, 15)

    async with Broker(amqtt) as bridge:
        await bridge.wait_connected()

        async def write() -> None:
            for number, (topic, payload) in enumerate(expected.items()):
                await bridge.publish(topic, payload, qos=number % 2, retain=True)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            for _ in range(5):
                group.create_task(mirror())
                await asyncio.sleep(0.02)
        await mirror()


async def test_refused_logins_leave_nothing_behind(tmp_path: Path) -> None:
    users = {"bridge": Secret("right")}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = embedded_amqtt._Broker(port, "127.0.0.1", users, tmp_path / "retained.json")
    await server.start()
    wrong = BrokerOptions("127.0.0.1", port, "bridge", Secret("wrong"), protocol="3.1.1")
    for _ in range(3):
        async with Broker(wrong) as bus:
            await until(lambda bus=bus: bus.failure is not None)  # type: ignore[misc]
    assert server.sessions == {}
    await server.shutdown()
