"""Processes to be measured against each other: ours, and one that asks the API each time."""

import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from proxmox_mcp.lab import Lab
from tests.support.held import held
from tests.support.processes import Command, environment, until

DIRECT = Path(__file__).parent / "direct_server.py"


def direct_environment(lab: Lab) -> dict[str, str]:
    return environment(
        DIRECT_PORT=str(next(iter(lab.hosts.values())).port),
        DIRECT_USER=lab.user,
        DIRECT_TOKEN_NAME=lab.token_name,
        DIRECT_TOKEN_VALUE=lab.token_value,
    )


@asynccontextmanager
async def direct_http(folder: Path, lab: Lab) -> AsyncIterator[Client]:
    command = Command(folder, sys.executable, str(DIRECT), "http", env=direct_environment(lab))
    async with command:
        await until(lambda: command.out.endswith("/mcp\n"), why=lambda: command.err[-2000:])
        async with http_client(command.out.strip()) as client:
            yield client


@asynccontextmanager
async def our_http(folder: Path, env: Mapping[str, str]) -> AsyncIterator[tuple[Client, str]]:
    """`proxmox-mcp http`, which reads MQTT; and the URL of its metrics."""
    async with Command(folder, "proxmox-mcp", "http", "--port", "0", env=env) as command:
        marker = "MCP answers at "
        await command.said(marker)
        url = command.err.rpartition(marker)[2].split()[0]
        async with http_client(url) as client:
            yield client, url.removesuffix("/mcp") + "/metrics"


@asynccontextmanager
async def http_client(url: str) -> AsyncIterator[Client]:
    web = httpx2.AsyncClient(trust_env=False, timeout=120)
    async with web, held(Client(streamable_http_client(url, http_client=web))) as client:
        yield client


@asynccontextmanager
async def over_stdio(folder: Path, env: Mapping[str, str], *words: str) -> AsyncIterator[Client]:
    folder.mkdir(parents=True, exist_ok=True)
    server = StdioServerParameters(command=sys.executable, args=list(words), env=dict(env), cwd=folder)
    with (folder / "err").open("a", encoding="utf-8") as log:
        async with held(Client(stdio_client(server, errlog=log))) as client:
            yield client


async def timed(client: Client, **arguments: Any) -> tuple[float, dict[str, Any]]:
    """Seconds of one `get_vms` as its client sees it, and the answer."""
    began = time.perf_counter()
    result = await client.call_tool("get_vms", arguments)
    took = time.perf_counter() - began
    assert not result.is_error, result
    assert result.structured_content is not None
    return took, dict(result.structured_content)


def p50(times: list[float]) -> float:
    return statistics.median(times)


def p99(times: list[float]) -> float:
    return sorted(times)[min(len(times) - 1, int(0.99 * len(times)))]
