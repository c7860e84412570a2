"""What lies between paho and the socket: acknowledgements are taken out wherever packets are cut, nothing else is."""

import random
from collections import deque

import pytest
from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from mqtt_bridge.mqtt.batch import packet
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.mqtt.wire import Wire

LONG = b"\x30\xc8\x01" + b"p" * 200
STREAM = (
    (b"\x20\x02\x00\x00", None),
    (b"\x40\x02\x04\x01", (0x401, 0)),
    (b"\x40\x03\x04\x02\x87", (0x402, 0x87)),
    (LONG, None),
    (b"\xd0\x00", None),
    (b"\x40\x04\xff\xff\x10\x00", (0xFFFF, 0x10)),
    (b"\x40\x02\x04\x03", (0x403, 0)),
    (b"\x90\x03\x00\x01\x00", None),
)


class Pieces:
    """A socket that gives what it has in pieces, and takes a few bytes at a time."""

    def __init__(self, pieces: list[bytes], *takes: int) -> None:
        self.pieces, self.takes = deque(pieces), deque(takes)
        self.sent = b""

    def recv(self, size: int, /) -> bytes:
        if not self.pieces:
            return b""
        piece = self.pieces.popleft()
        if not piece:
            raise BlockingIOError
        assert len(piece) <= size
        return piece

    def send(self, data: bytes, /) -> int:
        if not self.takes or not self.takes[0]:
            if self.takes:
                self.takes.popleft()
            raise BlockingIOError
        count = min(self.takes.popleft(), len(data))
        self.sent += data[:count]
        return count

    def fileno(self) -> int:
        return -1

    def setblocking(self, flag: bool, /) -> None: ...

    def close(self) -> None: ...


def read_all(wire: Wire) -> bytes:
    """As paho reads: a byte, the length byte by byte, the rest."""
    found, sizes = b"", deque((1, 1, 1000))
    while True:
        try:
            data = wire.recv(sizes[0])
        except BlockingIOError:
            continue
        if not data:
            return found
        found += data
        sizes.rotate(-1)


@pytest.mark.parametrize("seed", range(30))
def test_acknowledgements_are_taken_out_wherever_the_stream_is_cut(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311
    stream = b"".join(raw for raw, _ in STREAM)
    cuts = sorted(dice.sample(range(len(stream)), dice.randrange(40)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    told: list[tuple[int, int]] = []
    wire = Wire(Pieces(pieces), lambda mid, code: told.append((mid, code)))
    assert read_all(wire) == b"".join(raw for raw, ack in STREAM if not ack)
    assert told == [ack for _, ack in STREAM if ack]


def test_packets_never_stand_within_one_another() -> None:
    inner = Pieces([], 3, 0, 4, 2, 0, 100, 100)
    wire, ours = Wire(inner, lambda *_: None), iter((b"OURSOUR", b""))
    assert wire.send(b"PAHO-") == 3
    wire.flush(lambda: next(ours))
    assert inner.sent == b"PAH", "paho is in the middle of a packet"
    with pytest.raises(BlockingIOError):
        wire.send(b"O-")
    assert wire.send(b"O-") == 2
    wire.flush(lambda: next(ours))
    assert (inner.sent, wire.unsent) == (b"PAHO-OU", True)
    with pytest.raises(BlockingIOError):
        wire.send(b"PING")
    wire.flush(lambda: next(ours))
    assert (inner.sent, wire.unsent) == (b"PAHO-OURSOUR", False)
    assert wire.send(b"PING") == 4


def test_a_connection_that_breaks_while_sending_is_left_to_the_reader() -> None:
    inner = Pieces([b"\x20\x02\x00\x00"])
    inner.send = lambda _data: (_ for _ in ()).throw(BrokenPipeError)  # type: ignore[method-assign]
    wire = Wire(inner, lambda *_: None)
    wire.flush(lambda: b"packet")
    assert not wire.unsent
    assert read_all(wire) == b"\x20\x02\x00\x00"


def paho_packet(message: Message, mid: int, *, modern: bool) -> bytes:
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5 if modern else MQTTv311)
    client.on_socket_register_write = lambda *_: None
    client._sock = object()  # type: ignore[assignment]
    properties = None
    if modern and message.correlation_data is not None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.CorrelationData = message.correlation_data
    client._send_publish(
        mid, message.topic.encode(), message.payload, message.qos, message.retain, properties=properties
    )
    client._sock = None
    return bytes(client._out_packet[0]["packet"])


@pytest.mark.parametrize("modern", [True, False])
@pytest.mark.parametrize(
    "message",
    [
        Message("t", b"", 1),
        Message("proxmox/lab/event/Ü", b"x" * 100, 1),
        Message("t", b"x" * 127, 0),
        Message("t", b"x" * 16_384, 1, retain=True),
        Message("t", b"x" * 2_100_000, 1),
        Message("t", b"answer", 1, correlation_data=b"\0" * 300),
        Message("t", b"answer", 0, correlation_data=b""),
    ],
    ids=str,
)
def test_a_packet_is_what_paho_would_send(message: Message, modern: bool) -> None:
    assert packet(message, 0x1234, modern=modern) == paho_packet(message, 0x1234, modern=modern)
