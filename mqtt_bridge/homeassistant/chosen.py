"""HA_ENTITIES: which entities are created, by globs; the last one that fits decides."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mqtt_bridge.homeassistant.entity import Entity
from mqtt_bridge.homeassistant.thing import ROWS, Thing
from mqtt_bridge.model import GuestState

_GLOB = frozenset("*?[")


@dataclass(frozen=True)
class Choice:
    """`kind/key` or `kind/thing/key`, each a glob; `out`: it was written behind a `!`."""

    kind: str
    thing: str
    key: str
    out: bool

    @classmethod
    def of(cls, text: str) -> "Choice":
        """Of one entry, checked before by the settings."""
        kind, *middle, key = text.removeprefix("!").split("/")
        return cls(kind, middle[0] if middle else "*", key, text.startswith("!"))

    def fits(self, thing: Thing, row: Entity) -> bool:
        """Whether it speaks of this entity."""
        names = [thing.called, str(thing.state.vmid)] if isinstance(thing.state, GuestState) else [thing.called]
        return (
            fnmatchcase(row.key, self.key)
            and fnmatchcase(thing.key.kind, self.kind)
            and any(fnmatchcase(name, self.thing) for name in names)
        )

    @property
    def exact(self) -> bool:
        """The entity is named, not only met by a glob."""
        return _GLOB.isdisjoint(self.key)


class Chosen:
    """The entries of HA_ENTITIES, in order."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._choices: Sequence[Choice] = tuple(Choice.of(entry) for entry in entries)

    def enabled(self, thing: Thing, row: Entity) -> bool | None:
        """Whether it is on at first; None: it is not created. What is dangerous is on only where it is named."""
        last = next((choice for choice in reversed(self._choices) if choice.fits(thing, row)), None)
        if last is None:
            return row.enabled
        if last.out:
            return None
        return last.exact or not row.dangerous

    def idle(self) -> list[str]:
        """Sentences on entries that can never fit: a typing error."""
        return [
            f"HA_ENTITIES: there is no entity {choice.kind}/{choice.key} (docs/homeassistant.md lists them)."
            for choice in self._choices
            if not any(
                fnmatchcase(kind, choice.kind) and fnmatchcase(row.key, choice.key)
                for kind, rows in ROWS.items()
                for row in rows
            )
        ]
