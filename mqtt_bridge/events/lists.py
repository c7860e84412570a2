"""`proxmox/<site>/events`: the last 50 of a site, retained, at most once a second however many come."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence

from mqtt_bridge.journal.journal import Stored
from mqtt_bridge.retained import Retained
from mqtt_bridge.topics import KINDS, SITE_SLUG

SHOWN = 50
EVERY = 1.0  # seconds between two publishes of a list; one that comes after a pause goes out at once
LARGEST = 512 * 1024 - 64  # bytes of a list with its frame: fewer events where their texts are long


class EventLists:
    """The lists of all sites. Used on the event loop; `close` ends what is still planned."""

    def __init__(self, retained: Retained) -> None:
        self._retained = retained
        self._recent: dict[str, deque[bytes]] = defaultdict(lambda: deque(maxlen=SHOWN))
        self._last: dict[str, float] = {}
        self._planned: dict[str, asyncio.TimerHandle] = {}

    def fill(self, latest: Mapping[str, Sequence[Stored]]) -> None:
        """What the journal knows at the start, newest first."""
        for site, newest in latest.items():
            if not SITE_SLUG.fullmatch(site):
                continue
            self._recent[site].extend(stored.body for stored in newest)
            self._publish(site)

    def add(self, new: Iterable[Stored]) -> None:
        """Newly stored events, oldest first."""
        touched = set()
        for stored in new:
            if not SITE_SLUG.fullmatch(stored.site):
                continue
            self._recent[stored.site].appendleft(stored.body)
            touched.add(stored.site)
        for site in touched - self._planned.keys():
            self._plan(site)

    def close(self) -> None:
        """Publish what waits for its second."""
        for site, handle in list(self._planned.items()):
            handle.cancel()
            self._publish(site)

    def _plan(self, site: str) -> None:
        loop = asyncio.get_running_loop()
        due = self._last.get(site, -EVERY) + EVERY
        if loop.time() >= due:
            self._publish(site)
        else:
            self._planned[site] = loop.call_at(due, self._publish, site)

    def _publish(self, site: str) -> None:
        self._planned.pop(site, None)
        self._last[site] = asyncio.get_running_loop().time()
        topic = self._retained.names.build("events", site=site)
        self._retained.put_raw(topic, event_list(self._recent[site]), KINDS["events"].qos)


def event_list(bodies: Iterable[bytes]) -> bytes:
    """An EventList of events that are JSON already."""
    return b'{"events":[' + b",".join(fitting(bodies, LARGEST)) + b"]}"


def fitting(bodies: Iterable[bytes], size: int) -> list[bytes]:
    """The first ones that have room in `size` bytes, with a comma each."""
    found = []
    for body in bodies:
        size -= len(body) + 1
        if size < 0:
            break
        found.append(body)
    return found
