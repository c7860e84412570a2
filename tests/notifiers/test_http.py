"""What holds for each notifier over HTTP, whatever the other side does."""

import logging
import socket
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from mqtt_bridge.notifiers import wire
from mqtt_bridge.notifiers.http import LONGEST, Http, Service, seconds
from mqtt_bridge.notifiers.notice import LaterError, RefusedError
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.notifying import WebhookOutSettings
from tests.notifiers.channels import CHANNELS, Pair, assert_no_secret, opened
from tests.support.https_host import free_port, make_certificate
from tests.support.notices import notice
from tests.support.services import CUT, HALF, HTML, HUGE, REDIRECT, SLOW, Receiver, Server

EACH = pytest.mark.parametrize("name", CHANNELS)


async def failed(pair: Pair, kind: type[LaterError | RefusedError]) -> Any:
    with pytest.raises(kind) as caught:
        await pair.notifier.send(notice())
    assert_no_secret(caught.value)
    return caught.value


@EACH
async def test_taken(name: str) -> None:
    async with opened(name) as pair:
        sent = await pair.notifier.send(notice())
        assert bool(sent.ref) is pair.channel.tells_id
        assert sent.answer.startswith("200")
        assert len(pair.server.asked) == 1


@EACH
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507])
async def test_what_may_work_later(name: str, status: int) -> None:
    async with opened(name) as pair:
        pair.server.faults = [status]
        error = await failed(pair, LaterError)
        assert str(status) in str(error)
        assert error.after is None
        await pair.notifier.send(notice())


@EACH
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 422])
async def test_what_never_will(name: str, status: int) -> None:
    async with opened(name) as pair:
        pair.server.faults = [status]
        error = await failed(pair, RefusedError)
        assert str(status) in str(error)
        assert pair.channel.setting.split("_")[0] in error.cure or status == 413


@EACH
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_in_seconds_and_as_a_date(name: str, status: int) -> None:
    async with opened(name) as pair:
        later = datetime.fromtimestamp(time.time() + 90, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        for given, least, most in (("7", 7, 7), ("0", 0, 0), (later, 80, 91), ("never", -1, -1)):
            pair.server.faults = [web.Response(status=status, headers={"Retry-After": given})]
            async with CHANNELS[name].notifier(pair.server) as fresh:
                with pytest.raises(LaterError) as caught:
                    await fresh.send(notice())
            after = -1 if caught.value.after is None else caught.value.after
            assert least <= after <= most


@EACH
async def test_after_429_it_is_not_asked_again_too_soon(name: str) -> None:
    async with opened(name) as pair:
        pair.server.faults = [web.Response(status=429, headers={"Retry-After": "1"})]
        assert (await failed(pair, LaterError)).after == 1
        again = await failed(pair, LaterError)
        assert 0 < again.after <= 1
        assert len(pair.server.asked) == 1
        pair.notifier._http._free_at = 0.0  # type: ignore[attr-defined]
        await pair.notifier.send(notice())


@EACH
async def test_a_redirect_is_not_followed(name: str) -> None:
    async with Receiver().running():
        other = Receiver()
        async with other.running(), opened(name) as pair:
            pair.server.elsewhere = other.webhook
            pair.server.faults = [REDIRECT]
            error = await failed(pair, RefusedError)
            assert pair.channel.setting in error.cure
            assert not other.asked


@EACH
async def test_a_proxys_passing_redirect_is_tried_again(name: str) -> None:
    async with opened(name) as pair:
        pair.server.faults = [web.Response(status=302, headers={"Location": "/login"})]
        assert pair.channel.setting in str(await failed(pair, LaterError))


@EACH
async def test_cut_before_the_answer(name: str) -> None:
    async with opened(name) as pair:
        pair.server.faults = [CUT]
        assert "broke the connection" in str(await failed(pair, LaterError))
        assert len(pair.server.asked) == 1


@EACH
@pytest.mark.parametrize("fault", [HALF, HUGE])
async def test_what_the_status_said_holds_though_the_answer_is_cut_or_endless(name: str, fault: str) -> None:
    async with opened(name) as pair:
        pair.server.faults = [fault]
        began = time.monotonic()
        sent = await pair.notifier.send(notice())
        assert time.monotonic() - began < 12
        assert sent.ref is None
        assert len(pair.server.asked) == 1


async def test_of_an_endless_answer_64_kib_are_read() -> None:
    server = Receiver(faults=[HUGE])
    async with server.running(), Http(Service("Echo", "ECHO_URL")) as http:
        reply = await http.ask("POST", server.webhook, {})
    assert len(reply.body) == 65_536
    assert not reply.whole


@EACH
async def test_slow_has_an_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "TOTAL", 0.3)
    async with opened(name) as pair:
        pair.server.faults = [SLOW]
        began = time.monotonic()
        assert "does not answer" in str(await failed(pair, LaterError))
        assert time.monotonic() - began < 12


@pytest.mark.parametrize("name", ["discord", "gotify", "ntfy"])
async def test_a_page_of_something_else_is_no_delivery(name: str) -> None:
    async with opened(name) as pair:
        pair.server.faults = [HTML]
        assert pair.channel.setting in (await failed(pair, RefusedError)).cure


