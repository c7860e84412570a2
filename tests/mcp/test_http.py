"""MCP over real HTTP: who is let in, what is open, and how it starts and ends."""

import asyncio
import dataclasses
import socket
import time
from collections.abc import AsyncIterator, Mapping

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from mqtt_bridge.errors import BridgeError, SettingsError
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import McpSettings, Settings
from proxmox_mcp.http import HttpServer
from proxmox_mcp.server import ProxmoxServer, build_server
from proxmox_mcp.state import State
from tests.support.held import held

TOKEN = "a-token-for-tests"
GOOD = {"Authorization": f"Bearer {TOKEN}"}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
MCP_HEADERS = {"Accept": "application/json, text/event-stream"}


@pytest.fixture
def mcp() -> McpSettings:
    return McpSettings(
        auth_token=Secret(TOKEN), toolsets=frozenset({"all"}), allowed_origins=("https://agent.example",)
    )


@pytest.fixture
def server(state: State, mcp: McpSettings) -> ProxmoxServer:
    return build_server(Settings(mcp=mcp), state)


@pytest.fixture
async def http(server: ProxmoxServer) -> AsyncIterator[HttpServer]:
    async with HttpServer(server, host="127.0.0.1", port=0) as running:
        yield running


@pytest.fixture
async def web(http: HttpServer) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=http.url.removesuffix("/mcp"), trust_env=False) as client:
        yield client


def connect(url: str, headers: Mapping[str, str], mode: str) -> Client:
    transport = streamable_http_client(url, http_client=httpx2.AsyncClient(headers=dict(headers), trust_env=False))
    return Client(transport, mode=mode)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_with_the_token_reads(http: HttpServer, mode: str) -> None:
    async with held(connect(http.url, GOOD, mode)) as client:
        result = await client.call_tool("get_vms", {"limit": 3})
        assert result.structured_content is not None
        assert len(result.structured_content["guests"]) == 3


