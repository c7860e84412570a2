import os
import signal
import subprocess
import time

import pytest

from proxmox_mcp.lab import Lab
from tests.check.support import PASSWORD, Check, Checked, Mosquitto, StartBroker
from tests.support.https_host import free_port

STEPS = ("connect", "publish", "subscribe", "retained")


def steps(found: Checked) -> list[bool | None]:
    return [found.one("broker", what).ok for what in STEPS]


def _retained(broker: Mosquitto) -> str:
    command = ["mosquitto_sub", "-p", str(broker.port), "-u", "bridge", "-P", PASSWORD, "-t", "#", "-v", "-W", "1"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
async def test_a_good_broker(lab: Lab, check: Check, broker: StartBroker, protocol: str) -> None:
    running = broker()
    found = await check(lab.env | running.environ, MQTT_PROTOCOL=protocol)
    assert steps(found) == [True] * 4
    assert found.failed == []
    assert f"MQTT {'5' if protocol == 'auto' else protocol}" in found.one("broker", "connect").detail
    assert _retained(running) == "", "nothing is left behind"


async def test_wrong_password(lab: Lab, check: Check, broker: StartBroker) -> None:
    found = await check(lab.env | broker().environ, MQTT_PASSWORD="wr0ng-password")
    assert steps(found) == [False, None, None, None]
    connect = found.one("broker", "connect")
    assert "did not accept the user name or password" in connect.detail
    assert "MQTT_PASSWORD" in connect.cure
    assert "wr0ng-password" not in str(found.findings)


async def test_no_broker(lab: Lab, check: Check) -> None:
    found = await check(lab.env, MQTT_HOST="127.0.0.1", MQTT_PORT=str(free_port()))
    assert steps(found) == [False, None, None, None]
    assert "MQTT_PORT" in found.one("broker", "connect").cure


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_publishing_is_refused(lab: Lab, check: Check, broker: StartBroker, protocol: str) -> None:
    found = await check(lab.env | broker(acl="topic read #").environ, MQTT_PROTOCOL=protocol)
    assert steps(found) == [True, False, None, None]
    assert "ACL" in found.one("broker", "publish").cure


@pytest.mark.parametrize(
    ("protocol", "expected"), [("5", [True, True, False, None]), ("3.1.1", [True, False, None, None])]
)
async def test_reading_is_refused(
    lab: Lab, check: Check, broker: StartBroker, protocol: str, expected: list[bool | None]
) -> None:
    found = await check(lab.env | broker(acl="topic write #").environ, MQTT_PROTOCOL=protocol)
    assert steps(found) == expected


async def test_retained_messages_are_not_kept(lab: Lab, check: Check, broker: StartBroker) -> None:
    found = await check(lab.env | broker("retain_available false").environ, MQTT_PROTOCOL="3.1.1")
    assert steps(found)[:1] == [True]
    assert found.failed
    assert found.one("broker", "retained").ok is not True


async def test_a_frozen_broker_ends_in_time(lab: Lab, check: Check, broker: StartBroker) -> None:
    running = broker()
    os.kill(running.process.pid, signal.SIGSTOP)
    started = time.monotonic()
    found = await check(lab.env | running.environ, limit=1.5)
    assert time.monotonic() - started < 20
    assert steps(found) == [False, None, None, None]


async def test_without_a_broker_it_says_what_serve_would_do(
    lab: Lab, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = (await check(lab.env)).one("broker", "own")
    assert own.ok is None
    assert "mosquitto" in own.detail
    monkeypatch.setattr("mqtt_bridge.mqtt.embedded_mosquitto.find", lambda: None)
    own = (await check(lab.env)).one("broker", "own")
    assert own.ok is None
    assert "amqtt" in own.detail
    found = await check(lab.env, MQTT_EMBEDDED_BIND="192.0.2.1")
    assert found.failed == ["broker own"]
    assert "apt install mosquitto" in found.one("broker", "own").cure


@pytest.mark.parametrize(("protocol", "said"), [("5", 0), ("3.1.1", 1)])
async def test_over_mqtt_3_1_1_commands_are_json(
    lab: Lab, check: Check, broker: StartBroker, protocol: str, said: int
) -> None:
    running = broker()
    found = await check(lab.env | running.environ, MQTT_PROTOCOL=protocol, MQTT_COMMANDS="true")
    assert len(found.all("broker", "commands")) == said
    assert "as JSON only" in "".join(f.detail for f in found.all("broker", "commands")) or not said
    silent = await check(lab.env | running.environ, MQTT_PROTOCOL=protocol)
    assert silent.all("broker", "commands") == []
