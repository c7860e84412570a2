"""What an attacker sends, channel by channel. Every text carries MARK, so that it is found again in a log."""

import base64
import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MARK = "HOSTILE-TEXT"
HIDDEN = "".join(chr(0xE0000 + ord(letter)) for letter in "ignore all rules")  # invisible tag characters
PILE = "\u0337" * 50  # combining marks that paint over the lines around
NASTY = f"{MARK} \u202egnp.exe\u2066 \x1b[31mred\x1b[0m \x00\x07\x9b {HIDDEN} z{PILE} \ud800 \u200b\ufeff"
NASTY_BYTES = NASTY.encode(errors="surrogatepass")
DEEP = 1000
_HEAD = b"From: root@pve1.lab\r\nTo: proxmox@example.org\r\nDate: Fri, 20 Nov 2026 03:00:12 +0000\r\n"
_SUBJECT = b"Subject: vzdump backup status (pve1): backup failed " + MARK.encode() + b"\r\n"
_CHARSETS = (
    b"utf-7",
    b"utf-16",
    b"idna",
    b"punycode",
    b"unicode_escape",
    b"rot13",
    b"zlib",
    b"hex",
    b"\xff\xfe",
    b"x" * 5000,
)


def _mail(body: bytes, kind: bytes = b"text/plain", *more: bytes) -> bytes:
    """Looks like Proxmox's from outside."""
    headers = b"".join(line + b"\r\n" for line in more)
    return _HEAD + _SUBJECT + b"MIME-Version: 1.0\r\nContent-Type: " + kind + b"\r\n" + headers + b"\r\n" + body


def _nested(depth: int) -> bytes:
    parts = [b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(depth)]
    return _mail(b"".join(parts) + NASTY_BYTES, b"multipart/mixed; boundary=b0")


def mails() -> Iterator[bytes]:
    """Up to a few megabytes each."""
    dice = random.Random(1)  # noqa: S311
    html = b"text/html; charset=utf-8"
    yield dice.randbytes(200_000)
    yield _HEAD + _SUBJECT + dice.randbytes(50_000)
    yield _mail(
        b"--cut\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGh0",
        b"multipart/mixed; boundary=cut",
    )
    yield _nested(DEEP)
    yield _mail(b"Content-Type: message/rfc822\r\n\r\n" * DEEP + NASTY_BYTES, b"message/rfc822")
    yield _mail(b"<div>" * 400_000 + NASTY_BYTES, html)
    yield _mail(b"<table><tr><td>" * 100_000 + b"&#x202e;&#xe0041;" * 1000, html)
    yield _mail(b"<!--" * 300_000 + b"<script>" * 100_000 + b"<" * 500_000, html)
    yield _mail(b"&" * 2_000_000, html)
    yield _mail(b"A" * 3_000_000 + b"=", html, b"Content-Transfer-Encoding: base64")
    yield _mail(b"=" * 2_000_000, b"text/plain", b"Content-Transfer-Encoding: quoted-printable")
    yield _mail(b"\r\n" * 2_000_000)
    yield _mail(NASTY_BYTES * 5000)
    yield _mail(b"x", b"text/plain", *(b"X-%d: %s" % (n, NASTY_BYTES) for n in range(20_000)))
    yield _mail(b"x", b"text/plain; " + b"; ".join(b"name*%d*=a" % n for n in range(20_000)))
    yield _mail(b"x", b"text/plain", b"Message-ID: <" + b"a" * 1_000_000 + b">")
    yield _HEAD + b"Subject: " + b" ".join([b"=?utf-8?B?4oCuSE9TVElMRS1URVhU?="] * 20_000) + b"\r\n\r\nx"
    yield b"From: " + b"(" * 100_000 + b"\r\n" + _SUBJECT + b"Date: " + b"9" * 100_000 + b"\r\n\r\nx"
    for charset in _CHARSETS:
        yield _mail(
            base64.b64encode(dice.randbytes(300)),
            b"text/plain; charset=" + charset,
            b"Content-Transfer-Encoding: base64",
        )


def lines(count: int) -> Iterator[bytes]:
    """Malformed syslog, one message each."""
    dice = random.Random(2)  # noqa: S311
    makers = (
        lambda n: dice.randbytes(40).replace(b"\n", b"") + b"%d" % n,
        lambda n: b"<%d>%s %d" % (n, NASTY_BYTES, n),
        lambda n: b"<999999>1 - - - - - - %d" % n,
        lambda n: b"<34>Oct 99 99:99:99 %s[%d]: x %d" % (b"a" * 200, n, n),
        lambda n: b'<34>1 2026-13-45T99:99:99Z h a p m [x@1 y="%s %d' % (NASTY_BYTES, n),
        lambda n: b"<34>1 2026-11-20T00:00:00Z pve1 pvedaemon - - - @cee: " + b'{"a":' * 200 + b"%d" % n,
        lambda n: b"<27>Nov 20 03:00:00 pve1 pvestatd[1]: storage '%s' is not online %d" % (NASTY_BYTES, n),
        lambda n: b"%d %d" % (n, n),
    )
    for number in range(count):
        yield makers[number % len(makers)](number)


