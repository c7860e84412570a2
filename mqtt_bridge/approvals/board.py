"""What waits for an approval, retained on `<site>/approval/<id>`: published, put right, cleared when it is over.

Other processes publish approvals of their own for the same site, which we cannot judge: what is not ours is cleared
only once its own time is over, or if nobody can have published it in earnest.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from mqtt_bridge import model
from mqtt_bridge.approvals import words
from mqtt_bridge.approvals.approvals import Approvals
from mqtt_bridge.approvals.types import Approval
from mqtt_bridge.errors import BrokerError, BrokerUnreachableError
from mqtt_bridge.model import utc
from mqtt_bridge.mqtt.bus import Bus, Message
from mqtt_bridge.settings.approving import ApprovalSettings
from mqtt_bridge.topics import KINDS, Topics

TICK = 0.5  # seconds between two looks at the store
LEFTOVERS = 1000  # topics of others that are remembered
LONGEST = 86400.0 + 3600  # seconds that an approval can be ahead of us at most: APPROVAL_TIMEOUT, and a wrong clock
SHOWN = 20  # calls and notes
ARGS = 8192  # bytes


class Board:
    """`run` it on a connection, and hand it what comes in on approvals' topics."""

    def __init__(self, approvals: Approvals, names: Topics, sites: Collection[str]) -> None:
        self.stats: Counter[str] = Counter()
        self._approvals = approvals
        self._names = names
        self._sites = sites
        self._sent: dict[str, bytes] = {}
        self._leftovers: dict[str, float] = {}  # topic → when it is to be cleared
        self._seen: dict[str, bytes] = {}

    def take(self, message: Message) -> None:
        """Somebody published this, maybe we ourselves."""
        if self._sent.get(message.topic) == message.payload:
            return
        if message.topic in self._sent or len(self._seen) < LEFTOVERS:
            self._seen[message.topic] = message.payload

    async def run(self, bus: Bus) -> None:
        """Keep the broker in step with the store until cancelled."""
        generation = 0
        while True:
            generation = await bus.wait_connected(generation)
            self._sent.clear()
            try:
                await self._listen(bus)
                while bus.connected and bus.generation == generation:
                    await self._step(bus)
            except BrokerUnreachableError:
                await asyncio.sleep(0.1)

    async def _listen(self, bus: Bus) -> None:
        wanted = [self._names.filter("approval", site=site) for site in self._sites]
        try:
            await bus.subscribe(wanted, qos=KINDS["approval"].qos, no_local=True)
        except BrokerUnreachableError:
            raise
        except BrokerError:
            self.stats["not granted"] += 1  # it publishes all the same, and does not see what others write there

    async def _step(self, bus: Bus) -> None:
        watch = self._approvals.watch()
        await self._approvals.expire()
        rows = {self._topic(row): row for row in await self._approvals.pending() if row.site in self._sites}
        await self._judge(rows)
        now = self._approvals.clock()
        fresh = {topic: payload(row, self._approvals.settings) for topic, row in rows.items()}
        changed = [topic for topic, text in fresh.items() if self._sent.get(topic) != text]
        over = {topic for topic in self._sent if topic not in fresh}
        over |= {topic for topic, at in self._leftovers.items() if at <= now and topic not in fresh}
        messages = [_message(topic, fresh[topic], rows[topic].expires_at - now) for topic in changed]
        messages += [Message(topic, b"", KINDS["approval"].qos, retain=True) for topic in over]
        if messages:
            await self._publish(bus, messages)
        await watch.news(TICK)

    async def _publish(self, bus: Bus, messages: list[Message]) -> None:
        for message in messages:
            self._sent[message.topic] = message.payload
        for message, reason in zip(messages, await bus.publish_many(messages), strict=True):
            self.stats["refused" if reason else "published" if message.payload else "cleared"] += 1
            if not message.payload:
                self._sent.pop(message.topic, None)
                self._leftovers.pop(message.topic, None)

    def _topic(self, row: Approval) -> str:
        return self._names.build("approval", site=row.site, id=row.id)

    async def _judge(self, mine: Mapping[str, Approval]) -> None:
        """What others wrote: on our topics it is put right, elsewhere it may have to go."""
        seen, self._seen = self._seen, {}
        for topic, text in seen.items():
            if topic in mine:
                self.stats["foreign_writes"] += topic in self._sent
                self._sent.pop(topic, None)
            elif not text:
                self._leftovers.pop(topic, None)
            elif len(self._leftovers) < LEFTOVERS:
                self._leftovers[topic] = await self._until(topic, text)

    async def _until(self, topic: str, text: bytes) -> float:
        """When somebody else's is to be cleared; 0 is at once: one of ours that is over, or nothing in earnest."""
        parsed = self._names.parse(topic)
        if parsed is None or await self._approvals.get(parsed.ids["id"]):
            return 0
        try:
            told = model.Approval.model_validate_json(text)
            until = seconds(told.expires_at)
        except ValueError:
            return 0
        return until if until < self._approvals.clock() + LONGEST and told.id == parsed.ids["id"] else 0


def seconds(timestamp: str) -> float:
    """Unix seconds of ISO 8601; ValueError for anything else."""
    at = datetime.fromisoformat(timestamp)
    if at.tzinfo is None:
        raise ValueError("no zone")
    return at.timestamp()


def payload(row: Approval, settings: ApprovalSettings) -> bytes:
    """What is published of it."""
    return model.Approval(
        id=row.id,
        site=row.site,
        action=row.action,
        title=row.title,
        risk=row.risk,
        target=row.target,
        requester=row.principal,
        channel=row.channel,
        reason=row.reason,
        notes=row.notes[:SHOWN],
        args=_small(row.args),
        calls=(*row.calls[:SHOWN], *([f"and {len(row.calls) - SHOWN} more"] if len(row.calls) > SHOWN else [])),
        digest=row.digest,
        created_at=utc(row.created_at) or "",
        expires_at=utc(row.expires_at) or "",
        approvers=words.names(settings),
        how=words.how(settings, row.id),
        mqtt=settings.mqtt,
    ).payload()


def _small(args: Mapping[str, Any]) -> dict[str, Any]:
    return dict(args) if len(json.dumps(args)) <= ARGS else {"…": "too large to be shown here"}


def _message(topic: str, text: bytes, left: float) -> Message:
    return Message(topic, text, KINDS["approval"].qos, retain=True, expiry=max(1, int(left) + 1))
