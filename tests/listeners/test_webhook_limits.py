"""What strangers may do to the webhook listener: sizes, times, numbers, garbage; raw, where a client is too polite."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import resource
import socket
import statistics
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mqtt_bridge.listeners import http_body, http_server
from mqtt_bridge.listeners.http_body import Room
from mqtt_bridge.listeners.http_server import Limits
from mqtt_bridge.listeners.webhook import WebhookListener
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.listening import WebhookInSettings
from tests.support.intakes import Remembering, running, until

TOKEN = "a-token-that-nobody-guesses"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HEAD = f"POST /webhook HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
SIZE = 64 * 1024


@asynccontextmanager
async def listening(intake: Remembering, **limits: Any) -> AsyncIterator[int]:
    listener = WebhookListener(WebhookInSettings(port=0, token=Secret(TOKEN), max_size=SIZE), limits=Limits(**limits))
    async with running(listener, intake):
        yield listener.port


async def talk(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send it part by part, and read until the listener closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(15):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


def chunked(body: bytes, size: int = 4096) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


async def test_largest_body() -> None:
    intake = Remembering()
    async with listening(intake) as port, aiohttp.ClientSession() as session:
        for size, expected in ((SIZE, 200), (SIZE + 1, 413), (50 * 1024 * 1024, 413)):
            async with session.post(f"http://127.0.0.1:{port}/", data=b"x" * size, headers=BEARER) as answer:
                assert answer.status == expected
    assert len(intake.reports) == 1
    assert intake.rejected["too large"] == 2


@pytest.mark.parametrize(("size", "expected"), [(SIZE, 200), (SIZE + 1, 413), (SIZE * 4, 413)])
async def test_largest_chunked_body(size: int, expected: int) -> None:
    intake = Remembering()
    async with listening(intake) as port:
        answer = await talk(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"x" * size))
    assert status(answer) == expected


@pytest.mark.parametrize(
    ("coding", "body", "expected"),
    [
        ("gzip", gzip.compress(b'{"title":"x"}', mtime=0), 200),
        ("deflate", zlib.compress(b'{"title":"x"}'), 200),
        ("gzip", gzip.compress(b"\0" * (SIZE + 1), mtime=0), 413),
        ("gzip", gzip.compress(b"\0" * 50_000_000, mtime=0)[:SIZE], 413),
        ("gzip", b"not gzip", 400),
        ("gzip", b"", 400),
        ("br", b"x", 415),
    ],
)
async def test_compression(coding: str, body: bytes, expected: int) -> None:
    intake = Remembering()
    async with listening(intake) as port:
        head = HEAD + f"Content-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        assert status(await talk(port, head + body)) == expected
    assert len(intake.reports) == (expected == 200)


async def test_a_sender_that_asks_first() -> None:
    async with listening(Remembering()) as port:
        answer = await talk(port, HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", b"{}", pause=0.1)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")


async def test_one_request_a_connection() -> None:
    intake = Remembering()
    one = HEAD + b"Content-Length: 2\r\nConnection: keep-alive\r\n\r\n{}"
    async with listening(intake) as port:
        answer = await talk(port, one * 100)
        await until(lambda: intake.reports)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"Connection: close" in answer


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"POST /webhook HTTP/1.1\r\n"],
        [b"POST /webhook HTTP/1.1\r\nHost: x\r\n", *[b"X-A: b\r\n"] * 40],
        [b"\r\n"] * 40,
    ],
    ids=["silent", "half", "slow headers", "empty lines"],
)
async def test_a_head_that_never_ends(parts: list[bytes]) -> None:
    intake = Remembering()
    async with listening(intake, head=0.3) as port:
        started = time.monotonic()
        answer = await talk(port, *parts, pause=0.02)
        assert time.monotonic() - started < 14, "we closed it: nobody waited until the end"
        assert status(answer) in {0, 400}
        await until(lambda: intake.rejected)
    assert intake.rejected.total() == 1


async def test_bodies_share_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(SIZE)
    monkeypatch.setattr(http_body, "ROOM", room)
    intake = Remembering()
    async with listening(intake) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % SIZE + b"x" * (SIZE - 10))
        await until(lambda: room.used == SIZE - 10)
        refused = await talk(port, HEAD + b"Content-Length: 20\r\n\r\n" + b'{"message": "12345"}')
        assert status(refused) == 503
        assert b"Retry-After: " in refused
        assert status(await talk(port, HEAD + b"Content-Length: 2\r\n\r\n{}")) == 200, "a small one finds room"
        writer.transport.abort()
        await until(lambda: room.used == 0)
        packed = gzip.compress(b"{" + b" " * (SIZE - 2) + b"}", mtime=0)
        head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
        assert status(await talk(port, head + packed)) == 200, "alone it may have more than all"
        assert room.used == 0
    assert intake.rejected == {"too much at once": 1}


async def test_wrong_tokens_are_told_once_a_minute_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mqtt_bridge.listeners.http_token.FIRST", 0.001)
    intake = Remembering()
    async with listening(intake) as port:
        for path in ("/webhook", "/webhook", "/message?token=s3cret"):
            wrong = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Gotify-Key: s3cret\r\nContent-Length: 2\r\n\r\n{{}}"
            assert status(await talk(port, wrong.encode())) == 401
    assert intake.rejected == {"wrong token": 3}
    assert [record.message for record in caplog.records] == [
        f"WEBHOOK: a request from 127.0.0.1 to {path} without the token of EVENT_WEBHOOK_TOKEN"
        for path in ("/webhook", "/message")
    ]


async def test_a_body_that_never_ends() -> None:
    intake = Remembering()
    async with listening(intake, body=0.3) as port:
        slow = await talk(port, HEAD + b"Content-Length: 100\r\n\r\n", *[b"x"] * 30, pause=0.02)
        half = await talk(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab")
    assert (status(slow), status(half)) == (408, 408)
    assert intake.rejected == {"body too slow": 2}


async def test_a_sender_that_leaves_half_way() -> None:
    intake = Remembering()
    async with listening(intake) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"Content-Length: 100\r\n\r\nabc")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        assert status(await talk(port, HEAD + b"Content-Length: 2\r\n\r\n{}")) == 200
    assert len(intake.reports) == 1


async def test_nothing_lives_for_ever() -> None:
    """Not even a sender that reads nothing of its answer."""
    intake = Remembering(delay=60)
    async with listening(intake, life=0.3) as port:
        started = time.monotonic()
        await talk(port, HEAD + b"Content-Length: 2\r\n\r\n{}")
        assert time.monotonic() - started < 14


GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(200),
    os.urandom(5000),
    b"SSH-2.0-x\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + b"".join(b"X%d: a\r\n" % number for number in range(500)) + b"\r\n",
    HEAD + b"Content-Length: -5\r\n\r\n{}",
    HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("sent", GARBAGE)
async def test_what_is_not_http(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    intake = Remembering()
    async with listening(intake, head=0.5) as port:
        assert status(await talk(port, sent)) in {0, 400, 405, 413, 414, 431}
        await until(lambda: intake.rejected)
        assert status(await talk(port, HEAD + b"Content-Length: 2\r\n\r\n{}")) == 200
    assert len(intake.reports) == 1
    assert caplog.text == ""


async def test_places_that_silent_ones_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred that say nothing do not keep a notification out for longer than the grace."""
    monkeypatch.setattr(http_server, "GRACE", 0.2)
    intake = Remembering()
    async with listening(intake, connections=20, head=60.0, life=60.0) as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
        started = time.monotonic()
        answer = await talk(port, HEAD + b"Content-Length: 2\r\n\r\n{}")
        assert status(answer) == 200
        assert time.monotonic() - started < 14
        for _, writer in idle:
            writer.transport.abort()
    assert intake.rejected["too many connections"] >= 40


