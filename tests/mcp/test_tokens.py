"""Named tokens: what the file may hold, how it is written, and that each is a principal of its own over HTTP."""

import asyncio
import dataclasses
import hashlib
import hmac
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
import voluptuous as vol
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.middleware.auth_context import get_access_token
from starlette.types import Message, Receive, Scope, Send

from mqtt_bridge.approvals import ApprovalRequest, Approvals, Pending
from mqtt_bridge.errors import PolicyError, SettingsError
from mqtt_bridge.policy import Principal
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import (
    GeneralSettings,
    Limits,
    McpSettings,
    NamedToken,
    PermissionSettings,
    Settings,
    load,
    tokens,
)
from proxmox_mcp import http_guard
from proxmox_mcp.cli import main
from proxmox_mcp.http import HttpServer
from proxmox_mcp.server import PRINCIPAL, build_server
from proxmox_mcp.state import State
from proxmox_mcp.tokens import Keyring
from tests.support.asking import ask, refused, text
from tests.support.held import held
from tests.support.processes import until

HOST = {
    "PROXMOX_HOST": "192.0.2.1",
    "PROXMOX_USER": "a@pve",
    "PROXMOX_TOKEN_NAME": "t",
    "PROXMOX_TOKEN_VALUE": "00000000-0000-0000-0000-000000000000",
}
SECRETS = {name: f"pmcp_{name}_0123456789" for name in ("watcher", "operator", "narrow")}
DEFAULT = "the-token-of-the-settings"
MCP_HEADERS = {"Accept": "application/json, text/event-stream"}
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
PING = {"jsonrpc": "2.0", "id": 2, "method": "ping"}


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def written(folder: Path, content: object, mode: int = 0o600) -> Path:
    path = folder / "tokens.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    path.chmod(mode)
    return path


# --- the file ---------------------------------------------------------------------------------------------------------


def test_an_entry_says_all_of_a_token(tmp_path: Path) -> None:
    entry = {
        "sha256": sha256("a"), "level": "change", "toolsets": ["core", "create_snapshot"], "nodes": ["pve1"],
        "vmids": [100, "200-202"], "pools": ["prod/web"], "sites": ["lab"], "created": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    full, least = tokens.read(str(written(tmp_path, {"n8n": entry, "look": {"sha256": sha256("b")}})))
    limits = Limits(frozenset({"pve1"}), frozenset({100, 200, 201, 202}), frozenset({"prod/web"}), frozenset({"lab"}))
    chosen = frozenset({"core", "create_snapshot"})
    assert full == NamedToken("n8n", sha256("a"), "change", chosen, limits, "2026-01-01T00:00:00Z")
    assert least == NamedToken("look", sha256("b"), "read", None, Limits())


def test_an_empty_list_admits_nothing(tmp_path: Path) -> None:
    (found,) = tokens.read(str(written(tmp_path, {"n8n": {"sha256": sha256("a"), "vmids": [], "toolsets": []}})))
    assert found.limits.vmid_allowlist == frozenset()
    assert found.toolsets == frozenset()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({}, "n8n.sha256 is missing"),
        ({"sha256": "a-token-in-clear"}, "n8n.sha256 is not the SHA-256 of a token"),
        ({"sha256": 5}, "n8n.sha256 is not text"),
        ({"sha256": sha256("a"), "level": "root"}, "n8n.level is none of read, operate"),
        ({"sha256": sha256("a"), "lvl": "read"}, "n8n.lvl is no key of an entry"),
        ({"sha256": sha256("a"), "vmids": "100"}, "n8n.vmids is not a list"),
        ({"sha256": sha256("a"), "vmids": ["x"]}, "n8n.vmids entry 1 is neither a VMID"),
        ({"sha256": sha256("a"), "vmids": [True]}, "n8n.vmids is not a list"),
        ({"sha256": sha256("a"), "nodes": ["../x"]}, "n8n.nodes entry 1 is not a node"),
        ({"sha256": sha256("a"), "sites": ["A B"]}, "n8n.sites entry 1 is not a site"),
        ("text", "n8n is not an object"),
    ],
)
def test_a_wrong_entry_is_named_by_its_key(tmp_path: Path, entry: object, said: str) -> None:
    with pytest.raises(vol.Invalid) as caught:
        tokens.read(str(written(tmp_path, {"n8n": entry})))
    assert said in str(caught.value)
    assert "a-token-in-clear" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "holds no token"),
        ('{"a": {}, "a": {}}', "'a' is in it twice"),
        ({"default": {"sha256": sha256("a")}}, "'default' is reserved"),
        ({"no good": {"sha256": sha256("a")}}, "'no good' is not a name"),
        ({"a": {"sha256": sha256("a")}, "b": {"sha256": sha256("a")}}, "b.sha256 is that of another entry too"),
        ("x" * 300_000, "larger than"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(vol.Invalid) as caught:
        tokens.read(str(written(tmp_path, content)))
    assert said in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, {"n8n": {"sha256": sha256("a")}}, mode)
    with pytest.raises(vol.Invalid, match=f"mode {mode:04o}.*chmod 600 {path}"):
        tokens.read(str(path))


