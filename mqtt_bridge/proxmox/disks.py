"""The physical disks and ZFS pools of one site: what is published of them, and when it ends.

A disk that its node does not list any more is unavailable at once, and forgotten after three lists without it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from mqtt_bridge.model import DiskState, ZfsPoolState
from mqtt_bridge.proxmox.sink import Sink

LISTS = 3  # in a row without it: it is gone

S = TypeVar("S", DiskState, ZfsPoolState)


class Shelf(Generic[S]):
    """All things of one kind, by `node/name`."""

    def __init__(self, kind: str, field: str, site: str, sink: Sink, name: Callable[[S], str]) -> None:
        self.states: dict[str, S] = {}
        self._kind = kind
        self._field = field
        self._site = site
        self._sink = sink
        self._name: Callable[[S], str] = name
        self._absent: dict[str, int] = {}

    def of(self, node: str) -> dict[str, S]:
        """Those of one node, by name."""
        return {self._name(state): state for state in self.states.values() if state.node == node}

    def take(self, node: str, found: Sequence[S]) -> list[S]:
        """All that a node lists; returns those that have just become missing."""
        here = {self._name(state) for state in found}
        for state in found:
            self._absent.pop(f"{node}/{self._name(state)}", None)
            self._put(state)
        missing = []
        for name, state in self.of(node).items():
            if name not in here and self._miss(f"{node}/{name}", state):
                missing.append(state)
        return missing

    def _miss(self, identity: str, state: S) -> bool:
        times = self._absent[identity] = self._absent.get(identity, 0) + 1
        if times >= LISTS:
            self._remove(identity, state)
            return False
        self._put(state.model_copy(update={"available": False}))
        return times == 1

    def away(self, node: str) -> None:
        """What is known of its things is not to be trusted now."""
        for state in self.of(node).values():
            if state.available:
                self._put(state.model_copy(update={"available": False}))

    def leave(self, node: str) -> None:
        """The node is gone."""
        for name, state in self.of(node).items():
            self._remove(f"{node}/{name}", state)

    def _put(self, state: S) -> None:
        self.states[f"{state.node}/{self._name(state)}"] = state
        self._sink.put(self._kind, state, **self._ids(state))

    def _remove(self, identity: str, state: S) -> None:
        self._absent.pop(identity, None)
        del self.states[identity]
        self._sink.drop(self._kind, **self._ids(state))

    def _ids(self, state: S) -> dict[str, str]:
        return {"site": self._site, "node": state.node, self._field: self._name(state)}


class DiskBook:
    """Both kinds. `due` (monotonic seconds, by node): when a node is to be read; 0, at once.

    `reading`: they are read at all. `settled`: kind and node of what is known by now, so that what an earlier run has
    left there and is not known is gone.
    """

    def __init__(self, site: str, sink: Sink) -> None:
        self.disks: Shelf[DiskState] = Shelf("disk", "disk", site, sink, lambda state: state.disk)
        self.zpools: Shelf[ZfsPoolState] = Shelf("zpool", "pool", site, sink, lambda state: state.pool)
        self.due: dict[str, float] = {}
        self.reading = False
        self.settled: set[tuple[str, str]] = set()

    def awaited(self, kind: str, node: str) -> bool:
        """Whether a thing of a node may still turn up: its node was not read yet since the start."""
        return self.reading and (kind, node) not in self.settled

    def look(self, online: Mapping[str, bool]) -> None:
        """After a poll: the things of nodes that are away; a node that is back is read at once."""
        for node in list(self.due):
            if node not in online:
                del self.due[node]
                self.settled -= {("disk", node), ("zpool", node)}
                self.disks.leave(node)
                self.zpools.leave(node)
            elif not online[node]:
                self.due[node] = 0.0
                self.away(node)

    def away(self, node: str) -> None:
        """What is known of a node's disks is not to be trusted now."""
        self.disks.away(node)
        self.zpools.away(node)
