"""What one event tells, in terms that can be compared: by which keys its happening is found, and which facts it states.

Everything is read from the event alone, so that the journal is enough to go on after a restart.
"""

import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from mqtt_bridge.events.families import Family, family_of
from mqtt_bridge.model import Event

UNASSIGNED = "unassigned"
UNEXPECTED = "guest.stopped.unexpected"
MEMBERS = 1000  # guests of one job that are looked at
SOUGHT = 50  # of these, those by which an earlier report of the job is sought where its node does not find it

Key = tuple[Hashable, ...]
Fact = tuple[Hashable, ...]

_UPID = re.compile(
    r"UPID:[^:]{1,64}:[0-9A-Fa-f]{8}:[0-9A-Fa-f]{8,9}:(?:[0-9A-Fa-f]{8,16}:)?"
    r"([0-9A-Fa-f]{8}):([^:\s]{1,64}):([^:\s]{0,256}):"
)
_NAMESPACE = re.compile(r"(nvme\d+)n\d+")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


@dataclass(slots=True)
class Account:
    """One event's account of a happening.

    `says` are the facts that it states, `core` those of which one must have been stated before for it to be a
    duplicate; both with outcome and severity. `members` are a job's guests, None where they are not known.
    `also` are keys under which its happening is found, but by which it does not look for one; `joins` lead to a
    happening of another family that it belongs to: the task that explains a stop, the incident of its node. `loose` is
    the key without its node: by it a report that names a node and one that does not may find each other.
    """

    id: str
    family: Family
    phase: str
    at: float
    keys: list[Key]
    says: list[Fact]
    core: list[Fact]
    failed: bool
    source: tuple[str, str]
    upid: str | None = None
    upid_type: str = ""
    started: float | None = None
    job: str | None = None
    node: str | None = None
    guest: int | None = None
    members: frozenset[int] | None = None
    also: list[Key] = field(default_factory=list)
    closes: list[Key] = field(default_factory=list)
    joins: list[Key] = field(default_factory=list)
    loose: Key | None = None
    since: float | None = None
    """Who looks seldom tells late: then it may have begun at any time since this one."""


def account_of(event: Event) -> Account:
    """Take an event apart."""
    family, phase = family_of(event.kind, well=event.ok is True and event.severity == "info")
    node = _node(event)
    account = Account(
        id=event.id,
        family=family,
        phase=phase,
        at=seconds(event.timestamp),
        keys=[],
        says=[],
        core=[],
        failed=event.ok is False,
        source=(event.source, _channel(event.kind, phase)),
        job=_text(event.metadata.get("job")),
        node=node,
        guest=event.guest,
    )
    place: Key = (event.site,) if event.site != UNASSIGNED else (event.site, node)
    _take_upid(account, event)
    _KEYS.get(family.name, _other)(account, event, (family.name, *place))
    if event.site == UNASSIGNED:
        account.loose = None  # there the node is all that tells one site from another
    if account.upid:
        account.keys.insert(0, ("upid", account.upid))
        account.joins.append(("upid", account.upid))
    if family.closes and phase == "end" and (not account.failed or event.kind == UNEXPECTED):
        account.closes = [(family.closes, *key[1:]) for key in account.keys if key[0] == family.name]
    if node and (family.name == "ha" or event.kind == UNEXPECTED):
        account.joins.append(("node", *place, node))
    return account


@lru_cache(4096)
def seconds(timestamp: str) -> float:
    """Unix seconds of an event's timestamp; 0 for what is none."""
    try:
        return datetime.fromisoformat(timestamp).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _channel(kind: str, phase: str) -> str:
    """One listener may bring the task, the notification and the log of one happening."""
    return f"{kind.split('.', 1)[0]}/{phase}"


def _node(event: Event) -> str | None:
    named = event.node or event.context.get("node")
    return named.casefold() if isinstance(named, str) and named else None


def _text(value: object) -> str | None:
    return value.casefold() if isinstance(value, str) and value else None


def _field(event: Event, *names: str) -> str | None:
    """The first of these facts that the text told."""
    for name in names:
        found = event.metadata.get(name)
        if found not in (None, "") and isinstance(found, str | int):
            return str(found).casefold()
    return None


def _take_upid(account: Account, event: Event) -> None:
    upid = event.metadata.get("upid")
    found = _UPID.match(upid) if isinstance(upid, str) else None
    if found and isinstance(upid, str):
        account.upid, account.upid_type = upid, found[2]
        account.started = float(int(found[1], 16))


def _state(account: Account, event: Event, *facts: Fact, core: tuple[Fact, ...] | None = None) -> None:
    """State facts with this event's outcome and severity."""
    outcome = (account.failed, event.severity)
    account.says += [(*fact, *outcome) for fact in facts]
    account.core += [(*fact, *outcome) for fact in (facts if core is None else core)]


def _loose(head: Key, *about: Hashable) -> Key:
    return ("loose", *head, *about)


