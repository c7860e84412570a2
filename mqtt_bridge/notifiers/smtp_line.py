"""A connection to an SMTP server that is ready to take a mail: encrypted and logged in as the settings want it.

aiosmtplib rather than smtplib in a thread: it can be cancelled at any moment, bounds what a server may answer, and has
no thread that outlives a server which sends a byte a minute.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiosmtplib import SMTP, SMTPException

from mqtt_bridge.mail_tls import context
from mqtt_bridge.notifiers.notice import RefusedError
from mqtt_bridge.notifiers.smtp_words import Words
from mqtt_bridge.settings.notifying import EmailOutSettings

STEP, WHOLE = 30.0, 120.0  # seconds for one answer, and for a whole mail: content filters take their time
_BYE = 2.0  # seconds for a goodbye that changes nothing
_HOST = re.compile(r"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")


class LoginRefusedError(RefusedError):
    """To try again soon could lock the account."""


class Line:
    """Makes connections; keeps none."""

    def __init__(self, settings: EmailOutSettings, words: Words, step: float, whole: float) -> None:
        self._settings, self._words = settings, words
        self._step, self._whole = step, whole

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[SMTP]:
        """For one mail; whatever goes wrong in its time comes out as LaterError or RefusedError."""
        client = self._client()
        try:
            async with asyncio.timeout(self._whole):
                await client.connect()
                await self._introduce(client)
                yield client
            with suppress(SMTPException, OSError):
                await client.quit(timeout=_BYE)
        except (SMTPException, OSError) as error:
            raise self._words.error(error) from error
        finally:
            client.close()

    def _client(self) -> SMTP:
        settings = self._settings
        return SMTP(
            hostname=settings.server,
            port=settings.port,
            local_hostname=_own_name(),
            timeout=self._step,
            use_tls=settings.security == "tls",
            start_tls=False,
            tls_context=None if settings.security == "none" else context(verify=settings.verify),
        )

    async def _introduce(self, client: SMTP) -> None:
        """Never less than the settings want: who sits in between could take STARTTLS out of an answer."""
        settings = self._settings
        if settings.security == "starttls":
            await client.ehlo()
            if not client.supports_extension("starttls"):
                raise self._words.no_starttls()
            await client.starttls()
        if settings.username:
            await client.ehlo()
            if not client.supports_extension("auth"):
                raise self._words.no_login()
            await self._login(client, settings.username, settings.password.reveal() if settings.password else "")

    async def _login(self, client: SMTP, username: str, password: str) -> None:
        try:
            await client.login(username, password)
        except SMTPException as error:
            failure = self._words.error(error)
            if isinstance(failure, RefusedError):
                raise LoginRefusedError(failure.message, cure=failure.cure) from error
            raise failure from error


def _own_name() -> str:
    """For EHLO, without asking DNS: our full name if we have one, else an address, which is always valid."""
    name = socket.gethostname()
    return name if _HOST.fullmatch(name) else "[127.0.0.1]"
