"""What an event's target is like, from cached state, and what else happened to it of late."""

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any

from mqtt_bridge.events.account import UNASSIGNED, seconds
from mqtt_bridge.events.normalise import World
from mqtt_bridge.model import Event
from mqtt_bridge.severity import Trust

RELATED = 5
TARGETS = 10_000  # remembered for each trust
RECENT = 86_400.0  # seconds of event time

Target = tuple[str, str | int]


def context_of(event: Event, world: World) -> dict[str, Any]:
    """Name, status, tags and node of the guest, state of the node; what the listener said itself stays as it is."""
    if event.site == UNASSIGNED:
        return event.context
    found: dict[str, Any] = {}
    guest = world.guest(event.site, event.guest) if event.guest is not None else None
    if guest is not None:
        found |= {"name": guest.name, "type": guest.type, "status": guest.status, "node": guest.node}
        if guest.tags:
            found["tags"] = list(guest.tags)
        if guest.stopped_by and event.kind.startswith("guest.stopped"):
            found["stopped_by"] = guest.stopped_by
    node = world.node(event.site, event.node or (guest.node if guest else "")) if event.node or guest else None
    if node is not None:
        found["node_status"] = node.status
    return {**found, **event.context} if found else event.context


class Related:
    """The last events of each target, newest first; bounded for each trust.

    Of what was told several times the first, and the first that is trusted more.
    """

    def __init__(self, targets: int = TARGETS) -> None:
        self._most = targets
        self._seen: Mapping[Trust, OrderedDict[Target, deque[tuple[str, float, str]]]] = {
            "api": OrderedDict(),
            "authenticated": OrderedDict(),
            "unauthenticated": OrderedDict(),
        }

    def of(self, event: Event) -> tuple[str, ...]:
        """Ids of what happened to the same guest or node; what is trusted more comes first."""
        target = _target(event)
        if target is None:
            return ()
        at = seconds(event.timestamp)
        rows = (seen.get(target, ()) for seen in self._seen.values())
        near = [one for row in rows for one, when, _ in row if one != event.id and abs(at - when) <= RECENT]
        return tuple(near[:RELATED])

    def remember(self, event: Event) -> None:
        """After it was stored."""
        target = _target(event)
        if target is None or (event.duplicate_of and self._known(event, target)):
            return
        seen = self._seen[event.trust]
        row = seen.setdefault(target, deque(maxlen=RELATED))
        row.appendleft((event.id, seconds(event.timestamp), event.duplicate_of or event.id))
        seen.move_to_end(target)
        if len(seen) > self._most:
            seen.popitem(last=False)

    def _known(self, event: Event, target: Target) -> bool:
        """Whether one that is trusted as much has told it."""
        for trust, seen in self._seen.items():
            if any(head == event.duplicate_of for _, _, head in seen.get(target, ())):
                return True
            if trust == event.trust:
                return False
        raise AssertionError


def _target(event: Event) -> Target | None:
    if event.guest is not None:
        return event.site, event.guest
    return (event.site, event.node) if event.node else None
