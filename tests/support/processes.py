"""Our commands as processes, MCP clients for them, and the retained tree as anyone on the broker sees it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.bus import Message
from tests.support.held import held

BIN = Path(sys.executable).parent
PATIENCE = 20.0  # seconds until something that should happen has not
GUESTS = 24  # of a lab as it comes
Mode = Literal["auto", "legacy"]


async def until(what: Callable[[], object], seconds: float = PATIENCE, why: Callable[[], object] = lambda: "") -> float:
    """Wait for it; returns the seconds that it took, and fails with `why`."""
    began = time.monotonic()
    while not what():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not within {seconds} s: {why()}")
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def environment(**settings: str) -> dict[str, str]:
    """What a command needs of this machine, and these settings: nothing else of the tester's environment."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1", **settings}


class Command:
    """A process of ours in a folder of its own, its output in files. Whatever happens, it is gone in the end."""

    def __init__(self, folder: Path, *words: str, env: Mapping[str, str], cwd: Path | None = None) -> None:
        self.words = words
        self.env = dict(env)
        self.folder = folder
        self._cwd = cwd or folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "out").open("ab") as out, (self.folder / "err").open("ab") as err:
            program = [str(BIN / self.words[0]), *self.words[1:]]
            self._process = subprocess.Popen(
                program, env=self.env, cwd=self._cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        return self

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text(encoding="utf-8", errors="replace")

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text(encoding="utf-8", errors="replace")

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; gives the exit code."""
        await until(lambda: not self.running, seconds, lambda: f"{self.words} still runs\n{self.err[-3000:]}")
        return int(self.process.returncode)

    async def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 15.0) -> int:
        """Ask it to end. It promises five seconds, of a machine that does nothing else."""
        self.send(number)
        return await self.ended(seconds)

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await self.ended()

    async def said(self, text: str, seconds: float = PATIENCE) -> None:
        """Wait until it has logged this."""
        await until(
            lambda: text in self.err or not self.running, seconds, lambda: f"{text!r} not in:\n{self.err[-3000:]}"
        )
        assert text in self.err, f"{self.words} ended with {self.process.poll()}:\n{self.err[-3000:]}"

    def resident(self) -> int:
        """Bytes of memory that it holds."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    async def __aenter__(self) -> Self:
        return self.start() if self._process is None else self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it, the hard way if need be."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def run(*words: str, env: Mapping[str, str], cwd: Path, seconds: float = 30) -> "subprocess.CompletedProcess[str]":
    """A command that ends by itself."""
    return subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        env=dict(env),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def children(parent: int, word: str = "") -> dict[int, str]:
    """The processes that it started, with their command lines; those with `word` in it."""
    rows = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=True)
    found = [row.split(None, 2) for row in rows.stdout.splitlines()]
    return {int(r[0]): r[2] for r in found if len(r) == 3 and int(r[1]) == parent and word in r[2]}


def listens(pid: int) -> bool:
    """Whether a process has a socket that listens (Linux)."""
    rows = [r.split() for f in ("tcp", "tcp6") for r in Path(f"/proc/net/{f}").read_text("ascii").splitlines()[1:]]
    listening = {f"socket:[{r[9]}]" for r in rows if r[3] == "0A"}
    return any(str(fd.readlink()) in listening for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink())


class Serve(Command):
    """`proxmox-mcp serve` on any free port. `url` once it answers."""

    def __init__(self, folder: Path, env: Mapping[str, str], *words: str) -> None:
        super().__init__(folder, "proxmox-mcp", "serve", "--port", "0", *words, env=env)
        self.url = ""

    async def ready(self, seconds: float = PATIENCE) -> Self:
        """Wait until MCP answers."""
        marker = "MCP answers at "
        await self.said(marker, seconds)
        self.url = self.err.rpartition(marker)[2].split()[0]
        return self

    async def again(self) -> Self:
        """Start it again after its end."""
        (self.folder / "err").rename(self.folder / f"err.{time.monotonic()}")
        self.start()
        return await self.ready()

    def owned_broker(self) -> BrokerOptions:
        """The broker that a `serve` without MQTT_HOST brought."""
        told = json.loads((Path(self.env["STATE_DIR"]) / "endpoint.json").read_text(encoding="utf-8"))
        return options(told)


def options(told: Mapping[str, Any]) -> BrokerOptions:
    """A broker as a ready file or endpoint.json names it."""
    from mqtt_bridge.secret import Secret  # noqa: PLC0415

    password = told.get("password")
    return BrokerOptions(
        told["host"], int(told["port"]), username=told.get("username"), password=Secret(password) if password else None
    )


