"""The live watcher's words for everything but guests and tasks: nodes, quorum, storages, datastores, backups.

Each function compares with what was told last (`memory`), notes what is told now, and gives the reports. A fact is
kept only while it is out of the ordinary, except where the ordinary changes too (a node's status, its updates).
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mqtt_bridge.events.intake import Report
from mqtt_bridge.listeners.live_memory import Memory
from mqtt_bridge.listeners.live_words import Said, report
from mqtt_bridge.model import DatastoreState, GuestState, NodeState
from mqtt_bridge.proxmox.changes import StorageChanged
from mqtt_bridge.proxmox.task_book import seconds
from mqtt_bridge.settings.listening import LiveSettings
from mqtt_bridge.severity import Severity
from mqtt_bridge.wording.clean import clean
from mqtt_bridge.wording.verdict import Verdict

HYSTERESIS = 2.0  # percentage points below a threshold at which it counts as passed downwards
EXPIRES_SOON = 14 * 86400.0  # seconds before a certificate's end
MANY = 10  # guests at once that are told in one event instead of one each

Level = Literal["", "warning", "error"]

# --- nodes -----------------------------------------------------------------------------------------------------------

_NODE = {
    "offline": Said("node.offline", "critical", False, "Node {} is offline"),
    "online": Said("node.online", "info", True, "Node {} is back"),
}


def node(memory: Memory, new: NodeState, at: float) -> Iterator[Report]:
    """Lost, back, fenced, in maintenance, with updates to install, with a certificate that ends soon."""
    yield from _node_status(memory, new, at)
    yield from _node_ha(memory, new, at)
    yield from _node_updates(memory, new, at)
    yield from _certificate(memory, new, at)


def _node_status(memory: Memory, new: NodeState, at: float) -> Iterator[Report]:
    if new.status == "unknown":
        return
    before = memory.set_fact(f"node/{new.node}", new.status)
    if before not in ("", new.status):
        said = _NODE[new.status]
        yield report(_filled(said, new.node), memory.site, f"node/{new.node}", at, node=new.node)


_FENCING = Said("node.fencing", "critical", False, "Node {} is being fenced")
_FENCED = Said("node.fenced", "critical", True, "Node {} was fenced: its services are started elsewhere")
_MAINTENANCE = Said("ha.lrm.state", "info", None, "Node {} is in maintenance")
_NO_MAINTENANCE = Said("ha.lrm.state", "info", None, "Node {} is no longer in maintenance")


def _node_ha(memory: Memory, new: NodeState, at: float) -> Iterator[Report]:
    if new.ha_state is None:
        return
    state = new.ha_state if new.ha_state in ("fence", "maintenance") else ""
    before = memory.set_fact(f"node-ha/{new.node}", state)
    if before == state:
        return
    if before == "fence" and new.ha_state != "online":
        yield report(_filled(_FENCED, new.node), memory.site, f"fence/{new.node}", at, node=new.node)
    elif before == "maintenance":
        yield report(_filled(_NO_MAINTENANCE, new.node), memory.site, f"node-ha/{new.node}", at, node=new.node)
    if state:
        said = _FENCING if state == "fence" else _MAINTENANCE
        yield report(_filled(said, new.node), memory.site, f"node-ha/{new.node}", at, node=new.node)


def _node_updates(memory: Memory, new: NodeState, at: float) -> Iterator[Report]:
    """Told when there are more than were told; the first reading is not told."""
    if new.updates is None:
        return
    before = memory.set_fact(f"updates/{new.node}", str(new.updates))
    if before and new.updates > int(before):
        said = Said("update.available", "info", None, f"{new.updates} updates are available for {new.node}")
        yield report(said, memory.site, f"updates/{new.node}", at, node=new.node, updates=new.updates)


def _certificate(memory: Memory, new: NodeState, at: float) -> Iterator[Report]:
    if new.certificate_expires is None:
        return
    left = seconds(new.certificate_expires) - time.time()
    told = new.certificate_expires if left < EXPIRES_SOON else ""
    if memory.set_fact(f"certificate/{new.node}", told) == told or not told:
        return
    when = f"in {left / 86400:.0f} days" if left > 0 else f"{-left / 86400:.0f} days ago"
    verb = "ends" if left > 0 else "has ended"
    said = Said("certificate.expiring", "warning", False, f"The certificate of {new.node} {verb} {when}")
    yield report(said, memory.site, f"certificate/{new.node}", at, node=new.node, expires=told)


# --- the site --------------------------------------------------------------------------------------------------------


def quorum(memory: Memory, quorate: bool | None, at: float) -> Iterator[Report]:
    """Lost or back."""
    if quorate is None:
        return
    before = memory.set_fact("quorum", "" if quorate else "lost")
    if quorate and before:
        yield report(Said("quorum.ok", "info", True, f"{memory.site} has quorum again"), memory.site, "quorum", at)
    elif not quorate and not before:
        yield report(
            Said("quorum.lost", "critical", False, f"{memory.site} has lost quorum"), memory.site, "quorum", at
        )


def site(memory: Memory, reason: str | None, at: float) -> Iterator[Report]:
    """The API does not answer (`reason`), or answers again. The only word there is of a standalone host's end."""
    before = memory.set_fact("site", "offline" if reason else "")
    if reason and not before:
        said = Said("site.offline", "error", False, f"The API of {memory.site} does not answer")
        yield report(said, memory.site, "site", at, message=reason)
    elif before and not reason:
        yield report(
            Said("site.online", "info", True, f"The API of {memory.site} answers again"), memory.site, "site", at
        )


# --- storages and datastores -----------------------------------------------------------------------------------------


