"""Processes to be measured against each other: ours, and one that asks the API each time."""

import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from proxmox_mcp.lab import Lab
from tests.support.held import held
from tests.support.measures import HELLO
from tests.support.processes import Command, environment, until

DIRECT = Path(__file__).parent / "direct_server.py"


def direct_environment(lab: Lab) -> dict[str, str]:
    return environment(
        DIRECT_PORT=str(next(iter(lab.hosts.values())).port),
        DIRECT_USER=lab.user,
        DIRECT_TOKEN_NAME=lab.token_name,
        DIRECT_TOKEN_VALUE=lab.token_value,
    )


class Caller(Protocol):
    """Calls a tool; a failure fails the measurement."""

    async def __call__(self, tool: str, **arguments: Any) -> dict[str, Any]: ...


@asynccontextmanager
async def direct_http(folder: Path, lab: Lab) -> AsyncIterator[str]:
    """Gives the URL."""
    command = Command(folder, sys.executable, str(DIRECT), "http", env=direct_environment(lab))
    async with command:
        await until(lambda: command.out.endswith("/mcp\n"), why=lambda: command.err[-2000:])
        yield command.out.strip()


@asynccontextmanager
async def our_http(folder: Path, env: Mapping[str, str]) -> AsyncIterator[str]:
    """`proxmox-mcp http`, which reads MQTT. Gives the URL."""
    async with Command(folder, "proxmox-mcp", "http", "--port", "0", env=env) as command:
        marker = "MCP answers at "
        await command.said(marker)
        yield command.err.rpartition(marker)[2].split()[0]


@asynccontextmanager
async def on_the_wire(url: str) -> AsyncIterator[Caller]:
    """JSON-RPC over HTTP and nothing else: what a server takes, without what a client makes of the answer."""
    async with httpx2.AsyncClient(
        trust_env=False, timeout=120, headers={"accept": "application/json, text/event-stream"}
    ) as web:
        hello, *_ = HELLO
        answer = await web.post(url, json=hello)
        session = {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": "2025-06-18"}
        await web.post(url, json=HELLO[1], headers=session)

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            params = {"name": tool, "arguments": arguments}
            request = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params}
            text = (await web.post(url, json=request, headers=session)).text
            data = next(line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {"))
            result: dict[str, Any] = json.loads(data)["result"]
            assert not result.get("isError"), text[:2000]
            return dict(result["structuredContent"])

        yield call


@asynccontextmanager
async def sdk_http(url: str) -> AsyncIterator[Caller]:
    """The SDK's client, which checks each answer against the tool's schema."""
    web = httpx2.AsyncClient(trust_env=False, timeout=120)
    async with web, held(Client(streamable_http_client(url, http_client=web))) as client:
        yield _caller(client)


@asynccontextmanager
async def sdk_stdio(folder: Path, env: Mapping[str, str], *words: str) -> AsyncIterator[Caller]:
    folder.mkdir(parents=True, exist_ok=True)
    server = StdioServerParameters(command=sys.executable, args=list(words), env=dict(env), cwd=folder)
    with (folder / "err").open("a", encoding="utf-8") as log:
        async with held(Client(stdio_client(server, errlog=log))) as client:
            yield _caller(client)


def _caller(client: Client) -> Caller:
    async def call(tool: str, **arguments: Any) -> dict[str, Any]:
        result = await client.call_tool(tool, arguments)
        assert not result.is_error, result
        assert result.structured_content is not None
        return dict(result.structured_content)

    return call


async def timed(call: Caller, **arguments: Any) -> tuple[float, dict[str, Any]]:
    """Seconds of one `get_vms`, and the answer."""
    began = time.perf_counter()
    answer = await call("get_vms", **arguments)
    return time.perf_counter() - began, answer


def p50(times: list[float]) -> float:
    return statistics.median(times)


def p99(times: list[float]) -> float:
    return sorted(times)[min(len(times) - 1, int(0.99 * len(times)))]
