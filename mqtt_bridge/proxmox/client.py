"""The Proxmox API of one site: failover over its hosts, one retry layer for reads, deadlines, errors of ours.

Nothing here blocks: each host has a few daemon threads of its own (`host`), in which proxmoxer works (`transport`).
Importing this module imports neither proxmoxer nor requests.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from mqtt_bridge.errors import ProtocolError, ProxmoxError, UnauthorizedError, UnknownTargetError, UnreachableError
from mqtt_bridge.proxmox.calls import Answer, Call, CallRecord, Method, Purpose
from mqtt_bridge.proxmox.host import Host, HostHealth
from mqtt_bridge.proxmox.segments import Segment, Volume
from mqtt_bridge.proxmox.tasks import OnProgress, TaskOutcome, TaskProgress, TaskWatch, log_lines, task_path
from mqtt_bridge.settings import ApiSettings, Endpoint, SiteSettings

__all__ = [
    "CallRecord",
    "HostHealth",
    "OnProgress",
    "ProxmoxClient",
    "Segment",
    "TaskOutcome",
    "TaskProgress",
    "Volume",
]

# seconds
POLL_CONNECT, POLL_READ = 3.0, 10.0
TOOL_CONNECT = 5.0
PROBE_TIME = 5.0
_NODE_GONE = frozenset({595, 596, 597, 599})
_MAX_401 = 2  # hosts that may refuse one token before it is taken as refused


@dataclass(frozen=True, slots=True)
class _Ask:
    """What a caller wants, before it is sent to any host. `until` is monotonic time."""

    method: Method
    segments: tuple[Segment, ...]
    params: Mapping[str, Any]
    purpose: Purpose
    until: float
    host: str | None = None

    def call(self, *, more: bool) -> Call:
        """A poll has limits of its own; a tool's read leaves half of its time to other hosts, if there are `more`."""
        now = time.monotonic()
        if self.purpose == "poll":
            return self._call(min(self.until, now + POLL_CONNECT + POLL_READ), POLL_CONNECT, POLL_READ)
        until = now + (self.until - now) / 2 if more and self.method == "GET" else self.until
        return self._call(until, TOOL_CONNECT, max(0.0, until - now))

    def _call(self, until: float, connect: float, read: float) -> Call:
        return Call(self.method, self.segments, self.params, self.purpose, until, connect, read)