# --- jobs ------------------------------------------------------------------------------------------------------------


def _backup(account: Account, event: Event, head: Key) -> None:
    """A node has one lock for vzdump: one job runs at a time, and its guests belong to it."""
    guests = _guests(event.metadata.get("guests"))
    members = frozenset(guests) or (frozenset((event.guest,)) if event.guest is not None else None)
    if account.phase == "part":
        account.keys = _node_key(head, account.node) + _guest_keys(head, members)
        fact = ("guest", event.guest, event.kind.rsplit(".", 1)[-1] == "started")
        return _state(account, event, fact)
    account.members = members
    account.loose = _loose(head)
    by_guest = _guest_keys(head, members)
    account.keys = _node_key(head, account.node) + by_guest[:SOUGHT]
    account.also = by_guest[SOUGHT:]
    if account.phase == "start":
        return _state(account, event, ("start",))
    _state(account, event, ("end",))
    alike = [vmid for vmid, ok in guests.items() if ok is not account.failed and ok is not None]
    account.says += [("guest", vmid, False, account.failed, event.severity) for vmid in alike]
    if members and len(members) == 1:
        _state(account, event, ("guest", next(iter(members)), False))
    return None


def _guests(listed: object) -> dict[int, bool | None]:
    found: dict[int, bool | None] = {}
    for one in listed[:MEMBERS] if isinstance(listed, list | tuple) else ():
        if isinstance(one, Mapping) and isinstance(one.get("vmid"), int):
            found[one["vmid"]] = one.get("ok")
    return found


def _node_key(head: Key, node: str | None) -> list[Key]:
    return [(*head, "node", node)] if node else []


def _guest_keys(head: Key, guests: frozenset[int] | None) -> list[Key]:
    return [(*head, "guest", vmid) for vmid in sorted(guests or ())]


def _datastore(account: Account, event: Event, head: Key) -> None:
    """A Backup Server's job: by datastore, and by its own id where both know it."""
    store, job = _worker(event)
    store = _field(event, "datastore", "store") or store
    account.job = account.job or job
    named = (("store", store), ("job", account.job))
    account.keys = [(*head, *name) for name in named if name[1]] or [(*head, "node", account.node)]
    account.also = _node_key(head, account.node)
    if account.phase == "part":
        account.keys = _node_key(head, account.node)
        return _state(account, event, (event.kind, event.title.casefold()))
    account.node = None  # a Backup Server's host has other names in its API than in its mails
    return _state(account, event, (account.phase,))


def _worker(event: Event) -> tuple[str | None, str | None]:
    """Datastore and job of a worker id: `store`, `store:job`, `remote:its store:store:namespace:job`."""
    upid = event.metadata.get("upid")
    found = _UPID.match(upid) if isinstance(upid, str) else None
    if not found:
        return None, None
    text = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), found[3].replace("-", "/")).casefold()
    parts = text.split(":")
    if len(parts) >= 5:  # noqa: PLR2004 -- a sync job's five
        return parts[2] or None, parts[4] or None
    return parts[0] or None, parts[1] if len(parts) > 1 and parts[1] else None


def _certificate(account: Account, event: Event, head: Key) -> None:
    account.keys, account.loose = [(*head, account.node)], _loose(head)
    _state(account, event, (account.phase, event.kind if account.phase == "report" else ""))


# --- guests ----------------------------------------------------------------------------------------------------------


def _power(account: Account, event: Event, head: Key) -> None:
    """A task's end and the state that follows from it are one fact; two tasks of other types are two."""
    account.keys = [(*head, event.guest if event.guest is not None else ("text", event.title))]
    account.node = None  # a guest may move while it is started
    task = event.kind.split(".")[1] if event.kind.startswith("task.") else None
    if account.phase == "start":
        return _state(account, event, ("start", task))
    if task:
        return _state(account, event, (task,), ("any",), core=((task,), ("state",)))
    return _state(account, event, ("state",), ("any",), core=(("any",),))


def _task(account: Account, event: Event, head: Key) -> None:
    kind = event.kind.split(".")
    about = event.guest if event.guest is not None else _field(event, "id", "worker_id")
    named = (kind[1] if len(kind) > 1 else "", about, event.title)
    if not account.upid:
        account.keys, account.loose = [(*head, account.node, *named)], _loose(head, *named)
    _state(account, event, (account.phase,))


def _by_guest(account: Account, event: Event, head: Key) -> None:
    account.keys = [(*head, event.guest if event.guest is not None else ("node", account.node))]
    _state(account, event, (event.kind,))


def _ha(account: Account, event: Event, head: Key) -> None:
    """Each state that HA passes through is a happening: error, started, error are three."""
    about = event.guest if event.guest is not None else account.node
    account.keys = [(*head, event.kind, about, _field(event, "state") or event.title)]
    account.node = None  # what HA recovers changes its node
    _state(account, event, (event.kind,))


