"""One guest of a node in maintenance after the other, as long as the maintenance lasts.

Each step looks anew: who runs there, where there is room. A guest that cannot go, or whose migration fails, is noted
with why, and the others go on. The end of the maintenance lets a migration that runs come to its end and begins no
other; nothing is brought back. So does a shutdown of the whole site: migrations lock guests that are to go down.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from mqtt_bridge.actions import ACTIONS, ActionError, ActionResult
from mqtt_bridge.errors import BridgeError, PolicyError, ProxmoxError, UnknownTargetError, UnreachableError
from mqtt_bridge.evacuation.book import Book, Key, Record, Waiting
from mqtt_bridge.evacuation.moving import Around, Move, Moves
from mqtt_bridge.evacuation.places import Guest, Look
from mqtt_bridge.events.intake import JournalError
from mqtt_bridge.model import Evacuation as State
from mqtt_bridge.model import StayingGuest
from mqtt_bridge.notifying.silences import is_automatic
from mqtt_bridge.policy import judge
from mqtt_bridge.proxmox.lookup import find_node
from mqtt_bridge.targets import Touched

log = logging.getLogger(__name__)

PACE = 1.0  # seconds between two looks
LOCKED = 3600.0  # seconds that a lock is waited for: a backup, somebody else's migration
ATTEMPTS = 5  # at a guest that gets no answer from Proxmox
WHY = 300  # characters
SETTING = "MAINTENANCE_EVACUATE"
SHUTTING = "The site is being shut down"
STARTED, ENDED, INCOMPLETE = (f"maintenance.evacuation.{word}" for word in ("started", "finished", "incomplete"))


class Evacuation:
    """`load` it, then `run` it supervised: it goes on where an earlier run was."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._moves = Moves(around)
        self._book = Book(around.folder)
        self._news = asyncio.Event()
        self._unanswered: Counter[tuple[Key, int]] = Counter()
        self._locked: dict[tuple[Key, int], float] = {}  # since when
        self._called_off: set[Key] = set()

    def load(self) -> None:
        """What an earlier run left."""
        self._book.load()

    def state(self, site: str, node: str) -> State:
        """For `…/upkeep`."""
        record = self._book.get((site, node))
        if record is None or record.state == "idle":
            return State()
        left = {**record.left, **{vmid: _waits(one) for vmid, one in record.waiting.items()}}
        rows = tuple(StayingGuest(vmid=vmid, why=why) for vmid, why in sorted(left.items()))
        return State(state=record.state, moved=record.moved, left=rows, message=record.message)

    # --- what is asked for -------------------------------------------------------------------------------------------

    async def check(self, site: str, node: str) -> None:
        """Whether it may be done. Raises ActionError, PolicyError, UnknownTargetError, ProxmoxError."""
        permission = self._around.permission
        if not permission.maintenance_evacuate:
            cure = f"Set {SETTING}=true where this service is configured, and restart it."
            raise PolicyError("A maintenance moves no guests away here.", cure=cure, setting=SETTING)
        if self._around.shutting(site):
            cure = "Send it without evacuate, or after shutdown_abort."
            raise ActionError(f"{SHUTTING}: a migration would lock guests that are to go down.", cure=cure)
        if site not in self._around.clients or self._around.clients[site].site.kind != "pve":
            raise UnknownTargetError(f"Site {site} has no guests.", cure="Only nodes of Proxmox VE can be evacuated.")
        target = await find_node(self._around.clients, node, site)
        if refusal := judge(permission, self._moves.who, ACTIONS["guest.migrate"], [Touched(target, "read")]):
            raise refusal.error()

    async def begin(self, site: str, node: str, *, by: str = "", reason: str = "", local_disks: bool = False) -> None:
        """To be asked for after the maintenance has begun; one that is under way already goes on with what is new."""
        before = self._book.get((site, node))
        self._called_off.discard((site, node))
        if before and before.state == "running":  # what stays is tried once more
            new = {"by": by, "reason": reason, "local_disks": local_disks, "left": {}}
            self._book.put(before.model_copy(update=new))
            return
        self._book.put(
            Record(site=site, node=node, by=by, reason=reason, local_disks=local_disks, message="It begins.")
        )
        self._news.set()
        await self._tell(STARTED, site, node, f"The running guests of node {node} are moved away", by=by)

    def call_off(self, site: str) -> None:
        """The site begins to be shut down: what is under way there ends, after the migration that runs."""
        self._called_off |= {record.key for record in self._book if record.site == site and record.state == "running"}
        self._news.set()

    async def preview(self, site: str, node: str, *, local_disks: bool = False) -> dict[str, Any]:
        """Who would go where, and who stays and why; nothing is sent. Raises ProxmoxError."""
        record = Record(site=site, node=node, local_disks=local_disks)
        moves, stay = [], []
        taken: dict[str, int] = {}
        for guest in (await self._moves.look(record)).here:
            found = await self._moves.would(record, guest, (await self._moves.look(record)).less(taken))
            if isinstance(found, Move):
                taken[found.target] = taken.get(found.target, 0) + guest.memory
                moves.append({"vmid": guest.vmid, "name": guest.name, "target": found.target})
            else:
                stay.append({"vmid": guest.vmid, "name": guest.name, "why": found})
        return {"moves": moves, "left": stay}

    # --- what is done ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            busy: dict[Key, asyncio.Task[None]] = {}
            while True:
                self._news.clear()
                held = await self._maintained()
                for record in self._book:
                    if record.state != "idle" and not _lasts(record, held):
                        self._idle(record)  # at once: one that begins while the last guest moves is another
                    elif record.state == "running" and (record.key not in busy or busy[record.key].done()):
                        busy[record.key] = group.create_task(self._empty(record.key))
                with suppress(TimeoutError):
                    async with asyncio.timeout(PACE):
                        await self._news.wait()

    async def _maintained(self) -> set[Key] | None:
        """Nodes whose maintenance somebody began; None: the journal does not answer."""
        try:
            silences = await self._around.silences()
        except JournalError:
            return None
        return {(s.site, s.target.casefold()) for s in silences if s.scope == "node" and not is_automatic(s)}

    async def _empty(self, key: Key) -> None:
        while True:
            held = await self._maintained()
            if (record := self._runs(key)) is None:
                return
            if not _lasts(record, held) or not self._around.permission.maintenance_evacuate:
                self._idle(record)
            elif self._goes_down(record):
                self._give_up(record)
            elif held is None or not await self._step(record):
                await asyncio.sleep(PACE)

    def _runs(self, key: Key) -> Record | None:
        """As it is now, which may be another than before a wait."""
        record = self._book.get(key)
        return record if record is not None and record.state == "running" else None

    def _idle(self, record: Record) -> None:
        """Nothing of it is left to be told."""
        if record.state == "running":
            log.info("Evacuation of %s: the maintenance ended after %s", record.node, _count(record.moved))
        self._book.put(Record(site=record.site, node=record.node, state="idle"))

    def _goes_down(self, record: Record) -> bool:
        return record.key in self._called_off or self._around.shutting(record.site)

    def _give_up(self, record: Record) -> None:
        text = f"{SHUTTING}: {_count(record.moved)} moved away, no other is."
        log.warning("Evacuation of %s: %s", record.node, text)
        left = {**dict.fromkeys(record.there.difference(record.moved), f"{SHUTTING}."), **record.left}
        self._book.put(record.model_copy(update={"state": "incomplete", "message": text, "left": left, "waiting": {}}))

    async def _step(self, record: Record) -> bool:
        """Move one guest, or find that nothing is left to do. False: look again after a pause."""
        try:
            now = await self._moves.look(record)
            if (newest := self._runs(record.key)) is None:
                return True
            record = self._book.put(_seen(newest, now))
            guest = await self._next(record, now)
            if guest is not None:
                await self._take(record, guest, now)
                return True
        except (ProxmoxError, JournalError) as error:
            self._note(self._book.get(record.key) or record, f"It cannot go on yet: {error.message}"[:WHY])
            return False
        if record.waiting or _locked(record, now):
            self._note(record, _waiting_for(record, now))
            return False
        if now.untold:
            named = ", ".join(map(str, now.untold[:10]))
            self._note(record, f"Proxmox does not say whether these run: {named}. That is waited for.")
            return False
        await self._finish(_with_unlisted(record, now))
        return True

    async def _next(self, record: Record, now: Look) -> Guest | None:
        pending = {one.id for one in await self._around.approvals()} if record.waiting else set()
        asked = {vmid for vmid, one in record.waiting.items() if one.approval in pending}
        out = asked | record.left.keys()
        return next((g for g in now.here if g.vmid not in out and not self._wait_for(record, g)), None)

    def _wait_for(self, record: Record, guest: Guest) -> bool:
        """Whether its lock may still go; after LOCKED it is tried all the same, and stays for that reason."""
        place = record.key, guest.vmid
        if not guest.lock:
            self._locked.pop(place, None)
            return False
        return time.monotonic() - self._locked.setdefault(place, time.monotonic()) < LOCKED

    async def _take(self, record: Record, guest: Guest, now: Look) -> None:
        found = await self._moves.choose(record, guest, now)
        if isinstance(found, str):
            self._leave(record, guest, found)
            return
        error = await self._try(record, found)
        if isinstance(error, ActionError) and (other := await self._moves.elsewhere(record, found)):
            error = await self._try(record, other)
        if error:
            self._failed(record, guest, error)

    async def _try(self, record: Record, move: Move) -> BridgeError | None:
        """Why it was not even begun. Where the site goes down or the maintenance ended meanwhile `_empty` says so."""
        if self._goes_down(record) or self._runs(record.key) is None:
            return None
        text = f"{move.guest.label} goes to {move.target}."
        log.info("Evacuation of %s: %s", record.node, text)
        self._note(record, text)
        try:
            with self._moves.on_its_way(record.site, move):
                result = await self._moves.migrate(record, move)
        except BridgeError as error:
            return error
        self._took(record, move, result)
        return None

    def _failed(self, record: Record, guest: Guest, error: BridgeError) -> None:
        """No answer says nothing of the guest: it is tried again, a few times."""
        self._unanswered[record.key, guest.vmid] += isinstance(error, UnreachableError)
        if isinstance(error, UnreachableError) and self._unanswered[record.key, guest.vmid] < ATTEMPTS:
            raise error
        self._leave(record, guest, str(error))

    def _took(self, record: Record, move: Move, result: ActionResult) -> None:
        vmid = move.guest.vmid
        record = self._book.get(record.key) or record
        waiting = {key: one for key, one in record.waiting.items() if key != vmid}
        if result.approval:
            waiting[vmid] = Waiting(approval=result.approval.id, target=move.target)
            self._book.put(record.model_copy(update={"waiting": waiting}))
        elif result.ok:
            self._moves.promise(record.site, move)
            moved = (*record.moved, *(() if vmid in record.moved else (vmid,)))
            self._book.put(record.model_copy(update={"moved": moved, "waiting": waiting}))
        else:
            self._leave(record, move.guest, f"{result.message} {result.hint}".strip())

    def _leave(self, record: Record, guest: Guest, why: str) -> None:
        log.info("Evacuation of %s: %s stays: %s", record.node, guest.label, why)
        record = self._book.get(record.key) or record
        waiting = {vmid: one for vmid, one in record.waiting.items() if vmid != guest.vmid}
        left = {**record.left, guest.vmid: why[:WHY]}
        self._book.put(record.model_copy(update={"left": left, "waiting": waiting}))

    def _note(self, record: Record, text: str) -> None:
        record = self._book.get(record.key) or record
        self._book.put(record.model_copy(update={"message": text}))

    async def _finish(self, record: Record) -> None:
        text = f"{_count(record.moved)} moved away"
        if record.left:
            text = f"{text}, {_count(record.left)} still there"
        state = "incomplete" if record.left else "done"
        self._book.put(record.model_copy(update={"state": state, "message": f"{text[:1].upper()}{text[1:]}."}))
        kind = INCOMPLETE if record.left else ENDED
        said = "\n".join(f"{vmid}: {why}" for vmid, why in sorted(record.left.items()))
        facts = {"moved": list(record.moved), "left": sorted(record.left)}
        await self._tell(kind, record.site, record.node, f"Evacuation of node {record.node}: {text}", said, **facts)

    async def _tell(self, kind: str, site: str, node: str, title: str, text: str = "", **facts: Any) -> None:
        try:
            await self._around.tell(kind, site, node, title, text, **facts)
        except JournalError as error:
            log.warning("%s is not told as an event: %s", title, error)


