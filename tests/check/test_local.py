import asyncio
import json
from pathlib import Path

import pytest

from mqtt_bridge.mqtt.broker import BrokerOptions
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import load
from mqtt_bridge.statedir import StateDir
from proxmox_mcp.check import CHECKS, Finding, passed, render, to_json
from proxmox_mcp.check.local import check_port, check_settings, check_state_dir
from tests.check.support import PASSWORD, Check, StartBroker
from tests.support.https_host import free_port

HOST = {"PROXMOX_HOST": "h", "PROXMOX_USER": "a@pve!b", "PROXMOX_TOKEN_VALUE": "c"}


async def port_finding(**more: str) -> Finding:
    (found,) = await check_port(load({**HOST, **more}, search=False), 3)
    return found


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_free_port(host: str) -> None:
    found = await port_finding(MCP_HTTP_HOST=host, MCP_HTTP_PORT=str(free_port()))
    assert found.ok is True


async def test_a_port_that_is_taken() -> None:
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await port_finding(MCP_HTTP_PORT=str(port))
    assert found.ok is False
    assert "used by another program" in found.detail
    assert "MCP_HTTP_PORT" in found.cure


@pytest.mark.parametrize(
    ("answer", "ours"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n", True),
        (b'HTTP/1.1 406 Not Acceptable\r\nContent-Length: 17\r\n\r\n{"jsonrpc":"2.0"}', True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", False),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", False),
    ],
)
async def test_a_port_where_something_answers(answer: bytes, ours: bool) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        found = await port_finding(MCP_HTTP_PORT=str(server.sockets[0].getsockname()[1]))
    assert found.ok is ours


async def test_an_address_that_is_not_here() -> None:
    found = await port_finding(MCP_HTTP_HOST="192.0.2.1", MCP_AUTH_TOKEN="0123456789abcdef")
    assert found.ok is False
    assert "MCP_HTTP_HOST" in found.cure


async def state(path: Path) -> list[Finding]:
    return await check_state_dir(load({**HOST, "STATE_DIR": str(path)}, search=False), 3)


async def test_a_state_dir_to_be_made_is_not_made(tmp_path: Path) -> None:
    (found,) = await state(tmp_path / "a" / "b")
    assert found.ok is True
    assert "will be made" in found.detail
    assert not (tmp_path / "a").exists()


async def test_a_state_dir_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    assert [f.ok for f in await state(path)] == [True]
    path.chmod(0o755)
    assert [f.ok for f in await state(path)] == [True, None]
    assert list(path.iterdir()) == []


async def test_a_state_dir_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (found,) = await state(tmp_path / "file" / "below")
    assert found.ok is False
    assert "not a folder" in found.detail


async def test_a_write_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("proxmox_mcp.check.local._write", refuse)
    (found,) = await state(tmp_path / "state")
    assert found.ok is False
    assert "Permission denied" in found.detail


async def test_the_broker_of_a_running_bridge_is_tested(check: Check, broker: StartBroker, tmp_path: Path) -> None:
    running = broker()
    path = tmp_path / "state"
    async with StateDir(path) as owner:
        owner.tell(BrokerOptions("127.0.0.1", running.port, "bridge", Secret(PASSWORD)), "proxmox")
        found = await check(HOST | {"PROXMOX_HOST": f"127.0.0.1:{free_port()}"})
    assert found.one(f"broker 127.0.0.1:{running.port}", "retained").ok is True
    assert "a bridge runs" in found.one("this machine", "bridge").detail


async def test_settings_of_later_versions_and_warnings_are_notes() -> None:
    settings = load({**HOST, "ENABLE_AGENT": "true", "VERIFY_SSL": "false"}, search=False)
    found = await check_settings(settings, 3)
    assert [f.ok for f in found] == [None, None]
    assert any("ENABLE_AGENT" in f.detail for f in found)
    assert passed(found)


def test_text_for_people() -> None:
    findings = [
        Finding("pve1", "tcp", True, "connected"),
        Finding("pve1", "tls", False, "not trusted", "pin it\nor trust the CA"),
        Finding("pve1", "api", None, "not tried, since tls failed"),
        Finding("pve1", "token", None, "not tried, since tls failed"),
        Finding("broker", "connect", True, "fine"),
    ]
    assert render(findings).splitlines() == [
        "pve1",
        "  ok    tcp         connected",
        "  FAIL  tls         not trusted",
        "                    -> pin it",
        "                    -> or trust the CA",
        "  note  api, token  not tried, since tls failed",
        "",
        "broker",
        "  ok    connect     fine",
        "",
        "1 of 5 findings is a problem.",
    ]
    assert render(findings[:1]).endswith("Everything that is enabled works.")


def test_json_for_machines() -> None:
    findings = [Finding("a", "tcp", False, "d", "c"), Finding("a", "tls", None, "e")]
    assert json.loads(to_json(findings)) == {
        "ok": False,
        "findings": [
            {"subject": "a", "what": "tcp", "ok": False, "detail": "d", "cure": "c"},
            {"subject": "a", "what": "tls", "ok": None, "detail": "e", "cure": ""},
        ],
    }


async def test_every_check_of_the_table_runs(check: Check) -> None:
    listening = {"ENABLED_EVENT_LISTENERS": "SMTP", "EVENT_SMTP_LISTEN_PORT": str(free_port())}
    host = HOST | {"PROXMOX_HOST": f"127.0.0.1:{free_port()}", "TZ": ""}
    found = await check(host | listening, VERIFY_SSL="false")
    subjects = {f.subject.split(":")[0].split(" ")[0] for f in found.findings}
    assert subjects == {"pve", "broker", "this", "settings", "approvals", "listener", "n8n"}
    assert len(CHECKS) > len(found.findings), "some are silent about what is not enabled"
