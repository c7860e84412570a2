"""DISCORD_OUT against a server with Discord's limits, errors and rate limits."""

import re
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings

from mqtt_bridge.notifiers.discord import DiscordNotifier
from mqtt_bridge.notifiers.discord_embed import payload
from mqtt_bridge.notifiers.fitting import utf16
from mqtt_bridge.notifiers.notice import LaterError, Notice, RefusedError
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.notifying import DiscordOutSettings
from tests.notifiers.channels import assert_no_secret, opened
from tests.notifiers.texts import long_texts, notices
from tests.support.notices import LOG, digest, event, notice
from tests.support.services import DISCORD_TOKEN, DiscordServer, discord_errors

GREEN, RED = 0x15803D, 0xDC2626


def embed(told: Notice) -> dict[str, Any]:
    found: dict[str, Any] = payload(told)["embeds"][0]
    return found


def test_what_it_looks_like() -> None:
    found = embed(notice())
    assert found["title"] == "Backup of VM 101 (web01) failed"
    assert found["url"] == "https://pve1.lan:8006/#v1:0:=qemu%2F101"
    assert found["color"] == RED
    assert found["timestamp"] == "2026-11-20T03:00:54.000+00:00"
    assert {each["name"]: each["value"] for each in found["fields"]} == {
        "Node": "pve1", "Guest": "101 (web01)", "Storage": "pbs-main", "Duration": "42 s",
    }  # fmt: skip
    told, _, block = found["description"].partition("\n```\n")
    assert told.startswith("The backup to pbs-main stopped at 12 %")
    assert block == f"{LOG}\n```"
    assert found["footer"] == {"text": "lab · Error"}


def test_severities_and_a_recovery_have_colours_of_their_own() -> None:
    colours = {embed(notice(severity=each))["color"] for each in ("info", "warning", "error", "critical")}
    assert len(colours) == 4
    assert embed(notice(kind="recovery", severity="info"))["color"] == GREEN


def test_a_digest_lists_the_worst_first() -> None:
    bad = event(99, title="Backup failed", severity="error", ok=False, guest=199, node="pve1", context={"name": "nas"})
    lines = embed(digest(38, bad))["description"].split("\n")
    assert lines[1] == "Error: Backup failed (199 nas, pve1)"
    assert lines[2].startswith("OK: Backup of ")
    assert lines[-1] == "… and 19 more"


def test_of_a_long_log_its_end_is_told() -> None:
    log = "\n".join(f"line {number}" for number in range(5000)) + "\nERROR: the end"
    description = embed(notice(text="x" * 9000, log=log))["description"]
    assert description.endswith("\nERROR: the end\n```")
    assert utf16(description) <= 4096
    assert len(description) > 3900


@given(notices())
@settings(deadline=None, max_examples=40)
def test_any_notice_is_within_discords_limits_and_mentions_nobody(told: Notice) -> None:
    found = payload(told)
    assert discord_errors(found) == {}
    assert found["allowed_mentions"] == {"parse": []}
    assert "content" not in found
    shown = found["embeds"][0]
    outside = shown.get("description", "").split("```")[0::2]
    assert len(outside) in {1, 2}
    for text in (shown["title"], *outside, *(each[key] for each in shown["fields"] for key in ("name", "value"))):
        assert not re.search(r"(?<!\\)(?:\\\\)*[*_~|<>`\[\]@]", text), text
        assert not re.search(r"(?<!\\)://", text)
        text.encode()


def test_all_together_stay_within_the_total() -> None:
    facts = (("a", "*" * 90),) * 25
    told = notice(title="*" * 300, text="*" * 5000, log="x" * 9000, site="s" * 99, facts=facts)
    assert discord_errors(payload(told)) == {}
    assert len(embed(told)["fields"]) == 8


@given(long_texts)
@settings(deadline=None, max_examples=40)
def test_no_log_leaves_its_block(log: str) -> None:
    description = embed(notice(text="", log=log)).get("description")
    assert description is None or (description.count("```") == 2 and description.endswith("\n```"))


@pytest.mark.parametrize("times", [100, 128, 129, 1000, 2048, 5000])
def test_emoji_count_twice(times: int) -> None:
    text = "\U0001f600" * times
    found = embed(notice(title=text, text=text, log=text))
    assert utf16(found["title"]) <= 256
    assert utf16(found["description"]) <= 4096


# --- what is sent ----------------------------------------------------------------------------------------------------


async def test_an_update_changes_the_message() -> None:
    async with opened("discord") as pair:
        first = await pair.notifier.send(notice(severity="warning"))
        again = await pair.notifier.send(notice(kind="update", title="Still", severity="warning", previous=first.ref))
        assert [each.method for each in pair.server.asked] == ["POST", "PATCH"]
        assert again.ref == first.ref
        assert [each["embeds"][0]["title"] for each in pair.server.messages.values()] == ["Still"]


async def test_what_got_worse_is_a_new_message_that_people_are_notified_of() -> None:
    async with opened("discord") as pair:
        first = await pair.notifier.send(notice(severity="warning"))
        worse = await pair.notifier.send(notice(kind="update", severity="critical", previous=first.ref))
        better = await pair.notifier.send(notice(kind="update", severity="warning", previous=worse.ref))
        again = await pair.notifier.send(notice(kind="update", severity="critical", previous=better.ref))
        assert [each.method for each in pair.server.asked] == ["POST", "POST", "PATCH", "PATCH"]
        assert worse.ref == better.ref == again.ref != first.ref


