"""EMAIL against a real Dovecot."""

import asyncio
import random
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.events.intake import IntakeFullError
from mqtt_bridge.listeners import imap, imap_gate, imap_wire
from mqtt_bridge.listeners.imap import EmailListener
from mqtt_bridge.secret import Secret
from tests.listeners.mails import letter, proxmox
from tests.support.dovecot import PASSWORD, Dovecot
from tests.support.mail_intake import MemoryIntake, listening
from tests.support.processes import until


@asynccontextmanager
async def reading(dovecot: Dovecot, intake: MemoryIntake, **changes: Any) -> AsyncIterator[None]:
    """The listener runs, and has read the mailbox once."""
    async with listening(EmailListener(dovecot.settings(**changes)), intake):
        await until(lambda: intake.good, why=lambda: intake.bad)
        yield


@pytest.fixture
async def dovecot(tmp_path: Path) -> AsyncIterator[Dovecot]:
    async with Dovecot(tmp_path / "dovecot") as server:
        server.deliver(proxmox("old"))
        yield server


async def test_new_mail_becomes_an_event_and_old_mail_does_not(dovecot: Dovecot) -> None:
    intake = MemoryIntake()
    async with reading(dovecot, intake):
        assert intake.good == "INBOX with IDLE"
        dovecot.deliver(proxmox(1))
        dovecot.deliver(letter())
        took = await until(lambda: intake.reports)
        await until(lambda: any("$ProxmoxMCP" in flags for flags in dovecot.flags()))
        await asyncio.sleep(0.5)
    assert intake.subjects == ["vzdump backup status (pve1.example.com): backup failed"]
    report = next(iter(intake.reports.values()))
    assert (report.verdict.kind, report.verdict.node, report.trust) == ("backup.job.failed", "pve1", "unauthenticated")
    assert report.metadata["folder"] == "INBOX"
    assert report.metadata["message_id"] == "<backup-1@pve.example.com>"
    marked = [flags - {"\\Recent"} for flags in dovecot.flags()]
    assert marked == [set(), {"$ProxmoxMCP"}, set()], "the old one, ours, Ann's"
    assert took < 30, "IDLE tells it: the next poll is later"


async def test_a_restart_reads_what_came_meanwhile_once(dovecot: Dovecot) -> None:
    intake = MemoryIntake()
    async with reading(dovecot, intake):
        pass
    for number in range(45):
        dovecot.deliver(proxmox(number))
    async with reading(dovecot, intake):
        await until(lambda: len(intake.reports) == 45)
    async with reading(dovecot, intake):
        await asyncio.sleep(0.3)
    assert len(intake.reports) == 45
    assert intake.again == []
    assert sum("$ProxmoxMCP" in flags for flags in dovecot.flags()) == 45


@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_encrypted(dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch, security: str) -> None:
    changes = {"security": security, "port": dovecot.tls_port if security == "tls" else dovecot.port}
    intake = MemoryIntake()
    async with listening(EmailListener(dovecot.settings(**changes)), intake):
        await until(lambda: intake.bad)
        assert "certificate of 127.0.0.1 is not trusted" in intake.bad
        assert "SSL_CERT_FILE" in intake.bad
    monkeypatch.setenv("SSL_CERT_FILE", str(dovecot.certificate))
    async with reading(dovecot, intake, **changes):
        dovecot.deliver(proxmox(1, body="x" * 60 + "\n" + ("y" * 70 + "\n") * 20_000))
        await until(lambda: intake.reports)


async def test_marking_as_read(dovecot: Dovecot) -> None:
    intake = MemoryIntake()
    async with reading(dovecot, intake, processed="seen"):
        dovecot.deliver(proxmox(1))
        dovecot.deliver(letter())
        await until(lambda: intake.reports)
        await until(lambda: ["\\Seen" in flags for flags in dovecot.flags()] == [False, True, False])


@pytest.mark.parametrize("without", [(), ("MOVE",), ("MOVE", "UIDPLUS")])
async def test_moving(tmp_path: Path, without: tuple[str, ...]) -> None:
    """Into a folder that is made for it; what is not ours stays."""
    words = [word for word in ("IMAP4rev1", "IDLE", "UIDPLUS", "MOVE", "LITERAL+") if word not in without]
    async with Dovecot(tmp_path / "dovecot", config=[f"imap_capability = {' '.join(words)}"]) as dovecot:
        intake = MemoryIntake()
        async with reading(dovecot, intake, processed="move:Erledigt/Köln & mehr"):
            dovecot.deliver(proxmox(1))
            dovecot.deliver(letter())
            await until(lambda: intake.reports)
            rest = [{"\\Deleted"}, set()] if "UIDPLUS" in without else [set()]
            await until(lambda: [flags - {"\\Recent"} for flags in dovecot.flags()] == rest)
            assert len(dovecot.flags('"Erledigt/K&APY-ln &- mehr"')) == 1
            dovecot.deliver(proxmox(2))
            await until(lambda: len(intake.reports) == 2)
        assert intake.again == []