@pytest.mark.parametrize("path", ["/mcp", "/metrics", "/anything"])
async def test_without_the_token_nothing_is_said(web: httpx2.AsyncClient, path: str) -> None:
    for header in (None, "Bearer wrong", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", "Bearer é"):
        headers = [] if header is None else [(b"Authorization", header.encode())]
        for method in ("GET", "POST", "DELETE"):
            answer = await web.request(method, path, headers=headers)
            assert answer.status_code == 401, (method, header)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert TOKEN not in answer.text


async def test_health_is_open_and_says_only_ok(web: httpx2.AsyncClient) -> None:
    answer = await web.get("/health")
    assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_health_that_is_bad(server: ProxmoxServer) -> None:
    async with HttpServer(server, host="127.0.0.1", port=0, healthy=lambda: False) as http:
        async with httpx2.AsyncClient(trust_env=False) as web:
            answer = await web.get(http.url.replace("/mcp", "/health"))
        assert (answer.status_code, answer.text) == (503, "not ok\n")


FOREIGN_HOSTS = ("evil.example", "evil.example:PORT", "127.0.0.1.evil.example:PORT", "localhost:1", "")
FOREIGN_ORIGINS = ("https://evil.example", "null", "http://localhost:1", "https://agent.example:444")


@pytest.mark.parametrize("path", ["/mcp", "/metrics", "/health"])
async def test_a_foreign_host_is_refused_everywhere(http: HttpServer, web: httpx2.AsyncClient, path: str) -> None:
    for host in FOREIGN_HOSTS:
        answer = await web.post(path, headers={**GOOD, "Host": host.replace("PORT", str(http.port))}, json=PING)
        assert answer.status_code == 421, host


@pytest.mark.parametrize("path", ["/mcp", "/metrics", "/health"])
async def test_a_foreign_origin_is_refused_everywhere(web: httpx2.AsyncClient, path: str) -> None:
    for origin in FOREIGN_ORIGINS:
        for method in ("GET", "POST", "OPTIONS"):
            answer = await web.request(method, path, headers={**GOOD, "Origin": origin})
            assert answer.status_code == 403, (method, origin)
            assert "access-control-allow-origin" not in answer.headers


async def test_an_allowed_origin_gets_exactly_itself(web: httpx2.AsyncClient) -> None:
    asked = {
        "Origin": "https://agent.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    answer = await web.options("/mcp", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://agent.example"
    assert (await web.get("/mcp", headers={"Origin": "https://agent.example"})).status_code == 401


async def test_own_names_are_allowed(http: HttpServer, web: httpx2.AsyncClient) -> None:
    for host in (f"localhost:{http.port}", f"127.0.0.1:{http.port}", f"LOCALHOST:{http.port}"):
        assert (await web.get("/metrics", headers={**GOOD, "Host": host})).status_code == 200


@pytest.mark.parametrize(("host", "status"), [("pve-mcp.lan", 200), ("pve-mcp.lan:PORT", 200), ("pve-mcp.lan:1", 421)])
async def test_a_configured_host_is_allowed(state: State, mcp: McpSettings, host: str, status: int) -> None:
    settings = Settings(mcp=dataclasses.replace(mcp, allowed_hosts=("pve-mcp.lan",)))
    async with HttpServer(build_server(settings, state), host="127.0.0.1", port=0) as http:
        async with httpx2.AsyncClient(trust_env=False) as web:
            headers = {**GOOD, "Host": host.replace("PORT", str(http.port))}
            answer = await web.get(http.url.replace("/mcp", "/metrics"), headers=headers)
        assert answer.status_code == status


async def test_a_large_body_is_refused(web: httpx2.AsyncClient) -> None:
    answer = await web.post("/mcp", headers={**GOOD, **MCP_HEADERS}, content=b"x" * 1_100_000)
    assert answer.status_code == 413


async def test_metrics_are_prometheus(http: HttpServer, web: httpx2.AsyncClient) -> None:
    async with held(connect(http.url, GOOD, "auto")) as client:
        await client.call_tool("get_vms", {})
        await client.call_tool("get_guest", {"vmid": 999})
        await client.call_tool("nonsense", {})
    text = (await web.get("/metrics", headers=GOOD)).text
    assert 'proxmox_mcp_tool_seconds_count{outcome="ok",tool="get_vms"} 1.0' in text
    assert 'proxmox_mcp_tool_seconds_count{outcome="error",tool="get_guest"} 1.0' in text
    assert 'proxmox_mcp_tool_seconds_count{outcome="error",tool="unknown"} 1.0' in text
    assert "proxmox_mirror_complete 1.0" in text
    assert 'proxmox_site_online{site="lab"} 1.0' in text
    assert 'proxmox_site_age_seconds{site="lab"}' in text


async def test_without_a_token_it_listens_on_loopback_only(state: State) -> None:
    open_server = build_server(Settings(), state)
    with pytest.raises(SettingsError, match="MCP_AUTH_TOKEN"):
        async with HttpServer(open_server, host="0.0.0.0", port=0):  # noqa: S104
            pass
    async with HttpServer(open_server, host="127.0.0.1", port=0) as http:
        async with held(connect(http.url, {}, "auto")) as client:
            assert (await client.list_tools()).tools
        async with httpx2.AsyncClient(trust_env=False) as web:
            assert (await web.post(http.url, headers={"Host": "evil.example"}, json=PING)).status_code == 421


async def test_with_a_token_it_may_listen_everywhere(server: ProxmoxServer) -> None:
    async with HttpServer(server, host="0.0.0.0", port=0) as http, held(connect(http.url, GOOD, "auto")) as client:  # noqa: S104
        assert (await client.list_tools()).tools


async def test_a_port_that_is_taken_is_named(server: ProxmoxServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BridgeError, match=rf"Cannot listen on 127.0.0.1 port {port}.*--port"):
            async with HttpServer(server, host="127.0.0.1", port=port):
                pass


async def test_it_ends_quickly_with_streams_open(server: ProxmoxServer) -> None:
    running = HttpServer(server, host="127.0.0.1", port=0)
    await running.__aenter__()
    async with httpx2.AsyncClient(headers={**GOOD, **MCP_HEADERS}, trust_env=False, timeout=30) as web:
        session = (await web.post(running.url, json=HELLO)).headers["mcp-session-id"]
        stream = asyncio.create_task(_drain(web, running.url, session))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await running.__aexit__(None, None, None)
        assert time.monotonic() - began < 15
        stream.cancel()
        await asyncio.gather(stream, return_exceptions=True)


async def _drain(web: httpx2.AsyncClient, url: str, session: str) -> None:
    async with web.stream("GET", url, headers={"mcp-session-id": session}) as answer:
        async for _ in answer.aiter_bytes():
            pass


async def test_a_session_that_idles_is_closed(state: State, mcp: McpSettings) -> None:
    settings = Settings(mcp=dataclasses.replace(mcp, session_idle=0.2))
    async with (
        HttpServer(build_server(settings, state), host="127.0.0.1", port=0) as http,
        httpx2.AsyncClient(headers={**GOOD, **MCP_HEADERS}, trust_env=False) as web,
    ):
        session = (await web.post(http.url, json=HELLO)).headers["mcp-session-id"]
        await asyncio.sleep(0.8)
        late = await web.post(http.url, headers={"mcp-session-id": session}, json=PING)
        assert late.status_code == 404
