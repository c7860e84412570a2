"""Approvers are told what waits for them: everybody's notifiers without a code, each approver's own ways with it.

A code is sent directly, never written to the journal of deliveries; one that could not be sent is made anew after a
restart. What the store keeps of a code is its hash.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from mqtt_bridge.approvals import proofs, store, words
from mqtt_bridge.approvals.approvals import Approvals
from mqtt_bridge.approvals.types import Approval
from mqtt_bridge.model import utc
from mqtt_bridge.notifiers.notice import LaterError, Notice, Notifier, RefusedError
from mqtt_bridge.settings.approving import Approver

log = logging.getLogger(__name__)

TICK = 0.5  # seconds between two looks at the store
FIRST, LONGEST = 1.0, 60.0  # seconds until a code is sent again that was not taken
Announce = Callable[[Notice], Awaitable[object]]


class Teller:
    """`run` it where the notifiers run. `announce` tells everybody, without a code; None: nobody runs that does.

    `own` gives an approver's own notifiers, made anew each time. `problems`: by approver and way, what is wrong there.
    """

    def __init__(
        self, approvals: Approvals, own: Callable[[Approver], Sequence[Notifier]], announce: Announce | None = None
    ) -> None:
        self.problems: dict[str, str] = {}
        self._approvals = approvals
        self._own = own
        self._announce = announce
        self._told: set[str] = set()

    async def run(self) -> None:
        """Tell of each approval once, until cancelled."""
        watch = self._approvals.watch()
        self._told.clear()
        async with asyncio.TaskGroup() as group:
            while True:
                if not await watch.changed(TICK):
                    continue
                rows = await self._approvals.pending()
                fresh = [row for row in rows if row.id not in self._told]
                self._told = {row.id for row in rows}
                for row in fresh:
                    if self._announce is not None:
                        group.create_task(self._tell_all(self._announce, row))
                    for approver in self._approvals.settings.approvers:
                        group.create_task(self._tell(row, approver))

    async def _tell_all(self, announce: Announce, row: Approval) -> None:
        await announce(notice(row, words.how(self._approvals.settings, row.id)))

    async def _tell(self, row: Approval, approver: Approver) -> None:
        """With a code, by every way that this approver has; nothing to whoever asked for it."""
        if not approver.ways or proofs.asked_himself(row, approver):
            return
        if await self._approvals.db.read(lambda c: store.has_code(c, row.id, approver.name.casefold())):
            return
        code = await make_code(self._approvals, row.id, approver.name)
        told = notice(row, words.how(self._approvals.settings, row.id), code=code, who=approver.name)
        async with asyncio.TaskGroup() as group:
            for notifier in self._own(approver):
                group.create_task(self._send(row, approver, notifier, told))

    async def _send(self, row: Approval, approver: Approver, notifier: Notifier, told: Notice) -> None:
        """Until it is taken, refused for good, or no longer needed."""
        where, pause = f"{approver.name} ({notifier.name})", FIRST
        while await self._waits(row):
            try:
                async with notifier:
                    await notifier.send(told)
            except LaterError as error:
                self.problems[where] = str(error)
                await asyncio.sleep(min(LONGEST, error.after or pause))
                pause = min(LONGEST, pause * 2)
            except RefusedError as error:
                self.problems[where] = str(error)
                log.error("No code reaches %s: %s", where, error)  # noqa: TRY400 -- the sentence says it all
                return
            else:
                self.problems.pop(where, None)
                await self._approvals.db.write(lambda c: store.code_sent(c, row.id, approver.name.casefold()))
                return

    async def _waits(self, row: Approval) -> bool:
        now = await self._approvals.get(row.id)
        return now is not None and now.state == "pending"


async def make_code(approvals: Approvals, given: str, approver: str) -> str:
    """A one-time code for this approver and approval; one that was made before is dead."""
    code = proofs.new_code()
    mac = proofs.code_mac(approvals.db.key, given, approver, code)
    await approvals.db.write(lambda c: store.put_code(c, given, approver.casefold(), mac))
    return code


def notice(row: Approval, how: Sequence[str], *, code: str = "", who: str = "") -> Notice:
    """What a service is given; a `code` only for the own ways of `who`."""
    lines = [f"{who}, your one-time code: {code}", ""] if code else []
    lines += [*words.lines(row), "", "How to decide:", *(f"- {way}" for way in how)]
    facts: Mapping[str, str] = {"Site": row.site, "Approval": row.id, "Risk": row.risk, "Requested by": row.principal}
    return Notice(
        id=f"approval-{row.id}{'-' + who if code else ''}",
        kind="message",
        title=f"Approval wanted: {words.headline(row)}",
        text="\n".join(lines),
        severity="warning",
        at=utc(time.time()) or "",
        site=row.site,
        incident=f"approval-{row.id}",
        facts=tuple(facts.items()),
    )
