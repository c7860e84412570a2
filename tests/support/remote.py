"""A server of the SDK over HTTP with tools that talk back, on any free port, with TLS if wanted."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import uvicorn
from mcp.server.mcpserver import Context, Elicit, ElicitationResult, MCPServer, Resolve
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import BaseModel


class Confirmed(BaseModel):
    yes: bool


async def ask() -> Elicit[Confirmed]:
    return Elicit("Really?", Confirmed)


@dataclass
class Remote:
    """`async with` it. `begun` and `cancelled` are of the tool `wait`."""

    certificate: Path | None = None
    port: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0

    @property
    def url(self) -> str:
        return f"http{'s' if self.certificate else ''}://127.0.0.1:{self.port}/mcp"

    async def __aenter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        app = self._server().streamable_http_app(
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False)
        )
        config = uvicorn.Config(app, log_config=None, log_level="warning", timeout_graceful_shutdown=1)
        if self.certificate:
            config.load()
            config.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            config.ssl.load_cert_chain(self.certificate)
        self._uvicorn = _Uvicorn(config)
        self._task = asyncio.create_task(self._uvicorn.serve(sockets=[listener]))
        while not self._uvicorn.started:
            await asyncio.sleep(0.01)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._uvicorn.should_exit = True
        done, _ = await asyncio.wait([self._task], timeout=5)
        if not done:
            self._uvicorn.force_exit = True
            await asyncio.wait([self._task])

    def _server(self) -> MCPServer:
        server = MCPServer("remote")

        @server.tool()
        async def count(to: int, context: Context) -> str:
            self.calls += 1
            for number in range(to):
                await context.report_progress(number + 1, to, f"step {number + 1}")
            return f"counted to {to}, ünïcode"

        @server.tool()
        async def wait() -> str:
            self.begun.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return "waited"

        @server.tool()
        async def sure(answer: Annotated[ElicitationResult[Confirmed], Resolve(ask)]) -> str:
            said = answer.data.yes if answer.action == "accept" else None
            return f"{answer.action} {said}"

        return server


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