def _lasts(record: Record, held: set[Key] | None) -> bool:
    """Whether its maintenance does, as far as is known."""
    return held is None or (record.site, record.node.casefold()) in held


def _seen(record: Record, now: Look) -> Record:
    """What is not there any more has moved, by whomever; what stays behind is no longer asked for if it is gone."""
    here = {guest.vmid for guest in now.here}
    there = record.there | here
    gone = there - here
    moved = (*record.moved, *sorted(vmid for vmid in gone if vmid in now.elsewhere and vmid not in record.moved))
    return record.model_copy(
        update={
            "there": there,
            "moved": tuple(vmid for vmid in moved if vmid not in here),
            "left": {vmid: why for vmid, why in record.left.items() if vmid in here},
            "waiting": {vmid: one for vmid, one in record.waiting.items() if vmid in here},
        }
    )


def _with_unlisted(record: Record, now: Look) -> Record:
    """With what was there and is not shown any more, which says nothing of where it is."""
    why = "It is not listed any more: it was deleted, or the token may not see it (VM.Audit)."
    unlisted = record.there.difference(now.listed, record.moved)
    return record.model_copy(update={"left": {**dict.fromkeys(sorted(unlisted), why), **record.left}})


def _waits(one: Waiting) -> str:
    return f"A person has to approve that it goes to {one.target} (approval {one.approval})."


def _locked(record: Record, now: Look) -> list[Guest]:
    return [guest for guest in now.here if guest.lock and guest.vmid not in record.left]


def _waiting_for(record: Record, now: Look) -> str:
    if locked := _locked(record, now):
        return f"{locked[0].label} is locked ({locked[0].lock}): that is waited for."
    return f"{_count(record.waiting)} waiting for an approval."


def _count(several: Sequence[int] | Mapping[int, object]) -> str:
    return f"{len(several)} guest{'' if len(several) == 1 else 's'}"
