"""GOTIFY_IN against a stand-in that speaks Gotify's protocol: nothing missed, nothing twice, nobody else's."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_bridge.events.intake import IntakeFullError, JournalError
from mqtt_bridge.listeners import gotify as module
from mqtt_bridge.listeners import gotify_client
from mqtt_bridge.listeners.gotify import GotifyListener
from mqtt_bridge.listeners.gotify_messages import Cursor, Message, message_of
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.listening import GotifyInSettings
from tests.support.gotify import CLIENT, Gotify, gotify
from tests.support.intakes import Remembering, running, until


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST", "LONGEST", "REFUSED", "FULL"):
        monkeypatch.setattr(module, name, 0.02)


def proxmox(text: str, title: str = "Replication Job: '900-0' failed ", priority: int = 9) -> dict[str, Any]:
    extras = {"client::display": {"contentType": "text/markdown"}}
    return {"title": title, "message": f"```\n{text}\n```", "priority": priority, "extras": extras}


def listener(server: Gotify, token: str = CLIENT, **more: Any) -> GotifyListener:
    return GotifyListener(GotifyInSettings(server_url=server.url, client_token=Secret(token), **more))


def numbers(intake: Remembering) -> list[int]:
    return [int(one.metadata["message_id"]) for one in intake.reports]


async def test_a_message_becomes_a_report() -> None:
    async with gotify() as server, running(listener(server), intake := Remembering()):
        assert intake.said == f"reading {server.url}"
        row = server.post(**proxmox("Replication job '900-0' with target 'node2' and schedule '*/15' failed!"))
        await until(lambda: intake.reports)
    (report,) = intake.reports
    assert (report.verdict.kind, report.trust) == ("replication.failed", "authenticated")
    assert report.metadata == {"message_id": row["id"], "application": "proxmox"}
    assert report.at is not None
    assert abs(report.at - server.clock.timestamp()) < 0.01
    assert json.loads(intake.cursors["message"])["id"] == row["id"]


async def test_the_token_is_in_no_url_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with gotify() as server, running(listener(server), intake := Remembering()):
        server.post(**proxmox("x"))
        await until(lambda: intake.reports)
    assert CLIENT not in "".join(server.asked) + caplog.text + str(intake.health)
    assert {one["X-Gotify-Key"] for one in server.headers} == {CLIENT}


async def test_the_first_start_takes_nothing_of_the_past() -> None:
    async with gotify() as server:
        for number in range(3):
            server.post(**proxmox(str(number)))
        async with running(listener(server), intake := Remembering()):
            server.post(**proxmox("new"))
            await until(lambda: intake.reports)
            await asyncio.sleep(0.05)
    assert numbers(intake) == [4]


async def test_the_first_start_on_an_empty_server() -> None:
    async with gotify() as server:
        intake = Remembering()
        async with running(listener(server), intake):
            pass
        server.post(**proxmox("while away"))
        async with running(listener(server), intake):
            await until(lambda: intake.reports)
    assert numbers(intake) == [1]


@pytest.mark.parametrize("missed", [1, 199, 200, 201, 650])
async def test_what_was_missed_is_fetched_in_order(missed: int) -> None:
    async with gotify() as server:
        intake = Remembering()
        server.post(**proxmox("old"))
        async with running(listener(server), intake):
            pass
        for number in range(missed):
            server.post(**proxmox(f"message {number}"), skip=number % 3)
        ids = [one["id"] for one in server.messages[1:]]
        async with running(listener(server), intake):
            await until(lambda: len(intake.reports) == missed)
            assert numbers(intake) == ids
            server.post(**proxmox("and then"))
            await until(lambda: len(intake.reports) == missed + 1)
    assert max(intake.batches) <= 200


async def test_dying_in_the_middle_of_catching_up() -> None:
    """Pages are committed from the oldest: what comes next is where it stopped."""
    async with gotify() as server:
        intake = Remembering()
        async with running(listener(server), intake):
            pass
        for number in range(500):
            server.post(**proxmox(f"message {number}"))
        for _ in range(3):
            intake.delay = 0.03
            async with running(listener(server), intake, wait=False):
                await intake.reaches(len(intake.reports) + 1)
        intake.delay = 0
        async with running(listener(server), intake):
            await until(lambda: len(intake.reports) == 500)
    assert numbers(intake) == list(range(1, 501))


async def test_the_server_goes_away_and_comes_back() -> None:
    async with gotify() as server, running(listener(server), intake := Remembering()):
        server.post(**proxmox("one"))
        await until(lambda: intake.reports)
        await server.stop()
        await until(lambda: not intake.well)
        await until(lambda: "GOTIFY_IN_SERVER_URL" in intake.said)
        server.post(**proxmox("two"))
        await server.start()
        await until(lambda: len(intake.reports) == 2)
        await until(lambda: intake.well)
        server.post(**proxmox("three"))
        await until(lambda: len(intake.reports) == 3)


@pytest.mark.parametrize("code", [1000, 1001, 1006 - 5, 1011, 4000])
async def test_a_stream_that_is_closed_is_opened_again(code: int) -> None:
    async with gotify() as server, running(listener(server), intake := Remembering()):
        for number in range(1, 4):
            await until(lambda: server.streams)
            await server.drop(code)
            server.post(**proxmox(f"message {number}"))
            await intake.reaches(number)
    assert numbers(intake) == [1, 2, 3]


async def test_a_peer_that_is_dead_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gotify_client, "HEARTBEAT", 0.2)
    async with gotify() as server:
        server.answers_pings = False
        async with running(listener(server), intake := Remembering()):
            server.post(tell=False, **proxmox("nobody tells"))
            await until(lambda: intake.reports)
            assert any(not well for well, _ in intake.health)


async def test_a_stream_that_tells_nothing_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECONCILE", 0.1)
    async with gotify() as server, running(listener(server), intake := Remembering()):
        server.tells_stream = False
        server.post(**proxmox("quiet"))
        await until(lambda: intake.reports)
        assert all(well for well, _ in intake.health)


async def test_told_in_any_order_and_with_gaps() -> None:
    async with gotify() as server, running(listener(server), intake := Remembering()):
        rows = [server.post(tell=False, skip=number % 2, **proxmox(f"message {number}")) for number in range(300)]
        server.shuffled(rows)
        server.shuffled(rows)
        await until(lambda: len(intake.reports) == 300)
        await asyncio.sleep(0.1)
    assert sorted(numbers(intake)) == [row["id"] for row in rows]


async def test_one_that_the_list_forgot() -> None:
    """Deleted on the server between the stream and the list: what was told counts."""
    async with gotify() as server, running(listener(server), intake := Remembering()):
        row = server.post(tell=False, skip=5, **proxmox("gone at once"))
        server.messages.clear()
        server.tell(row)
        await until(lambda: intake.reports)


async def test_a_server_that_was_set_up_anew() -> None:
    """Ids start again at 1, even with the same text; deleted messages alone change nothing."""
    async with gotify() as server:
        intake = Remembering()
        for number in range(20):
            server.post(**proxmox(f"message {number}"))
        async with running(listener(server), intake):
            server.post(**proxmox("same"))
            await until(lambda: intake.reports)
        del server.messages[-5:]
        async with running(listener(server), intake):
            await asyncio.sleep(0.05)
            assert len(intake.reports) == 1
        server.reset()
        server.clock = server.clock.replace(microsecond=0)
        for number in range(20):
            server.post(**proxmox(f"message {number}"))
        server.post(**proxmox("same"))
        async with running(listener(server), intake):
            await until(lambda: len(intake.reports) == 22)
            server.post(**proxmox("later"))
            await until(lambda: len(intake.reports) == 23)
    assert numbers(intake) == [21, *range(1, 23)]


async def test_a_journal_that_fails_at_the_very_start() -> None:
    async with gotify() as server:
        server.post(**proxmox("old"))
        intake = Remembering(fails=[JournalError("disk"), IntakeFullError("full")])
        async with running(listener(server), intake):
            server.post(**proxmox("new"))
            await intake.reaches(1)
    assert numbers(intake) == [2]


async def test_a_full_intake_makes_it_wait_and_lose_nothing() -> None:
    async with gotify() as server:
        intake = Remembering()
        async with running(listener(server), intake):
            intake.fails = [IntakeFullError("full"), JournalError("disk"), IntakeFullError("full")]
            for number in range(10):
                server.post(**proxmox(f"message {number}"))
            await until(lambda: len(intake.reports) == 10)
    assert numbers(intake) == list(range(1, 11))


@pytest.mark.parametrize(("token", "status"), [("Awrong", 401), (CLIENT, 403)])
async def test_a_token_that_is_refused(token: str, status: int) -> None:
    async with gotify() as server:
        server.status = {"/stream": 403} if status == 403 else {}
        async with running(listener(server, token), intake := Remembering()):
            assert not intake.well
            assert "GOTIFY_IN_CLIENT_TOKEN" in intake.said
            assert "an application's token cannot read" in intake.said
            assert token not in intake.said
            server.status, server.client = {}, token
            await until(lambda: intake.well)


@pytest.mark.parametrize(
    ("path", "status", "said"), [("/stream", 400, "WebSockets"), ("/message", 500, "500"), ("/stream", 502, "502")]
)
async def test_a_server_or_proxy_that_fails(path: str, status: int, said: str) -> None:
    async with gotify() as server:
        server.status = {path: status}
        async with running(listener(server), intake := Remembering()):
            assert (intake.well, said in intake.said) == (False, True)
            server.status = {}
            await until(lambda: intake.well)


async def test_redirects_do_not_get_the_token() -> None:
    async with gotify() as server, gotify() as other:
        server.redirect = other.url
        async with running(listener(server), intake := Remembering()):
            assert "redirects" in intake.said
            await asyncio.sleep(0.1)
        assert other.asked == []


async def test_what_is_no_gotify_server() -> None:
    async with gotify() as server:
        broken = GotifyListener(GotifyInSettings(server_url=f"{server.url}/nothing", client_token=Secret(CLIENT)))
        async with running(broken, intake := Remembering()):
            assert "404" in intake.said
    async with running(GotifyListener(GotifyInSettings(server_url="http://127.0.0.1:1")), intake := Remembering()):
        assert "not reached" in intake.said


OTHERS: list[dict[str, Any]] = [
    {"title": "[web01] DOWN", "message": "connect ECONNREFUSED", "priority": 8},
    {"title": "Test notification", "message": "hello", "priority": 5},
    {"title": "Sonarr", "message": "Episode grabbed", "priority": 1},
]


async def test_other_applications_are_left_alone_and_no_mail_of_proxmox_is() -> None:
    async with gotify() as server, running(listener(server), intake := Remembering()):
        for one in OTHERS:
            server.post("Auptime", **one)
        server.post(**proxmox("some words of a cron job", title="Cron <root@pve1> test -x /x", priority=3))
        server.post("Auptime", **proxmox("This is a test of the notification target 'x'.\n", "Test notification ", 1))
        server.post("Auptime", **{**proxmox("x"), "title": "vzdump backup status (pve1): backup failed "})
        await until(lambda: len(intake.reports) == 3)
        await until(lambda: intake.rejected.total() == 3)
    assert numbers(intake) == [4, 5, 6]
    assert intake.rejected == {"another application's": 3}
    assert [one.metadata["application"] for one in intake.reports] == ["proxmox", "Uptime Kuma", "Uptime Kuma"]


@pytest.mark.parametrize("apps", [("Uptime*",), ("uptime kuma", "x"), ("2",)])
async def test_chosen_applications(apps: tuple[str, ...]) -> None:
    async with gotify() as server, running(listener(server, apps=apps), intake := Remembering()):
        server.post(**proxmox("x"))
        for one in OTHERS:
            server.post("Auptime", **one)
        await until(lambda: len(intake.reports) == 3)
        server.apps["Anew"] = "Uptime 2"
        server.post("Anew", **OTHERS[0])
        await until(lambda: len(intake.reports) + intake.rejected.total() == 5)
    assert len(intake.reports) == (4 if apps == ("Uptime*",) else 3)


async def test_names_that_are_not_told() -> None:
    async with gotify() as server:
        server.tells_apps = False
        async with running(listener(server, apps=("proxmox",)), intake := Remembering()):
            server.post(**proxmox("x"))
            await until(lambda: not intake.well)
            assert "numbers" in intake.said
            assert intake.reports == []
            server.tells_apps = True
            await until(lambda: intake.reports)
        server.tells_apps = False
        async with running(listener(server), intake := Remembering()):
            server.post(**proxmox("x"))
            await until(lambda: intake.reports)
            assert intake.reports[0].metadata["application"] == "1"


async def test_messages_that_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller pages first; one alone that is still too large is skipped and counted, and the next ones come."""
    monkeypatch.setattr(gotify_client, "MAX_ANSWER", 60_000)
    monkeypatch.setattr(gotify_client, "MAX_FRAME", 20_000)
    async with gotify() as server:
        intake = Remembering()
        async with running(listener(server), intake):
            pass
        for number in range(40):
            server.post(**proxmox(f"{number}" + "x" * (70_000 if number in (5, 39) else 2_000)))
        async with running(listener(server), intake):
            await until(lambda: len(intake.reports) == 38)
            server.post(**proxmox("y" * 30_000))
            await until(lambda: len(intake.reports) == 39)
    assert intake.rejected == {"too large": 2}
    assert len(set(numbers(intake))) == 39


