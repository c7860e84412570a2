"""A Gotify server's messages: its stream as they come, its list for what was missed.

The stream alone would lose what is posted while nobody listens, and it tells out of order what is posted at once. So
the list decides: the cursor is the newest committed message, and after each connect, at each gap of ids (those of other
users make gaps too) and every few minutes everything above it is fetched, oldest first, a page in memory at a time.
"""

import asyncio
import json
import logging
import random
import time
from collections import OrderedDict

import aiohttp

from mqtt_bridge.events.intake import Intake, IntakeFullError, JournalError, Report
from mqtt_bridge.listeners.gotify_client import GotifyClient, GotifyError, GotifyLoginError, Page
from mqtt_bridge.listeners.gotify_messages import Cursor, Message, Reader, message_of
from mqtt_bridge.settings.listening import GotifyInSettings

log = logging.getLogger(__name__)

FIRST, LONGEST = 1.0, 60.0  # seconds before connecting again
REFUSED = 300.0  # seconds, where the token is refused
STEADY = 60.0  # seconds of connection after which the next pause is a short one
RECONCILE = 300.0  # seconds between two looks at the list
FULL = 1.0  # seconds before a batch that was not taken is handed over again
CURSOR = "message"
_MAX_PAGES = 1000
_MOST_TAKEN = 5000


class GotifyListener:
    """Reads as a client; it changes nothing on the server."""

    name = "GOTIFY_IN"

    def __init__(self, settings: GotifyInSettings) -> None:
        self._settings = settings

    async def run(self, intake: Intake) -> None:
        """Go on until cancelled, whatever the server does."""
        pause = FIRST
        while True:
            started = time.monotonic()
            try:
                async with GotifyClient(self._settings) as client:
                    await _Session(client, self._settings, intake).run()
            except GotifyLoginError as error:
                intake.unhealthy(str(error))
                pause = REFUSED
            except (GotifyError, JournalError) as error:
                intake.unhealthy(str(error))
                pause = FIRST if time.monotonic() - started > STEADY else min(pause, LONGEST)
            await asyncio.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311 -- jitter
            pause = min(pause * 2, LONGEST)


class _Session:
    """One connection."""

    def __init__(self, client: GotifyClient, settings: GotifyInSettings, intake: Intake) -> None:
        self._client = client
        self._intake = intake
        self._reader = Reader(settings.apps, {})
        self._nameless: set[int] = set()
        self._cursor: Cursor | None = None
        self._taken: OrderedDict[int, None] = OrderedDict()

    async def run(self) -> None:
        """Until the connection ends, which is a GotifyError; the stream is open before the list is read."""
        self._cursor = Cursor.read(await self._intake.cursor(CURSOR))
        async with self._client.stream() as stream:
            await self._catch_up()
            self._intake.healthy(f"reading {self._client.where}")
            receiving = asyncio.create_task(stream.receive())
            try:
                while True:
                    done, _ = await asyncio.wait([receiving], timeout=RECONCILE)
                    if not done:
                        await self._catch_up()
                        continue
                    await self._received(receiving.result())
                    receiving = asyncio.create_task(stream.receive())
            finally:
                receiving.cancel()

    async def _received(self, frame: aiohttp.WSMessage) -> None:
        if frame.type is not aiohttp.WSMsgType.TEXT:
            if frame.type is aiohttp.WSMsgType.BINARY:
                self._intake.reject("not a message")
                return
            raise GotifyError(f"{self._client.where} ended the stream.", cure="It is connected again by itself.")
        try:
            message = message_of(json.loads(frame.data))
        except (ValueError, RecursionError):
            message = None
        if message is None:
            self._intake.reject("not a message")
            return
        if self._cursor is None or message.id > self._cursor.id + 1:
            await self._catch_up()
        if message.id not in self._taken:
            await self._take([message])

    async def _catch_up(self) -> None:
        """Everything that the cursor has not seen; at the very first start only where it stands."""
        page = await self._client.page()
        if self._cursor is None:
            await self._baseline(page)
            return
        begins = [page.messages[0].id + 1 if page.messages else 0]  # where the pages begin that have something new
        while all(map(self._cursor.before, page.messages)) and page.next and len(begins) < _MAX_PAGES:
            begins.append(page.next)
            page = await self._client.page(page.next)
        if len(begins) == _MAX_PAGES:
            log.warning("GOTIFY_IN goes back %d pages; what is older is left out", _MAX_PAGES)
        while True:
            await self._take([one for one in reversed(page.messages) if self._cursor.before(one)])
            begins.pop()
            if not begins:
                return
            page = await self._client.page(begins[-1])

    async def _baseline(self, top: Page) -> None:
        """What is there at the very first start is no news."""
        newest = top.messages[0] if top.messages else None
        await self._commit([], Cursor(newest.id if newest else 0, (newest.date if newest else None) or time.time()))

    async def _take(self, messages: list[Message]) -> None:
        """Oldest first."""
        if not messages or self._cursor is None:
            return
        await self._learn_names(messages)
        readable = [one for one in messages if one.content is not None]
        found = await asyncio.to_thread(lambda: [self._reader.report(one) for one in readable])
        reports = [report for report in found if report]
        await self._commit(reports, self._cursor.after(messages))
        self._remember(messages)
        for reason, count in (
            ("too large", len(messages) - len(readable)),
            ("another application's", len(found) - len(reports)),
        ):
            if count:
                self._intake.reject(reason, count)

    async def _commit(self, reports: list[Report], cursor: Cursor) -> None:
        """Hand over until it is committed: meanwhile the server keeps what comes."""
        while True:
            try:
                await self._intake(reports, cursors={CURSOR: cursor.text()})
            except (IntakeFullError, JournalError) as error:
                log.warning("GOTIFY_IN waits: %s", error)
                await asyncio.sleep(FULL)
            else:
                self._cursor = cursor
                return

    def _remember(self, messages: list[Message]) -> None:
        self._taken |= dict.fromkeys(one.id for one in messages)
        while len(self._taken) > _MOST_TAKEN:
            self._taken.popitem(last=False)

    async def _learn_names(self, messages: list[Message]) -> None:
        """Ask for the applications' names when one is not known; without them no choice by name can be made."""
        unknown = {one.app for one in messages} - self._reader.names.keys() - self._nameless
        if not unknown:
            return
        names = await self._client.apps()
        if names is None and not all(glob.isdigit() for glob in self._reader.apps):
            raise GotifyError(
                f"{self._client.where} does not tell the names of its applications.",
                cure="Write their numbers into GOTIFY_IN_APPS, or leave it empty.",
            )
        self._reader = Reader(self._reader.apps, names or {})
        self._nameless |= unknown - self._reader.names.keys()
