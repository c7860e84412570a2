"""Typed reads of a mirror: what a tool sees. Nothing here waits or talks to anyone."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from pydantic import ConfigDict, Field

from mqtt_bridge.errors import UnknownTargetError
from mqtt_bridge.model import (
    BridgeInfo,
    ClusterState,
    DatastoreState,
    DiskState,
    Event,
    EventList,
    GuestMetrics,
    GuestState,
    Manifest,
    Model,
    NodeMetrics,
    NodeState,
    StorageState,
    TaskInfo,
    TaskList,
    ZfsPoolState,
)
from proxmox_mcp.mirror import Mirror
from proxmox_mcp.store import Store, seconds

T = TypeVar("T")
Source = Literal["mqtt", "api"]
STALE_POLLS = 3  # missed polls after which data is called stale
CANDIDATES = 10
UNASSIGNED = "unassigned"  # in place of a site, for events of which no site can be told


class Answer(Model):
    """How far what follows can be trusted; the first fields of every read."""

    model_config = ConfigDict(defer_build=True)

    as_of: str | None = Field(default=None, description="when Proxmox was last asked successfully; the oldest site's")
    age_s: float | None = Field(default=None, description="seconds since then")
    stale: bool = Field(default=False, description="true: Proxmox may look different by now; `notes` says why")
    complete: bool = Field(default=True, description="false: something is missing, so absence proves nothing")
    source: Source = Field(
        default="mqtt", description="mqtt: what the bridge publishes; api: Proxmox was asked directly"
    )
    notes: tuple[str, ...] = Field(default=(), description="what to know about this answer")

    def text(self) -> str:
        """The same for people, in a few lines."""
        return "\n".join(self.notes) or "Done."

    @property
    def is_failure(self) -> bool:
        """Whether what was asked for did not happen: the call is then reported as an error."""
        return False


@dataclass(frozen=True)
class Freshness:
    """The same, of one site or of several taken together."""

    as_of: str | None
    age_s: float | None
    stale: bool
    complete: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest with its figures, if there are any."""

    state: GuestState
    metrics: GuestMetrics | None


@dataclass(frozen=True, slots=True)
class Node:
    """A node with its figures, if there are any."""

    state: NodeState
    metrics: NodeMetrics | None


