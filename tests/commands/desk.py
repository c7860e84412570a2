"""Commands on a bus, with an entry that does as it is told: what is refused, kept in order, answered and where."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mqtt_bridge.actions import ActionResult
from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.commanding.carry import Carrier
from mqtt_bridge.commanding.commands import Commands
from mqtt_bridge.commanding.own_words import WORDS as OWN_WORDS
from mqtt_bridge.commanding.words import Vocabulary
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.notifying.maintenance import Maintenance
from mqtt_bridge.policy import Principal
from mqtt_bridge.settings import Level
from mqtt_bridge.topics import Topics
from tests.support.processes import until

NAMES = Topics()
GUEST = "proxmox/lab/guest/100/command"


@dataclass(frozen=True)
class Row:
    name: str
    risk: Level
    target: str


ROWS = (
    Row("guest.start", "operate", "guest"),
    Row("guest.shutdown", "operate", "guest"),
    Row("guest.reboot", "operate", "guest"),
    Row("guest.stop", "change", "guest"),
    Row("snapshot.create", "operate", "guest"),
    Row("guest.exec", "exec", "guest"),
    Row("node.wakeonlan", "operate", "node"),
    Row("datastore.verify", "operate", "datastore"),
    Row("site.sweep", "destroy", "site"),
)


@dataclass
class Call:
    principal: Principal
    action: str
    target: Any
    options: dict[str, Any]


@dataclass
class Entry:
    """Stands in for Actions. `gate` holds everything back while it is closed; `raises` is thrown instead."""

    calls: list[Call] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    raises: BaseException | None = None
    most: int = 0
    under_way: int = 0
    looks: Sequence[Any] = ()
    more: dict[str, Any] = field(default_factory=dict)

    async def perform(self, principal: Principal, action: str, target: Any, **options: Any) -> ActionResult:
        self.calls.append(Call(principal, action, target, options))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            for look in self.looks:
                options["on_progress"](look)
            await self.gate.wait()
        finally:
            self.under_way -= 1
        if self.raises:
            raise self.raises
        self.ended.append(action)
        fields: dict[str, Any] = {
            "action": action, "site": "lab", "target": 100, "node": "pve1", "ok": True, "changed": True,
            "status": "done", "message": f"{action} was done.", "state_before": "stopped", "state_after": "running",
        }  # fmt: skip
        return ActionResult(**{**fields, **self.more})


@dataclass
class Desk:
    """Who gives commands over MQTT, and what was answered."""

    bus: Broker
    commands: Commands
    entry: Entry
    ids: set[tuple[str, str]]
    state: Path
    messages: list[Message] = field(default_factory=list)

    async def say(self, payload: bytes | str | dict[str, Any], topic: str = GUEST, **more: Any) -> None:
        raw = json.dumps(payload) if isinstance(payload, dict) else payload
        await self.bus.publish(topic, raw.encode() if isinstance(raw, str) else raw, **more)

    def answers(self, topic: str = "") -> list[dict[str, Any]]:
        return [json.loads(m.payload) for m in self.messages if not topic or m.topic == f"proxmox/lab/result/{topic}"]

    async def answer(self, index: int = 0, topic: str = "") -> dict[str, Any]:
        await until(lambda: len(self.answers(topic)) > index, why=lambda: (self.answers(), self.commands.info))
        return self.answers(topic)[index]

    async def order(self, command: str = "start", topic: str = GUEST, **fields: Any) -> dict[str, Any]:
        """A JSON command, and its answer."""
        sent = asked(command, **fields)
        before = len(self.answers(sent["id"]))
        await self.say(sent, topic)
        return await self.answer(before, sent["id"])


def asked(command: str = "start", **fields: Any) -> dict[str, Any]:
    return {"command": command, "id": uuid.uuid4().hex, "ts": time.time(), **fields}


@asynccontextmanager
async def open_desk(options: BrokerOptions, state: Path, level: Level = "exec") -> AsyncIterator[Desk]:
    state.mkdir(parents=True, exist_ok=True)
    entry, ids = Entry(), set[tuple[str, str]]()
    entry.gate.set()

    async def use(site: str, identity: str, at: float) -> bool:
        del at
        new = (site, identity) not in ids
        ids.add((site, identity))
        return new

    got: list[Message] = []
    async with Journal(state / "journal.db") as journal, Broker(options, got.extend) as bus:
        maintenance = Maintenance(journal, tells=False)
        commands = Commands(
            Vocabulary(ROWS, OWN_WORDS),
            lambda tell: Carrier(entry, maintenance, Audit(state), use, level, tell),
            NAMES,
            "main",
            ["lab"],
        )
        await bus.wait_connected()
        await bus.subscribe(["proxmox/+/result/#"], qos=1)
        async with running(commands, options):
            yield Desk(bus, commands, entry, ids, state, got)


@asynccontextmanager
async def running(commands: Commands, options: BrokerOptions) -> AsyncIterator[Callable[[], bool]]:
    task = asyncio.create_task(commands.run(options))
    try:
        await until(lambda: commands.listening)
        yield task.done
    finally:
        task.cancel()
        await asyncio.wait([task])
