"""A real HTTP service, the smallest notifier that uses it, and everything that runs between a journal and it."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from mqtt_bridge.events.outbox import Outbox
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.notifiers.notice import LaterError, Notice, Notifier, RefusedError, Sent
from mqtt_bridge.notifying.delivering import Backoff
from mqtt_bridge.notifying.notices import Link
from mqtt_bridge.notifying.notify import Notify, Tuning
from mqtt_bridge.retained import Retained
from mqtt_bridge.settings.notifying import NotifySettings
from mqtt_bridge.topics import Topics
from tests.notify.making import loud

QUICK = Tuning(patience=1.5, backoff=Backoff(first=0.05, longest=0.4, limit=3600))


@dataclass
class Got:
    """One request that the service answered well."""

    id: str
    kind: str
    title: str
    previous: str | None


@dataclass
class Service:
    """`async with` it. `status` answers everything, `fails` of all requests get a 500, `delay` is seconds.

    `gate` holds answers back; `at`: when each request came.
    """

    name: str
    status: int = 200
    fails: float = 0.0
    delay: float = 0.0
    gate: asyncio.Event | None = None
    at: list[float] = field(default_factory=list)
    retry_after: str = ""
    got: list[Got] = field(default_factory=list)
    requests: int = 0
    port: int = 0
    _runner: web.AppRunner | None = None
    _dice: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 -- a test's dice

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        body = await request.json()
        self.at.append(time.monotonic())
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.gate:
            await self.gate.wait()
        if self.status != 200:
            return web.Response(status=self.status, headers={"Retry-After": self.retry_after})
        if self._dice.random() < self.fails:
            return web.Response(status=500)
        self.got.append(Got(body["id"], body["kind"], body["title"], body["previous"]))
        return web.json_response({"ref": f"{self.name}-{len(self.got)}"})

    @property
    def ids(self) -> list[str]:
        return [got.id for got in self.got]

    @property
    def kinds(self) -> list[str]:
        return [got.kind for got in self.got]

    @property
    def twice(self) -> Counter[str]:
        return Counter({identity: count for identity, count in Counter(self.ids).items() if count > 1})


class Poster:
    """A notifier of a few lines."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self._url = f"http://127.0.0.1:{port}/"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()

    async def send(self, notice: Notice) -> Sent:
        assert self._session is not None
        body = {"id": notice.id, "kind": notice.kind, "title": notice.title, "previous": notice.previous}
        try:
            async with self._session.post(self._url, json=body) as answer:
                if answer.status in {401, 404}:
                    raise RefusedError(f"{self.name} says {answer.status}.", cure="Correct its address.")
                if answer.status != 200:
                    after = answer.headers.get("Retry-After")
                    raise LaterError(f"{self.name} says {answer.status}.", after=float(after) if after else None)
                return Sent((await answer.json())["ref"], "ok")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise LaterError(f"{self.name} is not reachable ({type(error).__name__}).") from error


def told(settings: Mapping[str, Any], names: Sequence[str]) -> NotifySettings:
    return NotifySettings(**{"routing": loud(*names), "digest_at": "off", "debounce": 0.3, **settings})


@asynccontextmanager
async def running(
    path: Path,
    options: BrokerOptions,
    ports: Mapping[str, int],
    *,
    publishes: bool = True,
    tuning: Tuning = QUICK,
    notifiers: Sequence[Notifier] = (),
    link: Link | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Journal, Notify]]:
    """A journal, its outbox on a connection of its own, and the notifiers."""
    names = Topics()
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(Journal(path))
        outbox = await stack.enter_async_context(Outbox(journal, Retained(names)))
        notify = Notify(
            told(settings, (*ports, *(one.name for one in notifiers))),
            [*(Poster(name, port) for name, port in ports.items()), *notifiers],
            journal,
            lambda take, session: Broker(options, take, role="notify", session=session),
            names,
            link=link,
            tuning=tuning,
        )
        await stack.enter_async_context(notify)
        if publishes:
            bus = await stack.enter_async_context(Broker(options, role="bridge"))
            feed = asyncio.create_task(outbox.feed(bus))
            stack.callback(feed.cancel)
        yield journal, notify


async def until(condition: Callable[[], object], within: float = 15.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.02)


def quick(**changes: Any) -> Tuning:
    return replace(QUICK, **changes)
