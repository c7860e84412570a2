"""WEBHOOK and GOTIFY_IN on the real pipeline and journal: what was answered with 200 is there after a restart, once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mqtt_bridge.events.intake import Intake, Listener
from mqtt_bridge.listeners import gotify as module
from mqtt_bridge.listeners.gotify import GotifyListener
from mqtt_bridge.listeners.webhook import WebhookListener
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.listening import GotifyInSettings, WebhookInSettings
from tests.support.behind import Behind, behind
from tests.support.gotify import CLIENT, Gotify, gotify
from tests.support.intakes import until

TOKEN = "a-token-that-nobody-guesses"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST", "LONGEST"):
        monkeypatch.setattr(module, name, 0.02)


@asynccontextmanager
async def run(listener: Listener, intake: Intake) -> AsyncIterator[None]:
    task = asyncio.create_task(listener.run(intake))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def webhook(path: Path) -> AsyncIterator[tuple[Behind, str, aiohttp.ClientSession]]:
    listener = WebhookListener(WebhookInSettings(port=0, token=Secret(TOKEN)), sites=["lab", "other"])
    connector = aiohttp.TCPConnector(limit=100, force_close=True)
    async with (
        behind("WEBHOOK", path, "lab", "other") as real,
        run(listener, real.intake),
        aiohttp.ClientSession(connector=connector, headers=HEADERS) as session,
    ):
        await until(lambda: listener.port)
        yield real, f"http://127.0.0.1:{listener.port}", session


def note(number: int, **more: Any) -> bytes:
    title = f"vzdump backup status (pve{number}.lab.example): backup failed "
    fields = {"hostname": f"pve{number}", "type": "vzdump"}
    told = {"title": title, "message": f"number {number}", "severity": "error", "timestamp": 1790000000 + number}
    return json.dumps({**told, "fields": fields, **more}).encode()


async def test_what_was_answered_is_there_after_a_restart_once(tmp_path: Path) -> None:
    for _ in range(2):  # all of it is sent again to the second one
        async with webhook(tmp_path / "journal.db") as (real, url, session):

            async def one(number: int, at: str = url, on: aiohttp.ClientSession = session) -> int:
                async with on.post(f"{at}/other/webhook", data=note(number)) as answer:
                    return answer.status

            assert set(await asyncio.gather(*map(one, range(200)))) == {200}
            events = await real.events()
    assert len(events) == 200
    assert {event.message for event in events} >= {"number 7"}
    seven = next(event for event in events if event.node == "pve7")
    assert (seven.kind, seven.severity, seven.site, seven.source) == ("backup.job.failed", "error", "other", "WEBHOOK")
    assert (seven.trust, seven.ok, seven.timestamp[:4]) == ("authenticated", False, "2026")
    assert seven.metadata["format"] == "webhook"


async def test_what_was_not_answered_is_the_same_after_a_restart(tmp_path: Path) -> None:
    """Committed, the bridge dies, its sender tries again in the next minute: one event, also of a text with no time."""
    clock = 1_800_000_059.0
    body = json.dumps({"title": "Test notification ", "message": "```\nA test.\n```", "priority": 1}).encode()
    for _ in range(2):
        listener = WebhookListener(WebhookInSettings(port=0, token=Secret(TOKEN)), clock=lambda now=clock: now)  # type: ignore[misc]
        async with (
            behind("WEBHOOK", tmp_path / "journal.db") as real,
            run(listener, real.intake),
            aiohttp.ClientSession(headers=HEADERS) as session,
        ):
            await until(lambda here=listener: here.port)  # type: ignore[misc]
            async with session.post(f"http://127.0.0.1:{listener.port}/message", data=body) as answer:
                assert answer.status == 200
            events = await real.events()
        clock += 3
    assert len(events) == 1


async def test_a_journal_that_is_closed_is_a_503(tmp_path: Path) -> None:
    async with webhook(tmp_path / "journal.db") as (real, url, session):
        await real.pipeline.__aexit__(None, None, None)
        async with session.post(f"{url}/webhook", data=note(1)) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")


async def test_rejections_and_health_are_counted(tmp_path: Path) -> None:
    async with webhook(tmp_path / "journal.db") as (real, url, session):
        async with session.post(f"{url}/webhook", data=b"") as answer:
            assert answer.status == 400
        async with session.get(f"{url}/health") as answer:
            assert answer.status == 200
        await until(lambda: "listening on http://127.0.0.1:" in str(vars(real.intake)))
        assert "empty body" in str(vars(real.intake))


async def catches(server: Gotify, path: Path, count: int) -> list[int]:
    """Run until so many events are there; their message ids, oldest first."""
    listener = GotifyListener(GotifyInSettings(server_url=server.url, client_token=Secret(CLIENT)))
    async with behind("GOTIFY_IN", path) as real, run(listener, real.intake):
        async with asyncio.timeout(10):
            while len(events := await real.events()) < count or not server.streams:
                await asyncio.sleep(0.01)
    return [event.metadata["message_id"] for event in events][::-1]


async def test_the_cursor_survives_and_so_does_every_message(tmp_path: Path) -> None:
    sent: dict[str, Any] = {"title": "Replication Job: '900-0' failed ", "priority": 9}
    async with gotify() as server:
        server.post(message="before our time", **sent)
        assert await catches(server, tmp_path / "journal.db", 0) == []
        for round_ in range(1, 4):
            for number in range(50):
                server.post(message=f"Replication job '900-{number}' failed!", skip=1, **sent)
            found = await catches(server, tmp_path / "journal.db", 50 * round_)
    assert found == [row["id"] for row in server.messages[1:]]
