"""The broker of our own: which one, where, for whom, and what survives."""

import asyncio
import os
import signal
import socket
import stat
import sys
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from mqtt_bridge.errors import BrokerError, BrokerRefusedError
from mqtt_bridge.mqtt import embedded_mosquitto
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.embedded import EmbeddedBroker
from mqtt_bridge.secret import Secret
from tests.broker.inbox import Inbox, until
from tests.support.mosquitto import free_port

Kind = Literal["mosquitto", "amqtt"]
both = pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] != "Z"
    except OSError:
        return False


async def _retained(options: BrokerOptions, topic_filter: str) -> dict[str, bytes]:
    inbox = Inbox()
    async with Broker(options, inbox.put) as bus:
        await bus.wait_connected()
        await bus.subscribe([topic_filter])
        with suppress(TimeoutError):
            await inbox.has(1, 1.5)
    return {message.topic: message.payload for message in inbox.messages}


async def _retain(options: BrokerOptions, topic: str, payload: bytes) -> None:
    async with Broker(options) as bus:
        await bus.wait_connected()
        await bus.publish(topic, payload, retain=True)


@both
async def test_port_passwords_and_retained_messages_survive_a_restart(kind: Kind, tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path, port=0, prefer=kind) as first:
        await _retain(first, "r/a", b"\x00kept")
        await _retain(first, "r/b", b"gone")
        await _retain(first, "r/b", b"")
    started = time.monotonic()
    async with EmbeddedBroker(tmp_path, port=0, prefer=kind) as again:
        assert again == first
        assert await _retained(again, "#") == {"r/a": b"\x00kept"}
    assert time.monotonic() - started < 20


@both
async def test_files_are_private_and_hold_no_readable_password(kind: Kind, tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path, port=0, prefer=kind) as options:
        await _retain(options, "r", b"x")
    for path in tmp_path.rglob("*"):
        if path.name != "mosquitto.db":
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        if path.is_file() and path.name != "broker.json":
            assert options.password
            assert options.password.reveal().encode() not in path.read_bytes()


@both
async def test_a_login_is_required(kind: Kind, tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path, port=0, prefer=kind) as options:
        for stranger in (replace(options, username=None, password=None), replace(options, username="reader")):
            async with Broker(stranger) as bus, asyncio.timeout(15):
                with pytest.raises(BrokerRefusedError, match="did not accept"):
                    await bus.first_attempt()


@both
async def test_two_on_one_machine_take_different_ports(kind: Kind, tmp_path: Path) -> None:
    port = free_port()
    async with (
        EmbeddedBroker(tmp_path / "one", port=port, prefer=kind) as one,
        EmbeddedBroker(tmp_path / "two", port=port, prefer=kind) as two,
    ):
        assert one.port == port
        assert two.port > port
        await _retain(two, "only/two", b"x")
        assert await _retained(one, "only/#") == {}
    async with EmbeddedBroker(tmp_path / "two", port=port, prefer=kind) as later:
        assert later.port == two.port, "remembered, also when the first choice is free again"


@both
async def test_leaving_is_quick_also_with_clients_that_hang(kind: Kind, tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path, port=0, prefer=kind) as options:
        with socket.create_connection((options.host, options.port)):
            async with Broker(options) as bus:
                await bus.wait_connected()
            started = time.monotonic()
    assert time.monotonic() - started < 10


async def test_a_remembered_file_that_is_broken_is_reported(tmp_path: Path) -> None:
    (tmp_path / "broker.json").write_text("{", encoding="ascii")
    with pytest.raises(BrokerError, match=r"broker\.json"):
        await EmbeddedBroker(tmp_path, port=0).__aenter__()


async def test_amqtt_is_not_opened_to_the_network(tmp_path: Path) -> None:
    for address in ("0.0.0.0", "192.0.2.1", "::"):  # noqa: S104
        with pytest.raises(BrokerError, match="no access rules") as caught:
            await EmbeddedBroker(tmp_path, bind=address, port=0, prefer="amqtt").__aenter__()
        assert "MQTT_EMBEDDED_BIND" in caught.value.cure


async def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="is free at 192") as caught:
        await EmbeddedBroker(tmp_path, bind="192.0.2.1", port=0, prefer="mosquitto").__aenter__()
    assert "MQTT_EMBEDDED_BIND" in caught.value.cure


async def test_without_mosquitto_there_is_amqtt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_mosquitto, "find", lambda: None)
    own = EmbeddedBroker(tmp_path, port=0)
    async with own as options:
        assert own.kind == "amqtt"
        await _retain(options, "r", b"x")
    with pytest.raises(BrokerError, match="not installed"):
        await EmbeddedBroker(tmp_path, port=0, prefer="mosquitto").__aenter__()


async def test_a_mosquitto_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "mosquitto-fake"
    fake.write_text("#!/bin/sh\necho 'Error: profile denies it' >&2\nexit 3\n", encoding="ascii")
    fake.chmod(0o700)
    monkeypatch.setattr(embedded_mosquitto, "find", lambda: str(fake))
    with pytest.raises(BrokerError, match="could not be started") as caught:
        await EmbeddedBroker(tmp_path, port=0, prefer="mosquitto").__aenter__()
    assert "Error: profile denies it" in caught.value.cure
    own = EmbeddedBroker(tmp_path, port=0)
    async with own:
        assert own.kind == "amqtt", "on loopback the other broker does"
    with pytest.raises(BrokerError, match="could not be started"):
        await EmbeddedBroker(tmp_path, bind="0.0.0.0", port=0).__aenter__()  # noqa: S104


