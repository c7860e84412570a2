"""Mail in every wrapping that relays, mailboxes and people put around it."""

import base64
import quopri

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_bridge.wording.headers import sending_host, split_head, unbase64, unworded
from mqtt_bridge.wording.mail import read_mail
from mqtt_bridge.wording.mime import opened

BODY = """\
Details
=======
VMID    Name     Status    Time    Size    Filename
101     büro     err       3s      0 B     null

Total running time: 3s
Total size: 0 B
"""
SUBJECT = "Subject: vzdump backup status (pve1.example.org): backup failed\n"


def test_a_failed_backup_tells_the_guests_and_the_reason_not_the_log() -> None:
    log = "".join(f"101: 2025-01-01 00:00:{n % 60:02d} INFO: {n}% done\n" for n in range(20_000))
    error = "101: 2025-01-01 00:01:00 ERROR: Backup of VM 101 failed - no space left on device\n"
    verdict = read_mail(f"{SUBJECT}Date: Wed, 01 Jan 2025 01:00:00 +0100\n\n{BODY}\nLogs\n====\n{log}{error}")
    assert (verdict.kind, verdict.node, verdict.guest, verdict.ok) == ("backup.job.failed", "pve1", 101, False)
    assert verdict.message == f"Failed: 101 (of 1 guests)\n{error.strip()}"
    assert verdict.at == 1735689600
    assert verdict.guests == ((101, False),)
    assert verdict.fields["total_time"] == "3s"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\n\n", "From root@pve1 Fri May 23 11:59:32 2025\n", "\ufeff"])
def test_line_ends_and_what_stands_before_the_head(newline: str, start: str) -> None:
    raw = f"{start}{SUBJECT}\n{BODY}".replace("\n", newline)
    assert read_mail(raw).guest == 101


@pytest.mark.parametrize(
    ("declared", "real"),
    [
        ("utf-8", "utf-8"),
        ("iso-8859-1", "iso-8859-1"),
        ("us-ascii", "utf-8"),
        ("iso-8859-1", "utf-8"),
        ("utf-8", "cp1252"),
        ("no-such-charset", "utf-8"),
        ("hex", "utf-8"),
        ("utf-16", "utf-16"),
        ("", "utf-8"),
    ],
)
@pytest.mark.parametrize("encoding", ["8bit", "base64", "quoted-printable"])
def test_whatever_charset_is_declared(declared: str, real: str, encoding: str) -> None:
    octets = BODY.encode(real)
    coded = {"8bit": octets, "base64": base64.encodebytes(octets), "quoted-printable": quopri.encodestring(octets)}
    head = f"{SUBJECT}Content-Type: text/plain; charset={declared}\nContent-Transfer-Encoding: {encoding}\n\n"
    letter = opened(head.encode() + coded[encoding])
    assert "büro" in letter.text
    assert read_mail(head.encode() + coded[encoding]).guest == 101


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ("=?utf-8?B?UMO8cmU=?=", "Püre"),
        ("=?ISO-8859-1?Q?P=FCre_now?=", "Püre now"),
        ("=?utf-8?B?UMM=?=\n =?utf-8?B?vHJl?=", "Püre"),  # one character over two words
        ("a =?utf-8?q?b?= c", "a b c"),
        ("=?utf-8*de?Q?b?=", "b"),
        ("=?bogus?X?b?=", "=?bogus?X?b?="),
        ("=?utf-8?B?!!!?=", ""),
        ("plain", "plain"),
    ],
)
def test_encoded_words(value: str, plain: str) -> None:
    assert unworded(value) == plain


def test_html_alone_keeps_its_rows_apart() -> None:
    head = "<tr><th>VMID</th><th>Name</th><th>Status</th></tr>"
    rows = "<tr>\n<td>101</td><td>a&amp;b</td>\n<td>ok</td><td>3s</td></tr>"
    rows += "<tr><td>102</td><td></td><td>err</td><td>1s</td></tr>"
    table = f"<html><head><style>td {{}}</style></head><table>{head}{rows}</table>"
    verdict = read_mail(f"Subject: hm\nContent-Type: text/html\n\n{table}")
    assert verdict.guests == ((101, True), (102, False))
    assert "td {" not in verdict.message


