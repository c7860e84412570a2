"""Maintenance and acknowledgement, as commands and actions ask for them. Kept in the journal, told to others as events.

The notifiers of this process look into the journal before each word, so what is written there holds at once and
survives a restart. Notifiers in a process of their own (`--only notify`) have another journal: they learn of it through
the event, and `follow` it. Those of this process do not: an event on MQTT could be anyone's.
"""

import asyncio
import sqlite3
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.events.account import seconds as seconds_of
from mqtt_bridge.journal.file import BUSY, translated
from mqtt_bridge.journal.journal import FILE, Journal, open_reader
from mqtt_bridge.model import Event, utc
from mqtt_bridge.notifying import incident_book, silences
from mqtt_bridge.notifying.incidents import Incident
from mqtt_bridge.notifying.incidents import acknowledge as acknowledged
from mqtt_bridge.notifying.notices import length
from mqtt_bridge.notifying.silences import Scope, Silence
from mqtt_bridge.topics import SITE_SLUG

T = TypeVar("T")
SOURCE = "MAINTENANCE"
STARTED, ENDED, ACKNOWLEDGED = "maintenance.started", "maintenance.ended", "incident.acknowledged"
RESTART = "node.shutdown"
KINDS = frozenset({STARTED, ENDED, ACKNOWLEDGED})
SHORTEST = 4  # characters of an incident's id that name it
_NAME = 100  # characters of a node or tag


class MaintenanceError(BridgeError):
    """It names nothing, or there is nothing like that; nothing was changed."""


@dataclass(frozen=True, slots=True)
class About:
    """What is silent or acknowledged. `target`: a node's name, a VMID, a tag; empty for the site. Use `about`."""

    scope: Scope
    site: str
    target: str = ""

    def __str__(self) -> str:
        return f"site {self.site}" if self.scope == "site" else f"{self.scope} {self.target} of site {self.site}"

    def concerns(self, event: Event) -> bool:
        """Whether an event is about this."""
        return Silence("", self.scope, self.site, self.target, 0, 0).covers(event)


def about(scope: Scope, site: str, target: str | int = "") -> About:
    """Checked; raises MaintenanceError."""
    name = str(target).strip()
    if scope not in get_args(Scope):
        raise MaintenanceError(f"{str(scope)[:60]!r} is nothing that can be silent.", cure="site, node, guest or tag.")
    if not SITE_SLUG.fullmatch(site):
        raise MaintenanceError(f"There is no site {site[:60]!r}.", cure="It is the site's name as in its MQTT topics.")
    if scope == "site":
        return About(scope, site)
    fits = name.isdecimal() if scope == "guest" else name.isprintable() and len(name) <= _NAME
    if not name or not fits:
        raise MaintenanceError(
            f"{name[:60]!r} names no {scope}.", cure="A guest is a number; a node and a tag have a name."
        )
    return About(scope, site, name)


class Maintenance:
    """On the bridge's journal. `tells`: notifiers run in this process, so that what is wrong is known here."""

    def __init__(self, journal: Journal, *, tells: bool = True) -> None:
        self._journal = journal
        self._tells = tells

    async def begin(self, what: About, duration: str | float, *, reason: str = "", by: str = "") -> Silence:
        """Nothing about it is told until the end of `duration` (`30m`, `2h`, `1d`, seconds); once more: a new end.

        Raises MaintenanceError for what is no duration, JournalError.
        """
        seconds = _seconds(duration)
        now = time.time()
        one = silences.silence(what.scope, what.site, what.target, now, seconds, reason, by)
        one = await self._journal.db.write(lambda connection: _begin(connection, what, one))
        text = f"Maintenance of {what} for {length(seconds)}"
        await self._publish(STARTED, what, text, by, reason=one.reason, until=utc(one.until))
        return one

    async def end(self, what: About, *, by: str = "") -> tuple[Silence, ...]:
        """It ends now, and what is still wrong is told: those that ended. Raises MaintenanceError: there was none."""
        now = time.time()
        ended = await self._journal.db.write(lambda connection: _end(connection, what, now))
        if not ended:
            raise MaintenanceError(f"There is no maintenance of {what}.", cure="It may be over already.")
        await self._publish(ENDED, what, f"Maintenance of {what} is over", by)
        return ended

    async def expect(self, site: str, node: str, why: str) -> None:
        """A node is about to restart or to go because we were asked to: what it takes along is not told.

        It ends when the node is back, after silences.REBOOT at the latest. Raises JournalError.
        """
        now = time.time()
        await self._journal.db.write(lambda connection: _expect(connection, site, node, why, now))
        event = _event(RESTART, About("node", site, node), f"Node {node} goes down: {why}", {"by": why})
        await self._journal.commit([event], {})

    async def active(self) -> list[Silence]:
        """Those that hold now, also what an action or `proxmox-mcp silence` began."""
        return await self._journal.db.read(lambda connection: silences.active(connection, time.time()))

    async def acknowledge(self, what: About, *, by: str, incident: str | None = None) -> tuple[Incident, ...]:
        """Somebody takes care of what is wrong there, or of one incident (its id, four characters of it at least).

        No reminders and updates then; its end, and what is worse, is told. Raises MaintenanceError where nothing like
        that is wrong. Empty: no notifier runs here, and it was passed on to those that run elsewhere.
        """
        if incident is not None and len(incident) < SHORTEST:
            raise MaintenanceError(f"{incident!r} is too short for an incident's id.", cure=f"Give {SHORTEST} or more.")
        now = time.time()
        found = await self._journal.db.write(lambda c: _acknowledge(c, what, incident or "", by, now))
        if not found and self._tells:
            which = f"There is no incident {incident[:60]!r}" if incident else "Nothing is wrong"
            raise MaintenanceError(f"{which} at {what}.", cure="`proxmox-mcp incidents` shows what is wrong.")
        await self._publish(ACKNOWLEDGED, what, f"{by or 'Somebody'} takes care of {what}", by, incident=incident or "")
        return found

    async def _publish(self, kind: str, what: About, title: str, by: str, **facts: Any) -> None:
        metadata = {"scope": what.scope, "target": what.target, "by": by[:100], **facts}
        await self._journal.commit([_event(kind, what, title, metadata)], {})


