"""One command on its way: where it came in, what it asks for, and what is known of it so far."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mqtt_bridge.commanding.refusal import CommandError
from mqtt_bridge.commanding.request import Asked
from mqtt_bridge.commanding.words import TargetKind, Word
from mqtt_bridge.model import CommandResult
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.targets import DatastoreRef, GuestRef, NodeRef, Ref, SiteRef
from mqtt_bridge.topics import Parsed

_VMID = re.compile(r"[1-9]\d{2,8}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
# by the topic's kind: what it is said to, and which of its levels names that
KINDS: Mapping[str, tuple[TargetKind, str]] = MappingProxyType(
    {
        "guest_command": ("guest", "vmid"),
        "node_command": ("node", "node"),
        "datastore_command": ("datastore", "store"),
        "site_command": ("site", "site"),
    }
)


@dataclass(frozen=True)
class Place:
    """What a command's topic names, unchecked until `ref` is asked."""

    kind: TargetKind
    site: str
    name: str

    @classmethod
    def of(cls, parsed: Parsed) -> "Place":
        """Of a topic that is one of KINDS."""
        kind, level = KINDS[parsed.kind.name]
        return cls(kind, parsed.site, parsed.ids[level])

    @property
    def ref(self) -> Ref:
        """As actions want it; raises CommandError for what can name nothing."""
        if not (_VMID if self.kind == "guest" else _NAME).fullmatch(self.name):
            cure = "A VMID is a number from 100." if self.kind == "guest" else ""
            raise CommandError(f"{self.name[:64]!r} names no {self.kind}.", "unknown_target", cure=cure)
        match self.kind:
            case "guest":
                return GuestRef(int(self.name), self.site)
            case "node":
                return NodeRef(self.name, self.site)
            case "datastore":
                return DatastoreRef(self.name, self.site)
        return SiteRef(self.site)


@dataclass
class Order:
    """A command that is to be carried out. `at`: Unix seconds, when it came in. `begun`: it may have been sent."""

    place: Place
    ref: Ref
    asked: Asked
    word: Word
    identity: str
    message: Message
    at: float
    begun: bool = False
    upid: str | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What every answer to it says."""
        return {
            "id": self.identity,
            "site": self.place.site,
            "target": self.place.name,
            "command": self.asked.command,
            "action": self.word.action,
        }


@dataclass(frozen=True)
class Answer:
    """A result, and the message that it answers."""

    message: Message
    result: CommandResult