async def test_wrong_tokens_hold_no_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "GRACE", 0.1)
    monkeypatch.setattr("mqtt_bridge.listeners.http_token.FIRST", 5.0)
    wrong = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    intake = Remembering()
    async with listening(intake, connections=10) as port:
        held = [asyncio.create_task(talk(port, wrong)) for _ in range(10)]
        await asyncio.sleep(0.1)
        assert status(await talk(port, HEAD + b"Content-Length: 2\r\n\r\n{}")) == 200
        for task in held:
            task.cancel()
        await asyncio.wait(held)
    assert len(intake.reports) == 1


async def test_who_gives_way_before_we_came_to_him_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task has not run yet when its place is wanted: a cancelled task that never ran would leave it open."""
    monkeypatch.setattr(http_server, "GRACE", -1.0)

    async def nothing(_: web.BaseRequest) -> web.Response:
        return web.Response()

    limits = Limits(connections=1)
    async with http_server.HttpServer(nothing, "127.0.0.1", 0, reject=lambda _: None, limits=limits) as server:
        pairs = [socket.socketpair() for _ in range(2)]
        for ours, theirs in pairs:
            ours.setblocking(False)
            theirs.settimeout(20)
            server._waiting.append((ours, "a"))
        server._admit()
        assert pairs[0][0].fileno() == -1
        assert await asyncio.to_thread(pairs[0][1].recv, 1) == b""
        assert server.connections == 1
    for _, theirs in pairs:
        theirs.close()


async def post_all(port: int, count: int) -> list[float]:
    async def one(number: int) -> float:
        body = json.dumps({"title": "x", "message": str(number), "timestamp": 1790000000}).encode()
        async with session.post(f"http://127.0.0.1:{port}/", data=body, headers=BEARER) as answer:
            assert answer.status == 200
            await answer.read()
        return time.monotonic()

    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        return await asyncio.gather(*map(one, range(count)))


async def test_a_thousand_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Senders and listener share one loop here: on a busy machine a connection is silent because we are."""
    monkeypatch.setattr(http_server, "GRACE", 60.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    intake = Remembering(delay=0.002)
    async with listening(intake, head=60.0, body=60.0, life=100.0) as port:
        await post_all(port, 1000)
    assert len(intake.reports) == 1000
    assert intake.rejected == {}


async def test_how_long_a_post_takes(record_property: Any) -> None:
    """Measured here without a journal: what the listener itself costs. No time is asserted."""
    intake = Remembering()
    times = []
    async with listening(intake) as port, aiohttp.ClientSession() as session:
        for number in range(200):
            body = json.dumps({"title": "x", "message": "m" * 3000, "timestamp": 1790000000 + number}).encode()
            started = time.perf_counter()
            async with session.post(f"http://127.0.0.1:{port}/", data=body, headers=BEARER) as answer:
                assert answer.status == 200
            times.append((time.perf_counter() - started) * 1000)
    cuts = statistics.quantiles(times, n=100)
    record_property("p50_ms", round(cuts[49], 2))
    record_property("p99_ms", round(cuts[98], 2))
    assert len(intake.reports) == 200


header_names = st.sampled_from(
    ["Content-Type", "Content-Encoding", "Content-Length", "X-Gotify-Key", "Expect", "Origin"]
)
visible = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=40)


