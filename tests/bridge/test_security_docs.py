"""The ACL that docs/security.md shows does what it says, on a real Mosquitto."""

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mqtt_bridge.errors import BrokerRefusedError
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.mqtt.bus import Message
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
            async with asyncio.timeout(15):
                while not got:
                    await asyncio.sleep(0.01)
            assert {m.payload for m in got} == {b"online"}


async def test_the_operator_commands_two_guests_and_nobody_else_reads_or_writes_there(tmp_path: Path) -> None:
    users = {name: f"{name}-secret" for name in ("bridge", "reader", "operator")}
    async with Mosquitto(tmp_path, users=users, acl=_acl()) as mosquitto, AsyncExitStack() as stack:
        got: dict[str, list[Message]] = {name: [] for name in users}
        bus = {}
        for name in users:
            broker = Broker(mosquitto.options_for(name), got[name].extend)
            bus[name] = await stack.enter_async_context(broker)
            await bus[name].wait_connected()
            await bus[name].subscribe(["proxmox/#"], qos=1)
        guest, other = "proxmox/lab/guest/100/command", "proxmox/lab/guest/102/command"
        for name, topic in (("reader", guest), ("operator", other), ("operator", "proxmox/lab/node/pve1/command")):
            with pytest.raises(BrokerRefusedError, match="Not authorized"):
                await bus[name].publish(topic, b"start")
        await bus["operator"].publish(guest, b"start")
        await bus["bridge"].publish("proxmox/lab/result/1", b"{}")
        async with asyncio.timeout(10):
            while not all(any(m.topic.endswith("result/1") for m in got[name]) for name in users):
                await asyncio.sleep(0.01)
        assert {name: {m.topic for m in each} for name, each in got.items()} == {
            "bridge": {guest, "proxmox/lab/result/1"},
            "reader": {"proxmox/lab/result/1"},
            "operator": {"proxmox/lab/result/1"},
        }
