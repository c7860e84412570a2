"""Other origins, other hosts, tokens in URLs, and clients that never finish what they began to send."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import aiohttp
import httpx2
import pytest

from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import McpSettings, Settings
from proxmox_mcp.http import HttpServer
from proxmox_mcp.server import build_server
from proxmox_mcp.state import State
from tests.support.processes import until

TOKEN = "a-token-for-tests"
GOOD = {"Authorization": f"Bearer {TOKEN}"}
AGENT = "https://agent.example"
STRANGERS = (
    "https://evil.example",
    "https://agent.example.evil.example",
    "https://agent.example:8443",
    "http://agent.example",
    "https://sub.agent.example",
    "null",
    "",
)
PATHS = ("/mcp", "/metrics", "/health", "/ws")
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
BOTH = {"Accept": "application/json, text/event-stream"}


@pytest.fixture
def settings() -> Settings:
    return Settings(mcp=McpSettings(auth_token=Secret(TOKEN), allowed_origins=(AGENT, "http://127.0.0.1:5678")))


@pytest.fixture
async def http(settings: Settings, state: State) -> AsyncIterator[HttpServer]:
    async with HttpServer(build_server(settings, state), host="127.0.0.1", port=0, whole=1.0) as running:
        yield running


@pytest.fixture
async def web(http: HttpServer) -> AsyncIterator[httpx2.AsyncClient]:
    base = http.url.removesuffix("/mcp")
    async with httpx2.AsyncClient(base_url=base, trust_env=False, timeout=30) as client:
        yield client


def preflight(origin: str, method: str = "POST", headers: str = "authorization") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }


# --- origins ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [AGENT, "http://127.0.0.1:5678"])
@pytest.mark.parametrize("path", ["/mcp", "/metrics"])
async def test_an_allowed_origin_is_named_exactly(web: httpx2.AsyncClient, path: str, origin: str) -> None:
    before = await web.options(path, headers=preflight(origin))
    assert (before.status_code, before.headers["access-control-allow-origin"]) == (200, origin)
    answer = await web.get(path, headers={**GOOD, "Origin": origin, "Accept": "text/event-stream"})
    assert answer.headers["access-control-allow-origin"] == origin
    assert "origin" in answer.headers["vary"].lower()
    assert "access-control-allow-credentials" not in answer.headers


async def test_what_a_browser_of_either_era_sends_is_allowed(web: httpx2.AsyncClient) -> None:
    sent = "authorization,content-type,mcp-protocol-version,mcp-session-id,mcp-method,mcp-name,last-event-id"
    for method in ("GET", "POST", "DELETE"):
        assert (await web.options("/mcp", headers=preflight(AGENT, method, sent))).status_code == 200
    opened = await web.post("/mcp", json=HELLO, headers={**GOOD, **BOTH, "Origin": AGENT})
    assert "mcp-session-id" in opened.headers["access-control-expose-headers"].lower()
    assert (await web.options("/mcp", headers=preflight(AGENT, "PUT"))).status_code == 400
    assert (await web.options("/mcp", headers=preflight(AGENT, "POST", "x-other"))).status_code == 400


@pytest.mark.parametrize("path", PATHS)
async def test_no_answer_ever_allows_every_origin(web: httpx2.AsyncClient, path: str) -> None:
    for origin in (AGENT, *STRANGERS):
        for method in ("GET", "POST", "OPTIONS"):
            for extra in ({}, GOOD):
                answer = await web.request(method, path, headers={**preflight(origin), **extra})
                assert answer.headers.get("access-control-allow-origin") in {None, AGENT}, (method, origin)
                if origin != AGENT:
                    assert answer.status_code == 403
                    assert "access-control-allow-origin" not in answer.headers


async def test_without_configured_origins_there_is_no_cors(state: State) -> None:
    plain = Settings(mcp=McpSettings(auth_token=Secret(TOKEN)))
    async with (
        HttpServer(build_server(plain, state), host="127.0.0.1", port=0) as running,
        httpx2.AsyncClient(trust_env=False) as client,
    ):
        assert (await client.options(running.url, headers=preflight(AGENT))).status_code == 403
        own = f"http://127.0.0.1:{running.port}"
        answer = await client.post(running.url, json=HELLO, headers={**GOOD, **BOTH, "Origin": own})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


async def test_a_websocket_has_the_same_guard(http: HttpServer) -> None:
    url = f"ws://127.0.0.1:{http.port}/ws"
    async with aiohttp.ClientSession() as client:
        cases = [({"Origin": origin}, 403) for origin in STRANGERS if origin]
        cases += [({"Host": "evil.example"}, 421), ({"Host": f"evil.example:{http.port}"}, 421)]
        for headers, status in cases:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await client.ws_connect(url, headers={**GOOD, **headers})
            assert caught.value.status == status, headers
        for origin in (AGENT, f"http://127.0.0.1:{http.port}"):
            async with client.ws_connect(url, headers={**GOOD, "Origin": origin}) as socket:
                assert (await socket.receive_json(timeout=20))["type"] == "hello"


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["token", "access_token", "Authorization", "api_key"])
async def test_a_token_in_the_url_is_never_taken(http: HttpServer, web: httpx2.AsyncClient, name: str) -> None:
    for path in ("/mcp", "/metrics"):
        for headers in ({}, GOOD):
            answer = await web.post(f"{path}?{name}={TOKEN}", json=HELLO, headers={**BOTH, **headers})
            assert answer.status_code == 400
            assert TOKEN not in answer.text
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await client.ws_connect(f"ws://127.0.0.1:{http.port}/ws?{name}={TOKEN}")
        assert caught.value.status == 400


async def test_what_is_refused_is_counted_by_reason(web: httpx2.AsyncClient) -> None:
    await web.get("/mcp", headers={"Host": "evil.example"})
    await web.get("/mcp", headers={"Origin": "https://evil.example"})
    await web.get("/metrics")
    await web.get("/metrics?token=x")
    figures = (await web.get("/metrics", headers=GOOD)).text
    for reason in ("host", "origin", "token", "token_in_url"):
        assert f'proxmox_mcp_refused_total{{reason="{reason}"}} 1.0' in figures


# --- sizes and times --------------------------------------------------------------------------------------------------


async def test_a_body_without_a_length_is_bounded_too(web: httpx2.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield b"x" * 10_000

    answer = await web.post("/mcp", headers={**GOOD, **BOTH}, content=endless())
    assert answer.status_code == 413


async def test_nothing_of_a_stranger_s_body_is_read(http: HttpServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    writer.write(f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{http.port}\r\nContent-Length: 1000000\r\n\r\n".encode())
    async with asyncio.timeout(20):
        assert b" 401 " in await reader.readline()
    writer.close()


HEAD = "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
BEGUN = {
    "nothing at all": "",
    "half a head": HEAD,
    "a head without its body": HEAD + "Authorization: Bearer a-token-for-tests\r\nContent-Length: 100\r\n\r\n",
    "half a body": HEAD
    + "Authorization: Bearer a-token-for-tests\r\nAccept: application/json, text/event-stream\r\n"
    + 'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"jsonrpc"',
    "half of a second request": "GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\nGET /health HTTP/1.1\r\nHos",
}


@pytest.mark.parametrize("begun", BEGUN)
async def test_who_never_finishes_a_request_is_let_go(http: HttpServer, begun: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    writer.write(BEGUN[begun].replace("{port}", str(http.port)).encode())
    async with asyncio.timeout(20):
        await reader.read()
    writer.close()


@pytest.mark.parametrize("before", ["", "GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"])
async def test_a_byte_now_and_then_does_not_help(http: HttpServer, before: str) -> None:
    """Neither in a first request nor in one that follows another."""
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    if before:
        writer.write(before.replace("{port}", str(http.port)).encode())
        assert b"200 OK" in await reader.readuntil(b"ok\n")
    writer.write(HEAD.replace("{port}", str(http.port)).encode())
    closed = asyncio.create_task(reader.read())
    async with asyncio.timeout(20):
        while not closed.done():
            writer.write(b"x")
            await asyncio.wait([closed], timeout=0.1)
    writer.close()


async def test_a_stream_and_a_silent_connection_in_use_live_on(http: HttpServer, web: httpx2.AsyncClient) -> None:
    """Only requests have to come in within a time: what is streamed afterwards may take for ever."""
    session = (await web.post("/mcp", json=HELLO, headers={**GOOD, **BOTH})).headers["mcp-session-id"]
    headers = {**GOOD, "mcp-session-id": session, "Accept": "text/event-stream"}
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"ws://127.0.0.1:{http.port}/ws", headers=GOOD) as ws,
    ):
        assert (await ws.receive_json(timeout=20))["type"] == "hello"
        async with web.stream("GET", "/mcp", headers=headers) as stream:
            ended = asyncio.create_task(_drained(stream))
            began = time.monotonic()
            await until(lambda: time.monotonic() - began > 2.5)
            assert not ended.done()
            await ws.send_str(json.dumps({"type": "ping"}))
            assert (await ws.receive_json(timeout=20)) == {"type": "pong"}
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)


async def _drained(stream: httpx2.Response) -> None:
    async for _ in stream.aiter_bytes():
        pass
