"""The simulated datacentre as one thing to open, use and close."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from . import control, dispatch, environment, faults, power, tls
from .access import ROOT
from .lively import live
from .options import LabOptions
from .pbs.dispatch import answer as answer_pbs
from .push import events, loopback
from .push.metrics import MetricPush
from .push.outbox import Outbox
from .push.syslog import Forwarder
from .record import RequestLog
from .scenario import recorded
from .seed import random_datacentre
from .server import Gate, Host
from .world import World

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

    from .pbs.state import PbsHost
    from .push.model import Emitted
    from .record import Ask
    from .state import Guest, Node

BUILDERS = {"random": random_datacentre, "recorded": recorded}


@dataclass(frozen=True, slots=True)
class Account:
    """A token that tests and demos log in with."""

    user: str
    name: str
    value: str

    @property
    def header(self) -> str:
        """The `Authorization` header for PVE."""
        return f"PVEAPIToken={self.user}!{self.name}={self.value}"

    @property
    def pbs_header(self) -> str:
        return f"PBSAPIToken={self.user}!{self.name}:{self.value}"


class Lab:
    """`async with Lab(LabOptions(nodes=3)) as lab:` gives hosts that answer until the block ends."""

    def __init__(self, options: LabOptions | None = None) -> None:
        self.options = options or LabOptions()
        self.world = World.empty(self.options)
        self.ledger = dispatch.Ledger()
        self.requests = RequestLog(self.options.request_log)
        self.gate = Gate()
        self.outbox = Outbox(self.options.notify_timeout, self.options.smtp_relay)
        self.hosts: dict[str, Host] = {}
        self.pbs_hosts: dict[str, Host] = {}
        self.control_url = ""
        self.fingerprint = ""
        self.ca_pem = ""
        self._stack = AsyncExitStack()
        self._chores: set[asyncio.Task[None]] = set()
        self._syslog: tuple[Forwarder, asyncio.Task[None]] | None = None

    async def __aenter__(self) -> Self:
        certificate = tls.make()
        self.fingerprint, self.ca_pem = certificate.fingerprint, certificate.pem
        BUILDERS[self.options.scenario](self.world)
        context = certificate.context()
        for node in self.world.nodes.values():
            node.fingerprint = self.fingerprint
            if node.seen:
                self.hosts[node.name] = self._host(node, context)
        for server in self.world.pbs.values():
            server.fingerprint = self.fingerprint
            self.pbs_hosts[server.name] = self._pbs_host(server, context)
        every = [*self.hosts.values(), *self.pbs_hosts.values()]
        for host, port in zip(every, self.options.ports, strict=False):
            host.port = port
        self._stack.push_async_callback(self._close)
        for host in every:
            await host.up()
        self.control_url = await self._stack.enter_async_context(control.serve(self.fault))
        self._speak()
        self.world.on_power = self._power
        self.world.on_recovery = partial(power.restart, self.world)
        if self.options.lively:
            self.chore(live(self.world))
        return self

    def _speak(self) -> None:
        """Get everything ready that sends; nothing does until somebody configures it."""
        if self.options.smtp_relay:
            loopback.endpoint(self.options.smtp_relay)
        if self.options.syslog:
            address, _, protocol = self.options.syslog.partition("/")
            self.forward_syslog(*loopback.endpoint(address), protocol or "udp")
        events.attach(self.world, self.outbox)
        self.world.metrics = MetricPush(self.world, self.outbox, self.options.metrics_interval)
        self.chore(self.world.metrics.run())

    def forward_syslog(self, host: str, port: int, protocol: str) -> None:
        """Forward all journals from now on; to one receiver at a time."""
        forwarder = Forwarder(host, port, protocol, self.outbox)
        self.stop_syslog()
        self._syslog = (forwarder, self.chore(forwarder.run()))
        self.world.on_journal.append(forwarder.take)

    def stop_syslog(self) -> None:
        if self._syslog is not None:
            forwarder, task = self._syslog
            self.world.on_journal.remove(forwarder.take)
            task.cancel()
            self._syslog = None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def _close(self) -> None:
        for timer in self.world.timers:
            timer.cancel()
        for chore in list(self._chores):
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await self.world.tasks.close()
        for server in self.world.pbs.values():
            await server.tasks.close()
        await self.outbox.close()
        await asyncio.gather(*(host.close() for host in (*self.hosts.values(), *self.pbs_hosts.values())))

    def _host(self, node: Node, context: Any) -> Host:
        async def answer(ask: Ask) -> Any:
            return await dispatch.answer(self.world, self.ledger, node.name, ask)

        return Host(
            node.name, "pve-api-daemon/3.0", answer, self.gate, self.requests, context, self.options.hang_timeout,
            stuck=lambda: node.hanging,
        )  # fmt: skip

    def _pbs_host(self, server: PbsHost, context: Any) -> Host:
        async def answer(ask: Ask) -> Any:
            return await answer_pbs(server, self.ledger, self.options.auth_delay, ask)

        return Host(
            server.name, "proxmox-backup-api", answer, self.gate, self.requests, context, self.options.hang_timeout
        )

    def chore(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine until it or the lab ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
        return task

    def _power(self, node: Node, up: bool) -> None:
        host = self.hosts.get(node.name)
        if host is not None:
            self.chore(host.up() if up else host.down())

    def fault(self, name: str, *args: object) -> str:
        """Inject a fault by its name, as `proxmox-mcp lab fault` does; says what was done."""
        return faults.inject(self, name, [str(arg) for arg in args])

    def guest(self, vmid: int) -> Guest:
        return self.world.guests[vmid]

    @property
    def violations(self) -> list[str]:
        """Requests that are not in the schema of Proxmox."""
        return self.ledger.violations

    @property
    def unsimulated(self) -> list[str]:
        """Requests that are in the schema but that this lab does not know to answer."""
        return self.ledger.unsimulated

    @property
    def emitted(self) -> list[Emitted]:
        """What was sent by notifications, syslog and metric push, or could not be; oldest first, bounded."""
        return list(self.outbox.emitted)

    @property
    def api_urls(self) -> list[str]:
        return [host.url for host in self.hosts.values()]

    @property
    def pbs_urls(self) -> list[str]:
        return [host.url for host in self.pbs_hosts.values()]

    def account(self, full: str) -> Account:
        """Give a token of the cluster by its id, such as `audit@pve!ro`."""
        token = self.world.access.tokens[full]
        return Account(token.user, token.name, token.value)

    @property
    def user(self) -> str:
        return ROOT

    @property
    def token_name(self) -> str:
        return "full"

    @property
    def token_value(self) -> str:
        return self.account("root@pam!full").value

    @property
    def readonly_token_name(self) -> str:
        return "ro"

    @property
    def readonly_token_value(self) -> str:
        return self.account("root@pam!ro").value

    @property
    def pbs_token_name(self) -> str:
        return self.token_name

    @property
    def pbs_token_value(self) -> str:
        """The same value as on the cluster."""
        return self.token_value

    @property
    def env(self) -> dict[str, str]:
        """Settings that make `proxmox-mcp serve` work against this lab."""
        return environment.describe(self)