@pytest.mark.parametrize("kind", ["event", "recovery", "reminder", "test"])
async def test_other_kinds_are_new_messages(kind: Any) -> None:
    async with opened("discord") as pair:
        first = await pair.notifier.send(notice())
        await pair.notifier.send(notice(kind=kind, previous=first.ref))
        assert [each.method for each in pair.server.asked] == ["POST", "POST"]


@pytest.mark.parametrize(
    "previous", [None, "", "1180", "x/error", "../../webhooks/1/error", "12/none", "1180000/error"]
)
async def test_an_update_of_what_is_not_there_is_a_new_message(previous: str | None) -> None:
    async with opened("discord") as pair:
        sent = await pair.notifier.send(notice(kind="update", previous=previous))
        assert sent.ref
        assert len(pair.server.messages) == 1
        assert pair.server.asked[-1].method == "POST"


async def test_a_slash_too_many_hides_the_token_all_the_same() -> None:
    server = DiscordServer()
    async with server.running():
        for end in ("", "/", "/?thread_id=1"):
            server.faults = [web.json_response({"message": f"{DISCORD_TOKEN} is wrong"}, status=400)]
            async with DiscordNotifier(DiscordOutSettings(Secret(server.webhook + end))) as notifier:
                with pytest.raises(RefusedError, match="is wrong") as caught:
                    await notifier.send(notice())
            assert_no_secret(caught.value)


async def test_a_thread_and_waiting_for_the_answer() -> None:
    server = DiscordServer()
    async with (
        server.running(),
        DiscordNotifier(DiscordOutSettings(Secret(f"{server.webhook}/?thread_id=42&wait=false\n"))) as notifier,
    ):
        first = await notifier.send(notice())
        await notifier.send(notice(kind="update", previous=first.ref))
    assert [each.query.get("thread_id") for each in server.asked] == ["42", "42"]
    assert server.asked[0].query["wait"] == "true"
    assert server.asked[0].headers["User-Agent"].startswith("DiscordBot (")


async def test_429_says_when_in_its_body() -> None:
    async with opened("discord") as pair:
        pair.server.faults = [pair.server.limited(64.57)]
        with pytest.raises(LaterError, match="rate limited") as caught:
            await pair.notifier.send(notice())
        assert caught.value.after == 64.57


async def test_cloudflares_ban_says_when_in_a_header() -> None:
    async with opened("discord") as pair:
        pair.server.faults = [web.Response(status=429, text="error code: 1015", headers={"Retry-After": "600"})]
        with pytest.raises(LaterError) as caught:
            await pair.notifier.send(notice())
        assert caught.value.after == 600


async def test_an_empty_bucket_is_not_asked_of() -> None:
    async with opened("discord") as pair:
        pair.server.bucket = 2
        await pair.notifier.send(notice())
        await pair.notifier.send(notice())
        with pytest.raises(LaterError) as caught:
            await pair.notifier.send(notice())
        assert 0 < (caught.value.after or 0) <= 1
        assert len(pair.server.asked) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [(("sEcReT", "wrong"), "401: Invalid Webhook Token"), (("223704706495545344", "1"), "404: Unknown Webhook")],
)
async def test_a_webhook_that_is_none(change: tuple[str, str], said: str) -> None:
    server = DiscordServer()
    async with (
        server.running(),
        DiscordNotifier(DiscordOutSettings(Secret(server.webhook.replace(*change)))) as notifier,
    ):
        for told in (notice(), notice(kind="update", previous="1180/error")):
            with pytest.raises(RefusedError, match=said) as caught:
                await notifier.send(told)
            assert "DISCORD_OUT_WEBHOOK_URL" in caught.value.cure
            assert_no_secret(caught.value)
        assert len(server.asked) == 1
        notifier._left_alone_until = 0.0
        with pytest.raises(RefusedError, match=said):
            await notifier.send(notice(kind="update", previous="1180/error"))
        assert len(server.asked) == 2


async def test_a_message_that_is_refused_does_not_stop_the_next() -> None:
    async with opened("discord") as pair:
        pair.server.faults = [400, 500]
        for kind in (RefusedError, LaterError):
            with pytest.raises(kind):
                await pair.notifier.send(notice())
        assert (await pair.notifier.send(notice())).ref


async def test_what_discord_refuses_is_told_in_its_words() -> None:
    errors = {"embeds": {"0": {"title": {"_errors": [{"code": "X", "message": "Must be 256 or fewer in length."}]}}}}
    odd: tuple[Any, ...] = (errors, {"_errors": ["x", 1]}, {"a": {"_errors": [["message"]]}}, [], "x", None)
    async with opened("discord") as pair:
        for each in odd:
            pair.server.faults = [web.json_response({"message": "Invalid Form Body", "errors": each}, status=400)]
            with pytest.raises(RefusedError, match="400: Invalid Form Body") as caught:
                await pair.notifier.send(notice())
            assert ("embeds.0.title: Must be 256 or fewer" in str(caught.value)) is (each is errors)
