"""One API host seen from the event loop: its threads, breaker, rate limit and figures."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from mqtt_bridge.errors import ProxmoxError, RateLimitedError, UnreachableError
from mqtt_bridge.proxmox import segments as paths
from mqtt_bridge.proxmox.calls import Answer, Call, CallRecord
from mqtt_bridge.proxmox.limits import Breaker, BreakerState, TokenBucket
from mqtt_bridge.proxmox.threads import DaemonPool
from mqtt_bridge.settings import Endpoint

if TYPE_CHECKING:
    from mqtt_bridge.proxmox.transport import Transport

THREADS = 6  # calls to one host at once
GRACE = 0.25  # seconds for a thread to notice that its call was given up


@dataclass(frozen=True, slots=True)
class HostHealth:
    """How a host does. `latency` is the last answer's, in seconds; `failures` are calls without an answer."""

    name: str
    url: str
    state: BreakerState
    discovered: bool
    last_error: str | None
    latency: float | None
    calls: int
    failures: int


class Host:
    """Carries calls to one endpoint. `observe` is told about each. `clustered`: it passes calls on to other nodes."""

    def __init__(
        self,
        endpoint: Endpoint,
        rate_limit: int,
        observe: Callable[[CallRecord], None],
        *,
        clustered: bool = False,
        discovered: bool = False,
    ) -> None:
        self.endpoint = endpoint
        self._clustered = clustered
        self.discovered = discovered
        self.breaker = Breaker()
        self._bucket = TokenBucket(rate_limit)
        self._observe = observe
        self._pool = DaemonPool(THREADS, f"proxmox-{endpoint.name}")
        self._lock = threading.Lock()
        self._transport: Transport | None = None
        self._active: set[Call] = set()
        self._lanes: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._last_error: str | None = None
        self._latency: float | None = None
        self._calls = 0
        self._failures = 0

    @property
    def health(self) -> HostHealth:
        return HostHealth(
            name=self.endpoint.name,
            url=self.endpoint.url,
            state=self.breaker.state,
            discovered=self.discovered,
            last_error=self._last_error,
            latency=self._latency,
            calls=self._calls,
            failures=self._failures,
        )

    def error(self) -> UnreachableError:
        """Why it is left alone while its breaker is open."""
        return UnreachableError(
            f"{self.endpoint.name} ({self.endpoint.url}) is left alone after several failures. {self._last_error}",
            cure="It is tried again every few seconds.",
            host=self.endpoint.name,
        )

    async def call(self, call: Call) -> Answer:
        """The answer, or a ProxmoxError; in time, whatever the host does."""
        if call.purpose == "tool":
            await self._take_turn(call)
        started = time.monotonic()
        self._calls += 1
        self._active.add(call)
        try:
            async with self._lane(call):
                answer = await self._carry_out(call)
        except ProxmoxError as error:
            self._failed(call, error)
            raise
        else:
            self._last_error = None
            self.breaker.success()
            return answer
        finally:
            self._active.discard(call)
            seconds = time.monotonic() - started
            if call.status:
                self._latency = seconds
            self._observe(
                CallRecord(
                    self.endpoint.name, call.method, paths.template(call.segments), seconds, call.status, call.purpose
                )
            )

    async def _take_turn(self, call: Call) -> None:
        wait = self._bucket.reserve(call.remaining)
        if wait is None:
            raise RateLimitedError(
                f"{self.endpoint.name} was asked too often in the last minute.",
                cure="Wait a moment, or raise PROXMOX_RATE_LIMIT.",
                host=self.endpoint.name,
            )
        await asyncio.sleep(wait)

    @asynccontextmanager
    async def _lane(self, call: Call) -> AsyncIterator[None]:
        """What is passed on to one node takes half of the threads at most: while it hangs, the rest goes on."""
        if not self._clustered or call.node is None:
            yield
            return
        lane = self._lanes.get(call.node)
        if lane is None:
            lane = self._lanes[call.node] = asyncio.Semaphore(THREADS // 2)
        try:
            async with asyncio.timeout(call.remaining):  # wait_for may swallow a cancellation before Python 3.12
                await lane.acquire()
        except TimeoutError as error:
            raise self._timed_out(call) from error
        try:
            yield
        finally:
            lane.release()

    async def _carry_out(self, call: Call) -> Answer:
        try:
            future = self._pool.submit(lambda: self._perform(call))
        except RuntimeError as error:
            raise UnreachableError(f"{self.endpoint.name} is not used any more.", host=self.endpoint.name) from error
        answer = asyncio.wrap_future(future)
        answer.add_done_callback(_looked_at)
        try:
            return await self._in_time(answer, call)
        finally:
            if not answer.done():
                answer.cancel()
                call.abort()

    async def _in_time(self, answer: asyncio.Future[Answer], call: Call) -> Answer:
        done, _ = await asyncio.wait({answer}, timeout=call.remaining)
        if not done:
            call.abort()
            done, _ = await asyncio.wait({answer}, timeout=GRACE)
        if done:
            return answer.result()
        raise self._timed_out(call)

    def _timed_out(self, call: Call) -> UnreachableError:
        from mqtt_bridge.proxmox.network import timed_out  # noqa: PLC0415 - needs urllib3: not at start

        return timed_out(self.endpoint, call)

    def _perform(self, call: Call) -> Answer:
        """In a thread."""
        call.started = True
        with self._lock:
            transport = self._transport or self._connect()
        return transport.perform(call)

    def _connect(self) -> "Transport":
        from mqtt_bridge.proxmox.transport import Transport  # noqa: PLC0415 - needs requests: not at start

        self._transport = Transport(self.endpoint, THREADS)
        return self._transport

    def _failed(self, call: Call, error: ProxmoxError) -> None:
        if call.status and not call.fault:
            self.breaker.success()
            return
        self._failures += 1
        self._last_error = error.message
        if call.fault == "connect" or (call.fault == "timeout" and not self._passed_on(call)):
            self.breaker.failure()

    def _passed_on(self, call: Call) -> bool:
        """The silence may be that of another node, to which this host passed the call on."""
        return self._clustered and call.node is not None and call.node.casefold() != self.endpoint.name.casefold()

    def close(self) -> None:
        """Give up what is under way; waits for nothing."""
        for call in self._active:
            call.abort()
        self._pool.close()
        if self._transport is not None:
            self._transport.close()


def _looked_at(answer: asyncio.Future[Answer]) -> None:
    """What a call that was given up says later is of no interest to anyone, asyncio's log included."""
    if not answer.cancelled():
        answer.exception()
