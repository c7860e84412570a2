"""Real senders: the lab's hosts, their targets set as the docs tell, notify the listeners."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mqtt_bridge.listeners.gotify import GotifyListener
from mqtt_bridge.listeners.webhook import WebhookListener
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.listening import GotifyInSettings, WebhookInSettings
from tests.lab.conftest import Client, MakeLab, api, make_lab
from tests.listeners.test_webhook_docs import SCRIPTS, calls, params
from tests.support.gotify import CLIENT, gotify
from tests.support.https_host import make_certificate
from tests.support.intakes import Remembering, running

__all__ = ["api", "make_lab"]  # fixtures

TOKEN = "a-token-that-nobody-guesses"


@asynccontextmanager
async def webhook(intake: Remembering, **more: Any) -> AsyncIterator[str]:
    listener = WebhookListener(WebhookInSettings(port=0, token=Secret(TOKEN), **more), sites=["lab"])
    async with running(listener, intake):
        yield f"http://127.0.0.1:{listener.port}"


async def paste(lab: Client, script: str, url: str, folder: Path, host: str = "") -> list[int]:
    """What the docs' script does, on the lab's API; PBS has it under another path."""
    prefix = "/config/notifications" if host else "/cluster/notifications"
    statuses = []
    for _, path, *words in calls(script, folder, url, TOKEN):
        answer = await lab("POST", path.replace("/cluster/notifications", prefix), host=host, **params(words))
        statuses.append(answer.status)
    (folder / "calls").unlink()
    return statuses


async def test_a_backup_told_by_webhook(api: Client, tmp_path: Path) -> None:
    intake = Remembering()
    async with webhook(intake) as url:
        assert await paste(api, SCRIPTS[0], f"{url}/webhook", tmp_path) == [200, 200, 200]
        await intake.reaches(1)
        api.lab.fault("backup-fail", 100)
        assert await api.task("POST", "/nodes/pve1/vzdump", vmid=100, storage="nas") == "job errors"
        await intake.reaches(2)
    test, backup = intake.reports
    assert (test.verdict.kind, test.verdict.severity) == ("notification.test", "info")
    verdict = backup.verdict
    assert (verdict.kind, verdict.node, verdict.guest, verdict.ok) == ("backup.job.failed", "pve1", 100, False)
    assert (backup.trust, verdict.severity) == ("authenticated", "error")
    assert "@" not in backup.identity
    assert intake.rejected == {}


async def test_the_gotify_target_without_a_gotify_server(api: Client, tmp_path: Path) -> None:
    intake = Remembering()
    async with webhook(intake) as url:
        assert await paste(api, SCRIPTS[1], f"{url}/lab", tmp_path) == [200, 200, 200]
        await intake.reaches(1)
        assert await api.task("POST", "/nodes/pve1/vzdump", vmid=100, storage="nas") == "OK"
        await intake.reaches(2)
    test, backup = intake.reports
    assert (test.verdict.kind, test.site) == ("notification.test", "lab")
    assert (backup.verdict.kind, backup.verdict.guest, backup.verdict.ok) == ("backup.job.finished", 100, True)


async def test_a_backup_server(api: Client, tmp_path: Path) -> None:
    intake = Remembering()
    async with webhook(intake) as url:
        assert await paste(api, SCRIPTS[0], f"{url}/webhook", tmp_path, "pbs1") == [200, 200, 200]
        for path in ("datastore/main/gc", "verify/v-main/run", "prune/p-main/run", "sync/s-offsite/run"):
            assert (await api("POST", f"/admin/{path}", host="pbs1")).status == 200
        await intake.reaches(5)
    assert {one.verdict.kind for one in intake.reports} == {
        "notification.test",
        "gc.finished",
        "verify.finished",
        "prune.finished",
        "sync.finished",
    }
    assert {one.verdict.node for one in intake.reports[1:]} == {"pbs1"}


async def test_a_wrong_token_is_told_to_the_admin(api: Client, tmp_path: Path) -> None:
    """Test in Proxmox's interface fails, and its message has no secret."""
    intake = Remembering()
    async with webhook(intake) as url:
        for method, path, *words in calls(SCRIPTS[0], tmp_path, f"{url}/webhook", "a-wrong-token-it-is"):
            assert method == "create"
            answer = await api("POST", path, **params(words))
    assert answer.status == 500
    assert "401" in answer.reason + answer.text
    assert "a-wrong-token" not in answer.text
    assert intake.rejected == {"wrong token": 1}


