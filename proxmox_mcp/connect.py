"""`proxmox-mcp stdio --connect URL`: for clients that can only start a command, and a server that runs elsewhere.

Standard input and output on this side, Streamable HTTP on the other (`connect_http`). No Proxmox host, broker or other
setting is needed here: only the token, from PROXMOX_MCP_TOKEN or a file, never from the command line.
"""

import argparse
import asyncio
import json
import logging
import os
import ssl
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import httpx2

from mqtt_bridge import __version__, logs
from mqtt_bridge.errors import SettingsError
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import GeneralSettings, is_loopback
from mqtt_bridge.settings.sources import Report, collect
from mqtt_bridge.settings.table import ROWS
from proxmox_mcp.connect_http import Message, Remote, modern

log = logging.getLogger(__name__)

MAX_LINE: Final = 4 * 1024 * 1024  # bytes of a message of the client
CHUNK = 64 * 1024
FINISH = 5.0  # seconds that requests get to end once the client has closed its side
TIMES = httpx2.Timeout(
    connect=10, read=90, write=30, pool=10
)  # a stream that is silent for longer than pings are apart
PARSE_ERROR, INVALID_REQUEST = -32700, -32600
LISTEN = "subscriptions/listen"  # a request that never ends by itself
TOO_LONG = b"\0"  # stands for a line that was not kept
IN_URL = frozenset({"token", "access_token", "auth", "authorization", "api_key"})


async def connect(arguments: argparse.Namespace) -> int:
    """Serve the client until it closes standard input. Raises SettingsError."""
    logs.set_up(GeneralSettings())
    url, web = prepared(arguments.connect, arguments.token_file, os.environ, arguments.env_file)
    async with web:
        await Proxy(url, web).run(lines(0))
    return 0


def prepared(
    url: str, token_file: Path | None, environ: Mapping[str, str], env_file: Path | None = None
) -> tuple[str, httpx2.AsyncClient]:
    """The URL and a client with the token that verifies certificates. Raises SettingsError with every problem."""
    report = Report()
    sources = collect(report, environ, env_file)
    if token_file:
        sources.add({"PROXMOX_MCP_TOKEN": "", "PROXMOX_MCP_TOKEN_FILE": str(token_file.absolute())}, "override")
    token, ca_file = (sources.value(ROWS[key]) for key in ("PROXMOX_MCP_TOKEN", "MCP_CA_FILE"))
    report.problems += [f"--connect {problem}" for problem in _wrong(url)]
    context = _context(ca_file, report)
    if report.problems:
        raise SettingsError([sources.scrub(line) for line in report.problems])
    parts = urlsplit(url)
    if token and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        log.warning("The token goes to %s without encryption: anyone in between can read it. Use https.", parts.netloc)
    headers = {"user-agent": f"proxmox-mcp/{__version__}"}
    if token:
        headers["authorization"] = f"Bearer {Secret(token).reveal()}"
    web = httpx2.AsyncClient(headers=headers, verify=context, timeout=TIMES, trust_env=False, follow_redirects=False)
    return url if parts.path not in {"", "/"} else f"{url.rstrip('/')}/mcp", web


def _wrong(url: str) -> list[str]:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return ["is not a URL: write for example https://mcp.lan/mcp."]
    secrets = {key.lower() for key, _ in parse_qsl(parts.query)} & IN_URL
    if parts.username or parts.password or secrets:
        return ["has a secret in it, which others can read: set PROXMOX_MCP_TOKEN, or give --token-file."]
    if parts.scheme not in {"http", "https"} or not host:
        return ["is not a URL that begins with http:// or https://: write for example https://mcp.lan/mcp."]
    return []


