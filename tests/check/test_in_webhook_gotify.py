"""What `proxmox-mcp check` says of the listeners WEBHOOK and GOTIFY_IN, each seen with own eyes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.listeners.webhook import WebhookListener
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import Settings, load
from mqtt_bridge.settings.listening import GotifyInSettings, WebhookInSettings
from proxmox_mcp.check.findings import Finding
from proxmox_mcp.check.in_gotify import check_gotify
from proxmox_mcp.check.in_webhook import check_webhook
from tests.support.gotify import CLIENT, gotify
from tests.support.https_host import free_port, make_certificate
from tests.support.intakes import Remembering, running

HOST = {"PROXMOX_HOST": "h", "PROXMOX_USER": "a@pve!b", "PROXMOX_TOKEN_VALUE": "c"}
TOKEN = Secret("a-token-that-nobody-guesses")


def settings(*enabled: Any, **sections: Any) -> Settings:
    base = load(HOST, search=False)
    return replace(
        base, events=replace(base.events, enabled=frozenset(enabled)), listen=replace(base.listen, **sections)
    )


async def webhook(own: WebhookInSettings) -> dict[str, Finding]:
    return {one.what: one for one in await check_webhook(settings("WEBHOOK", webhook=own), 5)}


async def read(own: GotifyInSettings, limit: float = 5) -> dict[str, Finding]:
    return {one.what: one for one in await check_gotify(settings("GOTIFY_IN", gotify=own), limit)}


async def test_what_is_not_enabled_is_not_checked() -> None:
    assert await check_webhook(settings("GOTIFY_IN"), 5) == []
    assert await check_gotify(settings("WEBHOOK"), 5) == []


async def test_a_free_port() -> None:
    found = await webhook(WebhookInSettings(port=free_port()))
    assert (found["port"].ok, found["reach"].ok) == (True, None)


@pytest.mark.parametrize("tls", [False, True])
async def test_a_port_that_our_own_bridge_has(tls: bool, tmp_path: Path) -> None:
    shown = make_certificate(tmp_path, "localhost").path if tls else None
    own = WebhookInSettings(port=free_port(), token=TOKEN, cert_file=shown, key_file=shown)
    async with running(WebhookListener(own), intake := Remembering()):
        found = await webhook(own)
        assert (found["port"].ok, "already listens" in found["port"].detail) == (True, True)
    assert (intake.reports, intake.rejected.total()) == ([], 0)


async def test_a_port_of_another_program() -> None:
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        found = await webhook(WebhookInSettings(port=server.sockets[0].getsockname()[1]))
    assert (found["port"].ok, "EVENT_WEBHOOK_LISTEN_PORT" in found["port"].cure) == (False, True)


async def test_addresses_and_files_that_are_wrong(tmp_path: Path) -> None:
    assert (await webhook(WebhookInSettings(host="0.0.0.0")))["settings"].ok is False  # noqa: S104
    assert (await webhook(WebhookInSettings(host="192.0.2.1", token=TOKEN)))["port"].ok is False
    missing = tmp_path / "none.pem"
    assert (await webhook(WebhookInSettings(cert_file=missing, key_file=missing)))["certificate"].ok is False


async def test_a_token_in_the_clear_is_noted() -> None:
    found = await webhook(WebhookInSettings(host="0.0.0.0", port=free_port(), token=TOKEN))  # noqa: S104
    assert (found["port"].ok, found["encryption"].ok) == (True, None)


async def test_a_gotify_server_that_works() -> None:
    async with gotify() as server:
        server.post(message="x")
        found = await read(GotifyInSettings(server_url=server.url, client_token=Secret(CLIENT)))
        assert [one.ok for one in found.values()] == [True, True, None]
        assert "Uptime Kuma (2)" in found["applications"].detail
        chosen = await read(GotifyInSettings(server_url=server.url, client_token=Secret(CLIENT), apps=("prox*", "2")))
        assert chosen["applications"].ok is True
        wrong = await read(GotifyInSettings(server_url=server.url, client_token=Secret(CLIENT), apps=("prox*", "zz")))
        assert (wrong["applications"].ok, "zz" in wrong["applications"].detail) == (False, True)
        server.tells_apps = False
        hidden = await read(GotifyInSettings(server_url=server.url, client_token=Secret(CLIENT), apps=("prox*",)))
        assert hidden["applications"].ok is False


async def test_what_fails_of_a_gotify_server() -> None:
    async with gotify() as server:
        refused = await read(GotifyInSettings(server_url=server.url, client_token=Secret("Aproxmox")))
        assert (refused["login"].ok, "CREATE CLIENT" in refused["login"].cure) == (False, True)
        assert "Aproxmox" not in str(refused)
        server.status = {"/stream": 400}
        own = GotifyInSettings(server_url=server.url, client_token=Secret(CLIENT))
        found = await read(own)
        assert (found["login"].ok, found["stream"].ok) == (True, False)
        assert "WebSockets" in found["stream"].cure
    assert (await read(GotifyInSettings(server_url="http://127.0.0.1:1")))["login"].ok is False
    far = await read(GotifyInSettings(server_url="http://192.0.2.1"), limit=0.2)
    assert (far["login"].ok, far["encryption"].ok) == (False, None)
