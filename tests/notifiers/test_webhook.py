"""WEBHOOK: the event's JSON, signed; the signature is computed by openssl too."""

import json
import subprocess
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from mqtt_bridge.model import Event
from mqtt_bridge.notifiers.notice import LaterError, Notice, RefusedError
from mqtt_bridge.notifiers.webhook import MAX_BODY, WebhookNotifier, payload
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.notifying import WebhookOutSettings
from tests.notifiers.channels import SIGNS, assert_no_secret, opened
from tests.notifiers.texts import notices
from tests.support.notices import digest, event, notice
from tests.support.services import Receiver


def read(told: Notice) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(payload(told), parse_constant=pytest.fail)
    return found


def test_one_event_is_the_event_as_on_mqtt() -> None:
    happened = event(7, metadata={"size": 12, "share": float("nan")})
    found = read(notice(events=(happened,)))
    told = found.pop("notice")
    assert Event.model_validate(found) == happened.model_copy(update={"metadata": {"size": 12, "share": None}})
    assert told["id"] == "delivery-1"
    assert told["kind"] == "event"
    assert told["incident"] == "inc-7f3a91"
    assert told["url"] == "https://pve1.lan:8006/#v1:0:=qemu%2F101"
    assert told["facts"]["Storage"] == "pbs-main"
    assert told["log"].endswith("Backup job finished with errors")


def test_what_is_no_event_looks_like_one() -> None:
    found = read(digest(38))
    assert found["kind"] == "notice.digest"
    assert [found[key] for key in ("title", "message", "severity", "site", "timestamp")] == [
        "38 of 38 backed up, 2 exempt",
        "Last night's backups.",
        "info",
        "lab",
        "2026-11-20T07:00:00Z",
    ]
    assert len(found["events"]) == found["notice"]["events"] == 38
    assert read(notice(kind="test"))["kind"] == "notice.test"


def test_a_huge_digest_is_cut_and_says_so() -> None:
    body = payload(digest(5000))
    found = json.loads(body)
    assert MAX_BODY - 1000 < len(body) <= MAX_BODY
    assert found["notice"]["events"] == 5000
    assert 100 < len(found["events"]) < 5000


@given(notices())
@settings(deadline=None, max_examples=40)
def test_any_notice_is_valid_json_in_utf8(told: Notice) -> None:
    assert len(payload(told)) <= MAX_BODY
    assert set(read(told)) >= {"id", "kind", "title", "message", "severity", "timestamp", "site", "notice"}


def test_what_utf8_cannot_carry() -> None:
    assert read(notice(events=(event(1, metadata={"name": "a\ud800b"}),)))["metadata"] == {"name": "a?b"}


async def test_the_signature_is_what_openssl_says_of_timestamp_dot_body() -> None:
    async with opened("webhook") as pair:
        await pair.notifier.send(notice(text="ü \U0001f600", events=(event(3),)))
    asked = pair.server.asked[0]
    stamp = asked.headers["X-Proxmox-MCP-Timestamp"]
    assert abs(int(stamp) - time.time()) < 10
    signed = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", SIGNS, "-r"],
        input=stamp.encode() + b"." + asked.body,
        capture_output=True,
        check=True,
    )
    assert asked.headers["X-Proxmox-MCP-Signature"] == signed.stdout.decode().split()[0]
    assert asked.headers["Content-Type"] == "application/json"
    assert asked.headers["User-Agent"].startswith("proxmox-mcp/")


async def test_a_retry_has_the_same_key_and_body() -> None:
    async with opened("webhook") as pair:
        for _ in range(2):
            await pair.notifier.send(notice(events=(event(3),)))
        await pair.notifier.send(notice(id="delivery-2", events=(event(3),)))
    keys = [each.headers["Idempotency-Key"] for each in pair.server.asked]
    assert keys == ["delivery-1", "delivery-1", "delivery-2"]
    assert pair.server.asked[0].body == pair.server.asked[1].body


async def test_without_a_secret_nothing_is_signed() -> None:
    async with opened("webhook", secret="") as pair:
        await pair.notifier.send(notice())
    assert "X-Proxmox-MCP-Signature" not in pair.server.asked[0].headers
    assert pair.server.asked[0].query == {"key": "hidden-key"}


async def test_a_user_and_password_in_the_url() -> None:
    server = Receiver()
    async with server.running():
        url = Secret(server.webhook.replace("http://", "http://me:hidden-key@"))
        async with WebhookNotifier(WebhookOutSettings(url)) as notifier:
            await notifier.send(notice())
            assert server.asked[0].headers["Authorization"] == "Basic " + b64encode(b"me:hidden-key").decode()
            server.faults = [500]
            with pytest.raises(LaterError) as caught:
                await notifier.send(notice())
            assert_no_secret(caught.value)


async def test_a_receiver_that_repeats_the_path_is_not_quoted() -> None:
    async with opened("webhook", Receiver()) as pair:
        pair.server.path = "/nothing-else"
        with pytest.raises(RefusedError, match="404") as caught:
            await pair.notifier.send(notice())
        assert "WEBHOOK_OUT_URL" in caught.value.cure
        assert_no_secret(caught.value)


async def test_the_receivers_code_in_the_docs() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "notifiers.md").read_text(encoding="utf-8")
    scope: dict[str, Any] = {}
    exec(docs.split("```python\n")[1].split("```")[0], scope)  # noqa: S102 -- our own docs
    async with opened("webhook") as pair:
        await pair.notifier.send(notice(events=(event(3),)))
    asked = pair.server.asked[0]
    assert scope["genuine"](SIGNS, asked.headers, asked.body)
    assert not scope["genuine"]("another", asked.headers, asked.body)
    assert not scope["genuine"](SIGNS, asked.headers, asked.body + b" ")
    stamp = str(int(asked.headers["X-Proxmox-MCP-Timestamp"]) - 1)
    assert not scope["genuine"](SIGNS, {**asked.headers, "X-Proxmox-MCP-Timestamp": stamp}, asked.body)