def test_the_report_of_settings_names_the_key(tmp_path: Path) -> None:
    for path in (written(tmp_path, {"n8n": {"level": "read"}}), tmp_path / "nowhere.json"):
        with pytest.raises(SettingsError, match="MCP_TOKENS_FILE"):
            load({**HOST, "MCP_TOKENS_FILE": str(path)}, search=False)


def test_named_tokens_suffice_beyond_loopback(tmp_path: Path) -> None:
    path = written(tmp_path, {"n8n": {"sha256": sha256("a")}})
    beyond = {**HOST, "MCP_HTTP_HOST": "0.0.0.0"}  # noqa: S104
    assert [t.name for t in load({**beyond, "MCP_TOKENS_FILE": str(path)}, search=False).mcp.tokens] == ["n8n"]
    with pytest.raises(SettingsError, match="MCP_AUTH_TOKEN is missing"):
        load(beyond, search=False)


def test_a_token_has_one_owner(tmp_path: Path) -> None:
    path = written(tmp_path, {"n8n": {"sha256": sha256(DEFAULT)}})
    with pytest.raises(SettingsError, match="MCP_AUTH_TOKEN is in MCP_TOKENS_FILE too"):
        load({**HOST, "MCP_TOKENS_FILE": str(path), "MCP_AUTH_TOKEN": DEFAULT}, search=False)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MCP_TOKENS_FILE", raising=False)
    (tmp_path / ".env").write_text("MCP_TOKENS_FILE=private/tokens.json\n", encoding="utf-8")
    return tmp_path