async def test_over_a_gotify_server(api: Client, make_lab: MakeLab) -> None:
    del make_lab
    async with gotify() as server:
        listener = GotifyListener(GotifyInSettings(server_url=server.url, client_token=Secret(CLIENT)))
        async with running(listener, intake := Remembering()):
            sent = {"name": "gotify", "server": server.url, "token": "Aproxmox"}
            assert (await api("POST", "/cluster/notifications/endpoints/gotify", **sent)).status == 200
            assert (await api("PUT", "/cluster/notifications/matchers/default-matcher", target="gotify")).status == 200
            api.lab.fault("system-mail", "pve1", "cron", "failed")
            api.lab.fault("replication-fail", 100, "pve2", "exit code 255")
            await intake.reaches(2)
    kinds = {one.verdict.kind for one in intake.reports}
    assert "replication.failed" in kinds
    assert len(kinds) == 2
    assert intake.rejected == {}


async def test_https(tmp_path: Path) -> None:
    shown = make_certificate(tmp_path, "localhost", "127.0.0.1")
    settings = WebhookInSettings(port=0, token=Secret(TOKEN), cert_file=shown.path, key_file=shown.path)
    listener = WebhookListener(settings)
    trusting = ssl.create_default_context(cafile=str(shown.path))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with running(listener, intake := Remembering()), aiohttp.ClientSession(headers=headers) as session:
        assert intake.said.startswith("listening on https://")
        url = f"https://127.0.0.1:{listener.port}/webhook"
        for _ in range(3):
            async with session.post(url, data=b'{"title":"x"}', ssl=trusting) as answer:
                assert answer.status == 200
        with pytest.raises(aiohttp.ClientError):
            await session.post(url.replace("https", "http"), data=b"{}")
    assert len(intake.reports) == 1
    assert intake.rejected == {"no TLS": 1}


async def test_a_certificate_that_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a restart; a half-written file in between changes nothing."""
    monkeypatch.setattr("mqtt_bridge.listeners.http_tls.EVERY", 0.02)
    old, new = (
        make_certificate(tmp_path, "localhost", "127.0.0.1"),
        make_certificate(tmp_path, "localhost", "127.0.0.1"),
    )
    used = tmp_path / "used.pem"
    used.write_bytes(old.path.read_bytes())
    listener = WebhookListener(WebhookInSettings(port=0, cert_file=used, key_file=used))

    async def trusts(path: Path) -> bool:
        url = f"https://127.0.0.1:{listener.port}/health"
        try:
            async with aiohttp.request("GET", url, ssl=ssl.create_default_context(cafile=str(path))) as answer:
                return answer.status == 200
        except aiohttp.ClientSSLError:
            return False

    async with running(listener, Remembering()):
        assert await trusts(old.path)
        used.write_text("half a certificate")
        await asyncio.sleep(0.1)
        assert await trusts(old.path)
        used.write_bytes(new.path.read_bytes())
        async with asyncio.timeout(10):
            while not await trusts(new.path):
                await asyncio.sleep(0.02)
        assert not await trusts(old.path)


async def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    for file in (tmp_path / "bad.pem", tmp_path / "missing.pem"):
        settings = WebhookInSettings(port=0, cert_file=file, key_file=file)
        async with running(WebhookListener(settings), intake := Remembering()):
            assert (intake.well, "EVENT_WEBHOOK_CERT_FILE" in intake.said) == (False, True)