def _oom(account: Account, event: Event, head: Key) -> None:
    """Each process that is killed is a fact of its own, told by its line."""
    account.keys = [(*head, account.node, event.guest)]
    _state(account, event, (event.kind, event.message))


def _replication(account: Account, event: Event, head: Key) -> None:
    account.keys = [(*head, account.job or event.guest or ("text", event.title))]
    account.node = None
    _state(account, event, (event.kind,))


# --- nodes, storage, the rest ----------------------------------------------------------------------------------------


def _node_family(account: Account, event: Event, head: Key) -> None:
    """Offline, fencing and fenced are stages of one incident, each a fact of its own."""
    account.keys = [(*head, account.node or ("text", event.title))]
    _state(account, event, (event.kind,))


def _cluster(account: Account, event: Event, head: Key) -> None:
    """Every node tells of a lost quorum: one fact of the site."""
    account.keys = [head]
    account.node = None
    _state(account, event, (event.kind,))


def _storage(account: Account, event: Event, head: Key) -> None:
    """One storage, whichever nodes miss it; each node's is a fact, the shared one's covers them."""
    name = _field(event, "storage", "datastore", "server", "export") or ("text", event.title)
    local = head[0] == "storage.usage"
    account.keys = [(*head, name, account.node) if local else (*head, name)]
    fact = (event.kind, account.node)
    core = (fact,) if account.node is None else (fact, (event.kind, None))
    account.node = None
    _state(account, event, fact, core=core)


def _device(*names: str, parts: bool = True) -> Callable[[Account, Event, Key], None]:
    """`parts`: what is told of two of its attributes or tests are two facts. smartd names an NVMe disk's controller."""

    def by_device(account: Account, event: Event, head: Key) -> None:
        name = _field(event, *names)
        named: Hashable = (
            _NAMESPACE.sub(r"\1", name.removeprefix("/dev/").split(" ")[0]) if name else ("text", event.title)
        )
        account.keys, account.loose = [(*head, account.node, named)], _loose(head, named)
        well_at = event.metadata.get("well_at")
        if event.trust == "api" and isinstance(well_at, str):
            account.since = min(seconds(well_at) or account.at, account.at)
        _state(account, event, (event.kind, _field(event, "attribute", "test") if parts else None))

    return by_device


_ADDRESS = ("rhost", "source_ip", "address", "source", "ip", "host", "from")


def _auth(account: Account, event: Event, head: Key) -> None:
    """By who tried and from where: pam, pvedaemon and sshd write both in their own way."""
    address = (_field(event, *_ADDRESS) or "").strip("[]").removeprefix("::ffff:").strip("[]")
    user = (_field(event, "user", "username") or "").removesuffix("@pam")
    if address or user:
        account.keys, account.node = [(*head, address, user)], None
    else:
        account.keys, account.loose = [(*head, account.node, event.title)], _loose(head, event.title)
    _state(account, event, (event.kind,))


def _one_per_node(account: Account, event: Event, head: Key) -> None:
    account.keys, account.loose = [(*head, account.node)], _loose(head)
    _state(account, event, (event.kind,))


def _site_wide(account: Account, event: Event, head: Key) -> None:
    account.keys = [head]
    account.node = None
    _state(account, event, (event.kind, event.title.casefold() if event.ok is not True else ""))


def _audit(account: Account, event: Event, head: Key) -> None:
    """Each action of ours is one happening, however often the same is asked for."""
    account.keys = [(*head, _text(event.metadata.get("order")) or event.id)]


def _other(account: Account, event: Event, head: Key) -> None:
    """What no family knows is the same only when it says the same."""
    about = (event.kind, event.guest, account.job, event.title.casefold())
    account.keys, account.loose = [(*head, account.node, *about)], _loose(head, *about)
    _state(account, event, (event.kind, event.message[:500]))


_KEYS: dict[str, Callable[[Account, Event, Any], None]] = {
    "backup": _backup,
    **dict.fromkeys(("gc", "prune", "sync", "verify", "tape"), _datastore),
    "certificate": _certificate,
    **dict.fromkeys(("guest.start", "guest.stop", "guest.migrate"), _power),
    "task": _task,
    "replication": _replication,
    "node": _node_family,
    "cluster": _cluster,
    "site": _cluster,
    "storage": _storage,
    "storage.usage": _storage,
    "zfs": _device("pool"),
    "md": _device("array", "pool", "device"),
    "disk": _device("device", "disk", "serial"),
    "disk.smart": _device("device", "disk", "serial", parts=False),
    "disk.missing": _device("device", "disk", "serial"),
    "link": _device("link", "interface", "device", "nic"),
    "corosync": _device("peer", "host", "link"),
    "ceph": _site_wide,
    "auth": _auth,
    "updates": _one_per_node,
    "test": _one_per_node,
    "ha": _ha,
    "guest.pause": _by_guest,
    "oom": _oom,
    "guest.monitor": _by_guest,
    "audit": _audit,
}
