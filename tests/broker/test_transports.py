"""TCP and TLS carry everything, under load, in both directions and both versions."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.mqtt.bus import Message
from tests.support.https_host import make_certificate
from tests.support.mosquitto import Mosquitto

MANY = 6000
BODY = b"x" * 700


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_many_at_once_both_ways(tmp_path: Path, protocol: Literal["5", "3.1.1"], *, tls: bool) -> None:
    certificate = make_certificate(tmp_path, "127.0.0.1")
    lines = []
    if tls:
        lines = [f"certfile {certificate.path}", f"keyfile {certificate.path}"]
    seen: set[bytes] = set()
    done = asyncio.Event()

    def take(messages: object) -> None:
        seen.update(m.payload[:6] for m in messages)  # type: ignore[attr-defined]
        if len(seen) == MANY:
            done.set()

    async with Mosquitto(tmp_path / "m", listener=lines, config=["max_queued_messages 0"]) as mosquitto:
        options = replace(mosquitto.options, tls=tls, protocol=protocol)
        if tls:
            options = replace(options, ca_file=certificate.path)
        async with Broker(options, take, role="reader") as reader, Broker(options, role="writer") as writer:
            async with asyncio.timeout(40):
                await reader.wait_connected()
                await writer.wait_connected()
                await reader.subscribe(["t/#"], qos=1)
                batch = [Message(f"t/{n % 50}", b"%06d" % n + BODY, qos=1) for n in range(MANY)]
                assert set(await writer.publish_many(batch)) == {""}
                await done.wait()
