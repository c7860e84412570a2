"""`proxmox-mcp stdio --connect URL`: a client that starts a command, a server elsewhere, all that passes in between."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.subscriptions import ResourceUpdated

from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import McpSettings, Settings
from proxmox_mcp import connect_http
from proxmox_mcp.connect import _lines
from proxmox_mcp.connect_http import encoded
from proxmox_mcp.http import HttpServer
from proxmox_mcp.server import build_server
from proxmox_mcp.state import State
from tests.mcp.conftest import Eventually
from tests.support.asking import ask, text
from tests.support.held import held
from tests.support.https_host import make_certificate
from tests.support.processes import until
from tests.support.remote import Remote
from tests.support.site import Site

TOKEN = "the-token-for-these-tests"
URI = "proxmox://lab/guest/100"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])
SERVED = {"auto": "2026-07-28", "legacy": "2025-11-25"}


@pytest.fixture
def settings() -> Settings:
    return Settings(mcp=McpSettings(auth_token=Secret(TOKEN)))


@pytest.fixture
async def http(settings: Settings, state: State) -> AsyncIterator[HttpServer]:
    async with HttpServer(build_server(settings, state), host="127.0.0.1", port=0) as running:
        yield running


def environment(folder: Path, **settings: str) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    return {**kept, "STATE_DIR": str(folder / "state"), "PROXMOX_MCP_TOKEN": TOKEN, **settings}


@asynccontextmanager
async def client(
    folder: Path,
    url: str,
    mode: str = "auto",
    words: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
    **more: Any,
) -> AsyncIterator[Client]:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "proxmox_mcp", "stdio", "--connect", url, *words],
        env=environment(folder) if env is None else env,
        cwd=str(folder),
    )
    with (folder / "stderr").open("a", encoding="utf-8") as log:
        async with held(Client(stdio_client(command, errlog=log), mode=mode, **more)) as opened:
            yield opened


def logged(folder: Path) -> str:
    return (folder / "stderr").read_text(encoding="utf-8")


# --- what passes ------------------------------------------------------------------------------------------------------


@MODES
async def test_a_client_reads_through_it(tmp_path: Path, http: HttpServer, mode: str) -> None:
    async with client(tmp_path, http.url, mode) as agent:
        assert agent.protocol_version == SERVED[mode]
        assert "get_vms" in {tool.name for tool in (await agent.list_tools()).tools}
        assert len((await ask(agent, "get_vms", limit=3))["guests"]) == 3
        read = await agent.read_resource(URI)
        assert '"vmid":100' in read.contents[0].text  # type: ignore[union-attr]
        assert (await agent.list_prompts()).prompts
    assert TOKEN not in logged(tmp_path)


@MODES
async def test_it_is_told_of_changes(
    tmp_path: Path, http: HttpServer, site: Site, eventually: Eventually, mode: str
) -> None:
    if mode == "auto":
        async with (
            client(tmp_path, http.url, mode) as agent,
            held(agent.listen(resource_subscriptions=[URI])) as events,
        ):
            await site.put("guest", site.guest(100, name="renamed"), vmid=100)
            async with asyncio.timeout(20):
                assert await anext(events) == ResourceUpdated(uri=URI)
        return
    heard: list[str] = []
    async with client(tmp_path, http.url, mode, message_handler=hearing(heard)) as agent:
        await agent.session.subscribe_resource(URI)
        await site.put("guest", site.guest(100, name="renamed"), vmid=100)
        await until(lambda: heard == [URI], why=lambda: heard)


def hearing(heard: list[str]) -> Callable[[Any], Any]:
    async def listen(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            heard.append(str(message.params.uri))

    return listen


@MODES
async def test_progress_and_answers_pass(tmp_path: Path, mode: str) -> None:
    steps: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total, message))

    async with Remote() as remote, client(tmp_path, remote.url, mode) as agent:
        result = await agent.call_tool("count", {"to": 3}, progress_callback=note)
        assert text(result) == "counted to 3, ünïcode"
        await until(lambda: len(steps) == 3, why=lambda: steps)
        assert steps[-1] == (3, 3, "step 3")


@MODES
@pytest.mark.parametrize("action", ["accept", "decline"])
async def test_a_person_is_asked_through_it(tmp_path: Path, mode: str, action: Any) -> None:
    async def answer(_: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert params.message == "Really?"
        return types.ElicitResult(action=action, content={"yes": True} if action == "accept" else None)

    async with Remote() as remote, client(tmp_path, remote.url, mode, elicitation_callback=answer) as agent:
        assert text(await agent.call_tool("sure", {})) == f"{action} {True if action == 'accept' else None}"


@MODES
async def test_a_call_that_is_cancelled_ends_over_there(tmp_path: Path, mode: str) -> None:
    async with Remote() as remote, client(tmp_path, remote.url, mode) as agent:
        call = asyncio.create_task(agent.call_tool("wait", {}))
        async with asyncio.timeout(20):
            await remote.begun.wait()
            call.cancel()
            await remote.cancelled.wait()
        await asyncio.gather(call, return_exceptions=True)
        assert text(await agent.call_tool("count", {"to": 1})) == "counted to 1, ünïcode"


@MODES
async def test_several_calls_at_once(tmp_path: Path, mode: str) -> None:
    async with Remote() as remote, client(tmp_path, remote.url, mode) as agent:
        waiting = asyncio.create_task(agent.call_tool("wait", {}))
        await remote.begun.wait()
        results = await asyncio.gather(*(agent.call_tool("count", {"to": n}) for n in range(20)))
        assert [text(r) for r in results] == [f"counted to {n}, ünïcode" for n in range(20)]
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


# --- the token --------------------------------------------------------------------------------------------------------


async def test_the_token_may_be_in_a_file(tmp_path: Path, http: HttpServer) -> None:
    file = tmp_path / "token.txt"
    file.write_text(TOKEN + "\n", encoding="utf-8")
    env = environment(tmp_path, PROXMOX_MCP_TOKEN="wrong")
    async with client(tmp_path, http.url, "auto", ("--token-file", str(file)), env) as agent:
        assert (await agent.list_tools()).tools


@pytest.mark.parametrize("token", ["wrong-but-long-enough", ""])
async def test_a_token_that_is_refused_is_said_to_the_client_and_in_the_log(
    tmp_path: Path, http: HttpServer, token: str
) -> None:
    _, (answer,), err = await run(tmp_path, http.url, json.dumps(HELLO).encode() + b"\n", PROXMOX_MCP_TOKEN=token)
    assert "does not know the token: set PROXMOX_MCP_TOKEN" in answer["error"]["message"]
    assert answer["error"]["data"] == {"reason": "refused"}
    assert "set PROXMOX_MCP_TOKEN" in err
    assert "HTTP Request" not in err  # a line for each call says nothing
    assert not token or token not in f"{answer}{err}"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://user:hidden@mcp.lan/mcp", "has a secret in it"),
        ("https://mcp.lan/mcp?token=hidden", "has a secret in it"),
        ("mcp.lan", "is not a URL"),
        ("ftp://mcp.lan", "is not a URL"),
        ("http://[", "is not a URL"),
    ],
)
async def test_a_url_that_cannot_be_right_stops_it(tmp_path: Path, url: str, said: str) -> None:
    code, _, err = await run(tmp_path, url)
    assert code == 2
    assert said in err
    assert "hidden" not in err


async def test_a_token_that_would_go_unencrypted_is_warned_of(tmp_path: Path) -> None:
    _, _, err = await run(tmp_path, "http://192.0.2.1:1/mcp")
    assert "without encryption" in err
    assert TOKEN not in err


async def run(folder: Path, url: str, said: bytes = b"", **settings: str) -> tuple[int, list[dict[str, Any]], str]:
    """The command with these lines on standard input: exit code, answers, standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxmox_mcp", "stdio", "--connect", url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=environment(folder, **settings), cwd=folder,
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, err = await process.communicate(said)
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