def test_html_of_proxmox_ve_7_closes_no_cell() -> None:
    rows = "<tr><td>VMID<td>NAME<td>STATUS<td>TIME<td>SIZE<td>FILENAME</tr>\n"
    rows += "<tr><td>101<td>a<td><font color=red>FAILED<td>00:00:05<td colspan=2>no such VM</tr>\n"
    raw = f"Subject: AW: x\nContent-Type: text/html\n\n<html><body>\n<table border=1>\n{rows}</table></body></html>"
    assert read_mail(raw).guests == ((101, False),)


def test_a_text_part_that_is_empty_leaves_the_html_part() -> None:
    parts = f"--x\nContent-Type: text/plain\n\n\n--x\nContent-Type: text/html\n\n<pre>{BODY}</pre>\n--x--\n"
    verdict = read_mail(f"{SUBJECT}Content-Type: multipart/alternative; boundary=x\n\n{parts}")
    assert verdict.guest == 101


@pytest.mark.parametrize("cut", range(200, 900, 50))
def test_a_mail_cut_anywhere_behind_its_head_is_still_told(cut: int) -> None:
    parts = f"--x\nContent-Type: text/plain\n\n{BODY}\n--x\nContent-Type: text/html\n\n<pre>{BODY}</pre>\n--x--\n"
    raw = f"{SUBJECT}Content-Type: multipart/alternative;\n\tboundary=x\n\n{parts}"
    assert read_mail(raw[:cut]).kind == "backup.job.failed"


def test_a_body_that_looks_like_a_head_is_a_body() -> None:
    text = "Datastore: tank\nError: nothing\n\nGarbage collection failed: EIO\n"
    assert split_head(text.encode()) == ({}, text.encode())
    assert read_mail(text).kind == "gc.failed"


def test_quoted_and_forwarded_mails() -> None:
    quoted = "".join(f"> {line}\n" for line in ("Subject: Replication Job: '100-0' failed", "", "Replication job"))
    verdict = read_mail(f"From: me@example.org\nSubject: Fwd:\n\n{quoted}")
    assert (verdict.kind, verdict.guest) == ("replication.failed", 100)
    inner = f"{SUBJECT}\n{BODY}"
    parts = f"--x\n\nlook\n--x\nContent-Type: message/rfc822\n\n{inner}\n--x--\n"
    assert read_mail(f"Subject: see this\nContent-Type: multipart/mixed; boundary=x\n\n{parts}").node == "pve1"


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        ({"from": "Proxmox VE <root@pve1>"}, "pve1"),
        ({"from": "root@pve1.example.org"}, "pve1.example.org"),
        ({"from": "root@pve1.lan"}, "pve1.lan"),
        ({"from": "root@example.org"}, None),
        ({"from": "noreply@mail.example.org"}, None),
        ({"from": "Proxmox Backup Server - pbs <noreply@example.org>"}, "pbs"),
        ({"from": "x@example.org", "received": "from a\nby pve9.lan (Postfix, from userid 0) id 1"}, "pve9.lan"),
        ({}, None),
    ],
)
def test_the_host_that_a_mail_was_made_on(headers: dict[str, str], host: str | None) -> None:
    assert sending_host(headers) == host


def test_base64_that_is_broken() -> None:
    assert unbase64(b"UMO8\ncmU!") == "Püre".encode()
    assert unbase64(b"A") == b""


@settings(deadline=2000)
@given(st.binary(max_size=3000))
def test_any_bytes(raw: bytes) -> None:
    assert read_mail(raw).kind


_LINES = st.sampled_from(
    [
        "Content-Type: multipart/mixed; boundary=x", "Content-Type: text/html", "Content-Transfer-Encoding: base64",
        "Content-Transfer-Encoding: quoted-printable", "Content-Type: message/rfc822", "--x", "--x--", "",
        "<table><tr>",
        "Subject: =?utf-8?B?UMO8?=", "VMID NAME STATUS", "100 a ok 3s", "ZFS has finished a scrub:",
        " state: ONLINE", "=3D=", "> quoted",
        "Device: /dev/sda, x", "Replication job '100-0' with target 'a' and schedule 'b' failed",
    ]
)  # fmt: skip


@settings(deadline=2000)
@given(st.lists(_LINES | st.text(max_size=30), max_size=60))
def test_any_mix_of_what_mails_are_made_of(lines: list[str]) -> None:
    verdict = read_mail("\n".join(lines))
    assert verdict.kind
    assert len(verdict.title) <= 200
    assert len(verdict.message) <= 4000
