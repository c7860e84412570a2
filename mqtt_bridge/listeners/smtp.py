"""SMTP: a small receiver of mail, for Proxmox's SMTP targets and the relays of its hosts. It delivers nothing further.

Its 250 follows the commit: a sender that queues tries again after anything else, and a mail sent twice is one event.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from mqtt_bridge.events.intake import Intake, IntakeFullError, JournalError
from mqtt_bridge.listeners import mail_report
from mqtt_bridge.listeners.sockets import Place, bind_patiently, shown
from mqtt_bridge.own_mail import is_ours
from mqtt_bridge.settings import is_loopback
from mqtt_bridge.settings.listening import SmtpInSettings

if TYPE_CHECKING:
    from mqtt_bridge.listeners.smtp_session import Doors

log = logging.getLogger(__name__)

AGAIN = "451 4.3.0 Not now, try again later"
ACCEPTED = "250 2.0.0 Accepted"
_COMMIT = 30.0  # seconds that a sender waits for it


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
        self.place = Place(settings.host, settings.port, "EVENT_SMTP_LISTEN_HOST", "EVENT_SMTP_LISTEN_PORT")

    async def run(self, intake: Intake) -> None:
        from mqtt_bridge.listeners.smtp_session import Conversation, Doors  # noqa: PLC0415 -- only where it is used

        if problem := open_to_strangers(self._settings):
            intake.unhealthy(problem)
            await asyncio.Event().wait()

        async def take(mail: bytes, authenticated: bool) -> str:
            return await self._take(intake, mail, authenticated=authenticated)

        doors = Doors(self._settings, take, intake.reject)
        loop = asyncio.get_running_loop()
        bound = await bind_patiently(self.place, ("tcp",), intake)
        servers = [await loop.create_server(lambda: Conversation(doors, loop), sock=each) for each in bound]
        self.port = bound[0].getsockname()[1]
        intake.healthy(f"listening on {shown(self._settings.host, self.port)}")
        try:
            await asyncio.Event().wait()
        finally:
            for server in servers:
                server.close()
            _hang_up(doors)

    async def _take(self, intake: Intake, mail: bytes, *, authenticated: bool) -> str:
        if is_ours(mail_report.headers(mail), mail):  # refused, it would come back to us as a bounce
            intake.reject("our own notification")
            return ACCEPTED
        verdict = await mail_report.understood(mail)
        report = mail_report.report(mail, verdict, "authenticated" if authenticated else "unauthenticated")
        try:
            async with asyncio.timeout(_COMMIT):
                await intake([report])
        except (IntakeFullError, JournalError, TimeoutError) as error:
            log.warning("A mail was not accepted: %s", error or "the commit took too long")
            return AGAIN
        return ACCEPTED


def _hang_up(doors: "Doors") -> None:
    for conversation in list(doors.open):
        conversation.abort()
