"""`proxmox-mcp stdio` as a client starts it: a process of its own, quick to answer, silent on standard output."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.settings import Settings
from proxmox_mcp.lab import Lab, LabOptions
from proxmox_mcp.tools import ALL
from tests.support.asking import ask
from tests.support.held import held
from tests.support.mosquitto import Mosquitto
from tests.support.site import Site

LATE = ("aiohttp", "requests", "amqtt", "proxmoxer", "prometheus_client", "sqlite3")
NOWHERE = {
    "PROXMOX_SITE": "lab",
    "PROXMOX_HOST": "127.0.0.1:1",
    "PROXMOX_USER": "a@pve",
    "PROXMOX_TOKEN_NAME": "t",
    "PROXMOX_TOKEN_VALUE": "00000000-0000-0000-0000-000000000000",
}
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(LabOptions(speed=20, pvestatd_interval=0)) as running:
        yield running


def environment(tmp_path: Path, settings: Mapping[str, str]) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    return {**kept, "STATE_DIR": str(tmp_path / "state"), **settings}


def command(tmp_path: Path, settings: Mapping[str, str]) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "proxmox_mcp", "stdio"],
        env=environment(tmp_path, settings),
        cwd=str(tmp_path),
    )


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_it_reads_the_api_where_there_is_no_bridge(tmp_path: Path, lab: Lab, mode: str) -> None:
    async with held(Client(command(tmp_path, lab.env), mode=mode)) as client:
        listed = {tool.name for tool in (await client.list_tools()).tools}
        assert listed == {tool.name for tool in ALL if tool.read_only and tool.selected(Settings().mcp.toolsets)}
        answer = await ask(client, "get_vms")
        assert answer["source"] == "api"
        assert answer["total"] > 0


async def test_it_reads_the_broker_where_a_bridge_is_online(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path / "mosquitto") as mosquitto, Broker(mosquitto.options) as bus:
        await bus.wait_connected()
        await Site(bus).publish()
        settings = {**NOWHERE, "MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
        async with held(Client(command(tmp_path, settings))) as client:
            answer = await ask(client, "get_vms")
            assert (answer["source"], answer["total"], answer["complete"]) == ("mqtt", 16, True)


async def test_tools_are_listed_at_once_though_nothing_can_be_reached(tmp_path: Path) -> None:
    settings = {**NOWHERE, "MQTT_HOST": "127.0.0.1", "MQTT_PORT": "1"}
    async with held(Client(command(tmp_path, settings), mode="legacy")) as client:
        assert (await client.list_tools()).tools
        result = await client.call_tool("get_vms", {})
        said = str(result)
        assert result.is_error or result.structured_content is not None
        assert "00000000-0000" not in said


async def test_standard_output_carries_nothing_but_the_protocol(tmp_path: Path, lab: Lab) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxmox_mcp", "stdio",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=environment(tmp_path, {**lab.env, "LOG_LEVEL": "DEBUG"}), cwd=tmp_path,
    )  # fmt: skip
    calls: list[dict[str, Any]] = [
        HELLO,
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "get_vms", "arguments": {}}},
    ]
    assert process.stdin
    assert process.stdout
    process.stdin.write("".join(json.dumps(call) + "\n" for call in calls).encode())
    seen = [json.loads(await process.stdout.readline()) for _ in range(2)]
    assert [message["id"] for message in seen] == [1, 2]
    process.stdin.close()
    async with asyncio.timeout(15):
        rest = await process.stdout.read()
        assert await process.wait() == 0
    assert rest == b""


async def test_what_stdio_does_not_need_is_not_imported() -> None:
    code = f"""
import asyncio, sys
from mqtt_bridge.settings import Settings
from proxmox_mcp.server import build_server
from proxmox_mcp.state import State
import proxmox_mcp.serving
asyncio.run(build_server(Settings(), State(None)).list_tools())
print(*[name for name in {LATE!r} if name in sys.modules])
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert out.split() == []