def level(used: float, before: str, settings: LiveSettings) -> Level:
    """Which threshold is passed; one that was passed before counts until the usage is clearly below it."""
    error = settings.storage_error - (HYSTERESIS if before == "error" else 0)
    warning = settings.storage_warning - (HYSTERESIS if before else 0)
    return "error" if used >= error else "warning" if used >= warning else ""


_RANK: dict[str, int] = {"": 0, "warning": 1, "error": 2}


@dataclass(frozen=True, slots=True)
class _Room:
    """Something that can be full: how it is called, and where it is."""

    what: str
    key: str
    node: str | None
    field: Literal["storage", "datastore"]
    name: str

    def report(self, said: Said, site: str, key: str, at: float, **fields: str | float) -> Report:
        names: dict[str, Any] = {self.field: self.name, **fields}
        return report(said, site, key, at, node=self.node, **names)


def _usage(memory: Memory, room: _Room, used: float | None, at: float, settings: LiveSettings) -> Iterator[Report]:
    if used is None:
        return
    key = f"usage/{room.key}"
    before = memory.fact(key)
    now = level(used, before, settings)
    memory.set_fact(key, now)
    if _RANK[now] > _RANK[before]:
        severity: Severity = "error" if now == "error" else "warning"
        said = Said("storage.usage.high", severity, None, f"{room.what} is {used:.0f} % full")
    elif before and not now:
        said = Said("storage.usage.ok", "info", True, f"{room.what} is {used:.0f} % full: below the threshold again")
    else:
        return
    yield room.report(said, memory.site, key, at, used_percent=used)


def storage(memory: Memory, change: StorageChanged, settings: LiveSettings) -> Iterator[Report]:
    """Offline while its node is up, back, and how full it is."""
    new, at = change.new, change.at
    where = f" on {new.node}" if new.node else ""
    room = _Room(f"Storage {new.storage}{where}", change.identity, new.node, "storage", new.storage)
    key = f"offline/{change.identity}"
    if new.available and memory.set_fact(key, ""):
        yield room.report(Said("storage.online", "info", True, f"{room.what} is reachable again"), memory.site, key, at)
    elif not new.available and change.node_up and not memory.set_fact(key, "1"):
        yield room.report(
            Said("storage.offline", "warning", False, f"{room.what} is not reachable"), memory.site, key, at
        )
    yield from _usage(memory, room, new.used_percent if new.available else None, at, settings)


def datastore(memory: Memory, new: DatastoreState, host: str, at: float, settings: LiveSettings) -> Iterator[Report]:
    """Out of order, back, and how full it is."""
    room = _Room(f"Datastore {new.store} on {host}", new.store, host, "datastore", new.store)
    key = f"error/{new.store}"
    trouble = "" if new.available else new.error or "it is not mounted"
    before = memory.set_fact(key, "1" if trouble else "")
    if trouble and not before:
        yield room.report(Said("datastore.error", "error", False, f"{room.what}: {trouble}"), memory.site, key, at)
    elif before and not trouble:
        yield room.report(Said("datastore.ok", "info", True, f"{room.what} works again"), memory.site, key, at)
    yield from _usage(memory, room, new.used_percent if new.available else None, at, settings)


# --- backups ---------------------------------------------------------------------------------------------------------


def backups(
    memory: Memory, guests: Sequence[GuestState], at: float, *, covered: bool, max_age: float
) -> Iterator[Report]:
    """Guests that are newly in no backup job, or in one again; covered ones whose newest backup is too old."""
    first = not memory.set_fact("backups", "read") if covered else True
    lost: list[GuestState] = []
    back: list[GuestState] = []
    stale: list[GuestState] = []
    for guest in guests:
        known = memory.guest(guest.vmid)
        if known is None or guest.template:
            continue
        now_covered = guest.backup_covered if covered and guest.backup_covered is not None else known.covered
        old = _too_old(guest, at, max_age)
        if not first and now_covered is True and known.covered is False:
            back.append(guest)
        if not first and now_covered is False and known.covered is not False:
            lost.append(guest)
        if not first and old and not known.stale:
            stale.append(guest)
        memory.set_guest(guest.vmid, replace(known, covered=now_covered, stale=old))
    yield from _group(memory, Said("backup.uncovered", "warning", False, "in no backup job"), lost, at)
    yield from _group(memory, Said("backup.covered", "info", True, "in a backup job"), back, at)
    days = f"without a backup for {max_age / 86400:.0f} days"
    yield from _group(memory, Said("backup.stale", "warning", False, days), stale, at)


def _too_old(guest: GuestState, at: float, max_age: float) -> bool:
    """A guest without any backup that we know of is not judged: it may be new, or its backups hidden from us."""
    return bool(guest.backup_covered and guest.last_backup and at - seconds(guest.last_backup) > max_age)


def _group(memory: Memory, said: Said, guests: Sequence[GuestState], at: float) -> Iterator[Report]:
    """One event each, or one for all of them if they are many: a job that was deleted."""
    if len(guests) < MANY:
        for guest in guests:
            one = Said(said.kind, said.severity, said.ok, f"{guest.name} is {said.title}")
            context, last = {"name": guest.name}, guest.last_backup
            key = f"{guest.vmid}"
            yield report(
                one, memory.site, key, at, node=guest.node, guest=guest.vmid, context=context, last_backup=last
            )
        return
    verdict = Verdict(
        said.kind,
        said.severity,
        ok=said.ok,
        title=f"{len(guests)} guests are {said.title}",
        message=clean("\n".join(f"{g.vmid} {g.name}" for g in guests)),
        at=at,
        guests=tuple((g.vmid, said.ok) for g in guests),
    )
    yield Report(f"{said.kind}/{memory.site}/{at:.3f}", verdict, "api", at=at, site=memory.site)


def _filled(said: Said, name: str) -> Said:
    return Said(said.kind, said.severity, said.ok, said.title.format(name))
