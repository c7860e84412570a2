"""What an event says about problems: which begin or go on, and which of them it ends.

A problem is known by a key, the same whatever channel tells of it: mostly the key that correlation uses for the target
(`account`). What is told as a run (a backup, a verification) fails with the run and is well again with the next good
one; what is a state (a node, a storage) is well again when somebody says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mqtt_bridge.events.account import Account, Key, account_of
from mqtt_bridge.events.families import family_of
from mqtt_bridge.events.filters import RANK
from mqtt_bridge.model import Event

NOTHING: frozenset[str] = frozenset()

# These last until their end is told, so that silence means "unchanged": told again by the clock.
LASTING = frozenset({
    "backup.stale", "backup.uncovered", "datastore.error", "disk.smart.failing", "node.offline", "quorum.lost",
    "site.degraded",
    "site.offline", "storage.offline", "storage.usage.high",
})  # fmt: skip

# Two of these are two happenings, however alike.
EACH = ("audit.", "bridge.", "cgroup.oom", "guest.oom", "node.oom", "node.time.jump", "notification.", "security.")

# What a lost node takes along.
FOLDED = ("backup.stale", "guest.", "ha.", "replication.", "storage.")
_NODE_LOST = frozenset({"node.offline", "node.fencing", "node.fenced", "node.shutdown", "watchdog.expired"})

_STATES = frozenset({
    "ceph", "cluster", "corosync", "disk", "disk.missing", "disk.smart", "guest.pause", "link", "md", "node", "site",
    "storage", "storage.usage", "zfs",
})  # fmt: skip
_RUNS = frozenset({"certificate", "gc", "prune", "replication", "sync", "tape", "verify"})


@dataclass(frozen=True, slots=True)
class Subject:
    """Keys of the problems that an event tells of, and of those that it ends."""

    bad: frozenset[str] = NOTHING
    well: frozenset[str] = NOTHING
    lasting: bool = False


def subject_of(event: Event) -> Subject:
    """Take an event apart; an event that is neither bad nor ends anything has an empty subject."""
    bad, well = NOTHING, NOTHING
    if reader := _reader(event):
        bad, well = reader(event, account_of(event))
    if not bad and not well and RANK[event.severity] > 0:
        bad = frozenset({_own(event)})
    return Subject(bad, well, lasting=event.kind in LASTING and event.trust == "api")


def node_key(site: str, node: str) -> str:
    """The key of a node's own problems."""
    return _key("node", site, node.casefold())


def folds_into_node(event: Event) -> str | None:
    """The key of the node whose loss explains this event, if it is lost."""
    if event.node and event.kind.startswith(FOLDED):
        return node_key(event.site, event.node)
    return None


def loses_node(event: Event) -> bool:
    """Whether this event is the loss of a node that explains what is lost with it."""
    return event.kind in _NODE_LOST


def _key(*parts: object) -> str:
    return "|".join("" if part is None else str(part) for part in parts)


def _keys(keys: list[Key]) -> frozenset[str]:
    return frozenset(_key(*key) for key in keys if key[0] != "upid")


def _own(event: Event) -> str:
    """What no row knows is the same problem when it says the same about the same thing."""
    if event.kind.startswith(EACH):
        return _key("each", event.correlation_id or event.id)
    return _key("other", event.site, event.kind, event.node, event.guest, event.title.casefold())


Found = tuple[frozenset[str], frozenset[str]]
Reader = Callable[[Event, Account], Found]


def _state(event: Event, account: Account) -> Found:
    keys = _keys(account.keys)
    if account.phase == "recovery":
        return NOTHING, keys
    return (keys if RANK[event.severity] else NOTHING), NOTHING


def _storage(event: Event, account: Account) -> Found:
    """Each node's view of a storage is well again for itself."""
    bad, well = _state(event, account)
    return frozenset(_key(key, event.node) for key in bad), frozenset(_key(key, event.node) for key in well)


