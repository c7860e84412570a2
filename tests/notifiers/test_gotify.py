"""GOTIFY_OUT against a server after Gotify's source."""

from typing import Any

import pytest
from hypothesis import given, settings

from mqtt_bridge.notifiers.gotify import payload
from mqtt_bridge.notifiers.notice import Notice, RefusedError
from tests.notifiers.channels import assert_no_secret, opened
from tests.notifiers.test_markdown import HARMLESS, tokens
from tests.notifiers.texts import notices
from tests.support.notices import LOG, notice
from tests.support.services import GOTIFY_TOKEN, GotifyServer

OURS = {"strong_open", "strong_close", "fence"}


def test_what_it_looks_like() -> None:
    found = payload(notice())
    assert found["title"] == "Backup of VM 101 (web01) failed"
    assert found["priority"] == 8
    assert found["extras"] == {
        "client::display": {"contentType": "text/markdown"},
        "client::notification": {"click": {"url": "https://pve1.lan:8006/#v1:0:=qemu%2F101"}},
    }
    told, facts, log, foot = found["message"].split("\n\n")
    assert told.endswith("no space left on device.  \nThe last good one: 19 November.")
    assert facts.split("  \n")[0] == "**Node:** pve1"
    assert log == f"```\n{LOG}\n```"
    assert foot == "lab · 2026-11-20 03:00 UTC"


@pytest.mark.parametrize(
    ("kind", "severity", "priority"),
    [
        ("event", "info", 2),
        ("event", "warning", 5),
        ("event", "error", 8),
        ("event", "critical", 10),
        ("recovery", "info", 5),
        ("recovery", "error", 8),
    ],
)
def test_priorities(kind: Any, severity: Any, priority: int) -> None:
    assert payload(notice(kind=kind, severity=severity))["priority"] == priority


@given(notices())
@settings(deadline=None, max_examples=40)
def test_nothing_from_outside_is_markup(told: Notice) -> None:
    found = payload(told)
    assert {token.type for token in tokens(found["message"])} <= HARMLESS | OURS
    strong = [token for token in tokens(found["message"]) if token.type == "strong_open"]
    assert len(strong) <= 12
    assert 0 < len(found["message"]) < 16_000
    assert 0 < len(found["title"]) <= 200
    str(found).encode()


@given(notices())
@settings(deadline=None, max_examples=20)
def test_a_click_leads_to_the_web_only(told: Notice) -> None:
    click = payload(told)["extras"].get("client::notification", {}).get("click", {}).get("url")
    assert click is None or click.startswith(("http://", "https://"))


async def test_the_token_is_in_a_header_and_each_notice_is_a_message() -> None:
    async with opened("gotify") as pair:
        first = await pair.notifier.send(notice())
        again = await pair.notifier.send(notice(kind="update", previous=first.ref))
        assert (first.ref, again.ref) == ("1", "2")
        assert pair.server.asked[0].headers["X-Gotify-Key"] == GOTIFY_TOKEN
        assert not pair.server.asked[0].query


async def test_a_server_under_a_path() -> None:
    async with opened("gotify", GotifyServer(base="/push")) as pair:
        await pair.notifier.send(notice())
        assert pair.server.asked[0].path == "/push/message"


async def test_a_wrong_token_says_what_to_do() -> None:
    async with opened("gotify", token="AppSecret.WrongToken") as pair:
        with pytest.raises(RefusedError, match="401: you need to provide a valid access token") as caught:
            await pair.notifier.send(notice())
        assert "GOTIFY_OUT_APP_TOKEN" in caught.value.cure
        assert "WrongToken" not in str(caught.value)
        assert_no_secret(caught.value)


async def test_an_empty_notice_has_a_message_nevertheless() -> None:
    async with opened("gotify") as pair:
        await pair.notifier.send(notice(title="", text="", log="", facts=(), site="", at=""))
        assert pair.server.last["message"] == "Proxmox"
