"""SMTP with the senders that there are: smtplib, and the lab's SMTP target."""

import asyncio
import base64
import random
import smtplib
import socket
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from mqtt_bridge.events.intake import IntakeFullError, JournalError
from mqtt_bridge.listeners import mail_report, smtp_session, sockets
from mqtt_bridge.listeners.smtp import SmtpListener
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.listening import SmtpInSettings
from mqtt_bridge.wording.verdict import Verdict
from tests.listeners.mails import letter, proxmox
from tests.support.mail_intake import MemoryIntake, listening
from tests.support.processes import until

TO = "events@bridge.lan"


@asynccontextmanager
async def receiving(intake: MemoryIntake, **changes: Any) -> AsyncIterator[int]:
    """The listener runs; its port."""
    listener = SmtpListener(SmtpInSettings(**{"port": 0} | changes))
    async with listening(listener, intake):
        await until(lambda: intake.good, why=lambda: intake.bad)
        yield listener.port


def send(
    port: int, mail: bytes, *, to: str = TO, login: tuple[str, str] | None = None, sender: str = "root@pve1"
) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        if login:
            client.login(*login)
        client.sendmail(sender, [to], mail)


async def refused(port: int, mail: bytes, **more: Any) -> tuple[int, str]:
    """Code and text of the refusal."""
    try:
        await asyncio.to_thread(send, port, mail, **more)
    except smtplib.SMTPRecipientsRefused as error:
        code, text = next(iter(error.recipients.values()))
    except smtplib.SMTPResponseException as error:
        code, text = error.smtp_code, error.smtp_error if isinstance(error.smtp_error, bytes) else b""
    else:
        raise AssertionError("it was accepted")
    return code, text.decode()


async def test_a_mail_is_an_event_once(caplog: pytest.LogCaptureFixture) -> None:
    intake = MemoryIntake()
    async with receiving(intake) as port:
        await asyncio.to_thread(send, port, proxmox(1))
        await asyncio.to_thread(send, port, b"Received: by relay; Thu, 23 Apr 2026 22:03:01 +0200\r\n" + proxmox(1))
        await asyncio.to_thread(send, port, letter(), sender="<>")
    assert intake.subjects == ["vzdump backup status (pve1.example.com): backup failed", "Lunch 1?"]
    assert len(intake.again) == 1, "the relay sent it twice: no second event"
    report = next(iter(intake.reports.values()))
    assert (report.verdict.kind, report.trust) == ("backup.job.failed", "unauthenticated")
    assert not intake.rejected
    assert "WARNING" not in caplog.text


async def test_dots_and_long_lines_come_unharmed() -> None:
    intake = MemoryIntake()
    mail = b"Subject: dots\r\n\r\n.first\r\n..second\r\n.\x20\r\n" + b"y" * 200_000 + b"\r\n.last\r\n"
    async with receiving(intake) as port:
        await asyncio.to_thread(send, port, mail)
        await asyncio.to_thread(send, port, mail.replace(b"\r\n..second", b"\r\n...second"))
        await asyncio.to_thread(send, port, b"")
    assert len(intake.reports) == 3, "a dot more is another mail"