class ProxmoxClient:
    """`async with` it. Reads (`get`) may be repeated and moved to another host; writes are sent at most once."""

    def __init__(self, site: SiteSettings, api: ApiSettings) -> None:
        self.site = site
        self.observer: Callable[[CallRecord], None] | None = None
        self._api = api
        self._hosts = [self._host(each) for each in site.endpoints]
        self._preferred = self._hosts[0]
        self._answered: str | None = None
        self._probes: dict[Host, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        probes = list(self._probes.values())
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        for host in self._hosts:
            host.close()

    # --- what is known about the hosts ---

    @property
    def endpoint(self) -> str | None:
        """The name of the host that answered last."""
        return self._answered

    @property
    def hosts(self) -> tuple[HostHealth, ...]:
        return tuple(host.health for host in self._hosts)

    def add_discovered(self, hosts: Sequence[tuple[str, str]]) -> None:
        """(node, address) of the other members of the cluster, as last seen; those in the settings win."""
        primary = self.site.endpoints[0]
        explicit = {_key(each.name) for each in self.site.endpoints} | {each.host for each in self.site.endpoints}
        wanted = {node: ip for node, ip in hosts if ip and _key(node) not in explicit and ip not in explicit}
        for host in [host for host in self._hosts if host.discovered]:
            if wanted.get(host.endpoint.name) == host.endpoint.host:
                del wanted[host.endpoint.name]
            else:
                self._drop(host)
        for node, ip in wanted.items():
            self._hosts.append(self._host(replace(primary, name=node, host=ip), discovered=True))

    def _host(self, endpoint: Endpoint, *, discovered: bool = False) -> Host:
        clustered = self.site.clustered or len(self.site.endpoints) > 1
        return Host(endpoint, self._api.rate_limit, self._observe, clustered=clustered, discovered=discovered)

    def _drop(self, host: Host) -> None:
        self._hosts.remove(host)
        if self._preferred is host:
            self._preferred = self._hosts[0]
        if probe := self._probes.pop(host, None):
            probe.cancel()
        host.close()

    def _observe(self, record: CallRecord) -> None:
        if self.observer is not None:
            self.observer(record)

    # --- requests ---

    async def get(
        self, *segments: Segment, purpose: Purpose = "tool", deadline: float | None = None, **params: Any
    ) -> Any:
        """The `data` of the answer. `deadline`: seconds for everything, retries and other hosts included."""
        return await self.request("GET", *segments, purpose=purpose, deadline=deadline, params=params)

    async def post(self, *segments: Segment, deadline: float | None = None, **params: Any) -> Any:
        """Sent at most once."""
        return await self.request("POST", *segments, deadline=deadline, params=params)

    async def put(self, *segments: Segment, deadline: float | None = None, **params: Any) -> Any:
        """Sent at most once."""
        return await self.request("PUT", *segments, deadline=deadline, params=params)

    async def delete(self, *segments: Segment, deadline: float | None = None, **params: Any) -> Any:
        """Sent at most once."""
        return await self.request("DELETE", *segments, deadline=deadline, params=params)

    async def request(
        self,
        method: Method,
        *segments: Segment,
        host: str | None = None,
        purpose: Purpose = "tool",
        deadline: float | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Any:
        """`host`: ask this one only, once, even while its breaker is open. May raise UnknownTargetError too."""
        until = time.monotonic() + (deadline or self._api.timeout)
        answer = await self._ask(_Ask(method, segments, params or {}, purpose, until, host))
        return answer.data

    async def _ask(self, ask: "_Ask") -> Answer:
        """The retry layer: for tools' reads only (and urgent ones), as long as the deadline leaves time."""
        again = ask.method == "GET" and ask.purpose != "poll" and ask.host is None
        rounds = max(1, self._api.retry_attempts) if again else 1
        for done in range(1, rounds):
            try:
                return await self._round(ask)
            except UnreachableError as error:
                delay = self._api.retry_delay * 2 ** (done - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
                late = time.monotonic() + delay >= ask.until
                if late or not _worth_retrying(error) or not any(host.breaker.closed for host in self._hosts):
                    raise
                await asyncio.sleep(delay)
        return await self._round(ask)

    async def _round(self, ask: "_Ask") -> Answer:
        """Each usable host once, the one that answered last first."""
        candidates = [self._named(ask.host)] if ask.host else self._usable()
        errors: list[ProxmoxError] = []
        for index, host in enumerate(candidates):
            call = ask.call(more=index + 1 < len(candidates))
            try:
                answer = await host.call(call)
            except (UnreachableError, UnauthorizedError, ProtocolError) as error:
                self._watch(host)
                errors.append(error)
                if not _may_move_on(call, errors) or time.monotonic() >= ask.until:
                    break
            else:
                self._answered = host.endpoint.name
                self._preferred = self._preferred if ask.host else host
                return answer
        raise _combined(self.site.name, errors)

    def _usable(self) -> list[Host]:
        usable = [host for host in self._hosts if host.breaker.closed]
        if not usable:
            raise _combined(self.site.name, [host.error() for host in self._hosts])
        return sorted(usable, key=lambda host: host is not self._preferred)

    def _named(self, name: str) -> Host:
        for host in self._hosts:
            if host.endpoint.name == name:
                return host
        names = tuple(host.endpoint.name for host in self._hosts)
        raise UnknownTargetError(f"Site {self.site.name} has no host {name!r}.", candidates=names)

    # --- probing hosts that are left alone ---

    def _watch(self, host: Host) -> None:
        if not host.breaker.closed and host not in self._probes and host in self._hosts:
            probe = asyncio.create_task(self._probe(host), name=f"probe {host.endpoint.name}")
            self._probes[host] = probe
            probe.add_done_callback(lambda _: self._probes.pop(host, None))

    async def _probe(self, host: Host) -> None:
        while True:
            await asyncio.sleep(host.breaker.next_delay())
            if host.breaker.closed:
                return
            host.breaker.probe()
            until = time.monotonic() + PROBE_TIME
            with suppress(ProxmoxError):
                await host.call(Call("GET", ("version",), {}, "poll", until, POLL_CONNECT, PROBE_TIME))

    # --- tasks ---

    async def task_status(self, upid: str) -> dict[str, Any]:
        """`status` (running, stopped), `exitstatus` once it stopped, and more as Proxmox names it."""
        data = await self.get(*task_path(upid), "status", purpose="poll")
        if not isinstance(data, dict):
            raise ProtocolError("The status of a task came without its fields.", host=self._answered or "")
        return data

    async def task_log(self, upid: str, start: int = 0, limit: int = 50) -> tuple[tuple[str, ...], int]:
        """Lines from `start` (0 is the first), and how many there are."""
        until = time.monotonic() + self._api.timeout
        path = (*task_path(upid), "log")
        answer = await self._ask(_Ask("GET", path, {"start": start, "limit": limit}, "poll", until))
        lines = log_lines(answer.data)
        return lines, max(answer.total or 0, start + len(lines)) if lines else start

    async def wait_task(self, upid: str, *, timeout: float, on_progress: OnProgress | None = None) -> TaskOutcome:  # noqa: ASYNC109 - an outcome, not an error
        """Until the task stops or `timeout` seconds are over; hosts may come and go meanwhile."""
        return await TaskWatch(self, upid, timeout, on_progress).outcome()


def _key(name: str) -> str:
    """Settings write node names in their own way (upper case, `_` for `-`)."""
    return name.casefold().replace("_", "-")


def _may_move_on(call: Call, errors: list[ProxmoxError]) -> bool:
    """Whether another host may be asked: never a write that may have arrived, nor for a node that is gone itself."""
    last = errors[-1]
    if isinstance(last, UnauthorizedError):
        return sum(isinstance(each, UnauthorizedError) for each in errors) < _MAX_401
    if call.method != "GET" and call.sent:
        return False
    return not (call.node and last.status in _NODE_GONE)


def _worth_retrying(error: UnreachableError) -> bool:
    return error.status not in _NODE_GONE and type(error) is UnreachableError


def _combined(site: str, errors: list[ProxmoxError]) -> ProxmoxError:
    """One host's error as it is; of several, one that answered tells more than those that did not."""
    answered = [each for each in errors if not isinstance(each, UnreachableError)]
    if answered or len(errors) == 1:
        return (answered or errors)[0]
    whys = " ".join(each.message for each in errors[:3])
    return UnreachableError(f"None of the {len(errors)} hosts of {site} answers. {whys}", cure=errors[0].cure)
