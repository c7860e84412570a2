"""EMAIL against servers that speak SMTP as the real ones do; what they took is read with the standard library."""

import asyncio
import time
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import aiosmtplib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_bridge.listeners.imap import EmailListener
from mqtt_bridge.listeners.smtp import SmtpListener
from mqtt_bridge.notifiers import email as email_module
from mqtt_bridge.notifiers.email import EmailNotifier
from mqtt_bridge.notifiers.mail_message import Letterhead, Thread, compose
from mqtt_bridge.notifiers.notice import LaterError, Notice, RefusedError, Sent
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.listening import SmtpInSettings
from mqtt_bridge.settings.notifying import EmailOutSettings
from tests.listeners.mails import proxmox
from tests.support.dovecot import Dovecot
from tests.support.https_host import free_port, make_certificate
from tests.support.mail_host import PASSWORD, RECIPIENT, SENDER, MailHost, Security, mail_host, saying
from tests.support.mail_intake import MemoryIntake, listening
from tests.support.notices import notice
from tests.support.processes import until

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")

BOB = "bob@example.org"
BOTH = (RECIPIENT, BOB)


async def send(settings: EmailOutSettings, what: Notice | None = None, *, step: float = 10, whole: float = 20) -> Sent:
    async with EmailNotifier(settings, step=step, whole=whole) as notifier:
        return await notifier.send(what or notice())


def part(mail: EmailMessage, kind: str) -> str:
    found = mail.get_body((kind,))
    assert found is not None
    return str(found.get_content()).replace("\r\n", "\n")


# --- the mail --------------------------------------------------------------------------------------------------------


async def test_a_mail_has_what_people_filters_and_servers_need() -> None:
    async with mail_host() as host:
        sent = await send(host.settings(recipients=(f"Ann <{RECIPIENT}>", BOB)))
    assert sent.answer == f"{RECIPIENT}: sent, 2.0.0 Ok: queued as 4X1; {BOB}: sent, 2.0.0 Ok: queued as 4X1"
    (recipients, raw), mail = host.taken[0], host.mails[0]
    assert recipients == BOTH
    assert mail["From"] == f"Proxmox lab <{SENDER}>"
    assert mail["To"] == f"Ann <{RECIPIENT}>, {BOB}"
    assert mail["Subject"] == "[lab] Error: Backup of VM 101 (web01) failed"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Proxmox-MCP-Severity"] == "error"
    assert mail["X-Proxmox-MCP-Site"] == "lab"
    assert mail["X-Proxmox-MCP-Notice"] == "delivery-1"
    assert abs(mail["Date"].datetime.timestamp() - time.time()) < 60
    assert mail.get_content_type() == "multipart/alternative"
    assert [each.get_content_type() for each in mail.iter_parts()] == ["text/plain", "text/html"]
    assert "No space left on device" in part(mail, "plain")
    assert "<h1" in part(mail, "html")
    assert raw.isascii(), "a server without 8BITMIME takes it too"
    assert max(map(len, raw.splitlines())) < 998


async def test_only_critical_ones_are_urgent_and_only_while_they_last() -> None:
    async with mail_host() as host:
        for number, (kind, severity) in enumerate(
            [("event", "critical"), ("recovery", "critical"), ("event", "error")]
        ):
            await send(host.settings(), notice(id=str(number), kind=kind, severity=severity))
    assert [mail["X-Priority"] for mail in host.mails] == ["1", None, None]


async def test_texts_in_any_language_arrive_as_they_are() -> None:
    title = "Größe von 备份 überschritten: Ωmega"
    async with mail_host() as host:
        await send(host.settings(), notice(title=title, text="Zeile mit €\n.\n..Punkte", log="ERROR: ошибка"))
    mail = host.mails[0]
    assert mail["Subject"] == f"[lab] Error: {title}"
    assert "Zeile mit €\n.\n..Punkte" in part(mail, "plain")
    assert "ошибка" in part(mail, "html")


