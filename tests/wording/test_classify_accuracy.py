"""The rules held against real texts: `data/samples.jsonl`, and `data/mail_held.jsonl`, labelled before they ran."""

import json
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.wording import CHANNELS, classify, guess_channel

DATA = Path(__file__).parent / "data"
MAIL = ("email", "zed", "smartd", "gotify", "webhook")
LOGS = {"syslog": "syslog", "clusterlog": "clusterlog", "task": "tasks"}

# Labels that the text cannot lead to: the node that the label names stands in no word of it. The template of that
# webhook sends the message alone; ours sends the host's name too. A bridge finds the node by the sender's
# address (`normalise.sent_by`); the samples record no sender.
BEYOND_THE_TEXT: dict[str, set[str]] = {
    "d-gotify-005": {"node"},
    "d-webhook-002": {"node"},
    "d-webhook-003": {"node"},
    "d-webhook-004": {"node"},
}


def records(name: str) -> Iterator[dict[str, Any]]:
    for line in (DATA / name).read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def wrong(record: dict[str, Any]) -> dict[str, tuple[object, object]]:
    """What the verdict says otherwise than the label: name → (verdict, label)."""
    verdict = classify(record["channel"], record["raw"])
    skipped = BEYOND_THE_TEXT.get(record["id"], set())
    return {
        name: (getattr(verdict, name), label)
        for name, label in record["expected"].items()
        if name not in skipped and getattr(verdict, name) != label
    }


@pytest.mark.parametrize("name", ["samples.jsonl", "mail_held.jsonl"])
def test_every_text_of_mail_gotify_and_webhook(name: str) -> None:
    told: Counter[str] = Counter()
    mistakes = {}
    for record in records(name):
        if record["channel"] in MAIL:
            told[record["channel"]] += 1
            if found := wrong(record):
                mistakes[record["id"]] = found
    print(name, dict(told), f"wrong: {len(mistakes)}")  # noqa: T201 -- the table that `pytest -s` shows
    assert mistakes == {}
    assert set(told) == set(MAIL)


@pytest.mark.parametrize("channel", LOGS)
def test_every_text_of_logs_and_tasks(channel: str) -> None:
    if find_spec(f"mqtt_bridge.wording.{LOGS[channel]}") is None:
        pytest.skip("its rules are not written yet")
    mistakes = {
        record["id"]: found
        for record in records("samples.jsonl")
        if record["channel"] == channel and (found := wrong(record))
    }
    assert mistakes == {}


@pytest.mark.parametrize("name", ["samples.jsonl", "mail_held.jsonl"])
def test_a_mail_or_push_without_a_channel_is_read_alike(name: str) -> None:
    for record in records(name):
        if record["channel"] in MAIL:
            told, guessed = classify(record["channel"], record["raw"]), classify("?", record["raw"])
            assert (guessed.kind, guessed.node, guessed.guest) == (told.kind, told.node, told.guest), record["id"]


def test_a_log_line_or_a_task_is_guessed() -> None:
    guesses = {
        record["id"]: guess_channel(record["raw"])
        for record in records("samples.jsonl")
        if record["channel"] in LOGS and guess_channel(record["raw"]) != record["channel"]
    }
    assert len(guesses) < 10, guesses


@pytest.mark.parametrize("field", ["title", "message"])
def test_every_verdict_can_be_shown(field: str) -> None:
    for name in ("samples.jsonl", "mail_held.jsonl"):
        for record in records(name):
            if record["channel"] in MAIL:
                shown = getattr(classify(record["channel"], record["raw"]), field)
                assert shown, record["id"]
                assert len(shown) <= (200 if field == "title" else 4000)
                assert "\n" not in shown or field == "message"


def test_every_channel_has_a_reader() -> None:
    assert set(CHANNELS) == {*MAIL, *LOGS, "discord"}
