"""Metric servers: their configuration, and pvestatd's push to those that speak InfluxDB.

Graphite and OpenTelemetry servers can be configured, too, but nothing is pushed to them.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import influx, loopback
from .model import Emitted, PushError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from proxmox_mcp.lab.state import Node
    from proxmox_mcp.lab.world import World

    from .outbox import Outbox

TIMEOUT = 1.0
"""Seconds, Proxmox's default."""
BREATH = 500
"""Lines built before others have their turn."""
UDP_OVERHEAD = 50


@dataclass(slots=True)
class MetricServer:
    """One section of status.cfg; the token is kept apart and never answered."""

    ident: str
    values: dict[str, Any]
    token: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """What the list says of it."""
        shown = {key: self.values[key] for key in ("type", "server", "port")}
        return {"id": self.ident, **shown, "disable": self.values.get("disable", 0)}

    @property
    def pushed(self) -> bool:
        return self.values["type"] == "influxdb" and not self.values.get("disable")

    @property
    def protocol(self) -> str:
        return str(self.values.get("influxdbproto", "udp"))

    @property
    def timeout(self) -> float:
        return float(self.values.get("timeout", TIMEOUT)) or TIMEOUT

    @property
    def batch(self) -> int:
        """Bytes in one datagram or request."""
        if self.protocol == "udp":
            return int(self.values.get("mtu", 1500)) - UDP_OVERHEAD
        return int(self.values.get("max-body-size", 25_000_000))

    def url(self, path: str) -> str:
        prefix = str(self.values.get("api-path-prefix", "")).strip("/")
        host = self.values["server"]
        shown = f"[{host}]" if ":" in host else host
        return f"{self.protocol}://{shown}:{self.values['port']}/{prefix + '/' if prefix else ''}{path}"

    @property
    def write_url(self) -> str:
        organization, bucket = (self.values.get(key, "proxmox") for key in ("organization", "bucket"))
        return self.url(f"api/v2/write?org={organization}&bucket={bucket}")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Token {self.token}"} if self.token else {}


@dataclass(slots=True)
class MetricPush:
    """pvestatd of all nodes, as far as metric servers are concerned."""

    world: World
    outbox: Outbox
    interval: float
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is a server: before that, nothing runs."""

    async def run(self) -> None:
        while True:
            servers = [one for one in self.world.metric_servers.values() if one.pushed]
            if not servers:
                self.wake.clear()
                await self.wake.wait()
                continue
            await asyncio.gather(*map(self._server, servers))
            await asyncio.sleep(self.interval)

    async def check(self, server: MetricServer) -> None:
        """Ask for `/health`, as Proxmox does before it takes a server that speaks HTTP; `PushError` when it fails."""
        if server.values["type"] == "influxdb" and server.protocol != "udp":
            await self.outbox.request("GET", server.url("health"), server.headers, b"", within=server.timeout)

    async def _server(self, server: MetricServer) -> None:
        for node in [one for one in self.world.nodes.values() if one.online]:
            error = ""
            text = await self._text(node)
            try:
                for body in _batches(text, server.batch):
                    await self._send(server, body)
            except (PushError, OSError) as failure:
                error = str(failure)
                self.world.say(node.name, "pvestatd", f"metrics send error '{server.ident}': {error}", pri=4)
            self.outbox.emitted.append(Emitted("influxdb", server.ident, node.name, f"{len(text)} lines", error))

    async def _text(self, node: Node) -> list[str]:
        found: list[str] = []
        for line in influx.lines(self.world, node):
            found.append(line)
            if len(found) % BREATH == 0:
                await asyncio.sleep(0)
        return found

    async def _send(self, server: MetricServer, body: bytes) -> None:
        if server.protocol == "udp":
            _datagram(server.values["server"], server.values["port"], body)
        else:
            await self.outbox.request("POST", server.write_url, server.headers, body, within=server.timeout)


def _datagram(host: str, port: int, body: bytes) -> None:
    address = "127.0.0.1" if loopback.require(host) == "localhost" else host
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto(body, (address, port))


def _batches(lines: Iterable[str], size: int) -> Iterator[bytes]:
    """Join lines up to a size; one that is longer goes alone."""
    body: list[bytes] = []
    held = 0
    for packed in map(str.encode, lines):
        if body and held + len(packed) > size:
            yield b"".join(body)
            body, held = [], 0
        body.append(packed)
        held += len(packed)
    if body:
        yield b"".join(body)
