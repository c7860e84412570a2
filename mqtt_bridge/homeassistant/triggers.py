"""Device triggers: what the automation editor offers at a device for each kind of its events.

They have topics of their own, not a place in the device's configuration. When its MQTT integration is reloaded, Home
Assistant 2025.4 forgets that its old triggers watch the device (`_entry_unload` in `mqtt/entity.py` stops only their
updates). When the device goes, each of them empties the topic that it came from. Were that the device's, Home Assistant
would warn for each that there is nothing to clear; for a topic of a trigger alone it says nothing.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mqtt_bridge.homeassistant.entity import Kind
from mqtt_bridge.homeassistant.thing import ROWS
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.topics import DiscoveryTopics

NOTHING: Mapping[str, bytes] = {}
KEYS: Mapping[Kind, tuple[str, ...]] = {
    kind: tuple(f"on_{word}" for row in rows if row.platform == "event" for word in row.options)
    for kind, rows in ROWS.items()
}


def triggers(words: tuple[str, ...], topic: str, about: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """One for each event type told on `topic`; `about` names the device and us."""
    for word in words:
        config = {
            "atype": "trigger",
            "type": word.replace("_", " "),
            "stype": "event",
            "t": topic,
            "pl": word,
            "val_tpl": "{{ value_json.event_type }}",
            **about,
        }
        yield f"on_{word}", json.dumps(config, separators=(",", ":"), ensure_ascii=False).encode()


class Triggers:
    """What of them was told over this connection. What an earlier run left needs no look: all are told or cleared."""

    def __init__(self, topics: DiscoveryTopics) -> None:
        self._topics = topics
        self._told: dict[str, int] = {}  # a hash of them, by device id; 0: there are none

    def again(self) -> None:
        """Tell all of them again."""
        self._told = {identity: mark for identity, mark in self._told.items() if not mark}

    def due(self, identity: str, kind: Kind, wanted: Mapping[str, bytes]) -> list[Message]:
        """What is to be published, so that the device has these and no others."""
        mark = hash(tuple(wanted.items())) if wanted else 0
        if self._told.get(identity) == mark:
            return []
        self._told[identity] = mark
        return [Message(self._topics.trigger(identity, k), wanted.get(k, b""), 1, retain=True) for k in KEYS[kind]]

    def gone(self, identity: str, kind: Kind) -> list[Message]:
        """Clears all of a device that is to be cleared: Home Assistant keeps a device that has triggers."""
        messages = self.due(identity, kind, NOTHING)
        self._told.pop(identity, None)
        return messages
