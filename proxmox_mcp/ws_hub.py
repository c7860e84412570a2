"""What /ws streams from: changes of the mirror, and events as they are published, to each client what it wants.

Nothing is listened to while no client is there. A client that is slow gets the last of each state, not each of them;
events must not get lost, so a client that falls too far behind on those is let go, which it notices.
"""

import asyncio
import json
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from mqtt_bridge.model import Event, EventList, Model
from proxmox_mcp.metrics import Row
from proxmox_mcp.mirror import Mirror
from proxmox_mcp.state import State
from proxmox_mcp.store import Key
from proxmox_mcp.told import Listening, Told
from proxmox_mcp.view import View
from proxmox_mcp.ws_wants import Wanted

log = logging.getLogger(__name__)

BATCH = 200  # states in one message of a snapshot
LOOK = 1.0  # seconds between two looks at which mirror is read
READY = 5.0  # seconds that a client waits for the events to be listened to
REASONS = ("slow", "token", "limit")


class Client:
    """One client's share: which states have changed since they were sent, and the events that wait for it."""

    def __init__(self, name: str, wanted: Wanted, room: int) -> None:
        self.name = name
        self.wanted = wanted
        self.wake = asyncio.Event()
        self.too_slow = asyncio.Event()
        self.snapshot = wanted.snapshot
        self.events: deque[str] = deque()
        self._room = room
        self._changed: dict[Key, None] = {}

    def want(self, wanted: Wanted) -> None:
        """From now on this; nothing of what waits is wanted any more unless it still fits."""
        self.wanted = wanted
        self.snapshot |= wanted.snapshot
        self._changed = {key: None for key in self._changed if wanted.state(key)}
        self.wake.set()

    def state(self, keys: Sequence[Key]) -> None:
        """These have changed."""
        fitting = [key for key in keys if self.wanted.state(key)]
        if fitting:
            self._changed.update(dict.fromkeys(fitting))
            self.wake.set()

    def event(self, event: Event, text: str) -> None:
        """This has happened."""
        if not self.wanted.event(event):
            return
        if len(self.events) >= self._room:
            self.too_slow.set()
            return
        self.events.append(text)
        self.wake.set()

    def changed(self) -> list[Key]:
        """What has changed since this was last asked."""
        keys, self._changed = list(self._changed), {}
        return keys


class Hub:
    """The clients of one server. `events` are listened to while there are any."""

    def __init__(self, state: State) -> None:
        self.clients: set[Client] = set()
        self.dropped: Counter[str] = Counter()
        self.sent = 0
        self.ready = asyncio.Event()
        self._state = state
        self._heard = _Heard(self._event)
        self._known: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        state.on_change(self._changed)

    @contextmanager
    def joined(self, client: Client) -> Iterator[None]:
        """Let `client` have its share."""
        if not self.clients:
            self._known = set()
            self._task = asyncio.create_task(self._follow(), name="ws events")
        self.clients.add(client)
        try:
            yield
        finally:
            self.clients.discard(client)
            if not self.clients and self._task:
                self._task.cancel()
                self.ready.clear()

    def held(self, name: str) -> int:
        """How many clients this principal has."""
        return sum(client.name == name for client in self.clients)

    def view(self) -> View | None:
        """What states are read from."""
        return self._state.current()

    def rows(self) -> Iterator[Row]:
        """For /metrics."""
        yield Row("proxmox_ws_clients", "gauge", "Clients of /ws", len(self.clients))
        yield Row("proxmox_ws_messages_total", "counter", "Messages sent to clients of /ws", self.sent)
        for reason in REASONS:
            text = "Clients of /ws that were let go or not let in"
            yield Row("proxmox_ws_dropped_total", "counter", text, self.dropped[reason], {"reason": reason})

    # --- states -----------------------------------------------------------------------------------------------------

    def _changed(self, keys: Sequence[Key]) -> None:
        if not self.clients:
            return
        for client in self.clients:
            client.state(keys)
        for site, kind, _ in keys:
            if kind == "events":
                self._retained(site)

    # --- events -----------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Listen where the states come from; that changes when a bridge comes or goes."""
        while True:
            view = self.view()
            if view is None:
                self.ready.set()
                await asyncio.sleep(LOOK)
                continue
            self._baseline(view)
            async with Listening(view.mirror.factory, view.store.names, self._heard) as listening:
                await self._while_read(view.mirror, listening)

    async def _while_read(self, mirror: Mirror, listening: Listening) -> None:
        while (view := self.view()) is not None and view.mirror is mirror:
            try:
                async with asyncio.timeout(LOOK):
                    await listening.ready.wait()
            except TimeoutError:
                continue
            self.ready.set()
            await asyncio.sleep(LOOK)

    def _baseline(self, view: View) -> None:
        """What was told before anybody listened is not news."""
        for site, kind in list(view.store.tables):
            if kind == "events":
                self._retained(site)

    def _retained(self, site: str) -> None:
        """The last events of a site: they make up for what a lost connection cost."""
        view = self.view()
        listed = view.store.get(site, "events") if view else None
        if not isinstance(listed, EventList):
            return
        if site in self._known:
            self._heard.add(reversed(listed.events))
        else:
            self._known.add(site)
            self._heard.skip(listed.events)

    def _event(self, event: Event) -> None:
        text = f'{{"type":"event","event":{event.payload().decode()}}}'
        for client in self.clients:
            client.event(event, text)


class _Heard(Told):
    """Each event once, to whoever wants it."""

    def __init__(self, hear: Callable[[Event], None]) -> None:
        super().__init__()
        self._hear = hear

    def _take(self, event: Event) -> None:
        self._hear(event)


def state_text(view: View, key: Key) -> str:
    """A state as JSON; its value is null once it is gone."""
    site, kind, name = key
    return f'{{"type":"state",{_fields(site, kind, name)},"value":{_value(view.store.get(site, kind, name))}}}'


def snapshot_texts(view: View, wanted: Wanted) -> Iterator[str]:
    """All states that are wanted, in batches; the last one says so."""
    rows = (
        f'{{{_fields(site, kind, name)},"value":{_value(value)}}}'
        for site, kind in sorted(view.store.tables)
        if wanted.state((site, kind, ""))
        for name, value in view.store.items(site, kind)
    )
    batch: list[str] = []
    for row in rows:
        if len(batch) == BATCH:
            yield f'{{"type":"snapshot","more":true,"states":[{",".join(batch)}]}}'
            batch = []
        batch.append(row)
    yield f'{{"type":"snapshot","more":false,"states":[{",".join(batch)}]}}'


def _fields(site: str, kind: str, name: str) -> str:
    return f'"site":{json.dumps(site or None)},"kind":"{kind}","id":{json.dumps(name or None)}'


def _value(value: Model | str | None) -> str:
    return value.payload().decode() if isinstance(value, Model) else json.dumps(value)