requests = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["POST", "PUT", "GET", "PATCH", "X"]),
        "path": st.sampled_from(["/webhook", "/message", "/", "/x", "/version", "//", "/webhook?token=%ff"]) | visible,
        "headers": st.lists(st.tuples(header_names, visible), max_size=4),
        "body": st.binary(max_size=400) | st.text(max_size=200).map(str.encode),
        "right": st.booleans(),
    }
)


async def survive(sent: dict[str, Any]) -> None:
    """It is answered or cut off, and the next good one is taken: nothing that is sent breaks the listener."""
    body = sent["body"]
    lines = [f"{sent['method']} {sent['path']} HTTP/1.1", "Host: x"]
    lines += [f"{name}: {value}" for name, value in sent["headers"]]
    lines += [f"Authorization: Bearer {TOKEN}"] if sent["right"] else []
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1")
    intake = Remembering()
    async with listening(intake, head=0.3, body=0.3, life=1.0) as port:
        answer = await talk(port, head + body)
        assert status(answer) in {0, 200, 400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 431}
        assert status(await talk(port, HEAD + b"Content-Length: 2\r\n\r\n[]")) == 200
        assert intake.reports


def fuzz(examples: int) -> None:
    """So many random requests, each to a listener of its own."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(sent=requests)
    def one(sent: dict[str, Any]) -> None:
        asyncio.run(survive(sent))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mqtt_bridge.listeners.http_token.FIRST", 0.001)
        one()


def test_any_request_gets_an_answer_or_is_cut_off() -> None:
    fuzz(150)