async def test_without_idle_it_polls(tmp_path: Path) -> None:
    async with Dovecot(tmp_path / "dovecot", config=["imap_capability = IMAP4rev1 UIDPLUS"]) as dovecot:
        intake = MemoryIntake()
        async with reading(dovecot, intake, poll_interval=0.2):
            assert intake.good == "INBOX every 0.2 s"
            dovecot.deliver(proxmox(1))
            await until(lambda: intake.reports)


async def test_several_folders(dovecot: Dovecot) -> None:
    """More than there are connections for, one of another alphabet, one that is not there."""
    names = ["INBOX", "Überwachung/Köln", "日本語", "a", "b", "c", "d"]
    for name in names[1:]:
        dovecot.deliver(letter(), name)
    intake = MemoryIntake()
    async with listening(EmailListener(dovecot.settings(folders=(*names, "missing"), poll_interval=0.3)), intake):
        await until(lambda: "missing" in intake.bad and len(intake.cursors) == len(names), why=lambda: intake.bad)
        assert "The folder missing cannot be opened" in intake.bad
        assert "日本語" in intake.bad, "it says which there are"
        for number, name in enumerate(names):
            dovecot.deliver(proxmox(number), "" if name == "INBOX" else name)
        await until(lambda: len(intake.reports) == len(names), why=lambda: intake.subjects)
    assert {report.metadata["folder"] for report in intake.reports.values()} == set(names)


async def test_the_same_mail_in_two_folders_is_one(dovecot: Dovecot) -> None:
    dovecot.deliver(letter(), "Copies")
    intake = MemoryIntake()
    async with reading(dovecot, intake, folders=("INBOX", "Copies")):
        await until(lambda: len(intake.cursors) == 2)
        dovecot.deliver(proxmox(1))
        dovecot.deliver(b"Delivered-To: copies@example.org\r\n" + proxmox(1), "Copies")
        await until(lambda: intake.again)
    assert len(intake.reports) == 1


async def test_a_restarted_server_is_found_again(dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap, "FIRST", 0.1)
    intake = MemoryIntake()
    async with reading(dovecot, intake):
        await dovecot.stop()
        await until(lambda: intake.bad)
        dovecot.deliver(proxmox(1))
        await dovecot.start()
        await until(lambda: intake.reports)
        assert intake.good


