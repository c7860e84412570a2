"""NTFY against a server after ntfy's source: its limits in bytes, its codes, its sequence ids."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings

from mqtt_bridge.notifiers.notice import LaterError, Notice, RefusedError
from mqtt_bridge.notifiers.ntfy import payload
from tests.notifiers.channels import assert_no_secret, opened
from tests.notifiers.texts import notices
from tests.support.notices import LOG, notice
from tests.support.services import NTFY_TOKEN, NtfyServer, refusal


def test_what_it_looks_like() -> None:
    found = payload(notice(tags=("production",)), "homelab")
    assert found["title"] == "Backup of VM 101 (web01) failed"
    assert found["priority"] == 4
    assert found["tags"] == ["x", "production"]
    assert found["click"] == "https://pve1.lan:8006/#v1:0:=qemu%2F101"
    assert found["actions"] == [{"action": "view", "label": "Open Proxmox", "url": found["click"]}]
    head, log = found["message"].split("\n\n")
    assert head.endswith(
        "\nNode: pve1 · Guest: 101 (web01) · Storage: pbs-main · Duration: 42 s\nlab · 2026-11-20 03:00 UTC"
    )
    assert log == LOG
    assert "markdown" not in found


@pytest.mark.parametrize(
    ("kind", "severity", "priority", "icon"),
    [
        ("event", "info", 2, "information_source"),
        ("event", "warning", 3, "warning"),
        ("event", "error", 4, "x"),
        ("event", "critical", 5, "rotating_light"),
        ("recovery", "info", 3, "white_check_mark"),
    ],
)
def test_priorities_and_icons(kind: Any, severity: Any, priority: int, icon: str) -> None:
    found = payload(notice(kind=kind, severity=severity), "homelab")
    assert (found["priority"], found["tags"][0]) == (priority, icon)


@given(notices())
@settings(deadline=None, max_examples=40)
def test_any_notice_is_within_ntfys_limits(told: Notice) -> None:
    found = payload(told, "homelab")
    assert NtfyServer()._wrong(found) is None
    assert 0 < len(found["message"].encode()) <= 3500
    assert len(json.dumps(found, ensure_ascii=False).encode()) < 8192
    assert len(found["title"].encode()) <= 200
    assert found["title"].strip()
    assert not [tag for tag in found["tags"] if "," in tag or not tag.strip()]
    assert re.fullmatch(r"[-_A-Za-z0-9]{1,64}", found["sequence_id"])


async def test_an_incident_takes_one_place_and_its_recovery_another() -> None:
    async with opened("ntfy") as pair:
        await pair.notifier.send(notice())
        await pair.notifier.send(notice(id="2", kind="update", title="Later"))
        await pair.notifier.send(notice(id="3", kind="recovery", title="Back"))
        assert [each["title"] for each in pair.server.shown.values()] == ["Later", "Back"]


async def test_a_notice_that_is_sent_twice_is_seen_once() -> None:
    async with opened("ntfy") as pair:
        for _ in range(2):
            await pair.notifier.send(notice(incident=""))
        await pair.notifier.send(notice(incident="", id="other"))
        assert len(pair.server.messages) == 3
        assert len(pair.server.shown) == 2


async def test_a_server_before_sequence_ids() -> None:
    async with opened("ntfy", NtfyServer(old=True)) as pair:
        await pair.notifier.send(notice())
        sent = await pair.notifier.send(notice(kind="update"))
        assert sent.ref == "msg000000001"
        assert len(pair.server.shown) == 2


async def test_the_token_is_in_a_header() -> None:
    async with opened("ntfy") as pair:
        await pair.notifier.send(notice())
        assert pair.server.asked[0].headers["Authorization"] == f"Bearer {NTFY_TOKEN}"
        assert NTFY_TOKEN.encode() not in pair.server.asked[0].body
    async with opened("ntfy", token="") as pair:
        with pytest.raises(RefusedError, match="403: forbidden") as caught:
            await pair.notifier.send(notice())
        assert "Authorization" not in pair.server.asked[0].headers
        assert "NTFY_TOKEN" in caught.value.cure


@pytest.mark.parametrize("topic", ["", "my topic", "a/b", "ü", "x" * 65])
async def test_what_is_no_topic(topic: str) -> None:
    async with opened("ntfy", topic=topic) as pair:
        with pytest.raises(RefusedError, match="NTFY_TOPIC"):
            await pair.notifier.send(notice())
        assert not pair.server.asked


async def test_a_topic_that_the_server_does_not_allow() -> None:
    async with opened("ntfy", topic="docs-secret-topic") as pair:
        with pytest.raises(RefusedError, match="topic name is not allowed") as caught:
            await pair.notifier.send(notice())
        assert "NTFY_TOPIC" in caught.value.cure
        assert "docs-secret-topic" not in str(caught.value)


async def test_a_small_limit_of_ones_own_server() -> None:
    async with opened("ntfy", NtfyServer(size_limit=512)) as pair:
        with pytest.raises(RefusedError, match="message-size-limit") as caught:
            await pair.notifier.send(notice())
        assert_no_secret(caught.value)


@pytest.mark.parametrize(("code", "after"), [(42901, None), (42908, 1800.0)])
async def test_a_days_quota_is_waited_for_longer_than_a_minutes(code: int, after: float | None) -> None:
    async with opened("ntfy") as pair:
        pair.server.faults = [refusal(429, {"code": code, "http": 429, "error": "limit reached: too many requests"})]
        with pytest.raises(LaterError, match="limit reached") as caught:
            await pair.notifier.send(notice())
        assert caught.value.after == after
