"""Where an inventory puts what it learns; `retained.Retained` is one, a test's list another."""

from typing import Protocol

from mqtt_bridge.model import Model


class Sink(Protocol):
    """Keeps the last value by topic; tells of changes by its return value."""

    def put(self, kind: str, value: Model | str, **ids: str | int) -> bool: ...

    def drop(self, kind: str, **ids: str | int) -> bool: ...
