"""APPRISE with the real library against HTTP servers on loopback; what came of each URL."""

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from mqtt_bridge.logs import NOISY
from mqtt_bridge.notifiers.apprise import AppriseNotifier, _scrubbed, _split
from mqtt_bridge.notifiers.notice import LaterError, Notice, RefusedError, Sent
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.notifying import AppriseSettings
from tests.support.https_host import free_port
from tests.support.notices import notice

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")

KEY = "sEcr3tkey0f7he5ervice"


@dataclass
class Host:
    """Answers by path; `got` has the bodies by path."""

    url: str = ""
    status: dict[str, int] = field(default_factory=dict)
    pause: float = 0
    got: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    async def answer(self, request: web.Request) -> web.Response:
        self.got.setdefault(request.path, []).append(await request.json())
        await asyncio.sleep(self.pause)
        headers = {"Location": "/elsewhere"} if self.status.get(request.path) == 302 else {}
        return web.Response(status=self.status.get(request.path, 200), text=f"token {KEY} is bad", headers=headers)


@asynccontextmanager
async def host() -> AsyncIterator[Host]:
    made = Host()
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"json://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()


def notifier(*urls: str, whole: float = 20) -> AppriseNotifier:
    return AppriseNotifier(AppriseSettings(Secret(",".join(urls))), whole=whole)


async def send(*urls: str, what: Notice | None = None, whole: float = 20) -> Sent:
    async with notifier(*urls, whole=whole) as made:
        return await made.send(what or notice())


async def test_every_url_gets_title_and_text() -> None:
    async with host() as server:
        sent = await send(f"{server.url}/a", f"{server.url}/b")
    assert sent.answer == "URL 1 (json): sent, taken by JSON; URL 2 (json): sent, taken by JSON"
    (got,) = server.got["/a"]
    assert server.got["/b"] == [got]
    assert (got["title"], got["type"]) == ("Error: Backup of VM 101 (web01) failed", "failure")
    assert "No space left on device" in got["message"]
    assert "https://pve1.lan:8006/" in got["message"]


async def test_a_recovery_is_a_success_and_a_warning_a_warning() -> None:
    async with host() as server, notifier(f"{server.url}/a") as made:
        await made.send(notice(id="1", kind="recovery"))
        await made.send(notice(id="2", severity="warning"))
    assert [each["type"] for each in server.got["/a"]] == ["success", "warning"]


async def test_one_refuses_for_good_and_the_answer_says_which() -> None:
    async with host() as server:
        server.status = {"/gone": 404}
        sent = await send(f"{server.url}/good", f"{server.url}/gone")
    assert "URL 1 (json): sent" in sent.answer
    assert "URL 2 (json): refused" in sent.answer
    assert "404" in sent.answer


async def test_only_who_has_to_wait_is_told_again() -> None:
    async with host() as server, notifier(f"{server.url}/good", f"{server.url}/busy", f"{server.url}/gone") as made:
        server.status = {"/busy": 503, "/gone": 410}
        for _ in range(2):
            with pytest.raises(LaterError, match="URL 2.*not yet.*503"):
                await made.send(notice())
        server.status = {}
        sent = await made.send(notice())
    assert {path: len(got) for path, got in server.got.items()} == {"/good": 1, "/busy": 3, "/gone": 1}
    assert sent.answer.count("sent,") == 2
    assert "URL 3 (json): refused" in sent.answer


@pytest.mark.parametrize("status", [429, 500, 502, 503, 408])
async def test_what_may_work_later(status: int) -> None:
    async with host() as server:
        server.status = {"/a": status}
        with pytest.raises(LaterError, match=str(status)):
            await send(f"{server.url}/a")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413])
async def test_what_never_will(status: int) -> None:
    async with host() as server:
        server.status = {"/a": status}
        with pytest.raises(RefusedError, match=rf"{status}.*APPRISE_URLS"):
            await send(f"{server.url}/a")


async def test_redirects_are_not_followed() -> None:
    async with host() as server:
        server.status = {"/a": 302}
        with pytest.raises(LaterError, match="302"):
            await send(f"{server.url}/a")
    assert "/elsewhere" not in server.got


async def test_a_slow_url_is_given_up_and_holds_up_no_other() -> None:
    async with host() as slow, host() as quick:
        slow.pause = 8
        began = time.monotonic()
        async with notifier(f"{slow.url}/a", f"{quick.url}/b", whole=0.7) as made:
            with pytest.raises(LaterError, match=r"URL 1 \(json\): not yet, no answer within 0.7 seconds"):
                await made.send(notice())
            took = time.monotonic() - began
    assert took < 7
    assert len(quick.got["/b"]) == 1


async def test_nobody_listens() -> None:
    with pytest.raises(LaterError, match="Connection error"):
        await send(f"json://127.0.0.1:{free_port()}/a")


@pytest.mark.parametrize("url", ["nosuchservice://abc", "discord://", "not a url", "json://"])
async def test_a_url_that_apprise_does_not_understand(url: str) -> None:
    with pytest.raises(RefusedError, match="does not understand"):
        await send(url)


async def test_no_urls_at_all() -> None:
    with pytest.raises(RefusedError, match="APPRISE_URLS is empty"):
        await send("")


async def test_without_the_extra_the_cure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(RefusedError, match=r'pip install "proxmox-mcp\[apprise\]"'):
        await send("json://127.0.0.1/a")


class Written(logging.Handler):
    """What a log file has at LOG_LEVEL=DEBUG."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


async def test_no_part_of_a_url_is_ever_shown(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in NOISY:
        monkeypatch.setattr(logging.getLogger(name), "level", logging.WARNING)
    written = Written()
    monkeypatch.setattr(logging.getLogger(), "handlers", [written])
    async with host() as server:
        server.status = {f"/{KEY}": 401}
        url = f"{server.url.replace('://', f'://user:{KEY}@')}/{KEY}?token={KEY}"
        with pytest.raises(RefusedError) as refused:
            await send(url, f"bad://{KEY}", f"json://{KEY}:x:y")
        with pytest.raises(LaterError) as later:
            await send(f"json://{KEY}.invalid:1/x")
        logging.getLogger("mqtt_bridge").debug("it is written")
        shown = (
            f"{refused.value!r} {refused.value} {later.value} {notifier(url)!r} {written.lines} {capfd.readouterr()}"
        )
        assert server.got
    assert KEY.casefold() not in shown.casefold()
    assert "it is written" in shown


def test_urls_are_parted_where_the_next_begins() -> None:
    urls = "discord://1/2?format=a,b, mailto://u:p,w@h\njson://x,"
    assert _split(urls) == {
        "URL 1 (discord)": "discord://1/2?format=a,b",
        "URL 2 (mailto)": "mailto://u:p,w@h",
        "URL 3 (json)": "json://x",
    }


def test_what_apprise_says_is_freed_of_the_url_in_any_writing() -> None:
    shown = _scrubbed("Failed for chat-99 at pa ss%word: pa%20ss%25word, error=404", "tgram://chat-99/pa%20ss%25word")
    assert "chat-99" not in shown
    assert "%25word" not in shown
    assert "ss%word" not in shown
    assert "error=404" in shown


async def test_closing_waits_for_no_hanging_service() -> None:
    async with host() as server:
        server.pause = 8
        began = time.monotonic()
        task = asyncio.create_task(send(f"{server.url}/a"))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait([task])
        assert time.monotonic() - began < 7
