"""Events to write down, and a wait for what should happen."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from mqtt_bridge.model import Event, utc


def event(number: int = 0, *, at: float | None = None, **fields: Any) -> Event:
    """The same number is the same event."""
    given: dict[str, Any] = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
        "kind": "guest.started",
        "title": f"Guest {number} started",
        "source": "WEBSOCKET",
        "timestamp": utc(1_790_000_000 + number if at is None else at),
        "site": "lab",
        "correlation_id": f"c{number}",
    }
    return Event(**{**given, **fields})


def events(first: int, behind: int, **fields: Any) -> list[Event]:
    return [event(number, **fields) for number in range(first, behind)]


def ids(some: Sequence[Event]) -> list[str]:
    return [one.id for one in some]


async def until(condition: Callable[[], object], within: float = 30.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)
