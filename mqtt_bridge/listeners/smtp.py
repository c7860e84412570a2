"""SMTP: a small receiver of mail, for Proxmox's SMTP targets and the relays of its hosts. It delivers nothing further.

Its 250 follows the commit: a sender that queues tries again after anything else, and a mail sent twice is one event.
"""

import asyncio
import errno
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from mqtt_bridge.intake import Intake, IntakeFullError, JournalError
from mqtt_bridge.listeners import mail_report
from mqtt_bridge.settings import is_loopback
from mqtt_bridge.settings.listening import SmtpInSettings

if TYPE_CHECKING:
    from mqtt_bridge.listeners.smtp_session import Doors

log = logging.getLogger(__name__)

AGAIN = "451 4.3.0 Not now, try again later"
ACCEPTED = "250 2.0.0 Accepted"
_COMMIT = 30.0  # seconds that a sender waits for it
_RETRY = 10.0  # seconds between two tries to listen


def open_to_strangers(settings: SmtpInSettings) -> str:
    """Why it must not start: anybody could tell of events. Empty: it may."""
    if is_loopback(settings.host) or settings.allowed_sources or (settings.username and settings.password):
        return ""
    return (
        f"EVENT_SMTP_LISTEN_HOST={settings.host} can be reached by others, and anybody could send events: "
        "set EVENT_SMTP_ALLOWED_SOURCES to the addresses of your hosts, or EVENT_SMTP_USERNAME and EVENT_SMTP_PASSWORD."
    )


class SmtpListener:
    """Listens on one address."""

    name = "SMTP"

    def __init__(self, settings: SmtpInSettings) -> None:
        self._settings = settings
        self.port = settings.port  # the one that it listens on, where any was asked for (0)

    async def run(self, intake: Intake) -> None:
        from mqtt_bridge.listeners.smtp_session import Conversation, Doors  # noqa: PLC0415 -- only where it is used

        if problem := open_to_strangers(self._settings):
            intake.unhealthy(problem)
            await asyncio.Event().wait()

        async def take(mail: bytes, authenticated: bool) -> str:
            return await self._take(intake, mail, authenticated=authenticated)

        doors = Doors(self._settings, take, intake.reject)
        loop = asyncio.get_running_loop()
        server = await self._listen(intake, lambda: Conversation(doors, loop))
        self.port = server.sockets[0].getsockname()[1]
        intake.healthy(f"listening on {self._settings.host}:{self.port}")
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            _hang_up(doors)

    async def _listen(self, intake: Intake, made: Callable[[], asyncio.Protocol]) -> asyncio.Server:
        """As soon as the port can be had."""
        while True:
            try:
                return await asyncio.get_running_loop().create_server(
                    made,
                    self._settings.host,
                    self.port,
                    backlog=128,
                )
            except OSError as error:
                intake.unhealthy(cannot_listen(self._settings, error))
                await asyncio.sleep(_RETRY)

    async def _take(self, intake: Intake, mail: bytes, *, authenticated: bool) -> str:
        verdict = await mail_report.understood(mail)
        report = mail_report.report(mail, verdict, "authenticated" if authenticated else "unauthenticated")
        try:
            async with asyncio.timeout(_COMMIT):
                await intake([report])
        except (IntakeFullError, JournalError, TimeoutError) as error:
            log.warning("A mail was not accepted: %s", error or "the commit took too long")
            return AGAIN
        return ACCEPTED


def cannot_listen(settings: SmtpInSettings, error: OSError) -> str:
    """Cause and cure."""
    where = f"Cannot listen on {settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where}: another program does. Stop it (ss -ltnp shows it), or choose another EVENT_SMTP_LISTEN_PORT."
    if error.errno == errno.EACCES:
        return f"{where}: ports below 1024 need privileges. Choose a higher EVENT_SMTP_LISTEN_PORT, e.g. 2525."
    return f"{where}: {error.strerror or error}. Set EVENT_SMTP_LISTEN_HOST to an address of this machine."


def _hang_up(doors: "Doors") -> None:
    for conversation in list(doors.open):
        conversation.abort()