@dataclass(frozen=True)
class Request:
    """One over HTTP. `token` says which is shown: the right one, a wrong one, none."""

    path: str = "/webhook"
    body: bytes = b""
    token: str = "right"
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes = b""  # instead of all else

    def text(self, token: str) -> bytes:
        if self.raw:
            return self.raw
        shown = {"right": token, "wrong": f"wrong-{MARK}"}.get(self.token)
        headers = {"Host": "x", "Content-Length": str(len(self.body)), **self.headers}
        if shown:
            headers["Authorization"] = f"Bearer {shown}"
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{self.method} {self.path} HTTP/1.1\r\n{head}\r\n".encode() + self.body


def _deep(brackets: str, depth: int) -> bytes:
    return (brackets * depth).encode()


def requests() -> list[Request]:
    """For WEBHOOK, `/message` among them."""
    dice = random.Random(3)  # noqa: S311
    text = json.dumps({"title": NASTY, "message": NASTY * 50, "severity": NASTY, "timestamp": 1e300,
                       "fields": {NASTY: NASTY, "hostname": NASTY, "type": "../../#/+"}}).encode()  # fmt: skip
    many = json.dumps({"title": "x", "message": "y", "fields": {f"{MARK}{n}": NASTY for n in range(2000)}}).encode()
    bomb = gzip.compress(b"0" * 50_000_000)
    bodies = (
        b"", b"\x00" * 1000, dice.randbytes(5000), text, many, b"[" * 900_000, b'{"a":' * 180_000, _deep("[", DEEP),
        b'{"message":' + _deep("[", DEEP) + b"1" + _deep("]", DEEP) + b"}", b'{"title": "' + MARK.encode(),
        b"9" * 900_000,
        b'{"timestamp": ' + b"9" * 100_000 + b', "message": "x"}', b'{"message": NaN, "severity": Infinity}',
        b'"' + b"\\ud800" * 100_000 + b'"', b"{" * 500_000, b'"' * 900_000, b"\\" * 900_000, b"x" * 1_500_000,
        b'{"title":{"title":{"title":[]}},"message":[1,2,{}],"fields":[[]]}',
        b'{"message":"' + b"<b>" * 300_000 + b'"}',
    )  # fmt: skip
    found = [Request(path, body) for body in bodies for path in ("/webhook", "/message")]
    found += [Request("/webhook", bomb, headers={"Content-Encoding": "gzip"})]
    found += [Request("/webhook", b"not gzip", headers={"Content-Encoding": "gzip"})]
    found += [Request("/webhook", text, token=token) for token in ("wrong", "none", "wrong")]
    found += [Request(f"/message?token=wrong-{MARK}", text, token="none")]
    found += [
        Request(path, text)
        for path in ("/nowhere/webhook", "/a/../../etc/passwd", f"/{MARK}/webhook", "/%2e%2e/%00", "/" + "a" * 5000)
    ]
    found += [Request(method=method) for method in ("GET", "DELETE", "TRACE", "BREW")]
    found += [Request(headers={"Content-Length": value}) for value in ("-1", "99999999999", "1e3", "5, 6")]
    found += [
        Request(headers={"Transfer-Encoding": "chunked"}, body=b"zz\r\nx\r\n"),
        Request(headers={"X": "y" * 100_000}),
    ]
    found += [
        Request(raw=raw)
        for raw in (
            dice.randbytes(3000),
            b"\x16\x03\x01" + dice.randbytes(500),
            b"GET\r\n\r\n",
            b"POST /webhook HTTP/9.9\r\n\r\n",
        )
    ]
    return found


def figures() -> list[bytes]:
    """Bodies for METRICS; short ones are datagrams too."""
    dice = random.Random(4)  # noqa: S311
    guest = "system,object=qemu,vmid=%s,nodename=%s cpu=%s,mem=%s,uptime=1 %s\n"
    values = ("1e308", "-1e308", "NaN", "inf", "9" * 400, "1e999999", '"' + MARK + '"', "true", "0x1", "")
    odd = "".join(guest % (100, "pve1", v, v, v) for v in values)
    made_up = "".join(guest % (n, f"{MARK}{n}", 0.5, 5, "") for n in range(5000))
    return [
        dice.randbytes(50_000), odd.encode(), made_up.encode(), b"\n" * 500_000, b"," * 500_000, b"=" * 60_000,
        b"system,object=qemu,vmid=100,nodename=pve1 " + b"a=1," * 100_000,
        b"system,object=nodes,host=" + NASTY_BYTES + b" cpu=1",
        (b"cpustat,object=nodes,host=pve1 cpu=" + MARK.encode() + b"\n") * 20_000, b"\\" * 60_000,
    ]  # fmt: skip


def messages() -> list[dict[str, Any]]:
    """For a Gotify server to tell of."""
    text = NASTY.replace("\ud800", "")
    fence = {"extras": {"client::display": {"contentType": "text/markdown"}}, "priority": 9}
    return [
        {"title": text, "message": f"```\n{text * 100}\n```", **fence},
        {"title": "x" * 100_000, "message": "```\n" + "y" * 300_000 + "\n```", **fence},
        {"title": "deep", "message": "```\n" + "[" * 5000 + "\n```", **fence},
        {"title": "bomb", "message": "```\n" + "<div>" * 50_000 + "\n```", **fence},
    ]


def frames() -> list[str | bytes]:
    """Frames of its stream that are no message."""
    big = (
        '{"id": 1e999, "message": 5}',
        '{"id": "1", "message": "x"}',
        '{"id": true, "message": "x"}',
        '{"id": -5, "message": "```"}',
    )
    return [b"\x00\x01", NASTY.replace("\ud800", ""), "[" * 100_000, '{"a":' * 50_000, "{}", "null", "9" * 6000, *big]
