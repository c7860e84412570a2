"""A report becomes an event: deterministic id, site, the node's real name, time, text and facts made harmless."""

import hashlib
import math
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol

from mqtt_bridge.events.account import MEMBERS, UNASSIGNED
from mqtt_bridge.events.intake import Report
from mqtt_bridge.model import Event, GuestState, NodeState
from mqtt_bridge.severity import SEVERITIES
from mqtt_bridge.wording.clean import MESSAGE_LIMIT, TITLE_LIMIT, clean, one_line

NAMESPACE = uuid.UUID("6f1c1d0e-6f0b-5b0e-9a55-0f6d1c9b7a10")

KIND_LIMIT = 128
NAME_LIMIT = 255
FACT_LIMIT = 2000  # characters of one fact
FACTS = 64  # entries of one mapping or list
DEPTH = 4
NUMBER_LIMIT = 2**63
LARGEST_VMID = 999_999_999
AHEAD = 300.0  # seconds that a host's clock may be ahead of ours
EARLIEST = 946_684_800.0  # 2000: an earlier time is a clock that was never set


class World(Protocol):
    """Cached state, read in passing, without I/O."""

    sites: Sequence[str]

    def sites_of(self, node: str | None, guest: int | None) -> Sequence[str]: ...
    def guest(self, site: str, vmid: int) -> GuestState | None: ...
    def node(self, site: str, name: str) -> NodeState | None: ...
    def node_name(self, site: str, host: str) -> str | None: ...
    def node_at(self, address: str) -> tuple[str, str] | None: ...


def event_id(listener: str, identity: str) -> str:
    """UUIDv5 of both. Unlike `uuid5` it also takes halves of characters, which some hosts send."""
    name = f"{listener}\x1f{identity}".encode("utf-8", "surrogatepass")
    digest = hashlib.sha1(NAMESPACE.bytes + name, usedforsecurity=False).digest()
    return str(uuid.UUID(bytes=digest[:16], version=5))


def event_of(report: Report, listener: str, world: World, now: float, identity: str = "") -> Event:
    """The event that this report makes, without correlation; `now` is the time of receipt, `identity` its id."""
    verdict = report.verdict
    site = site_of(report, world)
    node = name(verdict.node)
    if node is None and (sent := sent_by(report, world)) and site in (sent[0], UNASSIGNED):
        site, node = sent
    return _built({
        "id": identity or event_id(listener, report.identity),
        "kind": name(verdict.kind, KIND_LIMIT) or "unknown",
        "title": short(verdict.title),
        "message": long(verdict.message),
        "source": listener,
        "timestamp": iso(moment(report.at, verdict.at, now)),
        "site": site,
        "node": (world.node_name(site, node) or node) if node and site != UNASSIGNED else node,
        "guest": verdict.guest if verdict.guest is not None and 0 < verdict.guest <= LARGEST_VMID else None,
        "severity": verdict.severity if verdict.severity in SEVERITIES else "warning",
        "ok": verdict.ok,
        "trust": report.trust,
        "metadata": metadata_of(report),
        "context": facts(report.context) if report.context else {},
        "correlation_id": "",
        "duplicate_of": None,
        "related": (),
    })  # fmt: skip


_FIELDS = set(Event.model_fields)


def _built(values: dict[str, Any]) -> Event:
    """What `model_construct` does, for values that are all there and typed, at a fifth of its cost."""
    event = Event.__new__(Event)
    object.__setattr__(event, "__dict__", values)
    object.__setattr__(event, "__pydantic_fields_set__", _FIELDS)
    object.__setattr__(event, "__pydantic_extra__", None)
    object.__setattr__(event, "__pydantic_private__", None)
    return event


def complete(event: Event, **values: object) -> Event:
    """Fill in what is found out later, in an event that nobody else has seen yet: a copy costs 5 microseconds."""
    event.__dict__.update(values)
    return event


