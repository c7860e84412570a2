"""Measurements of the MCP side, as functions: `make bench` prints them, no test asserts their times."""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcp_types import CallToolResult

from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.loopback import Loopback
from mqtt_bridge.settings import Settings
from proxmox_mcp.mirror import Mirror
from proxmox_mcp.server import build_server
from proxmox_mcp.state import State
from tests.support.site import Site

BARE = """
from mcp.server.mcpserver import MCPServer
server = MCPServer("bare")
@server.tool()
def add(a: int, b: int) -> int:
    return a + b
server.run("stdio")
"""
HELLO = (
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
)


@dataclass(frozen=True)
class ColdStart:
    """Medians in seconds from starting the process to the answer of `tools/list`."""

    bare: float
    ours: float

    @property
    def ratio(self) -> float:
        return self.ours / self.bare


async def cold_start(folder: Path, environment: Mapping[str, str], runs: int = 7) -> ColdStart:
    """Ours against the SDK's own server with one tool, turn by turn in one run."""
    bare, ours = [], []
    for _ in range(runs):
        bare.append(await _to_tools_list(["-c", BARE], folder, environment))
        ours.append(await _to_tools_list(["-m", "proxmox_mcp", "stdio"], folder, environment))
    return ColdStart(statistics.median(bare), statistics.median(ours))


async def _to_tools_list(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> float:
    pipe = asyncio.subprocess.PIPE
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL,
        env=dict(environment), cwd=folder, limit=1 << 20,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    process.stdin.write("".join(json.dumps(message) + "\n" for message in HELLO).encode())
    while json.loads(await process.stdout.readline()).get("id") != 2:
        pass
    took = time.perf_counter() - began
    process.stdin.close()
    await process.wait()
    return took


@dataclass(frozen=True)
class Fill:
    """One mirror being filled: seconds, seconds of CPU of this process, and what is missing at the end."""

    seconds: float
    cpu: float
    topics: int
    missing: int


async def mirror_fill(options: BrokerOptions, guests: int = 10_000) -> Fill:
    """A site with so many guests is published to a broker and mirrored from it."""
    async with Broker(options) as bus:
        await bus.wait_connected()
        await Site(bus, guests=guests).publish()
        began, cpu = time.perf_counter(), time.process_time()
        async with Mirror(lambda take: Broker(options, take, role="mirror"), sites=["lab"]) as mirror:
            await mirror.filled.wait()
            took, used = time.perf_counter() - began, time.process_time() - cpu
            return Fill(took, used, len(mirror.store.topics), len(mirror.store.missing))


async def cached_read(guests: int = 120, runs: int = 200) -> float:
    """Median seconds that the server takes for `get_vms`, transport and the client's own checks left out."""
    hub = Loopback()
    async with hub.client() as bus:
        await Site(bus, guests=guests).publish()
        async with State(hub.client, sites=["lab"]) as state:
            server, times = build_server(Settings(), state), []
            for _ in range(runs):
                began = time.perf_counter()
                result = await server.call_tool("get_vms", {"limit": guests})
                times.append(time.perf_counter() - began)
                assert isinstance(result, CallToolResult)
                assert not result.is_error
    return statistics.median(times)
