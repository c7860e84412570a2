"""What a broker, DNS or TLS says no to, and that each answer names its cause and the setting that cures it."""

import asyncio
import datetime as dt
import ipaddress
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import amqtt.broker
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mqtt_bridge.errors import BrokerError, BrokerRefusedError, BrokerUnreachableError
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.secret import Secret
from tests.broker.inbox import Inbox, until
from tests.support.mosquitto import Mosquitto, free_port

Protocol = Literal["auto", "5", "3.1.1"]
ACL = "user reader\ntopic read #\n\nuser writer\ntopic readwrite #\n"


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "guarded", users={"reader": "r-secret", "writer": "w-secret"}, acl=ACL) as broker:
        yield broker


async def _failure(options: BrokerOptions) -> BrokerError:
    async with Broker(options) as bus, asyncio.timeout(15):
        with pytest.raises(BrokerError) as caught:
            await bus.first_attempt()
        assert bus.reason == str(caught.value)
        return caught.value


@pytest.mark.parametrize("protocol", ["5", "3.1.1", "auto"])
async def test_a_wrong_password(guarded: Mosquitto, protocol: Protocol) -> None:
    options = replace(guarded.options, password=Secret("wrong-secret"), protocol=protocol)
    error = await _failure(options)
    assert isinstance(error, BrokerRefusedError)
    assert "did not accept the user name or password" in str(error)
    assert "MQTT_PASSWORD" in error.cure
    assert "wrong-secret" not in str(error)


async def test_a_refused_publish_is_an_error_with_its_reason(guarded: Mosquitto) -> None:
    async with Broker(guarded.options_for("reader")) as bus:
        await bus.wait_connected()
        with pytest.raises(BrokerRefusedError, match="t/x") as caught:
            await bus.publish("t/x", b"x")
        assert caught.value.reason == "Not authorized"
        assert bus.connected


async def test_no_subscriber_is_no_refusal(guarded: Mosquitto) -> None:
    async with Broker(guarded.options_for("writer")) as bus:
        await bus.wait_connected()
        await bus.publish("nobody/listens", b"x")


async def test_a_refused_subscription_names_its_filter() -> None:
    """Mosquitto grants what it will not send; brokers that refuse say 0x80."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(bytes.fromhex("20020000"))  # CONNACK
        subscribe = await reader.read(1000)
        writer.write(b"\x90\x04" + subscribe[2:4] + b"\x00\x80")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        options = BrokerOptions("127.0.0.1", server.sockets[0].getsockname()[1], protocol="3.1.1")
        async with Broker(options) as bus, asyncio.timeout(15):
            await bus.wait_connected()
            with pytest.raises(BrokerRefusedError, match="subscription to not/fine") as caught:
                await bus.subscribe(["fine", "not/fine"])
            assert "ACL" in caught.value.cure


@pytest.mark.parametrize(
    ("host", "words"), [("no-such-host.invalid", "is not known"), ("x" * 70, "is not"), ("127.0.0.1", "No MQTT broker")]
)
async def test_nobody_there(host: str, words: str) -> None:
    error = await _failure(BrokerOptions(host, free_port()))
    assert isinstance(error, BrokerUnreachableError)
    assert words in str(error)
    assert "MQTT_HOST" in error.cure


async def test_a_port_that_speaks_something_else() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        error = await _failure(BrokerOptions("127.0.0.1", server.sockets[0].getsockname()[1]))
    assert "closed the connection before answering" in str(error)
    assert "MQTT_TLS" in error.cure


async def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1(mosquitto: Mosquitto) -> None:
    """A proxy that hangs up at level 5 and passes everything else on: what an old broker does."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(9)  # header, length, "MQTT", level
        levels.append(head[8])
        if head[8] != 4:
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", mosquitto.port)
        far_writer.write(head)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    levels: list[int] = []
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        options = BrokerOptions("127.0.0.1", server.sockets[0].getsockname()[1])
        async with Broker(options) as bus:
            async with asyncio.timeout(15):
                await bus.wait_connected()
            assert bus.protocol == "3.1.1"
            assert levels == [5, 4]
            await bus.publish("t", b"x")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_messages_beyond_the_limit_do_not_get_in(mosquitto: Mosquitto, protocol: Protocol) -> None:
    inbox = Inbox()
    options = replace(mosquitto.options, protocol=protocol)
    async with Broker(options, inbox.put, max_packet=2000) as small, Broker(options) as sender:
        await small.wait_connected()
        await sender.wait_connected()
        await small.subscribe(["t"])
        await sender.publish("t", b"x" * 5000)
        await sender.publish("t", b"fits")
        await inbox.has(1)
        assert inbox.payloads == [b"fits"]
        assert small.dropped == (1 if protocol == "3.1.1" else 0), "an MQTT 5 broker withholds it uncounted"


