"""Texts labelled before the rules saw them, framings that must not change a verdict, and texts that mean nothing.

`adversary_held.jsonl`: public texts and texts of the emitters' sources, in three batches (`batch`), each labelled
before its first run; `first_label` keeps what was labelled otherwise at first. `ordinary.jsonl`: what has nothing to do
with Proxmox.
"""

import base64
import json
import quopri
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.wording import classify
from mqtt_bridge.wording.syslog_frames import read_frame
from mqtt_bridge.wording.verdict import Verdict

DATA = Path(__file__).parent / "data"
HOST = "pvx"


def records(name: str) -> Iterator[dict[str, Any]]:
    for line in (DATA / name).read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def told(verdict: Verdict) -> tuple[object, ...]:
    return (verdict.kind, verdict.severity, verdict.guest, verdict.ok)


def test_every_held_text() -> None:
    mistakes = {}
    every: Counter[str] = Counter()
    for record in records("adversary_held.jsonl"):
        every[record["channel"]] += 1
        verdict = classify(record["channel"], record["raw"])
        wrong = {name: getattr(verdict, name) for name, label in record["expected"].items()
                 if getattr(verdict, name) != label}  # fmt: skip
        if wrong:
            mistakes[record["id"]] = wrong
    assert mistakes == {}
    assert every["syslog"] > 400
    assert sum(every.values()) > 550


@pytest.mark.parametrize("record", [*records("ordinary.jsonl")], ids=lambda record: record["id"])
def test_what_is_not_of_proxmox_is_no_alarm_of_it(record: dict[str, Any]) -> None:
    verdict = classify(record["channel"], record["raw"])
    assert (verdict.kind, verdict.severity) == (record["kind"], record["severity"])
    assert verdict.guest is None
    assert verdict.kind in {"system.mail", "syslog.message", "noise", "network.link.up"}


def _json(host: str, program: str, pid: str, message: str) -> str:
    fields = {"MESSAGE": message, "_HOSTNAME": host, "SYSLOG_IDENTIFIER": program, "_PID": pid, "PRIORITY": "6"}
    return json.dumps({name: value for name, value in fields.items() if value})


def _filebeat(host: str, program: str, pid: str, message: str) -> str:
    return json.dumps({"message": message, "host": {"name": host}, "process": {"name": program, "pid": pid}})


def _tag(program: str, pid: str) -> str:
    return f"{program}[{pid}]" if pid else program


FRAMES: dict[str, Callable[[str, str, str, str], str | bytes]] = {
    "rfc3164": lambda h, p, i, m: f"<30>Jan  5 03:04:05 {h} {_tag(p, i)}: {m}",
    "rfc3164 with a domain": lambda h, p, i, m: f"<30>Jan  5 03:04:05 {h}.example.com {_tag(p, i)}: {m}",
    "rfc3164 with a year": lambda h, p, i, m: f"<30>Jan  5 2026 03:04:05 {h} {_tag(p, i)}: {m}",
    "short-precise": lambda h, p, i, m: f"Jan 05 03:04:05.123456 {h} {_tag(p, i)}: {m}",
    "short-iso": lambda h, p, i, m: f"2026-01-05T03:04:05+0100 {h} {_tag(p, i)}: {m}",
    "short-full": lambda h, p, i, m: f"Mon 2026-01-05 03:04:05 CET {h} {_tag(p, i)}: {m}",
    "short-unix": lambda h, p, i, m: f"1767578645.123456 {h} {_tag(p, i)}: {m}",
    "short-monotonic": lambda h, p, i, m: f"[  123.456789] {h} {_tag(p, i or '9')}: {m}",
    "with-unit": lambda h, p, i, m: f"Mon 2026-01-05 03:04:05 CET {h} {p}.service[{i or 1}]: {m}",
    "rfc5424": lambda h, p, i, m: f"<30>1 2026-01-05T03:04:05.1+01:00 {h} {p} {i or '-'} - - {m}",
    "rfc5424 with a mark": lambda h, p, i, m: f"<30>1 2026-01-05T03:04:05Z {h} {p} {i or '-'} - - \ufeff{m}",
    "rfc5424 with data": lambda h, p, i, m: (
        f'<30>1 2026-01-05T03:04:05Z {h} {p} {i or "-"} ID4 [a@1 x="1 \\"b\\" \\]c"][o ip="1.2.3.4"] {m}'
    ),
    "octet count": lambda h, p, i, m: f"{len(m) + 50} <30>1 2026-01-05T03:04:05Z {h} {p} {i or '-'} - - {m}",
    "line end and NUL": lambda h, p, i, m: f"<30>Jan  5 03:04:05 {h} {_tag(p, i)}: {m}\r\n\0".encode(),
    "another language": lambda h, p, i, m: f"janv. 05 03:04:05 {h} {_tag(p, i)}: {m}",
    "journald export": _json,
    "Filebeat": _filebeat,
    "Loki": lambda h, p, i, m: json.dumps({"line": f"Jan  5 03:04:05 {h} {_tag(p, i)}: {m}"}),
}


