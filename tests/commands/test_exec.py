"""A program in a guest by a command over MQTT: it runs, and nothing of it can be read by whoever reads MQTT."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mqtt_bridge.app import Bridge
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.settings import load
from proxmox_mcp.lab import Lab, LabOptions
from tests.commands.desk import asked
from tests.support.mosquitto import Mosquitto
from tests.support.processes import until
from tests.support.watched import fast

VM = 100
SAID, GIVEN = "said-4711", "given-4712"


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(LabOptions(speed=20, pvestatd_interval=0, auth_delay=0.05)) as running:
        yield running


async def test_it_runs_and_neither_its_arguments_nor_its_output_are_on_mqtt(lab: Lab, tmp_path: Path) -> None:
    got: list[Message] = []

    def results() -> list[dict[str, object]]:
        return [json.loads(m.payload) for m in got if "/result/" in m.topic]

    async def arrived(many: int) -> None:
        await until(lambda: len(results()) >= many, why=lambda: [m.topic for m in got])

    async with AsyncExitStack() as stack:
        mosquitto = await stack.enter_async_context(Mosquitto(tmp_path / "mosquitto"))
        env = {**lab.env, "STATE_DIR": str(tmp_path / "state"), "MQTT_HOST": "127.0.0.1",
               "MQTT_PORT": str(mosquitto.port), "MQTT_ALLOW": "exec", "APPROVAL_REQUIRED": "none"}  # fmt: skip
        bridge = await stack.enter_async_context(Bridge(fast(load(env, search=False))))
        await bridge.ready()
        await until(lambda: bridge.commands is not None and bridge.commands.listening)
        reader = await stack.enter_async_context(Broker(mosquitto.options, got.extend))
        await reader.wait_connected()
        await reader.subscribe(["#"], qos=1)
        for argv, given in ((["echo", SAID], None), (["cat"], GIVEN), (["no-such-thing", SAID], None)):
            sent = asked("exec", args={"argv": argv} | ({"input_data": given} if given else {}))
            wanted = len(results()) + 1
            await reader.publish(f"proxmox/lab/guest/{VM}/command", json.dumps(sent).encode())
            await arrived(wanted)
    assert lab.world.agent_runs == [(VM, ["echo", SAID], ""), (VM, ["cat"], GIVEN)]
    echo, cat, absent = results()
    assert (echo["ok"], cat["ok"], absent["ok"]) == (True, True, False)
    assert "exit code 0" in str(echo["message"])
    assert "not told over MQTT" in str(echo["hint"])
    told = [m for m in got if not m.topic.endswith("/command")]
    kept = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    for secret in (SAID, GIVEN):
        assert [m.topic for m in told if secret.encode() in m.payload] == []
        assert [path.name for path in kept if secret.encode() in path.read_bytes()] == []