async def test_whatever_comes_arrives_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mails of dots and line ends, in pieces that are cut anywhere, with commands right behind the end."""
    arrived: list[bytes] = []

    def note(raw: bytes, _: float) -> Verdict:
        arrived.append(raw)
        return Verdict("system.mail", "info")

    monkeypatch.setattr(mail_report, "understand", note)
    dice = random.Random(7)  # noqa: S311
    mails = [b"", b".\r\n", b"\r\n", b"\r\n.\r\n", b"..\r\n.\r\n\r\n"]
    mails += [b"".join(dice.choices([b".", b"\r\n", b"a", b"\n", b"\r"], k=12)) + b"\r\n" for _ in range(60)]
    async with receiving(MemoryIntake()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HELO x\r\n")
        for mail in mails:
            writer.write(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
            while not (await reader.readline()).startswith(b"354"):
                pass
            stuffed = (b"." if mail.startswith(b".") else b"") + mail.replace(b"\r\n.", b"\r\n..")
            rest = stuffed + b".\r\nRSET\r\n"
            while rest:
                cut = dice.randrange(1, 6)
                writer.write(rest[:cut])
                rest = rest[cut:]
                await writer.drain()
                await asyncio.sleep(0)
            assert (await reader.readline()).startswith(b"250 2.0.0")
            assert (await reader.readline()).startswith(b"250 OK")
        writer.close()
    assert arrived == mails


@pytest.mark.parametrize("trouble", [IntakeFullError("The queue is full."), JournalError("The disk is full.")])
async def test_what_is_not_committed_is_not_accepted(trouble: IntakeFullError | JournalError) -> None:
    intake = MemoryIntake(trouble=trouble)
    async with receiving(intake) as port:
        code, text = await refused(port, proxmox(1))
        assert (code, text) == (451, "4.3.0 Not now, try again later")
        intake.trouble = None
        await asyncio.to_thread(send, port, proxmox(1))
    assert len(intake.reports) == 1


async def test_the_answer_waits_for_the_commit() -> None:
    intake = MemoryIntake(delay=0.4)
    async with receiving(intake) as port:
        began = time.monotonic()
        await asyncio.to_thread(send, port, proxmox(1))
        assert time.monotonic() - began > 0.4


async def test_recipients() -> None:
    intake = MemoryIntake()
    async with receiving(intake, recipients=("events@*", "pve@x.lan")) as port:
        await asyncio.to_thread(send, port, proxmox(1))
        code, text = await refused(port, proxmox(2), to="someone@example.net")
        assert code == 550
        assert "no mail is relayed" in text
    assert intake.rejected == {"recipient not wanted": 1}
    assert len(intake.reports) == 1


async def test_too_large() -> None:
    """By what is announced, and by what comes."""
    intake = MemoryIntake()
    async with receiving(intake, max_size=100_000) as port:
        assert (await refused(port, proxmox(1, body=("x" * 70 + "\n") * 2000)))[0] == 552
        code, text = await asyncio.to_thread(unannounced, port, b"x" * 70 + b"\r\n", 2000)
        assert (code, "EVENT_SMTP_MAX_SIZE" in text) == (552, True)
        for count in range(20):  # at the very limit, wherever its end falls
            body = b"Subject: %d\r\n\r\n" % count
            await asyncio.to_thread(send, port, body + b"x" * (99_998 - 10 - len(body) + count // 2) + b"\r\n")
    assert len(intake.reports) == 20


def unannounced(port: int, line: bytes, times: int) -> tuple[int, str]:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo()
        client.docmd("MAIL FROM:<a@b>")
        client.docmd(f"RCPT TO:<{TO}>")
        client.docmd("DATA")
        for _ in range(times):
            client.send(line)
        client.send(b"\r\n.\r\n")
        code, text = client.getreply()
        return code, text.decode()


async def test_floods_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that never ends, and empty lines: cut off, or held as they are. (What wording takes is its own.)"""
    monkeypatch.setattr(mail_report, "understand", lambda *_: Verdict("system.mail", "info"))
    intake = MemoryIntake()
    async with receiving(intake, max_size=4_000_000) as port:
        tracemalloc.start()
        with suppress(OSError, smtplib.SMTPException):
            await asyncio.to_thread(unannounced, port, b"x" * 100_000, 1000)
        await asyncio.to_thread(unannounced, port, b"\r\n" * 50_000, 39)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        await asyncio.to_thread(send, port, proxmox(1))
    assert peak < 40_000_000
    assert intake.rejected["too large"] >= 1


LOGIN = ("pve", "s3cret-é")