async def test_an_address_in_another_script() -> None:
    async with mail_host() as host:
        await send(host.settings(recipients=("jürgen@example.org",)))
    assert host.taken[0][0] == ("jürgen@example.org",)
    assert "SMTPUTF8" in host.options


async def test_an_address_in_another_script_that_the_server_does_not_take() -> None:
    async with mail_host(utf8=False) as host:
        with pytest.raises(RefusedError, match="SMTPUTF8"):
            await send(host.settings(recipients=("jürgen@example.org",)))


async def test_a_huge_notice_becomes_a_small_mail() -> None:
    huge = notice(
        title="t" * 10**6,
        text="x " * 10**6,
        log="line of a log\n" * 10**6,
        facts=tuple(("n", "v" * 10**5) for _ in range(500)),
    )
    async with mail_host() as host:
        await send(host.settings(), huge)
    assert len(host.taken[0][1]) < 100_000
    assert part(host.mails[0], "plain").rstrip().endswith("line of a log")


# --- threads ---------------------------------------------------------------------------------------------------------


async def test_an_incident_is_one_thread_with_one_subject() -> None:
    async with mail_host() as host, EmailNotifier(host.settings()) as notifier:
        ref = None
        for number, title in enumerate(["pve2 is offline", "pve2: 6 guests are down", "pve2 is back"]):
            kind = ("event", "update", "recovery")[number]
            ref = (await notifier.send(notice(id=f"d{number}", kind=kind, title=title, previous=ref))).ref
    first, second, third = host.mails
    assert first["In-Reply-To"] is None
    assert (second["In-Reply-To"], second["References"]) == (first["Message-ID"], first["Message-ID"])
    assert third["In-Reply-To"] == second["Message-ID"]
    assert third["References"] == f"{first['Message-ID']} {second['Message-ID']}"
    assert first["Subject"] == "[lab] Error: pve2 is offline"
    assert second["Subject"] == third["Subject"] == "Re: [lab] Error: pve2 is offline"
    assert len({mail["Message-ID"] for mail in host.mails}) == 3
    assert part(third, "plain").startswith("[Recovered] pve2 is back\n")


async def test_the_same_notice_has_the_same_message_id_whenever_it_is_sent() -> None:
    async with mail_host() as host:
        await send(host.settings())
        await send(host.settings())
        await send(host.settings(), notice(id="delivery-2"))
    ids = [mail["Message-ID"] for mail in host.mails]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("previous", ["", "12345", "<a@b> Subject", "<a@b>\r\nBcc: x <c@d> s", "<a@b> <c@d>\nBcc: x"])
def test_a_reference_that_is_none_of_ours_starts_a_thread_or_is_harmless(previous: str) -> None:
    mail = compose(notice(previous=previous), Letterhead(SENDER, (RECIPIENT,)))
    assert b"Bcc" not in mail.content
    assert Thread.read(mail.ref) is not None


# --- injection -------------------------------------------------------------------------------------------------------

_ODD = st.text(max_size=300) | st.sampled_from(
    ["a\r\nBcc: eve@example.org", "=?utf-8?q?=0D=0ABcc:_x?=", "\udcff", "\0", "\u202e", "=??Q?=0D=0A0"]
)


@settings(max_examples=300, deadline=None)
@given(odd=st.tuples(_ODD, _ODD, _ODD, _ODD, _ODD, _ODD), previous=_ODD | st.none())
def test_nothing_that_a_notice_says_becomes_a_header(odd: tuple[str, ...], previous: str | None) -> None:
    title, text, site, incident, label, one = odd
    told = notice(
        id=one, title=title, text=text, site=site, incident=incident, facts=((label, text),), log=text, at=label,
        url=one, previous=previous,
    )  # fmt: skip
    content = compose(told, Letterhead(SENDER, (RECIPIENT,))).content
    head = content.partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0].decode() for line in head.split(b"\r\n") if line[:1] not in b" \t"]
    allowed = {
        "From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted", "MIME-Version",
        "X-Auto-Response-Suppress", "X-Proxmox-MCP-Notice", "X-Proxmox-MCP-Kind", "X-Proxmox-MCP-Severity",
        "X-Proxmox-MCP-Site", "X-Proxmox-MCP-Incident", "Content-Type",
    }  # fmt: skip
    assert set(names) <= allowed
    assert len(names) == len(set(names))
    parsed = message_from_bytes(content, policy=default)
    assert [address.addr_spec for address in parsed["To"].addresses] == [RECIPIENT]
    assert [address.addr_spec for address in parsed["From"].addresses] == [SENDER]
    assert content.isascii()