def _seconds(duration: str | float) -> float:
    try:
        return silences.duration(duration if isinstance(duration, str) else f"{duration:.0f}")
    except BridgeError as error:
        raise MaintenanceError(error.message, cure=error.cure) from None


def _event(kind: str, what: About, title: str, metadata: Mapping[str, Any]) -> Event:
    identity = str(uuid.uuid4())
    return Event(
        id=identity,
        kind=kind,
        title=title,
        message=str(metadata.get("reason", "")),
        source=SOURCE,
        timestamp=utc(time.time()) or "",
        site=what.site,
        node=what.target if what.scope == "node" else None,
        guest=int(what.target) if what.scope == "guest" else None,
        metadata=dict(metadata),
        correlation_id=identity,
    )


# --- the database's thread -------------------------------------------------------------------------------------------


def follow(connection: sqlite3.Connection, event: Event, now: float) -> None:
    """What another process began, ended or acknowledged; what is none of its events does nothing."""
    told = event.metadata
    try:
        what = about(told.get("scope", ""), event.site, str(told.get("target", "")))
    except MaintenanceError:
        return
    by = str(told.get("by", ""))
    if event.kind == ENDED:
        _end(connection, what, now)
    elif event.kind == ACKNOWLEDGED:
        _acknowledge(connection, what, str(told.get("incident", "")), by, now)
    elif (until := seconds_of(str(told.get("until", "")))) > now:
        _begin(
            connection, what, silences.silence(what.scope, what.site, what.target, now, until - now, event.message, by)
        )


def _expect(connection: sqlite3.Connection, site: str, node: str, why: str, now: float) -> None:
    one = silences.restart(site, node, now, by=why)
    silences.add(connection, one)
    silences.renew(connection, one.id, one)


async def expect_beside(state_dir: Path, site: str, node: str, why: str) -> None:
    """The same for a process that is not the bridge, where the bridge has this STATE_DIR; else the bridge will see.

    It then tells by the task `stopall` that Proxmox begins before a node goes. Raises JournalError.
    """
    path = state_dir / FILE
    if path.exists():
        await asyncio.to_thread(beside, path, lambda connection: _expect(connection, site, node, why, time.time()))


def beside(path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    """Write into the journal of the bridge that runs beside this process. Raises JournalError, and where it is none."""
    try:
        open_reader(path).close()  # says in our words what is wrong with the file
        with closing(sqlite3.connect(path, isolation_level=None, timeout=BUSY)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            found = work(connection)
            connection.execute("COMMIT")
            return found
    except sqlite3.Error as error:
        raise translated(str(path), error) from error


def _of(connection: sqlite3.Connection, what: About, now: float) -> list[Silence]:
    """Those of exactly this, whoever began them."""
    wanted = (what.scope, what.site, what.target.casefold())
    held = silences.active(connection, now)
    return [one for one in held if (one.scope, one.site, one.target.casefold()) == wanted]


def _begin(connection: sqlite3.Connection, what: About, one: Silence) -> Silence:
    """Where there is one of it already, that one gets the new end."""
    before = next((it for it in _of(connection, what, one.since) if not silences.is_automatic(it)), None)
    if before is None:
        silences.add(connection, one)
        return one
    silences.renew(connection, before.id, one)
    return replace(one, id=before.id, since=before.since)


def _end(connection: sqlite3.Connection, what: About, now: float) -> tuple[Silence, ...]:
    found = tuple(_of(connection, what, now))
    for one in found:
        silences.end(connection, one.id, now)
    return found


def _acknowledge(connection: sqlite3.Connection, what: About, which: str, by: str, now: float) -> tuple[Incident, ...]:
    bad = [one for one in incident_book.current(connection) if what.concerns(one.last)]
    if which:
        bad = [one for one in bad if one.id.startswith(which)]
    known = tuple(acknowledged(one, by or "somebody") for one in bad)
    for one in known:
        incident_book.save(connection, one, now)
    return known
