"""What there is to discover, as it is published, and which of it needs a new configuration."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import islice

from mqtt_bridge.homeassistant.entity import State
from mqtt_bridge.homeassistant.ids import slug
from mqtt_bridge.homeassistant.thing import OF_TOPIC, RANK, Key, Thing
from mqtt_bridge.model import GuestState, Model, NodeState


class Book:
    """`take` is a watcher of what is put retained. Keys come out of `due` parents first, each once."""

    def __init__(self) -> None:
        self._states: dict[Key, State] = {}
        self._facts: dict[Key, int] = {}  # a hash of them
        self._called: dict[tuple[str, str], set[Key]] = defaultdict(set)
        self._due: tuple[dict[Key, None], ...] = tuple({} for _ in set(RANK.values()))

    def take(self, kind: str, value: Model | None, ids: Mapping[str, str | int]) -> None:
        """A state was published, or (None) cleared."""
        if kind not in OF_TOPIC:
            return
        key = Key.of(kind, ids)
        before = self._states.get(key)
        if value is None:
            self._states.pop(key, None)
            self._facts.pop(key, None)
        elif isinstance(value, State):
            self._states[key] = value
        self._rename(key, before, value)
        thing = self.thing(key)
        facts = hash(thing.facts) if thing else None
        if facts is None or self._facts.get(key) != facts:
            if facts is not None:
                self._facts[key] = facts
            self.mark(key)

    def _rename(self, key: Key, before: Model | None, after: Model | None) -> None:
        """Guests whose names make one entity id get their VMID into it; a guest called like a node too."""
        old, new = _slug(before), _slug(after)
        if old == new:
            return
        for name, add in ((old, False), (new, True)):
            if name is None:
                continue
            twins = self._called[key.site, name]
            (twins.add if add else twins.discard)(key)
            if len(twins) <= 2:  # noqa: PLR2004 -- beyond the second they are twins already
                for other in twins - {key}:
                    self._facts.pop(other, None)
                    self.mark(other)
            if not twins:
                del self._called[key.site, name]

    def thing(self, key: Key) -> Thing | None:
        """As it is now; None: there is none."""
        state = self._states.get(key)
        if state is None:
            return None
        name = _slug(state)
        return Thing(key, state, twin=name is not None and len(self._called[key.site, name]) > 1)

    def __contains__(self, key: Key) -> bool:
        return key in self._states

    def __iter__(self) -> Iterator[Key]:
        return iter(self._states)

    # --- what is due -----------------------------------------------------------------------------------------------

    def mark(self, key: Key) -> None:
        self._due[RANK[key.kind]][key] = None

    def mark_all(self, sites: Collection[str] | None = None) -> None:
        """Each needs a new look (of these sites alone)."""
        for key in self._states:
            if sites is None or key.site in sites:
                self.mark(key)

    @property
    def waiting(self) -> int:
        """How many are due."""
        return sum(len(rank) for rank in self._due)

    def due(self, count: int) -> tuple[Key, ...]:
        """The next ones, of one rank; they are due no more."""
        for rank in self._due:
            if rank:
                found = tuple(islice(rank, count))
                for key in found:
                    del rank[key]
                return found
        return ()


def _slug(state: Model | None) -> str | None:
    match state:
        case GuestState(name=name) | NodeState(node=name):
            return slug(name)
    return None
