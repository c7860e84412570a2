"""Real servers on loopback for what the lab sends."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not done():
            await asyncio.sleep(0.005)


@dataclass
class Got:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class HttpServer:
    url: str = ""
    status: int = 200
    delay: float = 0.0
    got: list[Got] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def first(self) -> Got:
        await until(lambda: self.got)
        return self.got[0]


@asynccontextmanager
async def http_server(status: int = 200) -> AsyncIterator[HttpServer]:
    server = HttpServer(status=status)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        server.got.append(Got(request.method, request.raw_path, dict(request.headers), await request.read()))
        await asyncio.sleep(server.delay)
        return web.Response(status=server.status, headers={"Location": server.url} if status // 100 == 3 else {})

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


@dataclass
class MailServer:
    port: int = 0
    got: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    refuse: str = ""

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        if self.refuse:
            return self.refuse
        mail = email.message_from_bytes(envelope.original_content or b"", policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.got.append((envelope.mail_from or "", list(envelope.rcpt_tos), mail))
        return "250 OK"

    async def first(self) -> EmailMessage:
        await until(lambda: self.got)
        return self.got[0][2]


@asynccontextmanager
async def mail_server() -> AsyncIterator[MailServer]:
    box = MailServer()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box, loop=loop, hostname="mail.lab.example"), "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        await server.wait_closed()


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.got: list[str] = []
        self.port = 0

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.got.append(data.decode())


@asynccontextmanager
async def udp_server() -> AsyncIterator[Datagrams]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    protocol.port = transport.get_extra_info("sockname")[1]
    try:
        yield protocol
    finally:
        transport.close()


@dataclass
class Stream:
    port: int = 0
    got: list[str] = field(default_factory=list)


@asynccontextmanager
async def tcp_server(port: int = 0) -> AsyncIterator[Stream]:
    found = Stream()
    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        async for line in reader:
            found.got.append(line.decode())

    server = await asyncio.start_server(handle, "127.0.0.1", port)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for writer in writers:
            writer.close()