@EACH
async def test_nobody_listens(name: str) -> None:
    server = CHANNELS[name].server()
    server.port = free_port()
    async with CHANNELS[name].notifier(server) as notifier:
        error = await failed(Pair(CHANNELS[name], server, notifier), LaterError)
        assert "not reached" in str(error)
        assert CHANNELS[name].setting in str(error)


async def test_a_host_that_does_not_exist_and_one_that_does_not_accept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "CONNECT", 0.3)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for each in fillers:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        urls = (
            "http://nowhere.invalid/hidden-part-of-the-path",
            f"http://127.0.0.1:{full.getsockname()[1]}/hidden-key",
        )
        for url in urls:
            server = Receiver()
            async with CHANNELS["webhook"].notifier(_at(url)) as notifier:
                await failed(Pair(CHANNELS["webhook"], server, notifier), LaterError)
        for each in fillers:
            each.close()


class _at:  # noqa: N801
    def __init__(self, url: str) -> None:
        self.webhook = self.url = url
        self.base = ""


@EACH
@pytest.mark.parametrize("url", ["", "hidden-key", "ftp://x/hidden-key", "http://", "http://[hidden-key", "http:///x"])
async def test_what_is_no_url_is_refused_by_the_settings_name(name: str, url: str) -> None:
    async with CHANNELS[name].notifier(_at(url)) as notifier:
        error = await failed(Pair(CHANNELS[name], Receiver(), notifier), RefusedError)
        assert CHANNELS[name].setting in error.cure


@pytest.mark.parametrize("name", ["gotify", "ntfy"])
async def test_a_token_that_no_header_carries(name: str) -> None:
    async with opened(name, token="hidden-key\r\nX-Evil: 1") as pair:
        await failed(pair, RefusedError)
        assert not pair.server.asked


@EACH
async def test_nothing_is_logged_that_is_secret(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with opened(name) as pair:
        for fault in (404, 500, CUT, REDIRECT):
            pair.server.faults = [fault]
            with pytest.raises((LaterError, RefusedError)):
                await pair.notifier.send(notice())
    assert_no_secret(Exception(caplog.text))


# --- TLS -------------------------------------------------------------------------------------------------------------


def secured(folder: Path, server: Server) -> Path:
    certificate = make_certificate(folder, "127.0.0.1").path
    server.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.ssl.load_cert_chain(certificate)
    return certificate


@EACH
async def test_a_certificate_that_nobody_trusts(name: str, tmp_path: Path) -> None:
    server = CHANNELS[name].server()
    secured(tmp_path, server)
    async with opened(name, server) as pair:
        assert "certificate is not trusted" in str(await failed(pair, LaterError))
        assert not pair.server.asked


@pytest.mark.parametrize("name", ["gotify", "ntfy", "webhook"])
async def test_unless_told_not_to_look(name: str, tmp_path: Path) -> None:
    server = CHANNELS[name].server()
    secured(tmp_path, server)
    async with opened(name, server, verify=False) as pair:
        assert (await pair.notifier.send(notice())).answer.startswith("200")


async def test_a_ca_of_ones_own(tmp_path: Path) -> None:
    server = Receiver()
    certificate = secured(tmp_path, server)
    async with opened("webhook", server, ca_file=certificate) as pair:
        assert (await pair.notifier.send(notice())).answer == "200"


async def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("not a certificate")
    from mqtt_bridge.notifiers.webhook import WebhookNotifier  # noqa: PLC0415

    for path in (wrong, tmp_path / "missing.pem"):
        notifier = WebhookNotifier(WebhookOutSettings(Secret("https://127.0.0.1:1/"), None, path))
        with pytest.raises(RefusedError, match="CA file"):
            await notifier.__aenter__()


# --- parts -----------------------------------------------------------------------------------------------------------


def test_seconds() -> None:
    now = datetime(2026, 11, 20, 3, 0, 0, tzinfo=UTC)
    rows: tuple[tuple[Any, float | None], ...] = (
        ("1.5", 1.5), (0.25, 0.25), ("-3", 0.0), (1e12, LONGEST), ("nan", None), ("inf", None), (None, None),
        ("Fri, 20 Nov 2026 03:01:00 GMT", 60.0), ("Fri, 20 Nov 2026 02:00:00 GMT", 0.0), ("Fri, 99 Nov", None),
        ([], None), ({}, None), ("", None),
    )  # fmt: skip
    for given, expected in rows:
        assert seconds(given, now) == expected, given


async def test_what_a_service_says_is_quoted_without_secrets() -> None:
    service = Service("Echo", "ECHO_URL", explain=lambda answer: str(answer.get("error")))
    server = Receiver()
    async with server.running(), Http(service, secrets=("hidden-key", "abc")) as http:
        said = {"error": "hidden-key\u202e is no token, password=hunter2 for abc" + "x" * 500}
        server.faults = [web.json_response(said, status=400)]
        reply = await http.ask("POST", server.webhook, {})
        with pytest.raises(RefusedError) as caught:
            http.taken(reply)
    assert_no_secret(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "for abc" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_aiohttp_is_imported_late() -> None:
    modules = ", ".join(f"mqtt_bridge.notifiers.{name}" for name in CHANNELS)
    code = f"import sys, {modules}; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
