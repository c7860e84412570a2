"""One conversation with a sender of mail: aiosmtpd's protocol, with the limits that it lacks.

aiosmtpd keeps every line of a mail as an object of its own (10 MB of empty lines take 600 MB) and all of a line that
never ends, lets a sender stay that reads no answers, and looks its own name up in DNS.
"""

# ruff: noqa: N802, ARG002 -- the names and shapes of these methods are aiosmtpd's

import asyncio
import hmac
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, Envelope, LoginPassword, Session

from mqtt_bridge.listeners.places import Places, Seat
from mqtt_bridge.listeners.sources import Sources
from mqtt_bridge.settings.listening import SmtpInSettings

log = logging.getLogger(__name__)

CONNECTIONS, PER_SOURCE = 50, 20  # beyond them, who is silent for a second makes room
COMMAND, DATA = 60.0, 120.0  # seconds: between two commands, and for a whole mail
LONGEST_TALK = 600.0  # seconds that one connection may last
IN_FLIGHT = 64 * 1024 * 1024  # bytes of unfinished mails of all connections together
_COMMANDS = {"*": 1000, "AUTH": 3, "NOOP": 20, "VRFY": 5, "EXPN": 5, "HELP": 5, "EHLO": 10, "HELO": 10, "RSET": 1000}
_RECIPIENTS = 100  # of one mail
_LOGIN_PAUSE = 2.0  # seconds that another login waits after a refused one
_END = b"\r\n.\r\n"

# Its warnings repeat what strangers send, at their speed; what matters of that is counted by us.
logging.getLogger("mail.log").setLevel(logging.ERROR)

Take = Callable[[bytes, bool], Awaitable[str]]  # a mail, and whether its sender has logged in: the answer


@dataclass
class Doors:
    """What all connections share. `take` gets a whole mail, `reject` the reason of a refusal."""

    settings: SmtpInSettings
    take: Take
    reject: Callable[[str], None]
    open: set["Conversation"] = field(default_factory=set)
    places: Places = field(default_factory=lambda: Places(CONNECTIONS, PER_SOURCE))
    in_flight: int = 0
    refused_login: bool = False

    def __post_init__(self) -> None:
        allowed = self.settings.allowed_sources
        self._sources = Sources(allowed)
        self._everybody = bool(self.settings.username) and not allowed

    def refusal(self, ip: str) -> tuple[str, str] | None:
        """Reason and answer for who may not come in; None: welcome."""
        if not self._everybody and not self._sources.allows(ip):
            return "source not allowed", "554 5.7.1 This address may not send mail here (EVENT_SMTP_ALLOWED_SOURCES)"
        if self.places.find(ip):
            return "too many connections", "421 4.7.0 Too many connections, try again later"
        return None

    def right_login(self, login: LoginPassword) -> bool:
        """In constant time, and both parts whatever the first says."""
        password = self.settings.password.reveal() if self.settings.password else ""
        user_fits = hmac.compare_digest(login.login, self.settings.username.encode())
        return hmac.compare_digest(login.password, password.encode()) and user_fits and bool(password)

    def wants(self, recipient: str) -> bool:
        patterns = self.settings.recipients
        return not patterns or any(fnmatchcase(recipient.casefold(), pattern.casefold()) for pattern in patterns)