# --- what goes wrong --------------------------------------------------------------------------------------------------


async def test_lines_that_are_no_messages_are_answered(tmp_path: Path, http: HttpServer) -> None:
    said = b"no json\n\n[1]\n" + b"x" * 5_000_000 + b"\n" + json.dumps(HELLO).encode() + b"\n"
    code, answers, _ = await run(tmp_path, http.url, said)
    assert code == 0
    assert [a.get("error", {}).get("code") for a in answers] == [-32700, -32600, -32700, None]
    assert answers[-1]["result"]["serverInfo"]["name"] == "proxmox-mcp"


async def test_a_server_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    async with Remote() as before:
        port = before.port
    late = Remote(port=port)

    async def start() -> None:
        await asyncio.sleep(1.5)
        await late.__aenter__()

    starting = asyncio.create_task(start())
    async with client(tmp_path, late.url, "legacy") as agent:
        assert text(await agent.call_tool("count", {"to": 1})) == "counted to 1, ünïcode"
    await starting
    await late.__aexit__(None, None, None)


async def test_a_server_that_stays_away_is_an_error_with_a_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect_http, "FIRST_PATIENCE", 0.5)
    told: list[dict[str, Any]] = []

    async def tell(message: dict[str, Any]) -> None:
        told.append(message)

    import httpx2  # noqa: PLC0415

    async with httpx2.AsyncClient(trust_env=False) as web:
        await connect_http.Remote("http://127.0.0.1:1/mcp", web, tell).request(HELLO)
    (answer,) = told
    assert answer["id"] == 1
    assert answer["error"]["data"] == {"reason": "away"}
    assert "cannot be reached" in answer["error"]["message"]
    assert "proxmox-mcp serve" in answer["error"]["message"]