def _run(event: Event, account: Account) -> Found:
    keys = _keys(account.keys)
    if event.ok is False:
        return keys, NOTHING
    return NOTHING, keys if event.ok and account.phase == "end" else NOTHING


def _backup(event: Event, account: Account) -> Found:
    """By guest; a job that failed without telling whom it failed for is a problem of its node."""
    members = _members(event)
    failed = {_key("backup", event.site, vmid) for vmid, ok in members.items() if ok is False}
    good = {_key(what, event.site, vmid) for what in ("backup", "stale") for vmid, ok in members.items() if ok}
    job = _key("backup job", event.site, account.node)
    if event.ok is False:
        return frozenset(failed or {job}), frozenset(good)
    if account.phase == "end" and event.ok:
        good.add(job)
    return NOTHING, frozenset(good)


def _members(event: Event) -> Mapping[int, bool | None]:
    if event.kind.endswith(".started"):
        return {}
    if event.guest is not None:
        return {event.guest: event.ok}
    listed = event.metadata.get("guests")
    found = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return {one["vmid"]: one.get("ok", event.ok) for one in found if isinstance(one.get("vmid"), int)}


def backed_up(event: Event) -> Mapping[int, bool]:
    """The guests whose backup ended, and whether well; empty for what is no end of a backup."""
    if _family(event) != "backup":
        return {}
    return {vmid: ok for vmid, ok in _members(event).items() if ok is not None}


def _power(event: Event, account: Account) -> Found:
    """A guest that runs has neither failed to start nor stopped."""
    start, stop = _key("start", event.site, event.guest), _key("stop", event.site, event.guest)
    if account.phase == "end" and event.ok is not False and account.family.name == "guest.start":
        return NOTHING, frozenset({start, stop})
    if account.family.name == "guest.start" and event.ok is False:
        return frozenset({start}), NOTHING
    return (frozenset({stop}) if RANK[event.severity] else NOTHING), NOTHING


def _task(event: Event, account: Account) -> Found:
    about = event.guest if event.guest is not None else event.metadata.get("id")
    key = frozenset({_key("task", event.site, event.kind.split(".")[1], account.node, about)})
    if event.ok is False:
        return key, NOTHING
    return NOTHING, key if event.kind.endswith(".finished") else NOTHING


def _ha(event: Event, _: Account) -> Found:
    key = frozenset({_key("ha", event.site, event.guest if event.guest is not None else event.node)})
    if event.kind == "ha.service.recovered":
        return NOTHING, key
    return (key if RANK[event.severity] else NOTHING), NOTHING


def _pair(bad: str, name: str) -> Reader:
    def read(event: Event, _: Account) -> Found:
        keys = frozenset(_key(name, event.site, vmid) for vmid in _members(event))
        return (keys, NOTHING) if event.kind == bad else (NOTHING, keys)

    return read


def _site_shutdown(event: Event, _: Account) -> Found:
    """One incident, from its beginning to its end; one that took not everything down stays open."""
    key = frozenset({_key("site shutdown", event.site)})
    return (key, NOTHING) if RANK[event.severity] else (NOTHING, key)


_BY_KIND: Mapping[str, Reader] = {
    "backup.stale": _pair("backup.stale", "stale"),
    "backup.uncovered": _pair("backup.uncovered", "uncovered"),
    "backup.covered": _pair("backup.uncovered", "uncovered"),
    **{f"site.shutdown.{what}": _site_shutdown for what in ("started", "aborted", "done", "failed")},
}
_BY_FAMILY: Mapping[str, Reader] = {
    **dict.fromkeys(_STATES, _state),
    **dict.fromkeys(_RUNS, _run),
    "backup": _backup,
    "storage": _storage,
    "guest.start": _power,
    "guest.stop": _power,
    "ha": _ha,
    "task": _task,
}


def _reader(event: Event) -> Reader | None:
    return _BY_KIND.get(event.kind) or _BY_FAMILY.get(_family(event))


def _family(event: Event) -> str:
    return family_of(event.kind, well=event.ok is True and event.severity == "info")[0].name
