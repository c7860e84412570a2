"""What the live watcher has told already, kept in the journal's cursors: so nothing is told twice, across restarts too.

One cursor per site for everything but guests, and a fixed number of cursors for guests, so that a change among 10 000
guests writes a few kilobytes. A cursor is committed together with the events that it speaks of.
"""

import json
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from mqtt_bridge.events.intake import Intake
from mqtt_bridge.model import GuestStatus

log = logging.getLogger(__name__)

SHARDS = 32
_LETTERS: dict[GuestStatus, str] = {"running": "r", "stopped": "s", "paused": "p", "suspended": "h", "unknown": "?"}
_STATUSES = {letter: status for status, letter in _LETTERS.items()}
_COVERED = {True: "c", False: "u", None: "-"}
_COVERED_BACK = {letter: covered for covered, letter in _COVERED.items()}


@dataclass(frozen=True, slots=True)
class GuestKnown:
    """One guest as last told. `covered` None: not read yet; `stale`: its backups were told to be too old."""

    status: GuestStatus
    node: str
    ha: str = ""
    covered: bool | None = None
    stale: bool = False

    def text(self) -> str:
        """`rc-:pve1:started`: compact, there are thousands of them."""
        return f"{_LETTERS[self.status]}{_COVERED[self.covered]}{'o' if self.stale else '-'}:{self.node}:{self.ha}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError or LookupError for what is not such a text."""
        letters, node, ha = text.split(":", 2)
        return cls(_STATUSES[letters[0]], node, ha, _COVERED_BACK[letters[1]], letters[2:] == "o")


class Memory:
    """What was told of one site. Changes are noted here and go to the journal with `cursors`."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.first_start = True
        self.well_at: dict[str, float] = {}  # what is read seldom, when it was last well; not kept over a restart
        self.left_at = 0.0  # when an earlier run has written last
        self._shards: list[dict[int, str]] = [{} for _ in range(SHARDS)]
        self._facts: dict[str, str] = {}
        self._dirty: set[int] = set()
        self._changed = False

    async def load(self, intake: Intake) -> None:
        """Read what an earlier run has committed."""
        text = await intake.cursor(self._site_cursor)
        self.first_start = text is None
        self._facts = _strings(text)
        self.left_at = self.written_at
        for number, shard in enumerate(self._shards):
            written = None if text is None else await intake.cursor(self._cursor(number))
            shard.clear()
            shard |= {int(vmid): known for vmid, known in _strings(written).items() if vmid.isdecimal()}

    @property
    def _site_cursor(self) -> str:
        return f"site/{self.site}"

    def _cursor(self, shard: int) -> str:
        return f"guests/{self.site}/{shard}"

    @property
    def written_at(self) -> float:
        """When it was last committed, in Unix seconds."""
        return float(self._facts.get("at", 0))

    # --- guests -----------------------------------------------------------------------------------------------------

    @property
    def vmids(self) -> Iterable[int]:
        return tuple(vmid for shard in self._shards for vmid in shard)

    def guest(self, vmid: int) -> GuestKnown | None:
        text = self._shards[vmid % SHARDS].get(vmid)
        if text is None:
            return None
        try:
            return GuestKnown.parse(text)
        except (ValueError, LookupError):
            log.warning("What was known of guest %s cannot be read: %.40r", vmid, text)
            return None

    def set_guest(self, vmid: int, known: GuestKnown | None) -> None:
        text = None if known is None else known.text()
        number = vmid % SHARDS
        shard = self._shards[number]
        if shard.get(vmid) == text:
            return
        self._dirty.add(number)
        if text is None:
            del shard[vmid]
        else:
            shard[vmid] = text

    # --- everything else --------------------------------------------------------------------------------------------

    def fact(self, key: str, default: str = "") -> str:
        return self._facts.get(key, default)

    def set_fact(self, key: str, value: str) -> str:
        """Returns what it was before; an empty value is forgotten."""
        before = self._facts.get(key, "")
        if value != before:
            self._changed = True
            if value:
                self._facts[key] = value
            else:
                del self._facts[key]
        return before

    def cursors(self) -> dict[str, str]:
        """What has changed since the last call, as the journal's cursors; empty if nothing has."""
        if not self._changed and not self._dirty and not self.first_start:
            return {}
        dirty = set(range(SHARDS)) if self.first_start else self._dirty
        self._facts["at"] = f"{time.time():.0f}"
        texts = {self._cursor(number): _compact(self._shards[number]) for number in dirty}
        self.first_start, self._changed, self._dirty = False, False, set()
        return {self._site_cursor: _compact(self._facts), **texts}


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _strings(text: str | None) -> dict[str, str]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    if isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
        return value
    log.warning("A cursor of the live watcher cannot be read and is begun anew: %.60r", text)
    return {}
