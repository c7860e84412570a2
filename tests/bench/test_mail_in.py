"""Mail in: from the end of a mail to its 250, and from its delivery into a mailbox to the event; the commit is free."""

import asyncio
import smtplib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mqtt_bridge.events.intake import Listener
from mqtt_bridge.listeners.imap import EmailListener
from mqtt_bridge.listeners.smtp import SmtpListener
from mqtt_bridge.settings.listening import SmtpInSettings
from tests.bench.report import Report
from tests.listeners.mails import proxmox
from tests.support.dovecot import Dovecot
from tests.support.mail_intake import MemoryIntake, listening
from tests.support.processes import until

MAILS, IDLE_MAILS = 500, 30


@asynccontextmanager
async def up(listener: Listener, intake: MemoryIntake) -> AsyncIterator[None]:
    async with listening(listener, intake):
        await until(lambda: intake.good)
        yield


async def test_smtp(report: Report) -> None:
    listener, intake = SmtpListener(SmtpInSettings(port=0)), MemoryIntake()
    async with up(listener, intake):
        taken = await asyncio.to_thread(_send, listener.port)
    assert len(intake.reports) == MAILS
    p50, p99 = taken[MAILS // 2] * 1000, taken[MAILS * 99 // 100] * 1000
    report.figures["smtp in, ms"] = {"p50": p50, "p99": p99}
    report.add("SMTP, MAIL to 250 without the commit", "p99 ≤ 25 ms", f"p50 {p50:.1f}, p99 {p99:.1f} ms", p99 <= 25)


def _send(port: int) -> list[float]:
    taken = []
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo()
        for number in range(MAILS):
            began = time.perf_counter()
            client.sendmail("root@pve1", ["events@bridge.lan"], proxmox(number))
            taken.append(time.perf_counter() - began)
    return sorted(taken)


async def test_idle(tmp_path: Path, report: Report) -> None:
    """Dovecot itself waits half a second before it tells."""
    intake = MemoryIntake()
    taken = []
    async with Dovecot(tmp_path / "dovecot") as dovecot, up(EmailListener(dovecot.settings()), intake):
        for number in range(IDLE_MAILS):
            await asyncio.sleep(0.3)
            dovecot.deliver(proxmox(number))
            taken.append(await until(lambda count=number + 1: len(intake.reports) == count))  # type: ignore[misc]
    taken.sort()
    p50, p99 = taken[len(taken) // 2] * 1000, taken[-1] * 1000
    report.figures["imap idle, ms"] = {"p50": p50, "max": p99}
    report.add("IMAP IDLE, delivery to event, of Dovecot", "-", f"p50 {p50:.0f}, max {p99:.0f} ms")