@MODES
async def test_a_call_that_was_cut_off_is_not_repeated(tmp_path: Path, mode: str) -> None:
    remote = Remote()
    async with remote, client(tmp_path, remote.url, mode) as agent:
        call = asyncio.create_task(agent.call_tool("wait", {}))
        await remote.begun.wait()
        await remote.__aexit__(None, None, None)
        with pytest.raises(MCPError, match="whether it was carried out is not known"):
            await call


async def test_a_server_that_was_restarted_is_used_on(
    tmp_path: Path, settings: Settings, state: State, site: Site
) -> None:
    """The session is opened again and what was subscribed to is subscribed to again, without a word from the client."""
    heard: list[str] = []
    first = HttpServer(build_server(settings, state), host="127.0.0.1", port=0)
    await first.__aenter__()
    async with client(tmp_path, first.url, "legacy", message_handler=hearing(heard)) as agent:
        await agent.session.subscribe_resource(URI)
        await first.__aexit__(None, None, None)
        async with HttpServer(build_server(settings, state), host="127.0.0.1", port=first.port):
            assert len((await ask(agent, "get_vms", limit=3))["guests"]) == 3
            await until(lambda: heard == [URI], why=lambda: heard)  # it may have changed meanwhile
            changed = 0
            async with asyncio.timeout(30):
                while len(heard) < 2:
                    changed += 1
                    await site.put("guest", site.guest(100, name=f"renamed{changed}"), vmid=100)
                    await asyncio.sleep(0.1)
    assert "opening it again" in logged(tmp_path)


async def test_what_is_no_mcp_server_is_said_to_be_none(tmp_path: Path, http: HttpServer) -> None:
    for path, said in (("/nowhere", "no MCP at this path"), ("/health", "no MCP at this path")):
        _, answers, _ = await run(tmp_path, http.url.replace("/mcp", path), json.dumps(HELLO).encode() + b"\n")
        assert said in answers[0]["error"]["message"]


async def test_a_redirect_does_not_get_the_token(tmp_path: Path) -> None:
    seen: list[str] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head.decode())
        there = f"http://127.0.0.1:{port}/stolen"
        writer.write(f"HTTP/1.1 307 No\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        proxies = {"HTTP_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"}
        said = json.dumps(HELLO).encode() + b"\n"
        _, (answer,), _ = await run(tmp_path, f"http://127.0.0.1:{port}/mcp", said, **proxies)
    assert "answered 307" in answer["error"]["message"]
    assert len(seen) == 1
    assert seen[0].startswith("POST /mcp ")


async def test_a_url_without_a_path_is_completed(tmp_path: Path, http: HttpServer) -> None:
    async with client(tmp_path, http.url.removesuffix("/mcp")) as agent:
        assert (await agent.list_tools()).tools


# --- TLS --------------------------------------------------------------------------------------------------------------


async def test_a_certificate_is_verified_with_the_ca_that_is_given(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "127.0.0.1").path
    async with Remote(certificate) as remote:
        env = environment(tmp_path, MCP_CA_FILE=str(certificate))
        async with client(tmp_path, remote.url, env=env) as agent:
            assert text(await agent.call_tool("count", {"to": 1})) == "counted to 1, ünïcode"
        calls = remote.calls
        _, answers, err = await run(tmp_path, remote.url, json.dumps(HELLO).encode() + b"\n")
        assert remote.calls == calls
    assert "is not trusted" in answers[0]["error"]["message"]
    assert "MCP_CA_FILE" in answers[0]["error"]["message"]
    assert "is not trusted" in err


async def test_a_ca_file_that_is_none_stops_it(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate", encoding="utf-8")
    code, _, err = await run(tmp_path, "https://mcp.lan/mcp", MCP_CA_FILE=str(file))
    assert code == 2
    assert "MCP_CA_FILE is no certificate" in err


# --- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("get_vms", "get_vms"),
        ("ü", "=?base64?w7w=?="),
        (" x", "=?base64?IHg=?="),
        ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        ("a\nb", "=?base64?YQpi?="),
    ],
)
def test_names_in_headers_follow_the_specification(name: str, header: str) -> None:
    from mcp.shared.inbound import decode_header_value  # noqa: PLC0415

    assert encoded(name) == header
    assert decode_header_value(encoded(name)) == name


def test_lines_are_cut_where_they_end(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"one\ntwo\r\nthr")
    os.write(write, b"ee\nlast")
    os.close(write)
    assert list(_lines(read)) == [b"one", b"two\r", b"three", b"last"]
    os.close(read)
