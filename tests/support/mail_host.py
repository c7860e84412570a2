"""A mail server on loopback that answers as real ones do, on good days and on bad ones. What it took is kept."""

# ruff: noqa: N802 -- the names of aiosmtpd's hooks

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, Literal

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.notifying import EmailOutSettings

USER, PASSWORD = "alerts@example.org", "pa55-of-the-mailbox"
SENDER, RECIPIENT = "proxmox@example.org", "ann@example.org"
Security = Literal["starttls", "tls", "none"]


@dataclass
class MailHost:
    """`refuse` answers RCPT by address, `verdict` the mail; `pause` seconds before it, `cut` hangs up instead of it."""

    port: int = 0
    refuse: dict[str, str] = field(default_factory=dict)
    sender_refused: str = ""
    verdict: str = "250 2.0.0 Ok: queued as 4X1"
    login: str = ""
    pause: float = 0
    cut: Literal["", "before", "after"] = ""
    taken: list[tuple[tuple[str, ...], bytes]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)

    @property
    def mails(self) -> list[EmailMessage]:
        return [message_from_bytes(raw, policy=default) for _, raw in self.taken]

    def settings(self, **changes: Any) -> EmailOutSettings:
        given: dict[str, Any] = {
            "server": "127.0.0.1",
            "port": self.port,
            "security": "none",
            "sender": SENDER,
            "recipients": (RECIPIENT,),
        }
        return EmailOutSettings(**given | changes)

    def logged_in(self, **changes: Any) -> EmailOutSettings:
        return self.settings(**{"username": USER, "password": Secret(PASSWORD)} | changes)

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.options += options
        if self.sender_refused:
            return self.sender_refused
        envelope.mail_from = address
        return "250 2.1.0 Ok"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        await asyncio.sleep(self.pause)
        if self.cut == "before":
            _hang_up(server)
            return "451 never seen"
        if self.verdict.startswith("250"):
            self.taken.append((tuple(envelope.rcpt_tos), envelope.original_content or b""))
        if self.cut == "after":
            _hang_up(server)
        return self.verdict

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any
    ) -> AuthResult:
        self.logins.append(mechanism)
        assert isinstance(given, LoginPassword)
        if given.login != USER.encode() or given.password != PASSWORD.encode():
            return AuthResult(success=False, handled=False, message=self.login or "535 5.7.8 Authentication failed")
        return AuthResult(success=True)


def _hang_up(server: SMTP) -> None:
    assert isinstance(server.transport, asyncio.WriteTransport)
    server.transport.abort()


@asynccontextmanager
async def mail_host(
    *,
    security: Security = "none",
    certificate: Path | None = None,
    login: bool = False,
    limit: int = 2**20,
    utf8: bool = True,
) -> AsyncIterator[MailHost]:
    """Runs in this loop. `login`: takes mail only after one; `limit`: bytes of a mail."""
    host = MailHost()
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    def session() -> SMTP:
        return SMTP(
            host,
            hostname="mx.example.org",
            enable_SMTPUTF8=utf8,
            tls_context=context if security == "starttls" else None,
            require_starttls=security == "starttls",
            auth_required=login,
            auth_require_tls=not login,
            authenticator=host.authenticate if login else None,
            data_size_limit=limit,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, "127.0.0.1", 0, ssl=context if security == "tls" else None)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()


@asynccontextmanager
async def saying(*lines: str) -> AsyncIterator[int]:
    """A server that answers each command with the next of `lines`, and hangs up after the last. Its port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in lines:
            writer.write(line.encode() + b"\r\n")
            if line != lines[-1]:
                await reader.readline()
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