# --- lines and logins ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_encrypted_and_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, security: Security) -> None:
    certificate = make_certificate(tmp_path, "127.0.0.1").path
    async with mail_host(security=security, certificate=certificate, login=True) as host:
        with pytest.raises(LaterError, match=r"certificate of 127\.0\.0\.1:\d+ is not trusted.*SSL_CERT_FILE"):
            await send(host.logged_in(security=security))
        assert host.logins == []
        await send(host.logged_in(security=security, verify=False))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        await send(host.logged_in(security=security))
    assert len(host.taken) == 2


async def test_the_name_on_the_certificate_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path, "elsewhere.example.org").path
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with mail_host(security="tls", certificate=certificate) as host:
        with pytest.raises(LaterError, match="is not trusted"):
            await send(host.settings(security="tls"))


async def test_without_starttls_nothing_is_sent_in_the_clear() -> None:
    async with mail_host(login=True) as host:
        with pytest.raises(RefusedError, match="offers no STARTTLS.*NOTIFY_EMAIL_SECURITY"):
            await send(host.logged_in(security="starttls"))
    assert (host.logins, host.taken) == ([], [])


async def test_the_wrong_kind_of_encryption_says_so() -> None:
    async with mail_host() as host:
        with pytest.raises(LaterError, match="does not speak TLS as expected.*NOTIFY_EMAIL_SECURITY"):
            await send(host.settings(security="tls"))


async def test_a_wrong_password_is_not_tried_again_soon() -> None:
    async with mail_host(login=True) as host:
        host.login = "535 5.7.8 Username and Password wrong-and-secret not accepted"
        given = host.logged_in(password=Secret("wrong-and-secret"))
        async with EmailNotifier(given) as notifier:
            with pytest.raises(RefusedError, match="NOTIFY_EMAIL_USERNAME and NOTIFY_EMAIL_PASSWORD") as caught:
                await notifier.send(notice())
            tries = len(host.logins)
            with pytest.raises(LaterError, match="login was refused") as waits:
                await notifier.send(notice(id="delivery-2"))
    assert len(host.logins) == tries >= 1
    assert waits.value.after is not None
    assert 250 < waits.value.after <= 300
    assert "535" in str(caught.value)
    assert "wrong-and-secret" not in str(caught.value)


async def test_a_login_that_the_server_wants_and_one_that_it_does_not_take() -> None:
    async with mail_host(login=True) as host:
        with pytest.raises(RefusedError, match="530.*set NOTIFY_EMAIL_USERNAME"):
            await send(host.settings())
    async with mail_host() as host:
        with pytest.raises(RefusedError, match="takes no login here"):
            await send(host.logged_in())


async def test_a_login_that_fails_for_now() -> None:
    async with mail_host(login=True) as host:
        host.login = "454 4.7.0 Temporary authentication failure"
        with pytest.raises(LaterError, match="454"):
            await send(host.logged_in(password=Secret("x")))


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "error", "says"),
    [
        ("451 4.7.1 Greylisted", LaterError, "451 4.7.1 Greylisted"),
        ("452 4.2.2 Mailbox full", LaterError, "452"),
        ("421 4.3.2 Shutting down", LaterError, "421"),
        ("552 5.3.4 Message too big", RefusedError, "refuses the mail: 552 5.3.4 Message too big"),
        ("554 5.7.1 Spam", RefusedError, "refuses the mail: 554 5.7.1 Spam"),
    ],
)
async def test_what_is_said_of_the_mail(verdict: str, error: type[Exception], says: str) -> None:
    async with mail_host() as host:
        host.verdict = verdict
        with pytest.raises(error, match=says):
            await send(host.settings())