async def test_frames_that_are_no_messages() -> None:
    async with gotify() as server, running(listener(server), intake := Remembering()):
        await until(lambda: server.streams)
        (stream,) = server.streams
        for text in ("", "{", "[]", '{"id":"x","message":"y"}', '{"id":7}', "[" * 5000):
            await stream.send_str(text)
        await stream.send_bytes(b"\x00")
        server.post(**proxmox("good"))
        await until(lambda: intake.reports)
        assert all(well for well, _ in intake.health)
    assert intake.rejected == {"not a message": 7}


rows = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["id", "appid", "message", "title", "priority", "date", "extras", "x"]), inner, max_size=8),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(row=rows)
def test_any_json_is_a_message_or_is_not(row: Any) -> None:
    message = message_of(row)
    if message is not None:
        assert message.identity
        assert message.looks_like_proxmox in (True, False)
        assert Cursor(5, 5.0).after([message]).id >= 5 or message.date is not None


@pytest.mark.parametrize("text", [None, "", "7", "[]", '{"id": 1}', '{"id": "x", "date": 1}', "{"])
def test_a_cursor_that_cannot_be_read_is_none(text: str | None) -> None:
    assert Cursor.read(text) is None


def test_a_cursor_is_what_it_was() -> None:
    cursor = Cursor(5, 100.5)
    assert Cursor.read(cursor.text()) == cursor
    assert not cursor.before(Message(5, date=101.0))
    assert cursor.before(Message(1, date=103.0))
    assert cursor.after([Message(3, date=100.0)]) == cursor
