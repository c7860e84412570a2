"""The ACL that docs/security.md shows does what it says, on a real Mosquitto."""

import asyncio
import re
from pathlib import Path

import pytest

from mqtt_bridge.broker import Broker
from mqtt_bridge.bus import Message
from mqtt_bridge.errors import BrokerRefusedError
from tests.support.mosquitto import Mosquitto

DOC = Path(__file__).resolve().parents[2] / "docs" / "security.md"


def _acl() -> str:
    found = re.search(r"```\n(# acl_file.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


async def test_the_reader_reads_and_cannot_write(tmp_path: Path) -> None:
    users = {"bridge": "bridge-secret", "reader": "reader-secret"}
    async with Mosquitto(tmp_path, users=users, acl=_acl()) as mosquitto:
        bridge, reader = mosquitto.options_for("bridge"), mosquitto.options_for("reader")
        got: list[Message] = []
        async with Broker(bridge) as writing, Broker(reader, got.extend) as reading:
            await writing.wait_connected()
            await reading.wait_connected()
            await reading.subscribe(["proxmox/#"], qos=1)
            await writing.publish("proxmox/lab/state", b"online", retain=True)
            with pytest.raises(BrokerRefusedError, match="Not authorized"):
                await reading.publish("proxmox/lab/state", b"forged", qos=1, retain=True)
            async with asyncio.timeout(5):
                while not got:
                    await asyncio.sleep(0.01)
            assert {m.payload for m in got} == {b"online"}
