"""The webhook listener over real sockets: who may post, what is accepted, what is said to whom."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mqtt_bridge.events.intake import IntakeFullError, JournalError
from mqtt_bridge.listeners import http_token
from mqtt_bridge.listeners.webhook import WebhookListener, problem
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.listening import WebhookInSettings
from tests.support.intakes import Remembering, running, until

TOKEN = "a-token-that-nobody-guesses"
NOTE = {
    "title": "vzdump backup status (pve1.lab.example): backup failed ",
    "message": "\nDetails\n",
    "severity": "error",
    "timestamp": 1790000000,
    "fields": {"hostname": "pve1", "type": "vzdump"},
}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_token, "FIRST", 0.01)


class Post:
    """A client of one listener."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url

    async def __call__(
        self, path: str = "/webhook", body: Any = None, method: str = "POST", **headers: str
    ) -> tuple[int, Any]:
        data = json.dumps(NOTE if body is None else body) if not isinstance(body, bytes | str) else body
        async with self.session.request(method, self.url + path, data=data, headers=headers) as answer:
            return answer.status, (await answer.json() if answer.content_type == "application/json" else None)


@asynccontextmanager
async def listening(intake: Remembering, *, token: str = TOKEN, **more: Any) -> AsyncIterator[Post]:
    settings = WebhookInSettings(port=0, token=Secret(token) if token else None, **more.pop("settings", {}))
    listener = WebhookListener(settings, **more)
    async with running(listener, intake), aiohttp.ClientSession() as session:
        yield Post(session, f"http://127.0.0.1:{listener.port}")


