"""EMAIL: a mailbox read over IMAP. What Proxmox and the daemons of its hosts mailed becomes events."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from mqtt_bridge.events.intake import Intake
from mqtt_bridge.listeners.imap_errors import ImapError, ImapLoginError, ImapRefusedError
from mqtt_bridge.listeners.imap_folder import FolderReader
from mqtt_bridge.listeners.imap_gate import Gate, Health
from mqtt_bridge.listeners.imap_session import Session
from mqtt_bridge.listeners.imap_whose import Whose, nobody
from mqtt_bridge.settings import is_loopback
from mqtt_bridge.settings.listening import EmailInSettings

log = logging.getLogger(__name__)

CONNECTIONS = 5  # of our own at once: IDLE needs one for each folder, and servers allow few (Dovecot 10, Gmail 15)
RENEWED = 300.0  # seconds after which IDLE is asked for anew: far below the 29 minutes of RFC 2177, and of most NATs
KEPT = 300.0  # seconds up to which a connection is kept between two polls
FIRST, LONGEST = 2.0, 120.0  # seconds until a lost connection is made again


class EmailListener:
    """One connection a folder, up to CONNECTIONS; what is more shares the last one and is polled."""

    name = "EMAIL"

    def __init__(self, settings: EmailInSettings, *, knows_host: Callable[[str], bool] = nobody) -> None:
        """`knows_host` tells whether a name, short or long, is a node's: mails of its root are taken as events."""
        self._settings = settings
        self._whose = Whose(settings.senders, knows_host)

    async def run(self, intake: Intake) -> None:
        if self._settings.security == "none" and not is_loopback(self._settings.server):
            log.warning("EVENT_EMAIL_SECURITY=none: the password of %s crosses the network", self._settings.server)
        gate, health = Gate(self._settings), Health(intake)
        async with asyncio.TaskGroup() as group:
            for folders in shared(self._settings.folders):
                readers = [self._reader(folder, intake, health) for folder in folders]
                group.create_task(self._keep_reading(readers, gate, health), name=f"imap {folders[0]}")

    def _reader(self, folder: str, intake: Intake, health: Health) -> FolderReader:
        def wait(reason: str) -> None:
            if reason:
                health.bad(folder, reason)

        return FolderReader(folder, self._settings.processed, intake, self._whose, wait)

    async def _keep_reading(self, readers: Sequence[FolderReader], gate: Gate, health: Health) -> None:
        pause = FIRST
        while True:
            before = _rounds(readers)
            try:
                async with gate.session() as session:
                    await self._read(session, readers, health)
                wait = self._settings.poll_interval
            except ImapError as error:
                pause = FIRST if _rounds(readers) > before else min(LONGEST, pause * 2)
                wait = max(gate.closed_for, 1.0) if isinstance(error, ImapLoginError) else pause
                for reader in readers:
                    health.bad(reader.folder, str(error))
            await asyncio.sleep(wait)

    async def _read(self, session: Session, readers: Sequence[FolderReader], health: Health) -> None:
        """Until the connection is lost, or is not worth keeping until the next poll."""
        idle = session.can_idle and len(readers) == 1
        how = "with IDLE" if idle else f"every {self._settings.poll_interval:g} s"
        while True:
            found = opened = False
            for reader in readers:
                try:
                    found |= await reader.round(session)
                except ImapRefusedError as error:
                    health.bad(reader.folder, str(error))
                    continue
                opened = True
                health.good(reader.folder, f"{how} ({reader.note})" if reader.note else how)
            if found:
                continue
            if idle and opened:
                await session.idle(RENEWED)
            elif self._settings.poll_interval > KEPT:
                return
            else:
                await asyncio.sleep(self._settings.poll_interval)


def shared(folders: Sequence[str]) -> list[tuple[str, ...]]:
    """Which folders share a connection."""
    names = tuple(dict.fromkeys(folders))
    if len(names) <= CONNECTIONS:
        return [(name,) for name in names]
    return [*((name,) for name in names[: CONNECTIONS - 1]), names[CONNECTIONS - 1 :]]


def _rounds(readers: Sequence[FolderReader]) -> int:
    return sum(reader.rounds for reader in readers)
