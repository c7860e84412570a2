"""Events for Home Assistant's event entities: one word for each, on the topic of the guest, node or site.

Told once a happening to each device, not retained, and not much later than it happened: an automation that starts hours
after its cause is worse than none. Of several reports of one happening the first that has a word for the device counts:
the end of the task `qmshutdown` has none, and is often reported before the guest is seen to be stopped.
"""

import asyncio
import re
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mqtt_bridge.errors import BrokerUnreachableError
from mqtt_bridge.homeassistant.thing import Key
from mqtt_bridge.journal.journal import Journal, Stored
from mqtt_bridge.model import DeviceEvent, Event
from mqtt_bridge.mqtt.bus import Bus, Message
from mqtt_bridge.topics import KINDS, Topics

WAITING = 1000  # events that wait for the broker; the oldest give way, counted
LATE = 900.0  # seconds after its receipt in which an event is still told
TEXT = 500  # characters of a message
GUESTS = 500  # of one backup job
REMEMBERED = 5000  # happenings
OK, FAILED, WARNING = "backup_ok", "backup_failed", "backup_warning"

# a kind, as a pattern → the word, by what it is told of
_GUEST = (
    (r"guest\.(started|resumed)", "started"),
    (r"guest\.stopped", "stopped"),
    (r"guest\.stopped\.unexpected", "stopped_unexpectedly"),
    (r"guest\.migrated", "migrated"),
    (r"(backup\.job|task\.vzdump)\.finished", OK),
    (r"(backup\.job|task\.vzdump)\.warning", WARNING),
    (r"(backup\.job|task\.vzdump)\.failed", FAILED),
    (r"task\.(qm|vz)snapshot\.(finished|warning)", "snapshot"),
)
_NODE = (
    (r"node\.online", "online"),
    (r"node\.offline", "offline"),
    (r"node\.fenced", "fenced"),
    (r"task\..+\.failed|backup\.job\.failed", "task_failed"),
    (r"update\.available", "update_available"),
)
_CLUSTER = (
    (r"quorum\.lost", "quorum_lost"),
    (r"quorum\.ok", "quorum_ok"),
    (r"ha\.service\.recovered", "ha_recovered"),
    (r"site\.offline", "api_offline"),
    (r"site\.online", "api_online"),
    (r"audit\.approval\.requested", "approval_requested"),
    (r"audit\.approval\.(approved|rejected|expired)", "approval_decided"),
)
_Row = tuple[re.Pattern[str], str]


def _rows(rows: Sequence[tuple[str, str]]) -> tuple[_Row, ...]:
    return tuple((re.compile(pattern), word) for pattern, word in rows)


_TABLES = {"guest": _rows(_GUEST), "node": _rows(_NODE), "cluster": _rows(_CLUSTER)}
# kinds that none of the tables speaks of are not looked into
_ANY = re.compile("|".join(f"(?:{pattern})" for rows in (_GUEST, _NODE, _CLUSTER) for pattern, _ in rows) + r"|ha\..+")


def told(event: Event) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Topic kind, ids and word for each device that the event is of."""
    if event.guest is not None and (word := _word("guest", event.kind)):
        yield "guest_event", {"vmid": event.guest}, word
    elif word := _word("guest", event.kind):
        yield from (("guest_event", {"vmid": vmid}, each) for vmid, each in _members(event, word))
    if event.node and (word := _word("node", event.kind)):
        yield "node_event", {"node": event.node}, word
    if word := _word("cluster", event.kind):
        yield "cluster_event", {}, word
    elif event.kind == "ha.service.state":
        yield "cluster_event", {}, "ha_error" if event.ok is False else "ha_state"


def _word(table: str, kind: str) -> str | None:
    return next((word for pattern, word in _TABLES[table] if pattern.fullmatch(kind)), None)


def _members(event: Event, word: str) -> Iterator[tuple[int, str]]:
    """The guests of a backup job of several, each with its own outcome; without one, the job's."""
    listed = event.metadata.get("guests")
    for one in listed[:GUESTS] if isinstance(listed, list) else ():
        vmid, ok = (one.get("vmid"), one.get("ok")) if isinstance(one, dict) else (None, None)
        if isinstance(vmid, int):
            yield vmid, {True: OK, False: FAILED}.get(ok, word) if isinstance(ok, bool) else word


class Happenings:
    """`watch` the journal with it, and `run` it on a connection. `knows`: whether such a device exists."""

    def __init__(self, names: Topics, knows: Callable[[Key], bool]) -> None:
        self.stats: Counter[str] = Counter()
        self._names = names
        self._knows = knows
        self._waiting: deque[tuple[float, Message]] = deque(maxlen=WAITING)
        self._wake = asyncio.Event()
        self._told: OrderedDict[str, set[Key]] = OrderedDict()  # by the id of a happening's first report

    @contextmanager
    def watch(self, journal: Journal) -> Iterator[None]:
        """While it is open, what is newly stored is told."""
        unwatch = journal.watch(self.take)
        try:
            yield
        finally:
            unwatch()

    def take(self, new: Sequence[Stored]) -> None:
        """What the journal has newly stored."""
        for stored in new:
            self._remember(stored.id)
            if _ANY.fullmatch(stored.kind):
                self._take(stored.event, stored.received_at)

    def _remember(self, identity: str) -> None:
        self._told.setdefault(identity, set())
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)

    def _take(self, event: Event, at: float) -> None:
        already = self._told.get(event.duplicate_of or event.id)
        if already is None:
            return  # its first report was before this run: it may have been told then
        for kind, ids, word in told(event):
            key = Key(event.site, kind.removesuffix("_event"), tuple(str(each) for each in ids.values()))
            try:
                topic = self._names.build(kind, site=event.site, **ids)
            except ValueError:  # a mail, say, may name a node with a slash in it
                self.stats["no_name"] += 1
                continue
            if key in already or not self._knows(key):
                continue
            already.add(key)
            self.stats["dropped"] += len(self._waiting) == WAITING
            self._waiting.append((at, Message(topic, _payload(event, ids, word), KINDS[kind].qos)))
            self._wake.set()

    async def run(self, bus: Bus) -> None:
        """Publish what waits, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await bus.wait_connected()
                at, message = self._waiting[0]
                if time.time() - at < LATE and not await self._publish(bus, message):
                    continue
                self._waiting.popleft()

    async def _publish(self, bus: Bus, message: Message) -> bool:
        try:
            (refused,) = await bus.publish_many([message])
        except BrokerUnreachableError:
            await asyncio.sleep(0.1)
            return False
        self.stats["refused" if refused else "told"] += 1
        return True


def _payload(event: Event, ids: dict[str, Any], word: str) -> bytes:
    name, approval = event.context.get("name"), event.metadata.get("approval")
    return DeviceEvent(
        event_type=word,
        id=event.id,
        kind=event.kind,
        severity=event.severity,
        title=event.title,
        message=event.message[:TEXT],
        at=event.timestamp,
        site=event.site,
        node=event.node,
        vmid=ids.get("vmid"),
        name=name if isinstance(name, str) else None,
        approval=approval if isinstance(approval, str) else None,
    ).payload()
