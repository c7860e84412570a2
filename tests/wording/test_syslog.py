# ruff: noqa: E501 -- lines as they are logged
"""Log lines: the samples, real lines of other hosts, every framing of one line, and what must never break."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_bridge.model import SEVERITIES
from mqtt_bridge.wording import classify
from mqtt_bridge.wording.syslog import read_syslog
from mqtt_bridge.wording.syslog_frames import LINE_LIMIT, read_frame

DATA = Path(__file__).parent / "data"
NOW = 1_711_281_900.0  # 2024-03-24T12:05:00Z
STAMPED = 1_711_281_850.0  # 12:04:10


def _records(name: str, channel: str) -> list[Any]:
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return [
        pytest.param(record, id=f"{record.get('id') or number}")
        for number, record in enumerate(records)
        if record["channel"] == channel
    ]


def _told(raw: str) -> dict[str, object]:
    verdict = classify("syslog", raw)
    return {
        "kind": verdict.kind,
        "severity": verdict.severity,
        "node": verdict.node,
        "guest": verdict.guest,
        "ok": verdict.ok,
    }


@pytest.mark.parametrize(
    "record",
    [
        *_records("samples.jsonl", "syslog"),
        *_records("syslog_held.jsonl", "syslog"),
        *_records("syslog_unseen.jsonl", "syslog"),
    ],
)
def test_real_lines(record: dict[str, Any]) -> None:
    assert _told(record["raw"]) == record["expected"]


FRAMES = [
    "<30>Mar 24 12:04:10 Axoft pvedaemon[669766]: {}",
    "Mar 24 12:04:10 Axoft pvedaemon[669766]: {}",
    "Mar 24 12:04:10 Axoft.example.org pvedaemon[669766]: {}",
    "Mar 24 12:04:10.123456 Axoft pvedaemon[669766]: {}",
    "Mar 24 2024 12:04:10 Axoft pvedaemon[669766]: {}",
    "Mär 24 12:04:10 Axoft pvedaemon[669766]: {}",
    "3月 24 12:04:10 Axoft pvedaemon[669766]: {}",
    "3 月 24 日 12:04:10 Axoft pvedaemon[669766]: {}",
    "<30>2024-03-24T13:04:10.000000+01:00 Axoft pvedaemon[669766]: {}",
    "2024-03-24T13:04:10+0100 Axoft pvedaemon[669766]: {}",
    "2024-03-24 12:04:10 Axoft pvedaemon[669766]: {}",
    "Sun 2024-03-24 13:04:10 CET Axoft pvedaemon[669766]: {}",
    "1711281850.000000 Axoft pvedaemon[669766]: {}",
    "<30>1 2024-03-24T12:04:10Z Axoft pvedaemon 669766 - - {}",
    "<30>1 2024-03-24T12:04:10Z Axoft pvedaemon 669766 - - \ufeff{}",
    '<30>1 2024-03-24T12:04:10Z Axoft pvedaemon 669766 ID1 [a@1 k="v\\"]"][b x="y"] {}',
    "178 <30>1 2024-03-24T12:04:10Z Axoft pvedaemon 669766 - - {}",
    "<30>1 2024-03-24T12:04:10Z Axoft - - - - pvedaemon[669766]: {}",
    "Mar 24 12:04:10 Axoft pvedaemon.service[669766]: {}",
    "Mar 24 12:04:10 Axoft /usr/bin/pvedaemon[669766]: {}",
    "Mar 24 12:04:10 Axoft pvedaemon[669766]: {}\r\n",
    "Mar 24 12:04:10 Axoft pvedaemon[669766]: {}\n\0",
    (
        '{{"__REALTIME_TIMESTAMP": "1711281850000000", "_HOSTNAME": "Axoft", "SYSLOG_IDENTIFIER": "pvedaemon", '
        '"_PID": "669766", "PRIORITY": "6", "MESSAGE": "{}"}}'
    ),
]


@pytest.mark.parametrize("frame", FRAMES)
def test_every_framing_says_the_same(frame: str) -> None:
    text = "<root@pam> end task UPID:Axoft:0017ABAC:026FA8FF:67E12009:qmstart:103:root@pam: OK"
    verdict = read_syslog(frame.format(text), NOW)
    assert (verdict.kind, verdict.node, verdict.guest, verdict.ok) == ("task.qmstart.finished", "Axoft", 103, True)
    assert verdict.at == pytest.approx(STAMPED, abs=0.2)
    assert verdict.fields["program"] == "pvedaemon"
    assert verdict.fields["pid"] == "669766"
    assert verdict.fields["user"] == "root@pam"
    assert verdict.upid == "UPID:Axoft:0017ABAC:026FA8FF:67E12009:qmstart:103:root@pam:"
    assert verdict.title == "Start of VM 103 finished on Axoft"


@pytest.mark.parametrize(
    ("line", "host", "program"),
    [
        ("[ 123.456789] e1000e 0000:00:1f.6 nic0: NIC Link is Down", None, "kernel"),
        ("[Fri Jul 24 15:23:37 2026] e1000e 0000:00:1f.6 nic0: NIC Link is Down", None, "kernel"),
        ("2026-07-24T15:23:37,501+00:00 e1000e 0000:00:1f.6 nic0: NIC Link is Down", None, ""),
        ("kernel: e1000e 0000:00:1f.6 nic0: NIC Link is Down", None, "kernel"),
        ("pve kernel: e1000e 0000:00:1f.6 nic0: NIC Link is Down", "pve", "kernel"),
        ("e1000e 0000:00:1f.6 nic0: NIC Link is Down", None, ""),
        (
            "<4>1 2023-11-07T19:19:23Z pve kernel - - - [ 2.1] e1000e 0000:00:1f.6 nic0: NIC Link is Down",
            "pve",
            "kernel",
        ),
        ("10:45:50 pve kernel: e1000e 0000:00:1f.6 nic0: NIC Link is Down", "pve", "kernel"),
        ("Jul 24 15:23:37 10.0.0.7 kernel: e1000e 0000:00:1f.6 nic0: NIC Link is Down", None, "kernel"),
    ],
)
def test_kernel_framings(line: str, host: str | None, program: str) -> None:
    frame = read_frame(line, NOW)
    assert (frame.host, frame.program) == (host, program)
    verdict = read_syslog(line, NOW)
    assert (verdict.kind, verdict.node, verdict.fields["link"]) == ("network.link.down", host, "nic0")


def test_the_year_that_a_line_leaves_out() -> None:
    new_year = 1_735_689_700.0  # 2025-01-01T00:01:40Z
    line = "Dec 31 23:59:59 pve pvestatd[1]: status update time (8.245 seconds)"
    assert read_syslog(line, new_year).at == 1_735_689_599.0
    before = 1_735_689_590.0  # 2024-12-31T23:59:50Z
    assert read_syslog(line.replace("Dec 31 23:59:59", "Jan  1 00:00:05"), before).at == 1_735_689_605.0
    assert read_syslog(line, NOW).at is None
    assert read_syslog(line.replace("Dec 31", "Feb 31"), NOW).at is None


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("pvestatd[1]: storage 'unraid' is not online", {"storage": "unraid"}),
        ("kernel: zio pool=tank vdev=/dev/sdc1 error=5 type=2", {"pool": "tank", "device": "/dev/sdc1"}),
        ("corosync[1]:   [KNET  ] link: host: 3 link: 1 is down", {"peer": "3", "link": "1"}),
        ("smartd[1]: Device: /dev/sda [SAT], 16 Currently unreadable (pending) sectors", {"device": "/dev/sda"}),
        ("kernel: md/raid1:md3: Disk failure on sdb3, disabling device.", {"pool": "md3", "device": "sdb3"}),
        (
            "pvedaemon[1]: end task UPID:pve:00007EA2:000BC0FC:6179A779:vzdump:102:root@pam: job errors",
            {"exitstatus": "job errors", "type": "vzdump"},
        ),
    ],
)
def test_facts_that_correlation_needs(line: str, fields: dict[str, str]) -> None:
    assert read_syslog(line, NOW).fields.items() >= fields.items()


def test_a_job_of_several_guests_lists_them() -> None:
    verdict = read_syslog("pve vzdump[7]: INFO: starting new backup job: vzdump 101 102 --storage pbs --node pve1", NOW)
    assert verdict.guest is None
    assert verdict.guests == ((101, None), (102, None))
    assert verdict.fields["storage"] == "pbs"


@pytest.mark.parametrize(
    ("line", "severity", "kind"),
    [
        ("<11>Mar 24 12:04:10 pve myscript: all is well", "error", "syslog.message"),
        ("<14>Mar 24 12:04:10 pve myscript: cannot open the door", "error", "syslog.message"),
        ("<14>Mar 24 12:04:10 pve myscript: the door was unreachable", "warning", "syslog.message"),
        ("<14>Mar 24 12:04:10 pve myscript: the door is open", "info", "syslog.message"),
        ("<14>Mar 24 12:04:10 pve myscript: finished with 0 errors", "info", "noise"),
    ],
)
def test_what_no_rule_knows_goes_by_its_words(line: str, severity: str, kind: str) -> None:
    verdict = read_syslog(line, NOW)
    assert (verdict.severity, verdict.kind, verdict.node) == (severity, kind, "pve")


def test_invisible_characters_and_newlines_do_not_reach_a_title() -> None:
    verdict = read_syslog("Mar 24 12:04:10 pve evil: fail\u202e \U000e0041 \x1b[31m\nsecond line", NOW)
    assert verdict.title.isascii()
    assert "\n" not in verdict.title
    assert "\x1b" not in verdict.message


def test_bytes_that_are_not_utf8() -> None:
    verdict = read_syslog(b"<30>Mar 24 12:04:10 pve pvestatd[1]: storage 'caf\xe9' is not online\x00\r\n", NOW)
    assert (verdict.kind, verdict.node, verdict.fields["storage"]) == ("storage.offline", "pve", "caf\ufffd")


_PIECES = st.sampled_from(
    ["<30>", "1 ", "Mar 24 12:04:10 ", "2024-03-24T12:04:10Z ", "pve ", "kernel: ", "pvedaemon[1]: ", "UPID:", " failed",
     "[", "]", '"', "\\", "{", "datastore ", "error ", "nvme0 ", "class=", "'", ":", "  ", "\n", "101", "VM 101 qmp command ",
     "proxmox-backup-proxy[1]: ", "systemd[1]: ", "corosync[1]: ", "TASK ERROR: ", "starting new backup job: vzdump "]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.binary(), st.lists(_PIECES, max_size=60).map("".join)))
def test_nothing_raises(raw: str | bytes) -> None:
    verdict = read_syslog(raw, NOW)
    assert verdict.severity in SEVERITIES
    assert len(verdict.title) <= 200
    assert len(verdict.message) <= 4000
    assert "\n" not in verdict.title


@pytest.mark.parametrize("program", ["", "kernel: ", "pve proxmox-backup-proxy[1]: ", "pve pvedaemon[1]: "])
@pytest.mark.parametrize(
    "piece",
    ["a", "A ", "[ ", '"', "1 ", "a.", "link ", "error: ", "storage ", "datastore ", "nvme0 ", "class=io pool= ", " ",
     "datastore chunk unable ", "node '", "Backup of VM 1", "--a=b ", "UPID:a", "Task in /lxc/", "\\", "{", "\t"],
)  # fmt: skip
def test_a_long_line_is_read_in_time(program: str, piece: str) -> None:
    """Bounded, not measured: a pattern that backtracks without limit takes minutes here, not seconds."""
    line = "Mar 24 12:04:10 pve " + program + piece * (LINE_LIMIT // len(piece)) + "x"
    start = time.process_time()
    read_syslog(line, NOW)
    assert time.process_time() - start < 2