async def test_a_mail_that_is_larger_than_the_server_allows() -> None:
    async with mail_host(limit=1000) as host:
        with pytest.raises(RefusedError, match="552"):
            await send(host.settings())


async def test_a_sender_that_is_refused() -> None:
    async with mail_host() as host:
        host.sender_refused = "553 5.7.1 Sender address rejected: not owned by user"
        with pytest.raises(RefusedError, match="refuses the sender: 553.*NOTIFY_EMAIL_FROM"):
            await send(host.settings())


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        ("550 5.1.1 No such user", RefusedError, "550 5.1.1 No such user.*NOTIFY_EMAIL_TO"),
        ("450 4.2.0 Greylisted", LaterError, "450 4.2.0 Greylisted"),
    ],
)
async def test_the_only_recipient_is_refused(answer: str, error: type[Exception], says: str) -> None:
    async with mail_host() as host:
        host.refuse = {RECIPIENT: answer}
        with pytest.raises(error, match=says):
            await send(host.settings())
    assert host.taken == []


async def test_one_recipient_is_refused_for_good_and_the_answer_says_who() -> None:
    async with mail_host() as host:
        host.refuse = {BOB: "550 5.1.1 No such user"}
        sent = await send(host.settings(recipients=BOTH))
    assert host.taken[0][0] == (RECIPIENT,)
    assert f"{RECIPIENT}: sent" in sent.answer
    assert f"{BOB}: refused" in sent.answer
    assert "550 5.1.1 No such user" in sent.answer


async def test_who_has_it_does_not_get_it_again_while_another_waits() -> None:
    async with mail_host() as host, EmailNotifier(host.settings(recipients=BOTH)) as notifier:
        host.refuse = {BOB: "450 4.2.0 Greylisted"}
        for _ in range(2):
            with pytest.raises(LaterError, match=f"{BOB}: not yet.*{RECIPIENT}: sent"):
                await notifier.send(notice())
        host.refuse = {}
        sent = await notifier.send(notice())
    assert [recipients for recipients, _ in host.taken] == [(RECIPIENT,), (BOB,)]
    assert sent.answer.count("sent") == 2
    assert {mail["Message-ID"] for mail in host.mails} == {sent.ref.split()[0]} if sent.ref else False


async def test_addresses_that_are_none() -> None:
    async with mail_host() as host:
        for changes in ({"sender": "nobody"}, {"recipients": ("Ann",)}, {"sender": "a@b\r\nRCPT TO:<c@d>"}):
            with pytest.raises(RefusedError, match="no mail address"):
                await send(host.settings(**changes))


# --- servers in trouble ----------------------------------------------------------------------------------------------


async def test_nobody_listens() -> None:
    settings_ = EmailOutSettings(server="127.0.0.1", port=free_port(), security="none", sender=SENDER, recipients=BOTH)
    with pytest.raises(LaterError, match="cannot be reached.*NOTIFY_EMAIL_SERVER"):
        await send(settings_)


@pytest.mark.parametrize(
    ("lines", "error", "says"),
    [
        (("421 4.3.2 Too many connections",), LaterError, "421"),
        (("554 5.7.1 You are blocked",), RefusedError, "554 5.7.1 You are blocked"),
        (("220 mx", "250 mx", "250 ok"), LaterError, "hung up"),
        (("HTTP/1.1 400 Bad Request",), LaterError, "HTTP/1.1 400"),
        (("220 " + "x" * 200_000,), LaterError, "does not take it for now"),
    ],
)
async def test_what_may_answer_instead(lines: tuple[str, ...], error: type[Exception], says: str) -> None:
    async with saying(*lines) as port:
        with pytest.raises(error, match=says) as caught:
            await send(MailHost(port).settings())
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_cut_off_while_the_mail_is_taken(cut: str) -> None:
    async with mail_host() as host:
        host.cut = cut  # type: ignore[assignment]
        with pytest.raises(LaterError, match="hung up"):
            await send(host.settings())


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    async with mail_host() as host:
        host.pause = 30
        began = time.monotonic()
        with pytest.raises(LaterError, match="did not answer in time"):
            await send(host.settings(), step=0.3)
        with pytest.raises(LaterError, match="did not answer in time"):
            await send(host.settings(), whole=0.5)
    assert time.monotonic() - began < 20


