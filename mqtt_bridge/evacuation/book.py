"""What is known of each node's evacuation, in a file of STATE_DIR: it goes on after a restart of the bridge."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mqtt_bridge.statedir import write_private

log = logging.getLogger(__name__)

FILE = "evacuations.json"
LARGEST = 4 * 1024 * 1024  # bytes

Key = tuple[str, str]  # site, node


class Waiting(BaseModel):
    """A migration that a person has to approve."""

    model_config = ConfigDict(frozen=True)

    approval: str
    target: str


class Record(BaseModel):
    """One node. `there` are the guests that were found running on it; `left` says why by VMID."""

    model_config = ConfigDict(frozen=True)

    site: str
    node: str
    by: str = ""
    reason: str = ""
    local_disks: bool = False
    state: Literal["idle", "running", "done", "incomplete"] = "running"
    there: frozenset[int] = frozenset()
    moved: tuple[int, ...] = ()
    left: dict[int, str] = Field(default_factory=dict)
    waiting: dict[int, Waiting] = Field(default_factory=dict)
    message: str = ""

    @property
    def key(self) -> Key:
        """What it is kept by."""
        return self.site, self.node


class Book:
    """`load` it first. Every change is on disk before `put` returns."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._records: dict[Key, Record] = {}

    def load(self) -> None:
        """What an earlier run left. A file that cannot be read is said, and nothing is known then."""
        if not self._path.exists():
            return
        try:
            with self._path.open("rb") as file:
                rows = json.loads(file.read(LARGEST))
            found = [Record.model_validate(row) for row in rows]
        except (OSError, ValueError, TypeError, ValidationError) as error:
            log.warning("%s cannot be read, so evacuations under way are forgotten: %s", self._path, error)
            return
        self._records = {record.key: record for record in found}

    def get(self, key: Key) -> Record | None:
        """As it is now."""
        return self._records.get(key)

    def put(self, record: Record) -> Record:
        """Keep it."""
        if self._records.get(record.key) == record:
            return record
        self._records[record.key] = record
        rows = [each.model_dump(mode="json") for each in self._records.values()]
        write_private(self._path, json.dumps(rows))
        return record

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records.values()))