def test_a_token_is_made_shown_once_and_works(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--level", "operate", "--toolsets", "core,power", "--vmids", "100,200-299", "--sites", "lab"]
    assert main(["token", "add", "n8n", *words]) == 0
    made = capsys.readouterr().out.strip()
    path = folder / "private" / "tokens.json"
    (found,) = tokens.read(str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert found.digest == sha256(made)
    assert (found.level, found.toolsets) == ("operate", frozenset({"core", "power"}))
    assert found.limits.vmid_allowlist == frozenset({100, *range(200, 300)})
    assert found.limits.sites == frozenset({"lab"})
    assert len(made) > 40
    assert made not in path.read_text(encoding="utf-8")
    assert main(["token", "list"]) == 0
    listed = capsys.readouterr().out
    assert "n8n" in listed
    assert "100, 200-299" in listed
    assert made not in listed
    assert found.digest not in listed


def test_two_tokens_differ_and_one_can_be_removed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [main(["token", "add", name]) for name in ("a", "b")] == [0, 0]
    first, second = capsys.readouterr().out.split()
    assert first != second
    assert main(["token", "remove", "a"]) == 0
    assert main(["token", "list", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["b"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add", "default"], "reserved"),
        (["add", "has blank"], "not a name"),
        (["add", "n8n", "--toolsets", "cor"], "there is no 'cor'"),
        (["add", "n8n", "--vmids", "1"], "--vmids entry 1"),
        (["add", "there"], "already"),
        (["remove", "nobody"], "no token 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["token", "add", "there"]) == 0
    before = (folder / "private" / "tokens.json").read_bytes()
    assert main(["token", *words]) == 1
    assert said in capsys.readouterr().err
    assert (folder / "private" / "tokens.json").read_bytes() == before


def test_without_a_file_in_the_settings_the_cure_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {"HOME": str(tmp_path)})
    (tmp_path / ".env").touch()
    assert main(["token", "add", "n8n"]) == 1
    assert "MCP_TOKENS_FILE=tokens.json" in capsys.readouterr().err


# --- over HTTP --------------------------------------------------------------------------------------------------------


class Recorder:
    """In place of Actions: notes who asks, and does nothing."""

    def __init__(self) -> None:
        self.asked: list[Principal] = []

    async def perform(self, principal: Principal, *_: object, **__: object) -> Any:
        self.asked.append(principal)
        raise PolicyError("noted")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    named = (
        NamedToken("watcher", sha256(SECRETS["watcher"])),
        NamedToken("operator", sha256(SECRETS["operator"]), "operate", limits=Limits(vmid_allowlist=frozenset({100}))),
        NamedToken("narrow", sha256(SECRETS["narrow"]), "exec", frozenset({"get_vms", "power"})),
    )
    mcp = McpSettings(auth_token=Secret(DEFAULT), tokens=named, toolsets=frozenset({"core", "power"}))
    general = GeneralSettings(state_dir=tmp_path / "state")
    return Settings(general=general, mcp=mcp, permission=PermissionSettings(mcp_allow="read"))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def http(settings: Settings, state: State, recorder: Recorder) -> AsyncIterator[HttpServer]:
    server = build_server(settings, state, recorder)  # type: ignore[arg-type]
    async with HttpServer(server, host="127.0.0.1", port=0) as running:
        yield running


def client(http: HttpServer, token: str, mode: str = "auto") -> Client:
    web = httpx2.AsyncClient(headers=bearer(token), trust_env=False)
    return Client(streamable_http_client(http.url, http_client=web), mode=mode)


async def listed(http: HttpServer, token: str, mode: str) -> set[str]:
    async with held(client(http, token, mode)) as agent:
        return {tool.name for tool in (await agent.list_tools()).tools}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_each_token_is_listed_what_it_may_use(http: HttpServer, mode: str) -> None:
    default = await listed(http, DEFAULT, mode)
    assert default == await listed(http, SECRETS["watcher"], mode)
    assert "get_vms" in default
    assert "execute_vm_command" not in default
    assert "execute_vm_command" in await listed(http, SECRETS["operator"], mode)
    narrow = await listed(http, SECRETS["narrow"], mode)
    assert narrow == {"get_vms", "execute_vm_command", "execute_lxc_command", "execute_node_command"}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_that_is_not_permitted_says_what_would_allow_it(
    http: HttpServer, recorder: Recorder, mode: str
) -> None:
    stop = {"vmid": 100, "command": "start"}
    cases: Mapping[str, str] = {
        DEFAULT: "Set MCP_ALLOW=operate",
        SECRETS["watcher"]: "Give 'watcher' in MCP_TOKENS_FILE the level 'operate'",
    }
    for token, cure in cases.items():
        async with held(client(http, token, mode)) as agent:
            assert cure in await refused(agent, "execute_vm_command", **stop)
    async with held(client(http, SECRETS["narrow"], mode)) as agent:
        said = await refused(agent, "get_nodes")
        assert "The toolsets of 'narrow' in MCP_TOKENS_FILE must name 'core' or 'get_nodes'" in said
    assert recorder.asked == []


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_action_is_asked_for_in_the_name_of_the_token(http: HttpServer, recorder: Recorder, mode: str) -> None:
    async with held(client(http, SECRETS["operator"], mode)) as agent:
        assert "noted" in await refused(agent, "execute_vm_command", vmid=100, command="start")
    limits = Limits(vmid_allowlist=frozenset({100}))
    assert recorder.asked == [Principal("operator", "http", "operate", None, limits, named=True)]


async def test_several_tokens_at_once_keep_to_themselves(http: HttpServer) -> None:
    async with held(client(http, SECRETS["watcher"])) as one, held(client(http, SECRETS["operator"], "legacy")) as two:
        for _ in range(3):
            assert "not permitted" in await refused(one, "execute_vm_command", vmid=100, command="start")
            assert "noted" in text(await two.call_tool("execute_vm_command", {"vmid": 100, "command": "start"}))


async def test_a_session_belongs_to_the_token_that_opened_it(http: HttpServer) -> None:
    async with httpx2.AsyncClient(headers=MCP_HEADERS, trust_env=False) as web:
        opened = await web.post(http.url, json=HELLO, headers=bearer(SECRETS["operator"]))
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        for other in (SECRETS["watcher"], DEFAULT):
            for method in ("POST", "GET", "DELETE"):
                answer = await web.request(method, http.url, json=PING, headers={**bearer(other), **session})
                assert answer.status_code == 404, method
        own = await web.post(http.url, json=PING, headers={**bearer(SECRETS["operator"]), **session})
        assert own.status_code == 200


async def test_unknown_tokens_and_hashes_open_nothing(http: HttpServer) -> None:
    async with httpx2.AsyncClient(headers=MCP_HEADERS, trust_env=False) as web:
        for wrong in ("x", sha256(SECRETS["operator"]), SECRETS["operator"] + "x", SECRETS["operator"][:-1]):
            assert (await web.post(http.url, json=HELLO, headers=bearer(wrong))).status_code == 401


def test_a_token_is_compared_with_all_in_constant_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        seen.append(len(one))
        assert len(one) == len(other)
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    keyring = Keyring.of(settings)
    for token in (SECRETS["watcher"], DEFAULT, "wrong", "é\udcff"):
        seen.clear()
        keyring.find(token)
        assert seen == [32] * 4, "the first match must not end it"


async def test_what_a_client_carries_between_two_rounds_is_bound_to_its_token(settings: Settings) -> None:
    """The SDK binds `requestState` of 2026-07-28 to the user whom it finds there."""
    seen: list[tuple[str, str]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found = get_access_token()
        assert found is not None
        seen.append((found.client_id, scope[PRINCIPAL].name))

    guard = http_guard.guarded(app, settings.mcp, Keyring.of(settings), http_guard.Refused())
    headers = [(b"host", b"localhost:80"), (b"authorization", f"Bearer {SECRETS['narrow']}".encode())]
    scope = {"type": "http", "method": "GET", "path": "/mcp", "query_string": b"", "headers": headers}

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    await guard({**scope, "server": ("127.0.0.1", 80)}, receive, send)
    assert seen == [("narrow", "narrow")]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_token_sees_its_own_approvals_alone(http: HttpServer, settings: Settings, mode: str) -> None:
    requested = {}
    async with Approvals(settings.general.state_dir, settings.approval) as approvals:
        for name in ("operator", "watcher"):
            request = ApprovalRequest(Principal(name, "http"), "guest.stop", "Stop", "change", "lab", "guest 100", "d")
            waiting = await approvals.obtain(request, given=None, ask=None)
            assert isinstance(waiting, Pending)
            requested[name] = waiting.id
    async with held(client(http, SECRETS["operator"], mode)) as agent:
        (own,) = (await ask(agent, "get_approvals", state="all"))["approvals"]
        assert own["id"] == requested["operator"]
        assert (await ask(agent, "get_approvals", id=requested["watcher"]))["approvals"] == []


async def test_one_token_cannot_take_all_the_room(http: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_guard, "MAX_OPEN", 1)
    async with httpx2.AsyncClient(headers=MCP_HEADERS, trust_env=False, timeout=30) as web:
        owner = bearer(SECRETS["operator"])

        async def opened() -> httpx2.Response:
            """Once what was open before is closed on the other side too."""
            async with asyncio.timeout(20):
                while (answer := await web.post(http.url, json=HELLO, headers=owner)).status_code != 200:
                    await asyncio.sleep(0.02)
            return answer

        asked = {**owner, "mcp-session-id": (await opened()).headers["mcp-session-id"]}
        stream = await _stream(web, http.url, asked)
        refusal = await web.post(http.url, json=HELLO, headers=owner)
        assert (refusal.status_code, refusal.headers["retry-after"]) == (429, "5")
        assert (await web.post(http.url, json=HELLO, headers=bearer(DEFAULT))).status_code == 200
        await stream.aclose()
        await opened()
    async with httpx2.AsyncClient(trust_env=False) as web:
        figures = (await web.get(http.url.replace("/mcp", "/metrics"), headers=bearer(DEFAULT))).text
    assert 'proxmox_mcp_refused_total{reason="too_many"}' in figures


async def _stream(web: httpx2.AsyncClient, url: str, headers: Mapping[str, str]) -> httpx2.Response:
    async with asyncio.timeout(20):
        while True:
            answer = await web.send(web.build_request("GET", url, headers=dict(headers)), stream=True)
            if answer.status_code == 200:
                return answer
            await answer.aclose()


async def test_where_tokens_are_named_nobody_comes_in_without(settings: Settings, state: State) -> None:
    only = dataclasses.replace(settings, mcp=dataclasses.replace(settings.mcp, auth_token=None))
    async with (
        HttpServer(build_server(only, state), host="127.0.0.1", port=0) as running,
        httpx2.AsyncClient(headers=MCP_HEADERS, trust_env=False) as web,
    ):
        assert (await web.post(running.url, json=HELLO)).status_code == 401
        assert (await web.post(running.url, json=HELLO, headers=bearer(SECRETS["watcher"]))).status_code == 200
    async with HttpServer(build_server(only, state), host="0.0.0.0", port=0) as beyond:  # noqa: S104
        await until(lambda: beyond.port)
