"""EMAIL and SMTP on the real pipeline and journal: what was accepted or read is there after a restart, once."""

import asyncio
from pathlib import Path

from mqtt_bridge.listeners.imap import EmailListener
from mqtt_bridge.listeners.smtp import SmtpListener
from mqtt_bridge.settings.listening import SmtpInSettings
from tests.listeners.mails import letter, proxmox
from tests.listeners.test_smtp import send
from tests.support.behind import behind
from tests.support.dovecot import Dovecot
from tests.support.mail_intake import listening
from tests.support.processes import until


async def test_mails_sent_again_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        listener = SmtpListener(SmtpInSettings(port=0))
        async with behind("SMTP", tmp_path / "journal.db", "lab") as real, listening(listener, real.intake):
            await until(lambda on=listener: on.port)  # type: ignore[misc]
            for number in range(5):
                await asyncio.to_thread(send, listener.port, proxmox(number))
            events = await real.journal.recent(0, 100)
    assert sorted(event.title for event in events) == sorted({event.title for event in events})
    assert len(events) == 5
    assert {(event.source, event.kind, event.trust) for event in events} == {
        ("SMTP", "backup.job.failed", "unauthenticated")
    }


async def test_a_mailbox_read_on_after_a_restart(tmp_path: Path) -> None:
    async with Dovecot(tmp_path / "dovecot") as dovecot:
        dovecot.deliver(proxmox("old"))
        counts = []
        for first in (0, 5):
            listener = EmailListener(dovecot.settings())
            async with behind("EMAIL", tmp_path / "journal.db", "lab") as real, listening(listener, real.intake):
                while await real.intake.cursor("INBOX") is None:
                    await asyncio.sleep(0.05)
                for number in range(first, first + 5):
                    dovecot.deliver(proxmox(number))
                dovecot.deliver(letter(first))
                marked = first + 5
                await until(lambda n=marked: sum("$ProxmoxMCP" in flags for flags in dovecot.flags()) == n)  # type: ignore[misc]
                counts.append(len(await real.journal.recent(0, 100)))
    assert counts == [5, 10]