@pytest.mark.parametrize("frame", FRAMES)
def test_a_framing_changes_no_verdict(frame: str) -> None:
    mistakes = []
    for name in ("samples.jsonl", "syslog_held.jsonl"):
        for record in records(name):
            line = read_frame(record["raw"])
            if record["channel"] != "syslog" or not line.program:
                continue
            host, label = line.host or HOST, record["expected"]
            verdict = classify("syslog", FRAMES[frame](host, line.program, line.pid or "", line.message))
            node = host if label["node"] == line.host else label["node"]
            if (*told(verdict), verdict.node) != (label["kind"], label["severity"], label["guest"], label["ok"], node):
                mistakes.append((record["raw"], told(verdict), verdict.node))
    assert mistakes == []


KERNEL: dict[str, str] = {
    "uptime": "<4>Jan  5 03:04:05 pvx kernel: [12345.678901] {}",
    "dmesg": "[12345.678901] {}",
    "dmesg -T": "[Mon Jan  5 03:04:05 2026] {}",
    "dmesg -x": "kern  :info  : [12345.678901] {}",
    "dmesg iso": "2026-01-05T03:04:05,678901+01:00 {}",
    "dmesg with a thread": "[12345.678901][ T123] {}",
}


@pytest.mark.parametrize("frame", KERNEL)
def test_the_kernels_own_framings_change_no_verdict(frame: str) -> None:
    mistakes = []
    for record in records("samples.jsonl"):
        line = read_frame(record["raw"])
        if record["channel"] == "syslog" and line.program == "kernel":
            verdict = classify("syslog", KERNEL[frame].format(line.message))
            label = record["expected"]
            if told(verdict) != (label["kind"], label["severity"], label["guest"], label["ok"]):
                mistakes.append((record["raw"], told(verdict)))
    assert mistakes == []


def _mail(subject: str, charset: str, encoding: str, body: bytes, sender: str = "root@pvx") -> bytes:
    return (
        f"From: {sender}\nTo: a@example.com\nSubject: {subject}\nMIME-Version: 1.0\n"
        f"Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: {encoding}\n\n"
    ).encode() + body


TITLE = "vzdump backup status (hv6.lab.local): backup failed"
REPORT = (
    "Details\n=======\nVMID    Name    Status    Time    Size    Filename\n"
    "101     db      err       2s      0 B     null\n\nTotal running time: 3s\n"
)


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "utf-16le", "windows-1252", "koi8-r", "gb18030", "utf-7"])
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
@pytest.mark.parametrize("prefix", ["", "WG: ", "TR: ", "Fwd: ", "[SPAM] ", "转发: "])
def test_a_report_in_any_charset_and_under_any_prefix(charset: str, encoding: str, prefix: str) -> None:
    octets = REPORT.encode(charset)
    body = base64.encodebytes(octets) if encoding == "base64" else quopri.encodestring(octets)
    verdict = classify("email", _mail(prefix + TITLE, charset, encoding, body))
    assert (*told(verdict), verdict.node) == ("backup.job.failed", "error", 101, False, "hv6")


