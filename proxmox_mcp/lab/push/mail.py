"""Notifications as mails, in the layouts of Proxmox's SMTP targets (lettre) and of its sendmail targets."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING

from . import loopback
from .model import PushError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .model import Notification

TIMEOUT = 5.0
"""Seconds, as Proxmox's SMTP targets wait."""
PORTS = {"insecure": 25, "starttls": 587, "tls": 465}


@dataclass(frozen=True, slots=True)
class Server:
    host: str
    port: int
    mode: str = "insecure"
    username: str = ""
    password: str = ""


def compose(note: Notification, author: str, sender: str, to: Sequence[str], *, sendmail: bool) -> EmailMessage:
    """Write the mail; addresses that are none are a `PushError`."""
    try:
        return _compose(note, author, sender, to, sendmail=sendmail)
    except ValueError as error:
        raise PushError(str(error)) from error


def _compose(note: Notification, author: str, sender: str, to: Sequence[str], *, sendmail: bool) -> EmailMessage:
    """A forwarded mail has its text alone."""
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = note.title.strip()
    mail["From"] = f"{author} <{sender}>"
    mail["To"] = ", ".join(to)
    mail["Date"] = format_datetime(datetime.fromtimestamp(note.timestamp, UTC))
    mail["Auto-Submitted"] = "auto-generated;"
    mail.set_content(note.text, charset="utf-8", cte=_encoding(note.text))
    if not note.forwarded:
        mail.add_alternative(note.html, subtype="html", charset="utf-8", cte=_encoding(note.html))
    if sendmail and not note.forwarded:
        mail.preamble = "This is a multi-part message in MIME format.\n"
        mail.set_boundary(f"----_=_NextPart_002_{note.timestamp}")
    return mail


def _encoding(text: str) -> str:
    return "7bit" if text.isascii() and max(map(len, text.split("\n"))) < 990 else "base64"  # noqa: PLR2004 - RFC 5322


async def send(server: Server, mail: EmailMessage) -> None:
    """Deliver in a thread; a `PushError` says what the server or the network had against it."""
    try:
        await asyncio.to_thread(_deliver, server, mail)
    except (smtplib.SMTPException, ssl.SSLError, OSError, loopback.NotLoopbackError) as error:
        raise PushError(str(error)) from error


def _deliver(server: Server, mail: EmailMessage) -> None:
    loopback.require(server.host)
    context = ssl.create_default_context() if server.mode != "insecure" else None  # takes 20 ms
    client: smtplib.SMTP
    if server.mode == "tls":
        client = smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT, context=context)
    else:
        client = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT)
    with client:
        if server.mode == "starttls":
            client.starttls(context=context)
        if server.username:
            client.login(server.username, server.password)
        client.send_message(mail)