def _context(ca_file: Path | None, report: Report) -> ssl.SSLContext:
    """The usual CAs, or only the one that is given."""
    try:
        if ca_file:
            return ssl.create_default_context(cafile=str(ca_file))
    except (ssl.SSLError, OSError) as error:
        report.problem("MCP_CA_FILE", f"is no certificate in PEM ({error}): correct it.")
    import certifi  # noqa: PLC0415 -- not where there is a CA of one's own

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class Proxy:
    """Between one client, by lines, and one server."""

    def __init__(self, url: str, web: httpx2.AsyncClient, *, out: int = 1, patience: float | None = None) -> None:
        self._remote = Remote(url, web, self._tell, patience=patience)
        self._out = out
        self._writing = asyncio.Lock()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._modern: set[str] = set()

    async def run(self, said: AsyncIterator[bytes]) -> None:
        """Until the client says nothing more."""
        try:
            async for line in said:
                await self._take(line)
            if finishing := [task for task in self._running.values() if task.get_name() != LISTEN]:
                await asyncio.wait(finishing, timeout=FINISH)
        except BrokenPipeError:
            log.debug("The client has closed its side")
        finally:
            left = list(self._running.values())
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await self._remote.close()

    async def _take(self, line: bytes) -> None:
        message = await self._parsed(line)
        if message is None:
            return
        method = message.get("method")
        if method is not None and "id" in message:
            await self._start(message)
        elif method == "notifications/cancelled" and (running := self._cancelled(message)):
            running.cancel()  # since 2026 a request is cancelled by closing its stream
        else:
            await self._remote.say(message)  # in order: what comes next may depend on it

    async def _parsed(self, line: bytes) -> Message | None:
        if not line.strip():
            return None
        try:
            if line == TOO_LONG:
                raise ValueError(f"longer than {MAX_LINE >> 20} MiB")  # noqa: TRY301
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            await self._error(PARSE_ERROR, f"Not taken: {error}")
            return None
        if not isinstance(message, dict) or not ("method" in message or "id" in message):
            await self._error(INVALID_REQUEST, "Not taken: one JSON-RPC message a line is expected.")
            return None
        return message

    async def _error(self, code: int, text: str) -> None:
        await self._tell({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": text}})

    async def _start(self, message: Message) -> None:
        key = json.dumps(message["id"])
        task = asyncio.create_task(self._remote.request(message), name=str(message["method"]))
        self._running[key] = task
        if modern(message):
            self._modern.add(key)
        task.add_done_callback(lambda done: self._ended(key, done))
        if message["method"] == "initialize":  # what follows needs the session that it opens
            await asyncio.wait([task])

    def _ended(self, key: str, task: asyncio.Task[None]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
            self._modern.discard(key)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, BrokenPipeError):
            log.error("A request failed for a reason that was not foreseen", exc_info=error)

    def _cancelled(self, message: Message) -> asyncio.Task[None] | None:
        """The request that is to end, if it is one of those that end with their stream."""
        params = message.get("params")
        key = json.dumps(params.get("requestId")) if isinstance(params, dict) else ""
        return self._running.get(key) if key in self._modern else None

    async def _tell(self, message: Message) -> None:
        line = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        async with self._writing:
            await asyncio.to_thread(_write, self._out, line)


def _write(out: int, line: bytes) -> None:
    left = memoryview(line)
    while left:
        left = left[os.write(out, left) :]


async def lines(descriptor: int) -> AsyncIterator[bytes]:
    """The lines of standard input. A thread reads them: pipes and files alike, and on Windows too."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[bytes | None](16)

    def read() -> None:
        try:
            for line in _lines(descriptor):
                asyncio.run_coroutine_threadsafe(queue.put(line), loop).result()
            asyncio.run_coroutine_threadsafe(queue.put(None), loop).result()
        except (CancelledError, RuntimeError):
            return  # the loop has ended before the client did

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while (line := await queue.get()) is not None:
        yield line


def _lines(descriptor: int) -> Iterator[bytes]:
    """With `os.read`: a thread that waits in Python's own stdin would hold its lock when the process ends."""
    held, skipping = bytearray(), False
    while chunk := os.read(descriptor, CHUNK):
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            held += part
            yield TOO_LONG if skipping or len(held) > MAX_LINE else bytes(held)
            held, skipping = bytearray(), False
        held += rest
        if len(held) > MAX_LINE:
            held, skipping = bytearray(), True
    if held and not skipping:
        yield bytes(held)
