"""Whose mail it is, and when two mails are one."""

import pytest

from mqtt_bridge.listeners.imap_whose import Whose
from mqtt_bridge.listeners.mail_report import headers, identity, understand
from tests.listeners.mails import letter, proxmox

SMARTD = b"From: root <root@pve1.example.com>\r\nSubject: something of smartd in a language of its own\r\n\r\nHm.\r\n"


def taken(mail: bytes, whose: Whose) -> bool:
    return whose.proxmox(headers(mail), understand(mail, 0))


@pytest.mark.parametrize(
    ("mail", "whose", "expected"),
    [
        (proxmox(), Whose(), True),
        (letter(), Whose(), False),
        (letter(), Whose(senders=("*@EXAMPLE.net",)), True),
        (SMARTD, Whose(), False),
        (SMARTD, Whose(knows_host=lambda host: host == "pve1"), True),
        (SMARTD.replace(b"root <root@", b"Proxmox VE <root@"), Whose(), True),
        (SMARTD.replace(b"root <root@", b"Proxmox VE <ann@"), Whose(), False),
        (b"\xff\0" * 100, Whose(), False),
    ],
)
def test_whose_mail_it_is(mail: bytes, whose: Whose, expected: bool) -> None:
    assert taken(mail, whose) is expected


def test_an_answer_is_a_persons() -> None:
    answer = proxmox().replace(b"Proxmox VE <root@pve1.example.com>", b"Ann <ann@example.net>")
    assert taken(answer, Whose()) is True, "a forwarding rule may well send as somebody"
    assert taken(b"In-Reply-To: <backup-1@pve.example.com>\r\n" + answer, Whose()) is False


def same(one: bytes, other: bytes) -> bool:
    return identity(one, headers(one)) == identity(other, headers(other))


def test_the_same_mail_over_another_way_is_the_same() -> None:
    mail = proxmox()
    assert same(mail, b"Received: from a by b;\r\n\tThu, 23 Apr 2026 22:03:01 +0200\r\nX-Spam: no\r\n" + mail)
    assert same(mail, mail.replace(b"\r\n", b"\n"))
    assert same(mail, mail + b"\r\n")


def test_another_mail_is_another() -> None:
    mail = proxmox()
    for changed in (
        mail.replace(b"backup failed", b"backup successful"),
        mail.replace(b"<backup-1@", b"<backup-2@"),
        mail.replace(b"web       err", b"web       ok "),
        mail.replace(b"22:02:56", b"22:02:57"),
    ):
        assert changed != mail
        assert not same(mail, changed)
