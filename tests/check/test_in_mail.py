"""The checks of EMAIL on a real Dovecot, and of SMTP on real ports."""

import socket
from pathlib import Path
from typing import Any

from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import GeneralSettings, Settings
from mqtt_bridge.settings.listening import EmailInSettings, EventSettings, ListenerSettings, SmtpInSettings
from proxmox_mcp.check.in_email import check_email
from proxmox_mcp.check.in_smtp import check_smtp
from tests.check.support import Checked
from tests.support.dovecot import Dovecot


def enabled(tmp_path: Path, listen: ListenerSettings) -> Settings:
    return Settings(
        general=GeneralSettings(state_dir=tmp_path),
        events=EventSettings(enabled=frozenset({"EMAIL", "SMTP"})),
        listen=listen,
    )


async def email(tmp_path: Path, chosen: EmailInSettings) -> Checked:
    return Checked(await check_email(enabled(tmp_path, ListenerSettings(email=chosen)), 10))


async def smtp(tmp_path: Path, **values: Any) -> Checked:
    chosen = SmtpInSettings(**values)
    return Checked(await check_smtp(enabled(tmp_path, ListenerSettings(smtp=chosen)), 10))


async def test_a_mailbox(tmp_path: Path) -> None:
    async with Dovecot(tmp_path / "dovecot") as dovecot:
        dovecot.deliver(b"Subject: x\r\n\r\n")
        good = await email(tmp_path, dovecot.settings())
        assert good.failed == []
        assert good.one("listener EMAIL", "folder INBOX").ok is True
        missing = await email(tmp_path, dovecot.settings(folders=("INBOX", "Alarms")))
        assert missing.failed == ["listener EMAIL folder Alarms"]
        assert "There are: INBOX" in missing.one("listener EMAIL", "folder Alarms").cure
        wrong = await email(tmp_path, dovecot.settings(password=Secret("nonsense")))
        assert wrong.failed == ["listener EMAIL login"]
        unmarked = [flags - {"\\Recent"} for flags in dovecot.flags()]
        assert unmarked == [set()]
    gone = await email(tmp_path, dovecot.settings())
    assert "cannot be reached" in gone.one("listener EMAIL", "connect").detail


async def test_what_is_not_enabled_is_not_checked() -> None:
    assert await check_email(Settings(), 1) == []
    assert await check_smtp(Settings(), 1) == []


async def test_the_mail_port(tmp_path: Path) -> None:
    assert (await smtp(tmp_path, port=0)).failed == []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = await smtp(tmp_path, port=other.getsockname()[1])
    assert taken.failed == ["listener SMTP TCP"]
    open_to_all = await smtp(tmp_path, host="0.0.0.0", port=0)  # noqa: S104
    assert "EVENT_SMTP_ALLOWED_SOURCES" in open_to_all.one("listener SMTP", "sources").cure
    guarded = await smtp(tmp_path, host="0.0.0.0", port=0, username="u", password=Secret("p"))  # noqa: S104
    assert guarded.failed == []
    assert guarded.one("listener SMTP", "encryption").ok is None