class View:
    """Reads of one mirror."""

    def __init__(self, mirror: Mirror, source: Source) -> None:
        self.mirror = mirror
        self.store: Store = mirror.store
        self.source = source

    # --- things -----------------------------------------------------------------------------------------------------

    def sites(self, site: str | None = None) -> list[str]:
        """The sites, or the one that is asked for; raises UnknownTargetError for one that is not there.

        One that is configured counts before anything of it has come: without it an answer would call itself complete.
        """
        known = sorted({*self.store.sites(), *self.mirror.sites})
        if site is None:
            return known
        if site in known:
            return [site]
        raise UnknownTargetError(
            f"There is no site {site!r}.", cure=_choices("Sites", known), candidates=tuple(known[:CANDIDATES])
        )

    def cluster(self, site: str) -> ClusterState | None:
        """The site as a whole."""
        return _as(self.store.get(site, "cluster"), ClusterState)

    def site_state(self, site: str) -> str | None:
        """`online`, `degraded` or `offline` as its bridge says."""
        value = self.store.get(site, "site_state")
        return value if isinstance(value, str) else None

    def guests(self, site: str | None = None) -> Iterator[Guest]:
        """All guests, templates too, by site and VMID."""
        for name in self.sites(site):
            rows = [v for _, v in self.store.items(name, "guest") if isinstance(v, GuestState)]
            for state in sorted(rows, key=lambda g: g.vmid):
                yield self._with_figures(name, state)

    def _with_figures(self, site: str, state: GuestState) -> Guest:
        """The last figures of a guest that is lost are no figures of now."""
        figures = _as(self.store.get(site, "guest_metrics", str(state.vmid)), GuestMetrics)
        return Guest(state, figures if state.available else None)

    def nodes(self, site: str | None = None) -> Iterator[Node]:
        """All nodes, by site and name."""
        for name in self.sites(site):
            for key, value in sorted(self.store.items(name, "node")):
                if isinstance(value, NodeState):
                    figures = _as(self.store.get(name, "node_metrics", key), NodeMetrics)
                    yield Node(value, figures if value.available else None)

    def storages(self, site: str | None = None) -> Iterator[StorageState]:
        """All storages; a shared one once."""
        for name in self.sites(site):
            for kind in ("shared_storage", "storage"):
                for _, value in sorted(self.store.items(name, kind)):
                    if isinstance(value, StorageState):
                        yield value

    def datastores(self, site: str | None = None) -> Iterator[DatastoreState]:
        """The datastores of Backup Servers."""
        for name in self.sites(site):
            for _, value in sorted(self.store.items(name, "datastore")):
                if isinstance(value, DatastoreState):
                    yield value

    def disks(self, site: str | None = None) -> Iterator[DiskState]:
        """The physical disks of nodes."""
        for name in self.sites(site):
            for _, value in sorted(self.store.items(name, "disk")):
                if isinstance(value, DiskState):
                    yield value

    def zpools(self, site: str | None = None) -> Iterator[ZfsPoolState]:
        """The ZFS pools of nodes."""
        for name in self.sites(site):
            for _, value in sorted(self.store.items(name, "zpool")):
                if isinstance(value, ZfsPoolState):
                    yield value

    def tasks(self, site: str | None = None) -> list[TaskInfo]:
        """The last tasks of each site, newest first."""
        lists = (_as(self.store.get(name, "tasks"), TaskList) for name in self.sites(site))
        return sorted((t for tl in lists if tl for t in tl.tasks), key=lambda t: t.started_at or "", reverse=True)

    def events(self, site: str | None = None) -> list[Event]:
        """The last events of each site, and those that no site could be told for, newest first."""
        names = [site] if site == UNASSIGNED else [*self.sites(site), *([UNASSIGNED] if site is None else [])]
        lists = (_as(self.store.get(name, "events"), EventList) for name in names)
        return sorted((e for el in lists if el for e in el.events), key=lambda e: e.timestamp, reverse=True)

    def bridge(self, site: str) -> BridgeInfo | None:
        """What the site's bridge tells of itself."""
        beat = self.store.beats.get(site)
        return _as(self.store.get("", "bridge_info", beat.value.bridge), BridgeInfo) if beat else None

    # --- one thing --------------------------------------------------------------------------------------------------

    def guest(self, vmid: int, *, node: str | None = None, site: str | None = None) -> Guest:
        """The guest of a VMID; raises UnknownTargetError if there is none, or more than one."""
        found = [g for name in self.sites(site) if (g := self._guest(name, vmid)) and node in {None, g.state.node}]
        if len(found) == 1:
            return found[0]
        if found:
            places = [f"site {g.state.site}, node {g.state.node}: {g.state.name}" for g in found]
            raise UnknownTargetError(
                f"There are {len(found)} guests with the VMID {vmid}.",
                cure=f"Give `site` too: {'; '.join(places)}.",
                candidates=tuple(places),
            )
        raise self._no_guest(vmid, node, site)

    def _guest(self, site: str, vmid: int) -> Guest | None:
        state = _as(self.store.get(site, "guest", str(vmid)), GuestState)
        return self._with_figures(site, state) if state else None

    def _no_guest(self, vmid: int, node: str | None, site: str | None) -> UnknownTargetError:
        where = "".join(f" on {kind} {name}" for kind, name in (("node", node), ("site", site)) if name)
        elsewhere = [g for name in self.sites() if (g := self._guest(name, vmid))]
        if elsewhere:
            cure = f"It is on node {elsewhere[0].state.node} of site {elsewhere[0].state.site}."
        else:
            ids = sorted((g.state.vmid for g in self.guests(site)), key=lambda v: (abs(v - vmid), v))
            cure = _choices("Nearest VMIDs", [str(v) for v in ids[:5]]) if ids else "No guest is known at all."
        if not self.freshness(self.sites(site)).complete:
            cure += " The data is not complete, so it may exist all the same."
        return UnknownTargetError(f"There is no guest {vmid}{where}.", cure=cure)

    def node(self, name: str, *, site: str | None = None) -> Node:
        """The node of a name; raises UnknownTargetError if there is none, or more than one."""
        found = [n for n in self.nodes(site) if n.state.node == name]
        if len(found) == 1:
            return found[0]
        if found:
            sites = [n.state.site for n in found]
            raise UnknownTargetError(
                f"There are {len(found)} nodes called {name!r}.",
                cure=f"Give `site` too: {', '.join(sites)}.",
                candidates=tuple(sites),
            )
        known = [n.state.node for n in self.nodes(site)]
        raise UnknownTargetError(
            f"There is no node {name!r}.", cure=_choices("Nodes", known), candidates=tuple(known[:CANDIDATES])
        )

    # --- how fresh --------------------------------------------------------------------------------------------------

    def freshness(self, sites: Sequence[str]) -> Freshness:
        """Of several sites the worst: the oldest time, stale if one is, complete only if all are."""
        if not sites:
            return Freshness(None, None, stale=True, complete=False, notes=("No site has been seen yet.",))
        each = [self._site_freshness(site) for site in sites]
        ages = [f.age_s for f in each]
        worst = max(each, key=lambda f: float("inf") if f.age_s is None else f.age_s)
        return Freshness(
            worst.as_of,
            None if None in ages else worst.age_s,
            stale=any(f.stale for f in each),
            complete=all(f.complete for f in each),
            notes=tuple(dict.fromkeys(note for f in each for note in f.notes)),
        )

    def _site_freshness(self, site: str) -> Freshness:
        age, polled_at = self.age(site), None
        beat = self.store.beats.get(site)
        complete = self.mirror.site_complete(site)
        if beat:
            polled_at = beat.value.polled_at
        why = list(self._why_stale(site, age))
        notes = [*why, *self._why_incomplete(site, complete=complete)]
        if self.site_state(site) == "degraded":
            notes.append(f"Site {site} is degraded: {self._reason(site)}")
        manifest = _as(self.store.get(site, "manifest"), Manifest)
        complete = complete and manifest is not None and manifest.complete
        return Freshness(polled_at, age, stale=bool(why), complete=complete, notes=tuple(notes))

    def age(self, site: str) -> float | None:
        """Seconds since the last successful poll, by our monotonic clock and the skew seen between the clocks."""
        beat = self.store.beats.get(site)
        polled = seconds(beat.value.polled_at) if beat else None
        if beat is None or polled is None:
            return None
        at_receipt = beat.wall - self.store.skew.get(site, 0.0) - polled
        return round(max(0.0, at_receipt) + time.monotonic() - beat.monotonic, 1)

    def _why_stale(self, site: str, age: float | None) -> Iterator[str]:
        beat = self.store.beats.get(site)
        if beat is None or age is None:
            yield f"Site {site} has not been polled successfully yet."
            return
        if not self.bridge_online(site) and self.source == "mqtt":
            yield f"The bridge {beat.value.bridge!r} of site {site} is offline, so this is its last word."
        elif self.site_state(site) == "offline":
            yield f"The API of site {site} does not answer: {self._reason(site)}"
        elif age > STALE_POLLS * beat.value.interval_s:
            yield f"Site {site} was last polled {age:.0f} s ago (every {beat.value.interval_s:g} s is normal)."

    def _why_incomplete(self, site: str, *, complete: bool) -> Iterator[str]:
        if not complete:
            problem = self.mirror.problem or ("too many topics" if self.store.overflow else "still being filled")
            yield f"Not everything of site {site} has arrived ({problem})."
            return
        manifest = _as(self.store.get(site, "manifest"), Manifest)
        if manifest and not manifest.complete:
            yield f"The API hides something of site {site} from the token: what is not listed may exist all the same."

    def _reason(self, site: str) -> str:
        beat = self.store.beats.get(site)
        if beat and beat.value.reason:
            return beat.value.reason
        info = self.bridge(site)
        missing = [m.cure for m in info.missing if m.site == site] if info else []
        return missing[0] if missing else "its bridge gives no reason."

    def bridge_online(self, site: str) -> bool:
        """Whether the bridge that last spoke for a site says that it is online."""
        beat = self.store.beats.get(site)
        return beat is not None and self.store.get("", "bridge_state", beat.value.bridge) == "online"


def _as(value: object, kind: type[T]) -> T | None:
    return value if isinstance(value, kind) else None


def _choices(what: str, names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - CANDIDATES} more" if len(shown) > CANDIDATES else ""
    return f"{what}: {', '.join(shown[:CANDIDATES])}{more}." if shown else f"{what}: none are known."