async def test_a_send_can_be_cancelled_at_once() -> None:
    async with mail_host() as host:
        host.pause = 30
        task = asyncio.create_task(send(host.settings()))
        await asyncio.sleep(0.2)
        began = time.monotonic()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert time.monotonic() - began < 10


# --- it does not come back in ----------------------------------------------------------------------------------------


async def test_our_mail_to_our_own_smtp_listener_is_no_event() -> None:
    listener, intake = SmtpListener(SmtpInSettings(port=0)), MemoryIntake()
    async with listening(listener, intake):
        await until(lambda: intake.good)
        sent = await send(MailHost(listener.port).settings())
    assert sent.answer
    assert intake.reports == {}
    assert intake.rejected == {"our own notification": 1}


async def test_a_bounce_of_our_mail_to_our_own_smtp_listener_is_no_event_and_another_is() -> None:
    listener, intake = SmtpListener(SmtpInSettings(port=0)), MemoryIntake()
    ours = compose(notice(), Letterhead(SENDER, (RECIPIENT,))).content
    async with listening(listener, intake), asyncio.timeout(20):
        await until(lambda: intake.good)
        for mail in (_bounce(ours), _bounce(proxmox(1)), proxmox(2, body="X-Proxmox-MCP-Notice: forged")):
            await aiosmtplib.send(
                mail, sender=SENDER, recipients=[RECIPIENT], hostname="127.0.0.1", port=listener.port, start_tls=False
            )
    assert intake.rejected == {"our own notification": 1}
    assert len(intake.reports) == 2


async def test_our_mail_and_its_bounce_in_a_mailbox_that_we_read_are_no_events(tmp_path: Path) -> None:
    ours = compose(notice(), Letterhead(SENDER, (RECIPIENT,))).content
    intake = MemoryIntake()
    async with Dovecot(tmp_path / "dovecot") as server, listening(EmailListener(server.settings()), intake):
        await until(lambda: intake.good, why=lambda: intake.bad)
        server.deliver(ours)
        server.deliver(_bounce(ours))
        server.deliver(proxmox(1))
        await until(lambda: intake.reports)
        await asyncio.sleep(0.3)
    assert intake.subjects == ["vzdump backup status (pve1.example.com): backup failed"]


def _bounce(mail: bytes) -> bytes:
    return (
        b"From: MAILER-DAEMON@mx.example.org (Mail Delivery System)\r\nTo: " + SENDER.encode() + b"\r\n"
        b"Subject: Undelivered Mail Returned to Sender\r\nMessage-ID: <b@mx.example.org>\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="B"\r\n\r\n'
        b"--B\r\nContent-Type: text/plain\r\n\r\nvzdump backup status (pve1): backup failed\r\n"
        b"--B\r\nContent-Type: message/rfc822\r\n\r\n" + mail + b"\r\n--B--\r\n"
    )


async def test_the_password_is_in_no_error_and_no_representation() -> None:
    async with mail_host(login=True) as host:
        host.login = f"535 {PASSWORD}x is wrong"
        with pytest.raises(RefusedError) as caught:
            await send(host.logged_in(password=Secret(PASSWORD + "x")))
    assert PASSWORD not in f"{caught.value!r} {host.logged_in()!r} {email_module.EmailNotifier(host.logged_in())!r}"