def test_a_forwarded_mail_is_read_for_its_details() -> None:
    inner = _mail(TITLE, "utf-8", "8bit", REPORT.encode())
    outer = (
        b"From: Bob <bob@example.com>\nSubject: Fwd: " + TITLE.encode() + b"\nMIME-Version: 1.0\n"
        b'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/plain\n\nlook\n'
        b"--b\nContent-Type: message/rfc822\n\n" + inner + b"\n--b--\n"
    )
    verdict = classify("email", outer)
    assert (verdict.kind, verdict.guest, verdict.node) == ("backup.job.failed", 101, "hv6")


@pytest.mark.parametrize(
    ("sender", "header", "severity"),
    [
        ("Ann <ann@example.com>", "", "info"),
        ("root@web1", "", "error"),
        ("Ann <ann@example.com>", "Auto-Submitted: auto-generated\n", "error"),
        ("news@example.com", "List-Unsubscribe: <https://example.com>\n", "info"),
    ],
)
def test_words_alarm_only_where_a_machine_wrote_them(sender: str, header: str, severity: str) -> None:
    mail = f"From: {sender}\n{header}Subject: Your question\n\nThe download failed, says the text.\n"
    verdict = classify("email", mail)
    assert (verdict.kind, verdict.severity) == ("system.mail", severity)


def test_the_priority_that_any_app_sends_says_nothing() -> None:
    message = {"title": "Sonarr", "message": "Episode imported", "priority": 5}
    assert classify("gotify", json.dumps(message)).severity == "info"
    ours = message | {"extras": {"client::display": {"contentType": "text/markdown"}}}
    assert classify("gotify", json.dumps(ours)).severity == "warning"


def test_an_unknown_error_of_a_proxmox_service_is_an_error_of_that_service() -> None:
    verdict = classify("syslog", "Jan  5 03:04:05 pvx pvedaemon[9]: unable to do something new for VM 105")
    assert (verdict.kind, verdict.severity, verdict.guest, verdict.ok) == ("service.error", "error", 105, False)
    verdict = classify("syslog", "Jan  5 03:04:05 pvx myapp[9]: unable to do something new")
    assert (verdict.kind, verdict.severity) == ("syslog.message", "error")


GC = (
    "Garbage Collect Datastore 'main' failed",
    "Datastore: main\n\nGarbage collection failed: no space\n\n<https://bk1:8007/#x>",
)
BODIES: dict[str, Callable[[str, str], str]] = {
    "n8n": lambda t, m: json.dumps(
        {"headers": {"host": "n8n"}, "body": {"title": t, "message": m, "severity": "error"}}
    ),
    "a relay for Discord": lambda t, m: json.dumps({"messageContent": m, "messageTitle": t, "severity": "error"}),
    "Telegram": lambda t, m: json.dumps(
        {"chat_id": "1", "text": f"Proxmox\nTitle: {t}\nSeverity: error\nMessage: {m}"}
    ),
    "unescaped": lambda t, m: f'{{"title":"{t}","message":"{m}","severity":"error"}}',
    "an adaptive card": lambda t, m: json.dumps({"attachments": [{"content": {"body": [{"text": t}, {"text": m}]}}]}),
    "base64": lambda t, m: json.dumps({"title": t, "message": base64.b64encode(m.encode()).decode()}),
}


@pytest.mark.parametrize("body", BODIES)
def test_templates_that_people_use(body: str) -> None:
    verdict = classify("webhook", BODIES[body](*GC))
    assert (*told(verdict), verdict.node) == ("gc.failed", "error", None, False, "bk1")


def test_a_line_of_the_task_index() -> None:
    upid = "UPID:hv4:0003F1A2:0A1B2C3D:6650A1F0:vzdump:105:root@pam:"
    assert told(classify("task", f"{upid} 6650A1FF job errors"))[:3] == ("task.vzdump.failed", "error", 105)
    assert told(classify("task", f"{upid} 1 6650A1FF OK"))[:3] == ("task.vzdump.finished", "info", 105)