async def test_with_a_user_nobody_else_gets_in(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    intake = MemoryIntake()
    async with receiving(intake, username="pve", password=Secret(LOGIN[1])) as port:
        assert (await refused(port, proxmox(1)))[0] == 530
        assert (await refused(port, proxmox(1), login=("pve", "wrong")))[0] == 535
        await asyncio.to_thread(plain_login, port)
    report = next(iter(intake.reports.values()))
    assert report.trust == "authenticated"
    assert intake.rejected["wrong login"] >= 1
    assert intake.rejected["not logged in"] == 1
    assert "s3cret" not in caplog.text
    assert base64.b64encode(LOGIN[1].encode()).decode() not in caplog.text


def plain_login(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo()
        packed = base64.b64encode(f"\0{LOGIN[0]}\0{LOGIN[1]}".encode()).decode()
        assert client.docmd("AUTH", f"PLAIN {packed}")[0] == 235
        client.sendmail("root@pve1", [TO], proxmox(1))


async def test_without_a_user_no_login_is_offered() -> None:
    intake = MemoryIntake()
    async with receiving(intake) as port:
        features = await asyncio.to_thread(features_of, port)
    assert "auth" not in features
    assert features["size"] == str(10 * 1024 * 1024)


def features_of(port: int) -> dict[str, str]:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo()
        assert client.vrfy("root")[0] == 502
        assert client.docmd("EXPN", "root")[0] == 502
        return client.esmtp_features


async def test_open_to_strangers_it_does_not_start() -> None:
    intake = MemoryIntake()
    listener = SmtpListener(SmtpInSettings(host="0.0.0.0", port=0))  # noqa: S104
    async with listening(listener, intake):
        await until(lambda: intake.bad)
        assert "EVENT_SMTP_ALLOWED_SOURCES" in intake.bad
        assert listener.port == 0


async def test_other_sources_are_sent_away() -> None:
    intake = MemoryIntake()
    async with receiving(intake, allowed_sources=("192.0.2.0/24",)) as port:
        code, text = await refused(port, proxmox(1))
    assert code == 554
    assert "EVENT_SMTP_ALLOWED_SOURCES" in text
    assert intake.rejected == {"source not allowed": 1}


async def test_a_used_port_is_said_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "FIRST", 0.1)
    intake = MemoryIntake()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listener = SmtpListener(SmtpInSettings(port=other.getsockname()[1]))
        async with listening(listener, intake):
            await until(lambda: "Another program" in intake.bad)
            other.close()
            await until(lambda: intake.good)


@pytest.mark.parametrize("first", [b"", b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: slow\r\n"])
async def test_who_is_too_slow_is_cut_off(monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    """A byte now and then keeps nobody in, and disturbs nobody else."""
    monkeypatch.setattr(smtp_session, "COMMAND", 0.6)
    monkeypatch.setattr(smtp_session, "DATA", 0.6)
    intake = MemoryIntake()
    async with receiving(intake) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(first)
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - began < 30 and not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await reader.read(1000)
        assert time.monotonic() - began < 30
        writer.close()
        await until(lambda: intake.rejected["too slow"] == 1)
        await asyncio.to_thread(send, port, proxmox(1))
    assert len(intake.reports) == 1


async def test_endless_commands_end() -> None:
    """Each keeps the conversation alive, so there are only so many of them."""
    intake = MemoryIntake()
    async with receiving(intake) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"NOOP\r\n" * 10_000)
        with suppress(ConnectionError):
            async with asyncio.timeout(10):
                assert b"421 4.7.0 NOOP sent too many times" in await reader.read()
        writer.transport.abort()


async def test_a_conversation_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy it is."""
    monkeypatch.setattr(smtp_session, "LONGEST_TALK", 0.5)
    intake = MemoryIntake()
    async with receiving(intake) as port:
        reader, _ = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError):
            async with asyncio.timeout(10):
                await reader.read()
    assert intake.rejected == {"too slow": 1}


async def test_nonsense_disturbs_nobody() -> None:
    intake = MemoryIntake()
    async with receiving(intake) as port:
        for nonsense in (
            b"\0\xff\r\n" * 50,
            b"x" * 100_000,
            b"EHLO \xff\r\nMAIL FROM:<\xff>\r\nRCPT TO:<",
            b"GET / HTTP/1.1\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(nonsense)
            writer.write_eof()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(3):
                    await reader.read()
            writer.transport.abort()
        await asyncio.to_thread(send, port, proxmox(1))
    assert len(intake.reports) == 1


async def test_a_hundred_senders_at_once() -> None:
    """There are not so many places: who is sent away comes again, as a mailer does. Nothing is lost, nothing twice."""
    intake = MemoryIntake(delay=0.005)
    sent_away: list[int] = []

    def insist(number: int) -> None:
        for _ in range(200):
            try:
                send(port, proxmox(number))
            except (smtplib.SMTPConnectError, smtplib.SMTPServerDisconnected, ConnectionError):
                sent_away.append(number)
                time.sleep(0.02)
            else:
                return

    async with receiving(intake) as port:
        threads = [threading.Thread(target=insist, args=(number,), daemon=True) for number in range(100)]
        for thread in threads:
            thread.start()
        await until(lambda: len(intake.reports) == 100, 60)
        for thread in threads:
            await asyncio.to_thread(thread.join, 10)
    assert intake.again == []
    assert len(sent_away) == intake.rejected["too many connections"]


async def test_it_stops_while_senders_are_there() -> None:
    intake = MemoryIntake()
    async with receiving(intake) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"EHLO x\r\n")
        await asyncio.sleep(0.1)
        began = time.monotonic()
    assert time.monotonic() - began < 20
    writer.transport.abort()