@pytest.mark.parametrize("path", ["/webhook", "/proxmox", "/", "", "/webhook/", "/?x=1"])
async def test_a_notification_is_answered_after_its_commit(path: str) -> None:
    intake = Remembering(delay=0.05)
    async with listening(intake) as post:
        status, said = await post(path, **BEARER)
    assert (status, said["accepted"], said["kind"]) == (200, True, "backup.job.failed")
    (report,) = intake.reports
    assert (report.trust, report.site) == ("authenticated", None)
    assert report.metadata == {"format": "webhook", "sender": "127.0.0.1"}
    assert report.verdict.node == "pve1"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/webhook", {"Authorization": f"bearer  {TOKEN}"}),
        ("/webhook", {"X-Gotify-Key": TOKEN}),
        (f"/webhook?token={TOKEN}", {}),
        (f"/webhook?a=b&token={TOKEN}", {"Authorization": "Basic eHh4"}),
    ],
)
async def test_ways_to_show_the_token(path: str, headers: dict[str, str]) -> None:
    intake = Remembering()
    async with listening(intake) as post:
        assert (await post(path, **headers))[0] == 200
    assert len(intake.reports) == 1


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/webhook", {}),
        ("/webhook", {"Authorization": "Bearer wrong-token-1234567"}),
        ("/webhook", {"Authorization": TOKEN}),
        ("/webhook", {"Authorization": f"Basic {TOKEN}"}),
        ("/webhook?token=", {"X-Gotify-Key": "wrong-token-ü"}),
        ("/message?token=wrong-token-1234567", {}),
        ("/webhook?" + "&".join(["a=1"] * 50) + f"&token={TOKEN}", {}),
    ],
)
async def test_a_wrong_token(path: str, headers: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    intake = Remembering()
    async with listening(intake) as post:
        status, said = await post(path, **headers)
    assert (status, said["errorCode"]) == (401, 401)
    assert intake.rejected == {"wrong token": 1}
    assert intake.reports == []
    assert "token-1234567" not in caplog.text


async def test_who_is_wrong_waits_longer_and_who_is_right_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    gate = http_token.TokenGate(Secret(TOKEN), clock=lambda: now)
    monkeypatch.setattr(http_token, "FIRST", 0.25)
    assert [gate.pause("192.0.2.1") for _ in range(7)] == [0.25, 0.5, 1, 2, 4, 8, 8]
    assert gate.pause("192.0.2.2") == 0.25
    now = http_token.FORGIVEN + 1
    assert gate.pause("192.0.2.1") == 0.25
    for number in range(5000):
        gate.pause(f"source-{number}")
    assert len(gate._wrong) == 1000
    monkeypatch.setattr(http_token, "FIRST", 60.0)
    monkeypatch.setattr(http_token, "LONGEST", 60.0)
    intake = Remembering()
    async with listening(intake) as post:
        wrong = asyncio.create_task(post(Authorization="Bearer no"))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(20):
            assert (await post(**BEARER))[0] == 200
        wrong.cancel()
        await asyncio.wait([wrong])


async def test_without_a_token_on_loopback() -> None:
    intake = Remembering()
    async with listening(intake, token="") as post:
        assert (await post())[0] == 200
        assert (await post(Origin="https://evil.example"))[0] == 403
    assert [one.trust for one in intake.reports] == ["unauthenticated"]
    assert intake.rejected == {"from a browser": 1}


async def test_beyond_loopback_a_token_is_needed() -> None:
    settings = WebhookInSettings(host="0.0.0.0", port=0)  # noqa: S104
    assert "EVENT_WEBHOOK_TOKEN" in problem(settings)
    listener = WebhookListener(settings)
    async with running(listener, intake := Remembering()):
        await asyncio.sleep(0.05)
        assert listener.port == 0
    assert (intake.well, "EVENT_WEBHOOK_TOKEN" in intake.said) == (False, True)
    assert problem(WebhookInSettings(host="0.0.0.0", token=Secret(TOKEN))) == ""  # noqa: S104
    assert problem(WebhookInSettings(host="localhost")) == ""
    assert "KEY_FILE" in problem(WebhookInSettings(cert_file=Path("x")))


@pytest.mark.parametrize("error", [IntakeFullError("too much is waiting"), JournalError("the disk is full")])
async def test_what_cannot_be_committed_is_not_accepted(error: Exception) -> None:
    intake = Remembering(fails=[error])
    async with listening(intake) as post:
        async with post.session.post(f"{post.url}/webhook", data=b"{}", headers=BEARER) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            assert (await answer.json())["errorDescription"] == str(error)
        assert intake.reports == []
        assert (await post(**BEARER))[0] == 200
    assert len(intake.reports) == 1


async def test_a_bug_behind_it_is_a_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    intake = Remembering(fails=[RuntimeError("broken")])
    async with listening(intake) as post:
        assert (await post(**BEARER))[0] == 500
        assert (await post(**BEARER))[0] == 200
    assert "A request failed" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/webhook", 405, "wrong method"),
        ("DELETE", "/", 405, "wrong method"),
        ("PUT", "/message", 405, "wrong method"),
        ("POST", "/health", 405, "wrong method"),
        ("POST", "/webhooks", 404, "unknown path"),
        ("POST", "/x%2Fwebhook", 404, "unknown path"),
        ("POST", "/a/b/webhook", 404, "unknown path"),
        ("POST", "/nosite/webhook", 404, "unknown site"),
    ],
)
async def test_wrong_methods_and_paths(method: str, path: str, status: int, reason: str) -> None:
    intake = Remembering()
    async with listening(intake, sites=["lab"]) as post:
        found, said = await post(path, method=method, **BEARER)
    assert (found, said["errorCode"], intake.rejected) == (status, status, {reason: 1})


async def test_a_path_can_name_the_site() -> None:
    intake = Remembering()
    async with listening(intake, sites=["lab", "other"]) as post:
        assert (await post("/other/webhook", **BEARER))[0] == 200
        assert (await post("/lab/message", body={"message": "x"}, **BEARER))[0] == 200
        assert (await post("/webhook", method="PUT", body="a plain text", **BEARER))[0] == 200
    assert [one.site for one in intake.reports] == ["other", "lab", None]


async def test_health_and_version_are_open_and_say_nothing() -> None:
    async with listening(Remembering()) as post:
        async with post.session.get(f"{post.url}/health") as answer:
            assert await answer.json() == {"health": "green", "database": "green"}
        async with post.session.get(f"{post.url}/version") as answer:
            assert (await answer.json()).keys() == {"version", "commit", "buildDate"}
        async with post.session.head(f"{post.url}/health") as answer:
            assert answer.status == 200


