"""Everything that reads what strangers write, fuzzed at length: broken pieces of real texts, put together at random.

FUZZ_EXAMPLES says how many for each (2000). Short versions of most are in `make test`.
"""

# ruff: noqa: E501 -- tables of tokens

import json
import logging
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mqtt_bridge.events.correlate import Correlator
from mqtt_bridge.events.intake import Report
from mqtt_bridge.events.normalise import event_of
from mqtt_bridge.listeners import line_protocol, mail_report
from mqtt_bridge.listeners.gotify_messages import Reader, message_of
from mqtt_bridge.listeners.imap_parse import decode_folder, encode_folder, literal_length
from mqtt_bridge.listeners.imap_whose import Whose
from mqtt_bridge.listeners.metrics_figures import Figures, target
from mqtt_bridge.listeners.syslog_frames import LIMIT, Framer
from mqtt_bridge.model import Event
from mqtt_bridge.topics import Topics
from mqtt_bridge.wording import CHANNELS, classify, guess_channel
from tests.bench.report import Report as Table
from tests.listeners.syslog_support import OneSite
from tests.system.attack_texts import NASTY_BYTES, figures, lines, mails, requests
from tests.system.test_bad_input import wrong

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "2000"))
SECONDS = 10.0  # of CPU for one text, at most: thousands of syslog messages may be in it
TOKENS = (
    b"\n", b"\r\n", b"\r\n\r\n", b"<", b">", b'"', b"{", b"[", b"\\", b"(", b"=?utf-8?B?", b"?=", b"--b0", b"\x00", b"\xff",
    b"From: ", b"Subject: ", b"Content-Type: multipart/mixed; boundary=b0\r\n", b"Content-Transfer-Encoding: base64\r\n",
    b"vzdump", b"UPID:", b"root@pam", b"<div>", b"&#x202e;", b"<34>1 ", b"<27>", b"999999999 ", b"@cee: ", b'"message":',
    b'"title":', b"system,object=qemu,", b"vmid=100", b"nodename=pve1", b" cpu=", b"1e999", b"NaN", NASTY_BYTES,
)  # fmt: skip


def _seeds() -> list[bytes]:
    found = [*mails(), *(request.body for request in requests()), *lines(64), *figures()]
    return [seed[at : at + 4000] for seed in found for at in (0, len(seed) // 2)]


SEEDS = _seeds()
PIECES = st.one_of(
    st.sampled_from(TOKENS),
    st.binary(max_size=40),
    st.builds(lambda token, times: token * times, st.sampled_from(TOKENS), st.integers(2, 3000)),
    st.builds(lambda seed, at, length: seed[at : at + length], st.sampled_from(SEEDS), st.integers(0, 3900), st.integers(1, 1500)),
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=12).map(b"".join)


def _event(report: Report) -> None:
    """It has to make an event that may be published."""
    event = event_of(report, "FUZZ", OneSite(), time.time())
    Correlator().place(event)
    told = json.loads(Event.model_validate_json(event.payload()).payload())
    topic = Topics().build("event", site=told["site"], severity=told["severity"], rest=told["kind"].replace(".", "/"))
    assert list(wrong([(topic, told)])) == []


def _classified(text: bytes) -> None:
    for channel in CHANNELS:
        _event(Report("x", classify(channel, text, now=1.0), "unauthenticated"))
    assert guess_channel(text) in CHANNELS


def _mailed(text: bytes) -> None:
    verdict = mail_report.understand(text, 1.0)
    Whose(("root@*",), lambda host: host == "pve1").proxmox(mail_report.headers(text), verdict)
    _event(mail_report.report(text, verdict, "unauthenticated", arrived=1.0, folder="INBOX"))


def _framed(text: bytes) -> None:
    framer = Framer()
    for frame in (*framer.feed(text[: len(text) // 2]), *framer.feed(text[len(text) // 2 :]), *framer.end()):
        assert len(frame.text) <= LIMIT
        _event(Report("x", classify("syslog", frame.text, now=1.0), "unauthenticated"))


def _measured(text: bytes) -> None:
    held = Figures()
    for line in text.splitlines():
        point = line_protocol.parse(line)
        found = target(point) if point else None
        if point and found:
            node, vmid = found
            held.node("lab", node, point, 1.0) if vmid is None else held.guest("lab", vmid, point, 1.0)
    for nodes, guests in held.taken().values():
        for metrics in (*nodes.values(), *guests.values()):
            json.loads(metrics.payload())


def _posted(text: bytes) -> None:
    row: dict[str, Any] = {
        "id": 5,
        "appid": 1,
        "message": text.decode(errors="replace"),
        "title": text[:300].decode("latin-1"),
    }
    for found in (message_of(row), message_of({**row, "priority": row, "date": row["title"], "extras": [row]})):
        if found and (report := Reader(("*",), {1: "proxmox"}).report(found)):
            _event(report)


def _named(text: bytes) -> None:
    literal_length(text)
    name = text[:200].decode("utf-8", "replace")
    assert isinstance(decode_folder(encode_folder(name)), str)
    decode_folder(text[:200].decode("latin-1"))


READERS: dict[str, Callable[[bytes], None]] = {
    "wording of every channel": _classified, "mail": _mailed, "syslog frames": _framed, "line protocol": _measured,
    "Gotify messages": _posted, "IMAP names": _named,
}  # fmt: skip


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", READERS)
def test_fuzz(name: str, report: Table, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    slowest = 0.0

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(text=TEXTS)
    def one(text: bytes) -> None:
        nonlocal slowest
        began = time.process_time()
        READERS[name](text)
        took = time.process_time() - began
        slowest = max(slowest, took)
        assert took < SECONDS
        assert caplog.text == ""

    one()
    report.add(
        f"fuzzed: {name}", "nothing raised, all bounded", f"{EXAMPLES} texts, slowest {slowest * 1000:.0f} ms", met=True
    )
