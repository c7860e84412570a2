"""What somebody has to say, through the same deliveries as events; and what each service made of it."""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.model import Severity
from mqtt_bridge.notifiers.notice import Notice
from mqtt_bridge.notifying import deliveries, notices
from mqtt_bridge.notifying.posting import Posting

WITHIN = 20.0  # seconds that `tell` waits for the services' answers


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message at one notifier."""

    status: Literal["delivered", "waiting", "refused"]
    detail: str = ""


class Messages:
    """Part of Notify. `wake` is called when there is something to deliver, `changed` whenever an attempt was made."""

    def __init__(self, journal: Journal, posting: Posting, names: Sequence[str], wake: Callable[[], None]) -> None:
        self._journal = journal
        self._posting = posting
        self._names = names
        self._wake = wake
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Outcomes may be others now."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def tell(self, notice: Notice, notifiers: Iterable[str] | None = None) -> Mapping[str, Outcome]:
        """Tell this, whatever the filters say, and wait a while for what the services answer.

        A name that is no enabled notifier raises KeyError.
        """
        wanted = list(dict.fromkeys(notifiers)) if notifiers is not None else list(self._names)
        if unknown := [name for name in wanted if name not in self._names]:
            raise KeyError(unknown[0])
        await self._journal.db.write(lambda c: self._posting.say(c, notice, wanted, time.time()))
        self._wake()
        with suppress(TimeoutError):
            async with asyncio.timeout(WITHIN):
                await self._answered(notice.id)
        outcomes = await self._outcomes(notice.id)
        return {name: outcomes[name] for name in wanted}

    async def _answered(self, notice: str) -> None:
        """Until each notifier has tried once."""
        while True:
            changed = self._changed
            outcomes = await self._outcomes(notice)
            if all(outcome.detail or outcome.status != "waiting" for outcome in outcomes.values()):
                return
            await changed.wait()

    async def _outcomes(self, notice: str) -> dict[str, Outcome]:
        sql = "SELECT notifier, state, answer FROM deliveries WHERE notice = ?"
        rows = await self._journal.rows(sql, [notice])
        status: Mapping[int, Literal["delivered", "refused"]] = {
            deliveries.SENT: "delivered",
            deliveries.PARKED: "refused",
        }
        return {name: Outcome(status.get(state, "waiting"), answer) for name, state, answer in rows}

    async def send(
        self, title: str, text: str, severity: Severity = "info", *, site: str = "", only: Iterable[str] | None = None
    ) -> Mapping[str, Outcome]:
        """What somebody has to say."""
        return await self.tell(notices.message(str(uuid.uuid4()), title, text, severity, time.time(), site), only)
