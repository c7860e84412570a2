"""An intake that keeps what it gets, and a SYSLOG listener that runs on a free port."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.events.intake import Report
from mqtt_bridge.listeners.syslog import SyslogListener
from mqtt_bridge.listeners.syslog_tcp import Limits
from mqtt_bridge.model import GuestState, NodeState
from mqtt_bridge.settings.listening import SyslogSettings


class OneSite:
    """A world of which only its name is known."""

    sites: Sequence[str] = ("lab",)

    def sites_of(self, node: str | None, guest: int | None) -> Sequence[str]:
        return self.sites

    def guest(self, site: str, vmid: int) -> GuestState | None:
        return None

    def node(self, site: str, name: str) -> NodeState | None:
        return None

    def node_name(self, site: str, host: str) -> str | None:
        return None

    def node_at(self, address: str) -> tuple[str, str] | None:
        return None


@dataclass
class Kept:
    """`trouble` is raised, one by one, before anything is taken again; `gate` holds every call back."""

    reports: list[Report] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    health: list[str] = field(default_factory=list)
    trouble: list[Exception] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def __call__(self, reports: Sequence[Report], *, cursors: Mapping[str, str] | None = None) -> None:
        await self.gate.wait()
        await asyncio.sleep(0)
        if self.trouble:
            raise self.trouble.pop(0)
        self.reports += reports
        self.batches.append(len(reports))

    async def cursor(self, name: str) -> str | None:
        return None

    def reject(self, reason: str, count: int = 1) -> None:
        self.rejected[reason] += count

    def healthy(self, detail: str = "") -> None:
        self.health.append(f"+{detail}")

    def unhealthy(self, reason: str) -> None:
        self.health.append(f"-{reason}")

    @property
    def messages(self) -> list[str]:
        return [report.verdict.message for report in self.reports]


async def until(done: Callable[[], object], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not done():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(
    intake: Kept | None = None, *, limits: Limits | None = None, **settings: Any
) -> AsyncIterator[tuple[SyslogListener, Kept]]:
    """Listens on a free port of 127.0.0.1 unless told otherwise."""
    intake = intake or Kept()
    listener = SyslogListener(replace(SyslogSettings(port=0), **settings), limits=limits)
    task = asyncio.create_task(listener.run(intake))
    try:
        await until(lambda: intake.health or task.done())
        yield listener, intake
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, BridgeError):
            raise error


def send_udp(port: int, *messages: bytes, host: str = "127.0.0.1") -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        for message in messages:
            sender.sendto(message, (host, port))


async def send_tcp(port: int, data: bytes, host: str = "127.0.0.1") -> None:
    _, writer = await asyncio.open_connection(host, port)
    writer.write(data)
    await writer.drain()
    writer.close()
    await writer.wait_closed()
