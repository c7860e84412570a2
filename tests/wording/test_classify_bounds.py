"""What nobody sends by mistake: bounded in time and memory, and still told."""

import json
import time
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_bridge.wording import CHANNELS, classify, guess_channel

MIB = 1024 * 1024
MAIL = "From: a@b\nSubject: s\n"
MIXED = f"{MAIL}Content-Type: multipart/mixed; boundary=b0\n\n"
BOMBS: dict[str, tuple[str, Callable[[], str]]] = {
    "JSON a thousand deep": ("webhook", lambda: '{"a":' * 5000 + "1" + "}" * 5000),
    "a list without end": ("gotify", lambda: "[" * 500_000),
    "50 MB of text": ("webhook", lambda: "x" * 50 * MIB),
    "50 MB of broken JSON": ("webhook", lambda: '{"message":"' + 'y "z": ' * (7 * MIB)),
    "50 MB of mail": ("email", lambda: f"{MAIL}\n" + "a line of text\n" * (3 * MIB)),
    "HTML cells": ("email", lambda: f"{MAIL}Content-Type: text/html\n\n" + "<table><tr><td>" * MIB),
    "HTML brackets": ("email", lambda: f"{MAIL}Content-Type: text/html\n\n" + "<" * 8 * MIB),
    "HTML open tags": ("email", lambda: f"{MAIL}Content-Type: text/html\n\n" + "<a " * 3 * MIB),
    "nested parts": ("email", lambda: MIXED + "".join(
        f"--b{n}\nContent-Type: multipart/mixed; boundary=b{n + 1}\n\n" for n in range(20_000))),
    "the same boundary again": ("email", lambda: MIXED + ("--b0\n" + MIXED.removeprefix(MAIL)) * 50_000),
    "a million parts": ("email", lambda: MIXED + "--b0\n\nx\n" * MIB),
    "a head without end": ("email", lambda: "Subject: " + "a\n " * 4 * MIB),
    "rows": ("email", lambda: "VMID NAME STATUS\n" + ("101 " + "a " * 480 + "\n") * 9000),
    "backups": ("email", lambda: "".join(f"ERROR: Backup of VM {n} failed\n" for n in range(100, 90_000))),
    "quotes": ("email", lambda: f"{MAIL}\n" + "> " * 5 * MIB),
    "backslashes": ("webhook", lambda: '{"message": "' + "\\" * 2 * MIB),
    "keys": ("webhook", lambda: '{"title": "' + ', "message" : ' * 150_000),
    "base64": ("webhook", lambda: "QUFB" * 600_000),
    "marks": ("email", lambda: "Subject: \u202e" + "\u0336" * 100_000 + "\n\n" + "\u0336" * MIB),
}  # fmt: skip
WHOLE = {"base64"}  # small enough to be read to its end


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str) -> None:
    channel, make = BOMBS[name]
    raw = make()
    tracemalloc.start()
    started = time.process_time()
    verdict = classify(channel, raw)
    took = time.process_time() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert verdict.fields.get("unread") is None
    assert name in WHOLE or verdict.fields.get("truncated") is True
    assert (len(verdict.title) <= 200, len(verdict.message) <= 4000, len(verdict.guests) <= 2000) == (True, True, True)
    assert took < 20, f"{took:.1f} s"  # seconds where a rule runs wild takes hours; tracemalloc costs most of it
    assert peak < 3 * len(raw) + 64 * MIB
    assert guess_channel(raw) in CHANNELS


def test_a_mail_of_ten_megabytes_keeps_its_verdict() -> None:
    log = "101: 2025-01-01 00:00:00 INFO: reading\n" * 300_000
    verdict = classify("email", f"Subject: vzdump backup status (pve1): backup failed\n\n{log}")
    assert (verdict.kind, verdict.node, verdict.fields["truncated"]) == ("backup.job.failed", "pve1", True)


_MAIL_CHANNELS = st.sampled_from(["email", "zed", "smartd", "gotify", "webhook", "discord"])


@settings(deadline=2000)
@given(_MAIL_CHANNELS, st.text() | st.binary())
def test_any_input(channel: str, raw: str | bytes) -> None:
    verdict = classify(channel, raw)
    assert verdict.fields.get("unread") is None
    assert guess_channel(raw) in CHANNELS
    json.dumps([verdict.title, verdict.message, dict(verdict.fields), verdict.node]).encode()


def test_a_rule_that_fails_costs_no_event(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(raw: str | bytes, now: float | None) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("mqtt_bridge.wording.mail.read_mail", broken)
    verdict = classify("email", "a secret text\nmore")
    assert (verdict.kind, verdict.title, verdict.fields) == ("system.mail", "a secret text", {"unread": True})
    assert "a rule for email failed" in caplog.text
    assert "secret" not in caplog.text
