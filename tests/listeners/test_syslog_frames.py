"""The framings of syslog over TCP, in pieces of any size."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_bridge.listeners.syslog_frames import LIMIT, Framer

TEXT = b"<13>Nov  7 10:00:00 pve1 test: "
PIECES = (1, 2, 7, 64, 100_000)


def framed(stream: bytes, size: int) -> list[bytes]:
    framer = Framer()
    found = [frame for at in range(0, len(stream), size) for frame in framer.feed(stream[at : at + size])]
    return [frame.text for frame in (*found, *framer.end())]


@pytest.mark.parametrize("size", PIECES)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0", b"\n\n", b"\r\n\0"])
def test_lines(end: bytes, size: int) -> None:
    sent = [TEXT + f"number {i}".encode() for i in range(5)]
    assert framed(b"".join(each + end for each in sent), size) == sent


@pytest.mark.parametrize("size", PIECES)
@pytest.mark.parametrize("after", [b"", b"\n"])
def test_octet_counting(after: bytes, size: int) -> None:
    sent = [TEXT + f"two\nlines, number {i}".encode() for i in range(12)]
    assert framed(b"".join(b"%d %s%s" % (len(each), each, after) for each in sent), size) == sent


@pytest.mark.parametrize("size", PIECES)
def test_both_on_one_connection(size: int) -> None:
    stream = b"%s\n%d %s%s\0" % (TEXT + b"a", len(TEXT) + 1, TEXT + b"b", TEXT + b"c")
    assert framed(stream, size) == [TEXT + b"a", TEXT + b"b", TEXT + b"c"]


@pytest.mark.parametrize("size", PIECES)
@pytest.mark.parametrize(
    "line",
    [
        b"2026-02-25T11:07:33+01:00: authentication failure",
        b"10:45:50 pve kernel: WARNING: Pool 'x' has encountered an uncorrectable I/O failure",
        b"0 3 PVEFW-HOST-IN 20/Jun/2022:13:09:14 +0200 policy DROP: IN=vmbr0",
        b"100 4 tap100i0-IN 20/Jun/2022:13:09:14 +0200 policy DROP",
        b"12345",
        b"7 ",
    ],
)
def test_lines_that_begin_with_digits(line: bytes, size: int) -> None:
    assert framed(line + b"\n" + line + b"\n", size) == [line, line]
    assert framed(line, size) == [line]


@pytest.mark.parametrize("size", PIECES)
def test_a_counted_message_without_priority_after_one_with(size: int) -> None:
    assert framed(b"7 <13>abc5 hello6 world!", size) == [b"<13>abc", b"hello", b"world!"]


@pytest.mark.parametrize("stream", [TEXT + b"no end", b"999 " + TEXT + b"no end"])
def test_a_message_without_an_end(stream: bytes) -> None:
    framer = Framer()
    assert framer.feed(stream) == []
    assert framer.unfinished
    assert [frame.text for frame in framer.end()] == [TEXT + b"no end"]
    assert not framer.unfinished


@pytest.mark.parametrize("size", [7, 1000, 100_000])
@pytest.mark.parametrize("counted", [True, False])
def test_what_is_too_long_is_cut(counted: bool, size: int) -> None:
    long = TEXT + b"x" * 50_000
    stream = b"%d %s" % (len(long), long) if counted else long + b"\n"
    framer = Framer()
    stream += TEXT + b"next\n"
    found = [frame for at in range(0, len(stream), size) for frame in framer.feed(stream[at : at + size])]
    assert [(frame.text, frame.cut) for frame in found] == [(long[:LIMIT], True), (TEXT + b"next", False)]


def test_fifty_megabytes_without_an_end_are_not_held() -> None:
    framer, piece = Framer(), b"x" * 65536
    found = [frame for _ in range(800) for frame in framer.feed(piece)]
    assert [(len(frame.text), frame.cut) for frame in found] == [(LIMIT, True)]
    assert len(framer._held) == 0
    assert framer.unfinished
    assert [frame.text for frame in framer.feed(b"\n" + TEXT + b"\n")] == [TEXT]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_anything(pieces: list[bytes]) -> None:
    framer = Framer(limit=100)
    for piece in pieces:
        assert all(0 < len(frame.text) <= 100 for frame in framer.feed(piece))
        assert len(framer._held) <= 100 + 11
    assert all(len(frame.text) <= 111 for frame in framer.end())


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=80)), max_size=15),
    st.integers(1, 50),
)
def test_whatever_is_framed_comes_out(messages: list[tuple[bool, bytes]], size: int) -> None:
    """Counted ones hold anything, lines what has no end in it."""
    sent = [b"<1>" + text.strip(b"\r\n\0") for _, text in messages]
    sent = [t if c else t.replace(b"\n", b"").replace(b"\0", b"") for (c, _), t in zip(messages, sent, strict=True)]
    sent = [text.rstrip(b"\r\n\0") for text in sent]
    stream = b"".join(
        b"%d %s" % (len(text), text) if counted else text + b"\n"
        for (counted, _), text in zip(messages, sent, strict=True)
    )
    assert framed(stream, size) == sent


def test_single_bytes_do_not_take_for_ever() -> None:
    framer, began = Framer(), time.process_time()
    stream = bytes(range(1, 256)) * (LIMIT // 255)
    stream = stream.replace(b"\n", b"x")
    for byte in stream:
        framer.feed(bytes([byte]))
    assert time.process_time() - began < 3