async def test_message_answers_like_gotify() -> None:
    intake = Remembering()
    sent = {
        "title": "Test notification ",
        "message": "```\nThis is a test of the notification target 'x'.\n\n```",
        "priority": 1,
        "extras": {"client::display": {"contentType": "text/markdown"}},
    }
    async with listening(intake) as post:
        status, said = await post("/message", body=sent, **{"X-Gotify-Key": TOKEN})
        again = (await post("//message", body=sent, **{"X-Gotify-Key": TOKEN}))[1]
        form = await post(
            "/message",
            body="message=hello&priority=7",
            **BEARER,
            **{"Content-Type": "application/x-www-form-urlencoded"},
        )
    assert status == 200
    assert {key: said[key] for key in sent} == sent
    assert isinstance(said["id"], int)
    assert said["appid"] == 1
    assert said["date"].endswith("Z")
    assert again["id"] == said["id"]
    assert (form[0], form[1]["title"], form[1]["priority"]) == (200, "Proxmox", 7)
    test, hello = intake.reports
    assert (test.verdict.kind, test.metadata["format"]) == ("notification.test", "gotify")
    assert hello.identity != test.identity


@pytest.mark.parametrize(
    "body",
    ["", "  ", "[]", "{}", '{"message": ""}', '{"message": 5}', "{", '{"message":"x"' + '{"a":' * 5000, "[" * 100_000],
)
async def test_messages_without_a_message(body: str) -> None:
    intake = Remembering()
    async with listening(intake) as post:
        status, said = await post("/message", body=body, **BEARER)
    assert (status, said["error"]) == (400, "Bad Request")
    assert intake.reports == []
    assert intake.rejected.total() == 1


async def test_extras_that_nest_too_deep_are_left_out() -> None:
    deep: Any = {}
    for _ in range(900):
        deep = {"a": deep}
    async with listening(Remembering()) as post:
        status, said = await post("/message", body={"message": "x", "extras": deep, "priority": 1e999}, **BEARER)
    assert (status, "extras" in said, said["priority"]) == (200, False, 0)


@pytest.mark.parametrize(
    "body", ["[" * 1000, '{"a":' * 1000, '{"a":' * 100_000, "\x00", "\ud800".encode("utf-8", "surrogatepass")]
)
async def test_whatever_the_body_is_it_is_an_event(body: str | bytes) -> None:
    intake = Remembering()
    async with listening(intake) as post:
        assert (await post(body=body, **BEARER))[0] == 200
    assert len(intake.reports) == 1


async def test_the_port_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listener = WebhookListener(WebhookInSettings(port=other.getsockname()[1]))
        async with running(listener, intake := Remembering()):
            assert not intake.well
    assert "EVENT_WEBHOOK_LISTEN_PORT" in intake.said


async def test_a_port_that_becomes_free_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqtt_bridge.listeners.webhook.AGAIN", 0.05)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        listener = WebhookListener(WebhookInSettings(port=port))
        async with running(listener, intake := Remembering()):
            other.close()
            await until(lambda: intake.well)
            assert listener.port == port


async def test_the_end_lets_a_commit_finish() -> None:
    intake = Remembering(delay=0.3)
    async with aiohttp.ClientSession() as session:
        listener = WebhookListener(WebhookInSettings(port=0))
        async with running(listener, intake):
            post = asyncio.create_task(Post(session, f"http://127.0.0.1:{listener.port}")())
            await asyncio.sleep(0.1)
        assert (await post)[0] == 200
    assert len(intake.reports) == 1


async def test_the_end_does_not_wait_for_who_was_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_token, "FIRST", 60.0)
    monkeypatch.setattr(http_token, "LONGEST", 60.0)
    loop = asyncio.get_running_loop()
    async with listening(Remembering()) as post:
        wrong = asyncio.create_task(post())
        await asyncio.sleep(0.05)
        started = loop.time()
    assert loop.time() - started < 20
    with pytest.raises(aiohttp.ClientError):
        await wrong


async def test_ipv6_and_an_upgrade_that_nobody_offers() -> None:
    listener = WebhookListener(WebhookInSettings(host="::1", port=0))
    async with running(listener, intake := Remembering()), aiohttp.ClientSession() as session:
        assert intake.said == f"listening on http://[::1]:{listener.port}"
        url = f"http://[::1]:{listener.port}"
        async with session.post(url, data=b'{"title":"x"}') as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.WSServerHandshakeError, match="404"):
            await session.ws_connect(f"{url}/stream")
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
        async with session.post(url, data=b'{"title":"y"}', headers=upgrade) as answer:
            assert answer.status in {200, 400}
    assert len(intake.reports) >= 1
