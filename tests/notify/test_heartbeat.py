"""A service that notices when we are gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from mqtt_bridge.notifying.heartbeat import Heartbeat
from mqtt_bridge.secret import Secret
from tests.notify.parts import until


class Watcher:
    def __init__(self) -> None:
        self.pings, self.status, self.url = 0, 200, ""

    async def answer(self, _: web.Request) -> web.Response:
        self.pings += 1
        return web.Response(status=self.status, headers={"Location": "/secret"})


@asynccontextmanager
async def beating(trouble: list[str]) -> AsyncIterator[tuple[Watcher, Heartbeat]]:
    watcher = Watcher()
    app = web.Application()
    app.router.add_get("/secret", watcher.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/secret"
    heartbeat = Heartbeat(Secret(url), 0.05, lambda: "".join(trouble))
    task = asyncio.create_task(heartbeat.run())
    try:
        yield watcher, heartbeat
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await runner.cleanup()


async def test_it_beats_while_all_is_well_and_only_then() -> None:
    trouble: list[str] = []
    async with beating(trouble) as (watcher, heartbeat):
        await until(lambda: watcher.pings > 2)
        trouble.append("the journal fails")
        await asyncio.sleep(1)
        before = watcher.pings
        await asyncio.sleep(0.3)
        assert watcher.pings == before
        trouble.clear()
        await until(lambda: watcher.pings > before)
        assert heartbeat.problem == ""


@pytest.mark.parametrize("status", [404, 500, 302])
async def test_what_is_wrong_is_said_without_the_secret(status: int, caplog: pytest.LogCaptureFixture) -> None:
    async with beating([]) as (watcher, heartbeat):
        watcher.status = status
        await until(lambda: heartbeat.problem)
        assert heartbeat.problem == f"The service behind HEARTBEAT_URL says {status}. Correct the URL."
        watcher.status = 200
        await until(lambda: not heartbeat.problem)
    assert "/secret" not in caplog.text


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/secret", "no url"])
async def test_nobody_there(url: str) -> None:
    heartbeat = Heartbeat(Secret(url), 0.05, str)
    task = asyncio.create_task(heartbeat.run())
    await until(lambda: heartbeat.problem)
    assert "secret" not in heartbeat.problem
    task.cancel()
