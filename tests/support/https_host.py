"""A scripted HTTPS host on loopback: what a real one, or the lab, does only on a bad day."""

import asyncio
import datetime as dt
import hashlib
import ipaddress
import json
import secrets
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import Endpoint

TOKEN = "5ec2e7-of-the-token"


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate; `path` holds it and its key."""

    path: Path
    fingerprint: str


def make_certificate(folder: Path, *names: str) -> Certificate:
    """For the given DNS names and addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([_alternative(each) for each in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{names[0]}-{made.serial_number:x}.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    digest = hashlib.sha256(made.public_bytes(serialization.Encoding.DER)).digest()
    return Certificate(path, digest.hex(":").upper())


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass(frozen=True)
class Request:
    """As it came over the wire. `connection` counts connections, `number` the requests on this one (from 1)."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    number: int

    @property
    def path(self) -> str:
        return self.target.partition("?")[0].removeprefix("/api2/json")

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)

    @property
    def form(self) -> list[tuple[str, str]]:
        return parse_qsl(self.body.decode(), keep_blank_values=True)


Script = Callable[[Request, asyncio.StreamWriter], Awaitable[bool | None]]  # False: close the connection


def raw(status: int, reason: str, body: bytes = b"", kind: str = "application/json", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} {reason}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def ok(data: Any, **more: Any) -> bytes:
    return raw(200, "OK", json.dumps({"data": data, **more}).encode())


def refusal(status: int, message: str, errors: dict[str, str] | None = None) -> bytes:
    body = {"data": None, "message": f"{message}\n"} | ({"errors": errors} if errors else {})
    return raw(status, message, json.dumps(body).encode())


def always(reply: bytes) -> Script:
    async def script(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        await writer.drain()

    return script


async def hang(_: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


@dataclass
class HttpsHost:
    """`async with` it. `script` answers every request; change it while it runs."""

    certificate: Certificate
    script: Script = field(default_factory=lambda: always(ok({})))
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate.path)
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def endpoint(self, name: str = "pve1", **changes: Any) -> Endpoint:
        settings: dict[str, Any] = {
            "name": name,
            "host": "127.0.0.1",
            "port": self.port,
            "kind": "pve",
            "user": "bridge@pve",
            "token_name": "mqtt",
            "token_value": Secret(TOKEN),
            "ca_file": self.certificate.path,
        }
        return Endpoint(**settings | changes)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            await self._serve(reader, writer, self.connections)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        number = 0
        while True:
            number += 1
            request = await _read(reader, connection, number)
            self.requests.append(request)
            if await self.script(request, writer) is False:
                return


async def _read(reader: asyncio.StreamReader, connection: int, number: int) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body, connection, number)


def free_port() -> int:
    """A port on which nothing listens; below those that a kernel gives away, so that none of them is it later."""
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