async def test_what_the_broker_would_hang_up_on_is_not_sent(tmp_path: Path) -> None:
    async with (
        Mosquitto(tmp_path / "m", config=["max_packet_size 5000"]) as mosquitto,
        Broker(mosquitto.options) as bus,
    ):
        await bus.wait_connected()
        with pytest.raises(BrokerRefusedError, match="Packet too large"):
            await bus.publish("t", b"x" * 6000)
        await bus.publish("t", b"x" * 4000)
        assert (bus.connected, bus.generation) == (True, 1)


async def test_websockets() -> None:
    """Through amqtt, since not every build of mosquitto has them."""
    inbox = Inbox()
    port = free_port()
    plugins: dict[str, dict[str, bool]] = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {}}
    server = amqtt.broker.Broker(
        {"listeners": {"default": {"type": "ws", "bind": f"127.0.0.1:{port}"}}, "plugins": plugins}
    )
    await server.start()
    options = BrokerOptions("127.0.0.1", port, transport="websockets", protocol="3.1.1")
    async with Broker(options, inbox.put) as bus, asyncio.timeout(15):
        await bus.wait_connected()
        await bus.subscribe(["t"])
        await bus.publish("t", b"x")
        await inbox.has(1)
        batch = [Message("t", b"%03d" % n + b"x" * 700, qos=1) for n in range(300)]
        assert set(await bus.publish_many(batch)) == {""}
        await inbox.has(301)
    await server.shutdown()


async def test_websockets_where_there_are_none(mosquitto: Mosquitto) -> None:
    error = await _failure(replace(mosquitto.options, transport="websockets"))
    assert "MQTT_TRANSPORT" in error.cure


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed one for 127.0.0.1: (certificate, key)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


async def test_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    lines = [f"certfile {cert}", f"keyfile {key}", f"cafile {cert}", "require_certificate true"]
    async with Mosquitto(tmp_path / "tls", listener=lines) as mosquitto:
        options = replace(mosquitto.options, tls=True)
        good = replace(options, ca_file=cert, cert_file=cert, key_file=key)
        async with Broker(good) as bus, asyncio.timeout(15):
            await bus.wait_connected()
            await bus.publish("t", b"x")
        error = await _failure(options)
        assert "is not trusted" in str(error)
        assert "MQTT_CA_FILE" in error.cure
        assert "MQTT_HOST to a name" in (await _failure(replace(good, host="localhost"))).cure
        assert "MQTT_CA_FILE" in (await _failure(replace(good, ca_file=tmp_path / "absent"))).cure
        assert "MQTT_KEY_FILE" in (await _failure(replace(good, key_file=cert))).cure


async def test_tls_where_there_is_none(mosquitto: Mosquitto) -> None:
    error = await _failure(replace(mosquitto.options, tls=True))
    assert "MQTT_TLS=false" in error.cure


async def test_a_broker_that_is_silent_from_the_start(mosquitto: Mosquitto) -> None:
    mosquitto.freeze()
    async with Broker(replace(mosquitto.options, keepalive=1)) as bus:
        await until(lambda: "does not answer" in (bus.reason or ""), 6)
        mosquitto.thaw()
        async with asyncio.timeout(10):
            await bus.wait_connected()