# --- MCP -------------------------------------------------------------------------------------------------------------


@dataclass
class Agent:
    """An MCP client with answers as dictionaries."""

    client: Client
    answers: list[str] = field(default_factory=list)

    async def ask(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """A call that is to succeed."""
        result = await self._call(tool, arguments)
        assert not result.is_error, self.answers[-1]
        assert result.structured_content is not None
        return dict(result.structured_content)

    async def refused(self, tool: str, **arguments: Any) -> str:
        """A call that is to fail: why it did."""
        result = await self._call(tool, arguments)
        assert result.is_error, self.answers[-1]
        return "\n".join(getattr(c, "text", "") for c in result.content)

    async def attempt(self, tool: str, **arguments: Any) -> dict[str, Any] | None:
        """A call that may fail while something is down: None then."""
        result = await self._call(tool, arguments)
        return None if result.is_error else dict(result.structured_content or {})

    async def tools(self) -> set[str]:
        return {tool.name for tool in (await self.client.list_tools()).tools}

    async def _call(self, tool: str, arguments: dict[str, Any]) -> Any:
        result = await self.client.call_tool(tool, arguments)
        self.answers.append(result.model_dump_json())
        return result


@asynccontextmanager
async def over_http(url: str, token: str | None = None, mode: Mode = "auto") -> AsyncIterator[Agent]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    web = httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60)
    async with web, held(Client(streamable_http_client(url, http_client=web), mode=mode)) as client:
        yield Agent(client)


@asynccontextmanager
async def over_stdio(
    folder: Path, env: Mapping[str, str], mode: Mode = "auto", words: Sequence[str] = ("stdio",)
) -> AsyncIterator[Agent]:
    """Starts a `proxmox-mcp stdio` of its own; what it logs is in `stdio-err`."""
    folder.mkdir(parents=True, exist_ok=True)
    server = StdioServerParameters(command=str(BIN / "proxmox-mcp"), args=list(words), env=dict(env), cwd=folder)
    with (folder / "stdio-err").open("a", encoding="utf-8") as log:
        async with held(Client(stdio_client(server, errlog=log), mode=mode)) as client:
            yield Agent(client)


# --- MQTT ------------------------------------------------------------------------------------------------------------


class Tree:
    """`async with` it: every message below `proxmox/` since it connected, and what is retained by now."""

    def __init__(self, broker: BrokerOptions, *filters: str) -> None:
        self.retained: dict[str, bytes] = {}
        self.messages: list[tuple[float, Message]] = []
        self.bus = Broker(broker, self._take, role="test", max_packet=8 << 20)
        self._filters = filters or ("proxmox/#",)
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.bus.__aenter__()
        self._task = asyncio.create_task(self._stay())
        await until(self._listening.is_set, why=lambda: self.bus.reason)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self.bus.__aexit__(kind, error, trace)

    async def _stay(self) -> None:
        generation = 0
        while True:
            generation = await self.bus.wait_connected(generation)
            self.retained.clear()
            await self.bus.subscribe(self._filters, qos=0, retain_as_published=True)
            self._listening.set()

    def _take(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self.messages.append((time.monotonic(), message))
            # MQTT 3.1.1 does not say of a live message whether it is stored; of ours only events are not
            retain = message.retain or (self.bus.protocol != "5" and "/event/" not in message.topic)
            if retain and message.payload:
                self.retained[message.topic] = message.payload
            elif retain:
                self.retained.pop(message.topic, None)

    def json(self, topic: str) -> Any:
        """The retained payload of a topic below `proxmox/`, parsed where it is JSON; None: nothing is retained."""
        payload = self.retained.get(f"proxmox/{topic}")
        if payload is None:
            return None
        return json.loads(payload) if payload[:1] == b"{" else payload.decode(errors="replace")

    def whole(self) -> bool:
        """The lab's site is online, has spoken, and has all its guests."""
        return self.json("lab/state") == "online" and bool(self.json("lab/heartbeat")) and len(self.guests()) == GUESTS

    def guest(self, vmid: int) -> Any:
        return self.json(f"lab/guest/{vmid}")

    def status(self, vmid: int) -> str | None:
        state = self.guest(vmid)
        return state.get("status") if isinstance(state, dict) else None

    def guests(self) -> set[int]:
        heads = [topic.split("/") for topic in self.retained]
        return {int(h[3]) for h in heads if h[1:3] == ["lab", "guest"] and len(h) == 4}

    async def put(self, topic: str, payload: bytes, *, retain: bool = True) -> None:
        """Publish as a stranger."""
        await self.bus.publish(topic, payload, retain=retain)
