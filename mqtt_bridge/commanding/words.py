"""Which word is which action, by what it is said to. Made from the table of actions: a new row there is a new word."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

from mqtt_bridge.commanding.refusal import CommandError
from mqtt_bridge.settings import LEVELS, Level

TargetKind = Literal["guest", "node", "datastore", "site"]

# what people say, where the action is called otherwise
ALIASES: Mapping[tuple[TargetKind, str], str] = MappingProxyType(
    {
        ("guest", "snapshot"): "snapshot.create",
        ("guest", "rollback"): "snapshot.rollback",
        ("guest", "backup"): "backup.create",
    }
)
# what `force: true` makes of an action, as earlier Proxmox MCP servers had it
FORCED: Mapping[str, str] = MappingProxyType({"guest.shutdown": "guest.stop", "guest.stop": "guest.stop"})


class Row(Protocol):
    """What is needed of an action's row."""

    @property
    def name(self) -> str: ...
    @property
    def risk(self) -> Level: ...
    @property
    def target(self) -> str: ...


@dataclass(frozen=True)
class Word:
    """`action` is the name in the table of actions or of own words; `risk` the lowest that it can have."""

    text: str
    action: str
    risk: Level


class Vocabulary:
    """What can be said to each kind of target."""

    def __init__(self, rows: Iterable[Row], own: Iterable[tuple[TargetKind, Word]] = ()) -> None:
        actions: dict[tuple[str, str], Level] = {}
        for row in rows:
            key = (row.target, row.name)
            actions[key] = max(actions.get(key, row.risk), row.risk, key=LEVELS.index)
        self._words: dict[tuple[str, str], Word] = {(target, word.text): word for target, word in own}
        for (target, name), risk in actions.items():
            short = name.removeprefix(f"{target}.")
            for text in dict.fromkeys((short, name)):
                self._words.setdefault((target, text), Word(text, name, risk))
        for (target, text), name in ALIASES.items():
            if (target, name) in actions:
                self._words.setdefault((target, text), Word(text, name, actions[target, name]))

    def words(self, target: TargetKind) -> tuple[str, ...]:
        """Those that may be said to it, the short spellings only."""
        mine = {word.action: word.text for (kind, _), word in reversed(self._words.items()) if kind == target}
        return tuple(sorted(mine.values()))

    def find(self, target: TargetKind, said: str, *, force: bool = False) -> Word:
        """Raises CommandError with near ones."""
        word = self._words.get((target, said.strip().lower().replace("-", "_")))
        if word is None:
            raise CommandError(
                f"{said[:64]!r} is no command for a {target}.", "unknown_word", cure=self._near(target, said)
            )
        return self._forced(target, word) if force else word

    def _forced(self, target: TargetKind, word: Word) -> Word:
        action = FORCED.get(word.action, "")
        if (target, action) not in self._words:
            raise CommandError(
                f"force: {word.text} knows no force.", "wrong", cure="Only shutdown does: it is a stop then."
            )
        return self._words[target, action]

    def _near(self, target: TargetKind, said: str) -> str:
        known = self.words(target)
        near = difflib.get_close_matches(said.lower()[:64], known, n=3)
        if near:
            return f"Did you mean {' or '.join(near)}?"
        return f"There are: {', '.join(known)}." if known else "This bridge knows none."