async def test_a_killed_mosquitto_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_mosquitto, "AUTOSAVE", 1)
    own = EmbeddedBroker(tmp_path, port=0, prefer="mosquitto")
    async with own as options, Broker(options) as bus, asyncio.timeout(15):
        generation = await bus.wait_connected()
        await bus.publish("r/kept", b"x", retain=True)
        await until((tmp_path / "mosquitto" / "mosquitto.db").exists)
        assert own.child
        first = own.child.pid
        assert first
        os.kill(first, signal.SIGKILL)
        await bus.wait_connected(after=generation)
        assert own.child.pid not in {None, first}
        assert await _retained(options, "r/#") == {"r/kept": b"x"}


async def test_a_mosquitto_left_by_a_crash_is_ended_and_nothing_else(tmp_path: Path) -> None:
    binary = embedded_mosquitto.find()
    assert binary
    directory = tmp_path / "mosquitto"
    async with EmbeddedBroker(tmp_path, port=0, prefer="mosquitto"):
        pass
    left = await asyncio.create_subprocess_exec(binary, "-c", str(directory / "mosquitto.conf"), stderr=-3)
    (directory / "pid").write_text(str(left.pid), encoding="ascii")
    async with asyncio.timeout(15):  # between fork and exec it is not yet what it will be
        while str(directory) not in Path(f"/proc/{left.pid}/cmdline").read_text(encoding="utf-8"):
            await asyncio.sleep(0.01)
    async with EmbeddedBroker(tmp_path, port=0, prefer="mosquitto") as options:
        async with asyncio.timeout(15):
            assert await left.wait() == -signal.SIGKILL
        await _retain(options, "r", b"x")

    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    (directory / "pid").write_text(str(stranger.pid), encoding="ascii")
    async with EmbeddedBroker(tmp_path, port=0, prefer="mosquitto"):
        assert stranger.returncode is None
    stranger.kill()
    await stranger.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
async def test_mosquitto_dies_with_us(tmp_path: Path) -> None:
    """Once it answers: mosquitto 2.0 forgets a signal that comes between its line "running" and its loop."""
    program = (
        "import asyncio, pathlib, sys\n"
        "from mqtt_bridge.mqtt.broker import Broker\n"
        "from mqtt_bridge.mqtt.embedded import EmbeddedBroker\n"
        "async def main():\n"
        "    own = EmbeddedBroker(pathlib.Path(sys.argv[1]), port=0, prefer='mosquitto')\n"
        "    async with own as options, Broker(options) as bus:\n"
        "        await bus.wait_connected()\n"
        "        print(own.child.pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout
    child = int(await parent.stdout.readline())
    assert _alive(child)
    parent.kill()
    await parent.wait()
    await until(lambda: not _alive(child))


async def test_roles_are_held_to_their_rights(tmp_path: Path) -> None:
    own = EmbeddedBroker(tmp_path, bind="0.0.0.0", port=0, prefer="mosquitto")  # noqa: S104
    async with own as bridge:
        assert bridge.host == "127.0.0.1"

        async def may_write(role: str, topic: str) -> bool:
            async with Broker(replace(bridge, username=role, password=own.roles[role])) as bus:
                await bus.wait_connected()
                try:
                    await bus.publish(topic, b"x")
                except BrokerRefusedError:
                    return False
                return True

        expected = {
            "proxmox/pve/guest/100": {"bridge"},
            "proxmox/bridge/main/state": {"bridge"},
            "proxmox/pve/guest/100/command": {"bridge", "homeassistant", "automation"},
            "homeassistant/status": {"bridge", "homeassistant"},
            "proxmox/pve/approval/1/decision/reader": {"bridge", "reader"},
            "other": {"bridge"},
        }
        for topic, roles in expected.items():
            assert {role for role in own.roles if await may_write(role, topic)} == roles, topic

        await _retain(bridge, "proxmox/pve/guest/100", b"state")
        await _retain(bridge, "private", b"x")
        orders = {f"proxmox/pve/{place}command" for place in ("", "guest/100/", "node/pve1/", "datastore/main/")}
        for topic in orders:
            await _retain(bridge, topic, b"a password may be in it")
        for role in own.roles:
            seen = await _retained(replace(bridge, username=role, password=own.roles[role]), "#")
            assert "proxmox/pve/guest/100" in seen
            assert ("private" in seen) == (role == "bridge")
            assert orders & set(seen) == (set() if role == "reader" else orders), role


def test_a_password_line_has_the_shape_of_mosquitto_passwd() -> None:
    """That mosquitto takes it is shown by every login above."""
    user, _, rest = embedded_mosquitto.password_line("bridge", Secret("s")).strip().partition(":")
    assert user == "bridge"
    assert [len(part) for part in rest.split("$")] == [0, 1, 3, 16, 88]


async def test_a_broker_that_is_silent_to_mqtt_5_is_asked_in_the_older_version(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        options = await stack.enter_async_context(EmbeddedBroker(tmp_path, port=0, prefer="amqtt"))
        broker = await stack.enter_async_context(Broker(replace(options, protocol="auto", keepalive=1)))
        async with asyncio.timeout(15):
            await broker.wait_connected()
        assert broker.protocol == "3.1.1"
