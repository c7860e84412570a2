"""Mails in the layouts of both kinds of mail targets, against a real SMTP server."""

from __future__ import annotations

import re
from email.message import EmailMessage
from typing import Any

import pytest

from proxmox_mcp.lab import Lab, LabOptions
from proxmox_mcp.lab.push import pve_texts
from proxmox_mcp.lab.push.loopback import NotLoopbackError
from tests.lab.conftest import Client, MakeLab
from tests.lab.receivers import MailServer, mail_server, until

SMTP = "/cluster/notifications/endpoints/smtp"


async def add_smtp(api: Client, server: MailServer, **more: Any) -> None:
    sent: dict[str, Any] = {
        "name": "mail", "server": "127.0.0.1", "port": server.port, "mode": "insecure",
        "from__address": "pve@lab.example", "mailto": "admin@lab.example", "mailto__user": "root@pam",
    }  # fmt: skip
    assert (await api("POST", SMTP, **(sent | more))).status == 200
    await api("PUT", "/cluster/notifications/matchers/default-matcher", target="mail")


def parts(mail: EmailMessage) -> dict[str, str]:
    return {part.get_content_type(): part.get_content() for part in mail.walk() if not part.is_multipart()}


async def test_smtp_target(api: Client) -> None:
    async with mail_server() as server:
        await add_smtp(api, server)
        api.lab.fault("replication-fail", 100, "pve2", "it's broken")
        mail = await server.first()
    sender, to, _ = server.got[0]
    assert (sender, to) == ("pve@lab.example", ["admin@lab.example", "root@lab.example"])
    assert mail["From"] == "Proxmox VE <pve@lab.example>"
    assert mail["To"] == "admin@lab.example, root@lab.example"
    assert mail["Subject"] == "Replication Job: '100-0' failed"
    assert mail["Auto-Submitted"] == "auto-generated;"
    assert mail.get_content_type() == "multipart/alternative"
    found = parts(mail)
    assert list(found) == ["text/plain", "text/html"]
    assert found["text/plain"].replace("\r\n", "\n").endswith("\n\nError:\nit's broken\n\n")
    assert "<pre>\nit&#x27;s broken\n\n        </pre>" in found["text/html"].replace("\r\n", "\n")


async def test_text_that_is_not_ascii(api: Client) -> None:
    async with mail_server() as server:
        await add_smtp(api, server, author="Köln")
        api.lab.fault("system-mail", "pve1", "Überweisung")
        mail = await server.first()
    assert (mail["Subject"], mail["From"]) == ("Überweisung", "Köln <pve@lab.example>")
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().strip() == "pve1 : Überweisung"


async def test_sendmail_through_the_lab_s_relay(make_lab: MakeLab) -> None:
    async with mail_server() as server:
        api = await make_lab(smtp_relay=f"127.0.0.1:{server.port}")
        api.lab.fault("updates-available", "pve1")
        mail = await server.first()
        api.lab.fault("updates-available", "pbs1")
        await until(lambda: len(server.got) == 2)
    assert server.got[0][1] == ["root@lab.example"]
    assert mail["From"] == "Proxmox VE <root@pve1.lab.example>"
    assert re.fullmatch(r"----_=_NextPart_002_\d{10}", mail.get_boundary() or "")
    assert (mail.preamble or "").strip() == "This is a multi-part message in MIME format."
    assert "\r\npve-manager     9.2.9                9.2.11               \r\n" in parts(mail)["text/plain"].replace(
        "\r\n", "\n"
    ).replace("\n", "\r\n")
    other = server.got[1][2]
    assert other["From"] == "Proxmox Backup Server - pbs1 <root@pbs1.lab.example>"
    assert parts(other)["text/html"].startswith("<html><body><pre>Proxmox Backup Server has the following updates")


async def test_without_a_relay_mail_goes_nowhere(api: Client) -> None:
    api.lab.fault("system-mail", "pve1", "hello")
    await api.lab.outbox.settle()
    (sent,) = api.lab.emitted
    assert (sent.channel, sent.target, sent.host, sent.what, sent.error) == (
        "sendmail", "mail-to-root", "pve1", "hello", "",
    )  # fmt: skip


async def test_a_server_that_refuses(api: Client) -> None:
    async with mail_server() as server:
        await add_smtp(api, server)
        server.refuse = "550 no such mailbox"
        answer = await api("POST", "/cluster/notifications/targets/mail/test")
        assert answer.status == 500
        assert answer.reason.startswith("Could not test target: could not notify via endpoint(s): mail: ")
        assert "no such mailbox" in answer.reason
        await api("PUT", f"{SMTP}/mail", username="me")
        answer = await api("POST", "/cluster/notifications/targets/mail/test")
        assert answer.reason.endswith("username is set but no password was provided")


@pytest.mark.parametrize("option", [{"smtp_relay": "192.0.2.1:25"}, {"syslog": "192.0.2.1:514"}, {"syslog": "x"}])
async def test_options_reach_loopback_only(option: dict[str, Any]) -> None:
    with pytest.raises(NotLoopbackError):
        await Lab(LabOptions(nodes=1, guests=1, pbs=0, **option)).__aenter__()


def test_backup_summary() -> None:
    """Failed and good guests in one table, as wide as their names; HTML says nothing where text says null."""
    good = pve_texts.BackupResult(100, "web01", 11, 451_680_000, "vm/100/2026-01-01T00:00:00Z", ("T INFO: a = b",))
    bad = pve_texts.BackupResult(1061, "a-long-name", 3723, 0, "", ("T ERROR: no",))
    run = pve_texts.BackupRun("vzdump 100 1061", "backup-1", [good, bad])
    note = pve_texts.backup("pve1", 1_767_603_600, run)
    assert note.text == (
        "\nDetails\n=======\n"
        "VMID    Name           Status    Time        Size           Filename                       \n"
        "100     web01          ok        11s         430.756 MiB    vm/100/2026-01-01T00:00:00Z    \n"
        "1061    a-long-name    err       1h 2m 3s    0 B            null                           \n"
        "\nTotal running time: 1h 2m 15s\nTotal size: 430.756 MiB\n\nLogs\n====\nvzdump 100 1061\n\n"
        "\n100: T INFO: a = b\n\n\n1061: T ERROR: no\n\n\n"
    )
    assert (note.severity, note.fields["job-id"]) == ("error", "backup-1")
    assert note.html.count("<td style=") == 12
    assert '<td style="border: 1px solid;border-collapse=collapse;"></th>' in note.html
    assert "INFO: a &#x3D; b" in note.html
