"""What the connections to one mailbox share: the way in, which closes for a while after a refused login, and health."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mqtt_bridge.events.intake import Intake
from mqtt_bridge.listeners.imap_errors import ImapLoginError
from mqtt_bridge.listeners.imap_session import Session, session
from mqtt_bridge.settings.listening import EmailInSettings

log = logging.getLogger(__name__)

REFUSED, LONGEST = 300.0, 3600.0  # seconds without a try after a refused login; doubled each time: no account is locked


class Gate:
    """One login at a time, and none while the last one was refused."""

    def __init__(self, settings: EmailInSettings) -> None:
        self._settings = settings
        self._one = asyncio.Lock()
        self._refused: ImapLoginError | None = None
        self._again = 0.0
        self._pause = REFUSED

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Raises ImapLoginError, the one of before without asking again as long as the way is closed."""
        await self._one.acquire()
        waiting = True
        try:
            if self._refused and self.closed_for > 0:
                raise self._refused
            try:
                async with session(self._settings) as made:
                    self._refused, self._pause = None, REFUSED
                    self._one.release()
                    waiting = False
                    yield made
            except ImapLoginError as error:
                self._refuse(error)
                raise
        finally:
            if waiting:
                self._one.release()

    @property
    def closed_for(self) -> float:
        """Seconds until a login may be tried; at most 0: now."""
        return self._again - asyncio.get_running_loop().time()

    def _refuse(self, error: ImapLoginError) -> None:
        self._refused = error
        self._again = asyncio.get_running_loop().time() + self._pause
        self._pause = min(LONGEST, self._pause * 2)


class Health:
    """What each folder says, as one: good only while all are."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._good: dict[str, str] = {}
        self._bad: dict[str, str] = {}

    def good(self, folder: str, detail: str) -> None:
        if self._bad.pop(folder, None) is not None:
            log.info("%s: read again", folder)
        elif self._good.get(folder) == detail:
            return
        self._good[folder] = detail
        self._tell()

    def bad(self, folder: str, reason: str) -> None:
        if self._bad.get(folder) == reason:
            return
        log.warning("%s: %s", folder, reason)
        self._bad[folder] = reason
        self._tell()

    def _tell(self) -> None:
        if self._bad:
            reasons: dict[str, list[str]] = {}
            for folder, reason in self._bad.items():
                reasons.setdefault(reason, []).append(folder)
            self._intake.unhealthy("; ".join(f"{', '.join(folders)}: {text}" for text, folders in reasons.items()))
        else:
            self._intake.healthy(", ".join(f"{folder} {detail}" for folder, detail in self._good.items()))