class Handler:
    """aiosmtpd's hooks: what is answered to each command."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors

    async def handle_AUTH(self, server: SMTP, session: Session, envelope: Envelope, args: list[str]) -> Any:
        if self._doors.refused_login:
            self._doors.refused_login = False
            await asyncio.sleep(_LOGIN_PAUSE)
        return MISSING

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._doors.settings.username and not session.authenticated:
            self._doors.reject("not logged in")
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= _RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        if not self._doors.wants(address):
            self._doors.reject("recipient not wanted")
            return "550 5.1.1 Nobody of that name here, and no mail is relayed (EVENT_SMTP_RECIPIENTS)"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_exception(self, error: Exception) -> str:
        log.warning("A conversation over SMTP failed: %r", error)
        self._doors.reject("broken conversation")
        return "451 4.3.0 Something went wrong here"


class Conversation(SMTP):
    """One connection."""

    line_length_limit = 2048  # of a command: mail is read by ourselves

    def __init__(self, doors: Doors, loop: asyncio.AbstractEventLoop) -> None:
        self.command_size_limits = defaultdict(lambda: 512)  # the class's own is shared by all connections, and grows
        login = bool(doors.settings.username)
        super().__init__(
            Handler(doors),
            hostname="proxmox-mcp",
            ident="ESMTP",
            data_size_limit=doors.settings.max_size,
            enable_SMTPUTF8=True,
            timeout=COMMAND,
            auth_require_tls=not login,  # without TLS there is then no AUTH to be offered
            authenticator=self._authenticate_login,
            command_call_limit=_COMMANDS,
            loop=loop,
        )
        self._doors = doors
        self._mail: bytearray | None = None
        self._received, self._too_large = 0, False
        self._held = 0
        self._finished: asyncio.Future[bytes | None] | None = None
        self._seat: Seat | None = None  # None: not welcome
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.transport is not None:
            return
        ip = str((transport.get_extra_info("peername") or ("",))[0])
        refusal = self._doors.refusal(ip)
        if refusal:
            reason, answer = refusal
            self._doors.reject(reason)
            assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 -- for the type checker
            transport.write(answer.encode() + b"\r\n")
            transport.close()
            return
        self._seat = Seat(ip, lambda: self._cut_off("too many connections"))
        self._doors.places.seat(self._seat)
        self._doors.open.add(self)
        self._end = self.loop.call_later(LONGEST_TALK, self._timeout_cb)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._seat is None:
            return
        self._doors.open.discard(self)
        self._doors.places.leave(self._seat)
        self._release()
        if self._end:
            self._end.cancel()
        super().connection_lost(error)

    def eof_received(self) -> bool | None:
        return super().eof_received() if self._seat else False

    def _timeout_cb(self) -> None:
        """Cut off: a polite close would wait for a sender that reads nothing."""
        self._cut_off("too slow")

    def _cut_off(self, reason: str) -> None:
        self._doors.reject(reason)
        self.abort()

    def abort(self) -> None:
        """Cut the connection now."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._seat is None:
            return
        if self._mail is None:
            if b"\n" in data:
                self._seat.heard()
            super().data_received(data)
            return
        seen = max(0, len(self._mail) - len(_END))
        self._mail += data
        self._received += len(data)
        self._hold(len(data))
        end = self._mail.find(_END, seen)
        if end >= 0:
            self._complete(end)
        elif self._received > 2 * self._doors.settings.max_size:
            self._cut_off("too large")
        elif self._received > self._doors.settings.max_size:
            self._too_large = True
            self._hold(len(_END) - len(self._mail))
            del self._mail[: -len(_END)]
        elif self._doors.in_flight > IN_FLIGHT:
            self._cut_off("too many large mails at once")

    def _complete(self, end: int) -> None:
        """Hand the mail over; what follows it are commands."""
        if self._mail is None or self._finished is None or self._finished.done():
            return
        rest = bytes(self._mail[end + len(_END) :])
        del self._mail[end + 2 :]
        self._finished.set_result(None if self._too_large else bytes(self._mail[2:]))
        self._mail = None
        if rest:
            super().data_received(rest)

    def _hold(self, size: int) -> None:
        self._held += size
        self._doors.in_flight += size

    def _release(self) -> None:
        self._mail = None
        self._hold(-self._held)

    async def smtp_DATA(self, arg: str | None) -> None:
        """Take a mail; the answer follows its commit."""
        if await self.check_helo_needed():
            return
        if arg or self.envelope is None or not self.envelope.rcpt_tos:
            await self.push("501 Syntax: DATA" if arg else "503 Error: need RCPT command")
            return
        self._finished = self.loop.create_future()
        self._mail = bytearray(b"\r\n")  # so that the end is found in an empty mail too
        self._received, self._too_large = 0, False
        self._reset_timeout(DATA)
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        try:
            answer = await self._received_and_answered(self._finished)
        finally:
            self._release()
        self._set_post_data_state()  # type: ignore[no-untyped-call]
        await self.push(answer)

    async def _received_and_answered(self, finished: "asyncio.Future[bytes | None]") -> str:
        """Who is in the middle of a mail gives up his place after those who are not; who waits for us, never."""
        assert self._seat  # noqa: S101 -- it talks
        self._seat.rank = 1
        try:
            mail = await finished
            self._seat.busy = True
            self._reset_timeout()
            return await self._answer(mail)
        finally:
            self._seat.rank, self._seat.busy = 0, False
            self._seat.heard()

    async def _answer(self, mail: bytes | None) -> str:
        if mail is None or len(mail) > self._doors.settings.max_size:
            self._doors.reject("too large")
            return f"552 5.3.4 A mail may have {self._doors.settings.max_size} bytes at most (EVENT_SMTP_MAX_SIZE)"
        mail = mail.replace(b"\r\n..", b"\r\n.")
        mail = mail[1:] if mail.startswith(b".") else mail
        return await self._doors.take(mail, bool(self.session and self.session.authenticated))

    async def smtp_VRFY(self, arg: str | None) -> None:
        await self.push("502 5.5.1 VRFY is not available")

    async def smtp_HELP(self, arg: str | None) -> None:
        await self.push("214 2.0.0 Mail of Proxmox becomes events here; nothing is relayed")

    def _authenticate_login(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        if isinstance(data, LoginPassword) and self._doors.right_login(data):
            return AuthResult(success=True)
        self._doors.refused_login = True
        self._doors.reject("wrong login")
        return AuthResult(success=False, handled=False)
