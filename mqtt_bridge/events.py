"""Events on their way out: to their own topic on every bus, and into the retained list of the last 50 of a site."""

import asyncio
import logging
from collections import defaultdict, deque

from mqtt_bridge.bus import Bus
from mqtt_bridge.errors import BrokerRefusedError, BrokerUnreachableError
from mqtt_bridge.model import Event, EventList
from mqtt_bridge.retained import Retained

log = logging.getLogger(__name__)

SHOWN = 50
WAITING = 1000  # events that wait for a bus which is away; the oldest give way


class EventLog:
    """Takes events without waiting; `feed` carries them to a bus, in order."""

    def __init__(self, retained: Retained) -> None:
        self._retained = retained
        self._recent: dict[str, deque[Event]] = defaultdict(lambda: deque(maxlen=SHOWN))
        self._feeds: list[tuple[deque[Event], asyncio.Event]] = []

    def emit(self, event: Event) -> None:
        """Accept one event."""
        log.info("%s: %s", event.kind, event.title)
        recent = self._recent[event.site]
        recent.appendleft(event)
        self._retained.put("events", EventList(events=tuple(recent)), site=event.site)
        for waiting, wake in self._feeds:
            waiting.append(event)
            wake.set()

    async def feed(self, bus: Bus) -> None:
        """Publish to `bus` until cancelled; an event waits for its acknowledgement before the next one."""
        waiting: deque[Event] = deque(maxlen=WAITING)
        wake = asyncio.Event()
        self._feeds.append((waiting, wake))
        while True:
            await wake.wait()
            wake.clear()
            while waiting:
                await bus.wait_connected(bus.generation - 1 if bus.connected else bus.generation)
                event = waiting[0]
                try:
                    await bus.publish(self._retained.names.event(event.site, event), event.payload(), qos=1)
                except BrokerUnreachableError:
                    await asyncio.sleep(0.1)
                    continue
                except BrokerRefusedError as error:
                    log.error("An event was refused: %s", error)  # noqa: TRY400 -- the sentence says it all
                if waiting and waiting[0] is event:
                    waiting.popleft()
