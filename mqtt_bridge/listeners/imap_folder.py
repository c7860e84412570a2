"""One folder: what is new in it becomes reports, and only then, and only what is Proxmox's, is marked.

The cursor is committed together with the events. It names the mails that are still to be marked, so that dying between
the two leaves neither a mail unmarked nor an event twice.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice

from mqtt_bridge.events.intake import Intake, IntakeFullError, JournalError, Report
from mqtt_bridge.listeners import mail_report
from mqtt_bridge.listeners.imap_errors import ImapRefusedError
from mqtt_bridge.listeners.imap_session import Facts, Selected, Session
from mqtt_bridge.listeners.imap_whose import Whose
from mqtt_bridge.own_mail import is_ours

log = logging.getLogger(__name__)

KEYWORD = "$ProxmoxMCP"
HEAD = 256 * 1024  # bytes of a large mail that are read first, and of one that is too large at all
LARGEST = 10 * 1024 * 1024  # bytes; of a larger mail of Proxmox its beginning becomes the event
_BATCH = 20  # mails a commit
_PENDING = 500  # mails that wait for being marked; older ones stay unmarked
_OVERLAP = 3600.0  # seconds between our clock and the server's, and of overlap after a change of UIDVALIDITY
_TRIES = 3  # at a mail that the server does not hand out
_PAUSE, _LONGEST = 1.0, 30.0  # seconds until a batch that could not be committed is tried again


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to which UID everything was read, when the folder was last known to be read up, and what is to be marked."""

    validity: int
    uid: int
    at: float
    mark: tuple[int, ...] = ()

    def dump(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> "Cursor":
        values = json.loads(text)
        return cls(values["validity"], values["uid"], values["at"], tuple(values["mark"]))


class FolderReader:
    """Reads one folder in whatever session it is given."""

    def __init__(self, folder: str, processed: str, intake: Intake, whose: Whose, wait: Callable[[str], None]) -> None:
        """`wait` is told why a commit has to wait, and the empty text when it went on."""
        self.folder = folder
        self.note = ""
        self.rounds = 0
        self._move_to = processed.removeprefix("move:") if processed.startswith("move:") else ""
        self._processed = processed
        self._intake, self._whose, self._wait = intake, whose, wait
        self._cursor: Cursor | None = None
        self._tries: dict[int, int] = {}

    async def round(self, session: Session) -> bool:
        """Read what is new; whether there was any. The folder is open in `session` afterwards."""
        began = time.time()
        selected = await session.select(self.folder)
        cursor, uids = await self._where(session, selected, began)
        cursor = await self._mark(session, selected, cursor)
        waiting = iter(uids)
        while batch := list(islice(waiting, _BATCH)):
            cursor = await self._take(session, batch, cursor, began if batch[-1] == uids[-1] else cursor.at)
            cursor = await self._mark(session, selected, cursor)
        if selected.next_uid and selected.next_uid - 1 > cursor.uid:  # what lay between is gone
            cursor = replace(cursor, uid=selected.next_uid - 1)
        self._cursor = cursor
        self.rounds += 1
        return bool(uids)

    async def _where(self, session: Session, selected: Selected, began: float) -> tuple[Cursor, list[int]]:
        """The cursor, and the mails behind it. At the very first start, what is there is no news."""
        if self._cursor is None:
            stored = await self._intake.cursor(self.folder)
            self._cursor = Cursor.load(stored) if stored else None
        if self._cursor is None:
            return await self._baseline(session, selected, began), []
        if self._cursor.validity != selected.validity:
            log.warning("%s was made anew on the mail server (UIDVALIDITY): looking for what is not read", self.folder)
            uids = await self._since(session)
            if not uids:
                return await self._baseline(session, selected, began), []
            return replace(self._cursor, validity=selected.validity, uid=0, mark=()), uids
        first = self._cursor.uid + 1
        if selected.next_uid is not None and selected.next_uid <= first:
            return self._cursor, []
        return self._cursor, await session.uids_from(first)

    async def _baseline(self, session: Session, selected: Selected, began: float) -> Cursor:
        last = selected.next_uid - 1 if selected.next_uid else max(await session.uids_from(1), default=0)
        return await self._commit([], Cursor(selected.validity, last, began))

    async def _since(self, session: Session) -> list[int]:
        """What came since the folder was last read up. What was read of that has its event already: no second one."""
        moment = (self._cursor.at if self._cursor else 0) - _OVERLAP
        uids = await session.uids_since(moment)
        fresh: list[int] = []
        for start in range(0, len(uids), 500):
            facts = await session.facts(uids[start : start + 500])
            fresh += [uid for uid, fact in facts.items() if fact.arrived is None or fact.arrived >= moment]
        return sorted(fresh)

    async def _take(self, session: Session, batch: Sequence[int], cursor: Cursor, at: float) -> Cursor:
        """Commit a batch and the cursor behind it."""
        facts = await session.facts(batch)
        reports: list[Report] = []
        ours: list[int] = []
        for uid in batch:
            if uid not in facts:
                continue
            report = await self._read(session, uid, facts[uid])
            if report:
                reports.append(report)
                ours.append(uid)
        mark = (*cursor.mark, *ours)[-_PENDING:]
        return await self._commit(reports, Cursor(cursor.validity, batch[-1], at, mark))

    async def _read(self, session: Session, uid: int, facts: Facts) -> Report | None:
        """None: it is not Proxmox's, or it cannot be had."""
        try:
            raw = await session.content(uid, HEAD)
            if raw is None:
                return None
            verdict = await mail_report.understood(raw)
            head = mail_report.headers(raw)
            if is_ours(head, raw) or not self._whose.proxmox(head, verdict):
                return None
            whole = facts.size <= LARGEST
            if len(raw) >= HEAD and whole:
                raw = await session.content(uid, facts.size) or raw
                verdict = await mail_report.understood(raw)
        except ImapRefusedError as error:
            self._unreadable(uid, error)
            return None
        more: dict[str, int | bool] = {} if whole else {"size": facts.size, "truncated": True}
        return mail_report.report(raw, verdict, "unauthenticated", arrived=facts.arrived, folder=self.folder, **more)

    def _unreadable(self, uid: int, error: ImapRefusedError) -> None:
        """Tried again a few times; then it is counted and passed over, so that what follows is read."""
        self._tries[uid] = self._tries.get(uid, 0) + 1
        if self._tries[uid] < _TRIES:
            raise error
        del self._tries[uid]
        log.warning("The mail with UID %d in %s cannot be read: %s", uid, self.folder, error.message)
        self._intake.reject("mail cannot be fetched")

    async def _commit(self, reports: Sequence[Report], cursor: Cursor) -> Cursor:
        """As often as it takes: the mail waits on the server meanwhile."""
        pause = _PAUSE
        while True:
            try:
                await self._intake(reports, cursors={self.folder: cursor.dump()})
            except (IntakeFullError, JournalError) as error:
                self._wait(str(error))
                await asyncio.sleep(pause)
                pause = min(_LONGEST, pause * 2)
            else:
                self._wait("")
                self._cursor = cursor
                return cursor

    async def _mark(self, session: Session, selected: Selected, cursor: Cursor) -> Cursor:
        """Mark what is committed and not marked; a refusal is noted, and tried again with the next mails."""
        if not cursor.mark:
            return cursor
        if not self._markable(selected):
            return replace(cursor, mark=())
        try:
            if self._move_to:
                await session.move(cursor.mark, self._move_to)
            else:
                await session.flag(cursor.mark, "\\Seen" if self._processed == "seen" else KEYWORD)
        except ImapRefusedError as error:
            self.note = f"mails are not marked: {error.message}"
            return cursor
        self.note = ""
        return await self._commit([], replace(cursor, mark=()))

    def _markable(self, selected: Selected) -> bool:
        if not selected.writable:
            self.note = "the folder is read-only: mails are not marked"
            return False
        if self._move_to:
            return self._move_to != self.folder
        if self._processed == "flag" and not selected.flags & {"\\*", KEYWORD.casefold()}:
            self.note = "the server keeps no keywords: mails are not marked"
            return False
        return True