async def test_a_silent_server_is_noticed(dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line stays open, and nothing comes: IDLE is asked for anew, and that answer is missed."""
    monkeypatch.setattr(imap, "FIRST", 0.1)
    monkeypatch.setattr(imap, "RENEWED", 0.5)
    monkeypatch.setattr("mqtt_bridge.listeners.imap_session.COMMAND", 0.5)
    intake = MemoryIntake()
    async with reading(dovecot, intake):
        dovecot.freeze()
        await until(lambda: "died during IDLE" in intake.bad)
        dovecot.freeze(stop=False)
        dovecot.deliver(proxmox(1))
        await until(lambda: intake.reports)


async def test_a_wrong_password_is_not_tried_again_soon(dovecot: Dovecot, caplog: pytest.LogCaptureFixture) -> None:
    intake = MemoryIntake()
    changes = {"password": Secret("the-wrong-one-é"), "folders": ("INBOX", "b", "c")}
    async with listening(EmailListener(dovecot.settings(**changes)), intake):
        await until(lambda: "refused the login" in intake.bad)
        assert "EVENT_EMAIL_PASSWORD" in intake.bad
        assert "the-wrong-one" not in intake.bad + caplog.text
        await asyncio.sleep(1.5)
    assert imap_gate.REFUSED >= 300
    log = (dovecot.home / "log").read_text()
    assert len(re.findall("Aborted login|auth failed", log)) <= 1, "one try for all folders"


async def test_a_full_journal_loses_no_mail(dovecot: Dovecot) -> None:
    intake = MemoryIntake()
    async with reading(dovecot, intake):
        intake.trouble = IntakeFullError("The queue of events is full.")
        dovecot.deliver(proxmox(1))
        await until(lambda: "queue of events is full" in intake.bad)
        assert not any("$ProxmoxMCP" in flags for flags in dovecot.flags())
        intake.trouble = None
        await until(lambda: intake.reports)
        await until(lambda: intake.good)


async def test_uids_made_anew(dovecot: Dovecot) -> None:
    """After a restore or migration of the mailbox: what is known makes no second event, what is not makes one."""
    dovecot.deliver(proxmox("very old"), arrived=time.time() - 400 * 86400)
    intake = MemoryIntake()
    async with reading(dovecot, intake):
        dovecot.deliver(proxmox(1))
        await until(lambda: intake.reports)
    before = intake.cursors["INBOX"]
    dovecot.deliver(proxmox(2))
    await dovecot.stop()
    await asyncio.sleep(1.1)  # UIDVALIDITY is the time in seconds
    dovecot.forget_uids()
    await dovecot.start()
    async with reading(dovecot, intake):
        await until(lambda: len(intake.reports) >= 2 and intake.cursors["INBOX"] != before)
        await asyncio.sleep(0.3)
    assert "vzdump backup status (pve2.example.com): backup failed" in intake.subjects
    assert not any("very old" in subject for subject in intake.subjects), "that was there before we were"


async def test_odd_mails(dovecot: Dovecot) -> None:
    """Whatever comes, what comes after it is read."""
    noise = random.Random(1)  # noqa: S311
    intake = MemoryIntake()
    async with reading(dovecot, intake):
        dovecot.deliver(b"")
        dovecot.deliver(b"\0\xff" * 500)
        dovecot.deliver(noise.randbytes(20_000))
        dovecot.deliver(
            b"From: root@pve1\r\nSubject: =?utf-8?B?broken\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x"
        )
        dovecot.deliver(
            b"Subject: deep\r\n"
            + b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(2000))
        )
        bomb = b"<div>" * 300_000 + b"vzdump" + b"&nbsp;" * 100_000
        dovecot.deliver(b"Subject: bomb\r\nContent-Type: text/html\r\n\r\n" + bomb + b"\r\n")
        dovecot.deliver(proxmox("last"))
        await until(lambda: any("pvelast" in subject for subject in intake.subjects), 60)


async def test_a_huge_mail_becomes_an_event_by_its_beginning(dovecot: Dovecot) -> None:
    intake = MemoryIntake()
    async with reading(dovecot, intake):
        dovecot.deliver(proxmox(1, body=("z" * 75 + "\n") * 400_000))
        dovecot.deliver(letter().replace(b"Shall we?", b"A" * 30_000_000))
        dovecot.deliver(proxmox(2, body=("z" * 75 + "\n") * 20_000))
        await until(lambda: len(intake.reports) == 2)
    huge, large = intake.reports.values()
    assert huge.metadata["truncated"] is True
    assert int(huge.metadata["size"]) > 30_000_000
    assert huge.verdict.kind == large.verdict.kind == "backup.job.failed"
    assert "truncated" not in large.metadata


CHILD = """
import asyncio, sys
from pathlib import Path
from mqtt_bridge.listeners.imap import EmailListener
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.listening import EmailInSettings
from tests.support.mail_intake import MemoryIntake
_, file, port, user, password = sys.argv
settings = EmailInSettings("127.0.0.1", int(port), user, Secret(password), security="none", processed="move:Done")
intake = MemoryIntake(Path(file), delay=0.02)
asyncio.run(EmailListener(settings).run(intake))
"""


async def test_killed_half_way_nothing_is_lost_and_nothing_twice(dovecot: Dovecot, tmp_path: Path) -> None:
    ledger, mails = tmp_path / "ledger", 200
    settings = dovecot.settings()
    command = [sys.executable, "-c", CHILD, str(ledger), str(dovecot.port), settings.username, PASSWORD]
    deaths = 0

    async def started() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2])

    child = await started()
    try:
        await until(lambda: ledger.exists() and ledger.read_text())
        for number in range(mails):
            dovecot.deliver(proxmox(number))
            if number % 40 == 39:
                await asyncio.sleep(random.Random(number).uniform(0.2, 0.8))  # noqa: S311
                child.send_signal(signal.SIGKILL)
                await child.wait()
                deaths += 1
                child = await started()
        await until(lambda: len(set(seen(ledger))) == mails, 60, lambda: len(seen(ledger)))
        await until(lambda: dovecot.flags() in ([], [{"\\Recent"}], [set()]), 20)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert deaths == 5
    assert len(seen(ledger)) == mails, "none twice"
    assert len(dovecot.flags("Done")) == mails


def seen(ledger: Path) -> list[str]:
    return re.findall(r"<backup-\d+@pve.example.com> [0-9a-f]{64}", ledger.read_text())


async def test_no_imap_there_is_said(tmp_path: Path) -> None:
    """Something else answers, then nothing does."""

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ESMTP\r\n")
        await reader.read()
        writer.close()

    intake = MemoryIntake()
    async with await asyncio.start_server(other, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        settings = Dovecot(tmp_path, port=port).settings()
        async with listening(EmailListener(settings), intake):
            await until(lambda: "does not greet as an IMAP server: 220 mail ESMTP" in intake.bad)
    async with listening(EmailListener(settings), intake):
        await until(lambda: "cannot be reached" in intake.bad)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"* OK hi\r\n* " + b"x" * 3_000_000, "too long"),
        (b"* OK hi\r\n* 1 FETCH {99999999}\r\n", "more than was asked for"),
        (b"* BYE too busy\r\n", "too busy"),
        (b"* OK hi\r\n", "No answer to CAPABILITY"),
        (b"* OK hi\r\n" + b"* 1 EXISTS\r\n" * 60_000, "50000 lines"),
    ],
)
async def test_hostile_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, reason: str) -> None:
    async def hostile(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await reader.read()
        writer.close()

    monkeypatch.setattr(imap_wire.Wire.command, "__kwdefaults__", {"answer": b"", "limit": 1.0})
    intake = MemoryIntake()
    async with await asyncio.start_server(hostile, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with listening(EmailListener(Dovecot(tmp_path, port=port).settings()), intake):
            await until(lambda: reason in intake.bad, why=lambda: intake.bad)