def site_of(report: Report, world: World) -> str:
    """The site that is named, or the only one there is, or the only one with this node and guest."""
    if report.site is not None and report.site in world.sites:
        return report.site
    if len(world.sites) == 1:
        return world.sites[0]
    verdict = report.verdict
    guests = [verdict.guest] if verdict.guest is not None else [vmid for vmid, _ in verdict.guests[:MEMBERS]]
    found = world.sites_of(verdict.node, verdict.guest) if verdict.node or guests else ()
    if len(found) > 1:
        found = [site for site in found if all(world.guest(site, vmid) for vmid in guests)] if guests else found
    if not found and not verdict.node:
        found = [site for site in world.sites if guests and all(world.guest(site, vmid) for vmid in guests)]
    return found[0] if len(found) == 1 else UNASSIGNED


_OF_OTHERS = ("node.", "quorum.", "cluster.", "ha.", "corosync.", "ceph.", "site.")


def sent_by(report: Report, world: World) -> tuple[str, str] | None:
    """Site and node that a notification came from, by its sender's address: a text that names no node is of that one.

    Proxmox sends from the node where it happened, but of lost nodes and of the cluster any node speaks.
    """
    sender = report.metadata.get("sender")
    if not isinstance(sender, str) or report.verdict.kind.startswith(_OF_OTHERS):
        return None
    address = sender.removeprefix("::ffff:")
    if not address or address == "::1" or address.startswith("127."):  # a relay on our own host
        return None
    found = world.node_at(address)
    return found if found and report.site in (None, found[0]) else None


def metadata_of(report: Report) -> dict[str, Any]:
    """The facts of the text and of the listener, with job, task and guests of a job."""
    verdict = report.verdict
    found = facts(verdict.fields)
    if report.metadata:
        found |= facts(report.metadata)
    if verdict.upid:
        found["upid"] = short(verdict.upid, 1000)
    if verdict.job:
        found["job"] = short(verdict.job)
    if verdict.guests:
        found["guests"] = [{"vmid": vmid, "ok": ok} for vmid, ok in verdict.guests[:MEMBERS]]
    return found


def moment(told: float | None, read: float | None, now: float) -> int:
    """When it happened, in whole Unix seconds: a time that cannot be is the time of receipt."""
    for at in (told, read):
        if at is not None and math.isfinite(at) and EARLIEST <= at <= now + AHEAD:
            return int(at)
    return int(now)


@lru_cache(4096)
def iso(at: int) -> str:
    """ISO 8601 in UTC, cheaper than by datetime."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


# --- text from outside -----------------------------------------------------------------------------------------------


def name(text: str | None, limit: int = NAME_LIMIT) -> str | None:
    """A name of one line."""
    if not text:
        return None
    return text if _harmless(text, limit) else one_line(text, limit) or None


def short(text: str, limit: int = TITLE_LIMIT) -> str:
    """One line; what is clean already costs nothing."""
    return text if _harmless(text, limit) else one_line(text, limit)


def long(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Several lines."""
    return text if _harmless(text, limit) else clean(text, limit)


def _harmless(text: str, limit: int) -> bool:
    return len(text) <= limit and text.isascii() and text.isprintable()


def facts(told: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """A copy that JSON can hold, bounded in every direction."""
    found: dict[str, Any] = {}
    for key, value in told.items():
        if len(found) >= FACTS:
            break
        found[_fact_name(str(key))] = _fact(value, depth)
    return found


@lru_cache(4096)
def _fact_name(key: str) -> str:
    return short(key, 100)


def _fact(value: object, depth: int) -> Any:
    if type(value) is str:  # nearly every fact is one
        return value if _harmless(value, FACT_LIMIT) else clean(value, FACT_LIMIT)
    plain = _PLAIN.get(type(value))
    if plain is not None:
        return plain(value)
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _nested(value, depth + 1) if depth < DEPTH else "…"
    return short(str(value), FACT_LIMIT)


def _nested(value: Mapping[Any, Any] | Collection[Any], depth: int) -> Any:
    if isinstance(value, Mapping):
        return facts(value, depth)
    return [_fact(one, depth) for one in islice(value, FACTS)]


_PLAIN: dict[type, Callable[[Any], Any]] = {
    type(None): lambda value: value,
    bool: lambda value: value,
    int: lambda value: value if abs(value) < NUMBER_LIMIT else "a number too large",
    float: lambda value: value if math.isfinite(value) else None,
}
