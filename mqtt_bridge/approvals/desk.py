"""Approvals on MQTT: what waits is on the board, decisions come to the clerk.

On a connection of its own: a fresh session, so that no decision is from yesterday. Of all processes that share a
STATE_DIR one has the desk; the next takes over when it ends.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import closing
from types import TracebackType
from typing import Self

from mqtt_bridge.approvals.approvals import Approvals
from mqtt_bridge.approvals.binding import ANYBODY, unbound
from mqtt_bridge.approvals.board import Board
from mqtt_bridge.approvals.clerk import Clerk
from mqtt_bridge.errors import BrokerError, BrokerRefusedError
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.statedir import held
from mqtt_bridge.supervise import Parts
from mqtt_bridge.topics import KINDS, Topics

log = logging.getLogger(__name__)

LOCK = "approvals.desk"  # in STATE_DIR
TURN = 2.0  # seconds between two looks whether the desk is free
LARGEST_PACKET = 128 * 1024


class Desk:
    """`async with` it, beside the approvals it speaks for. `problem` says what is wrong at present, else empty.

    `bound`: whether the broker is known to bind `decision/<who>` to the user; None asks it.
    """

    def __init__(
        self,
        approvals: Approvals,
        options: BrokerOptions,
        names: Topics,
        sites: Collection[str],
        *,
        bound: bool | None = None,
    ) -> None:
        self.board = Board(approvals, names, sites)
        self.clerk = Clerk(approvals, names, sites)
        self.active = False
        self._approvals = approvals
        self._options = options
        self._names = names
        self._sites = sites
        self._bound = bound
        self._parts = Parts()

    async def __aenter__(self) -> Self:
        await self._parts.__aenter__()
        if self._sites:
            self._parts.start("approvals", self._run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._parts.__aexit__(kind, error, trace)

    @property
    def stats(self) -> Counter[str]:
        """What was published, cleared, decided, refused, dropped; since the start."""
        return self.board.stats + self.clerk.stats

    @property
    def problem(self) -> str:
        """Why nothing can be decided over MQTT although it is configured; empty: nothing is wrong."""
        failed = next((part.problem for part in self._parts.parts if part.problem), "")
        return failed or (self.clerk.unbound if self.active and self._approvals.settings.mqtt == "broker" else "")

    async def _run(self) -> None:
        lock_file = self._approvals.db.path.with_name(LOCK)
        while (lock := held(lock_file)) is None:  # noqa: ASYNC110 -- another process has it
            await asyncio.sleep(TURN)
        with closing(lock):
            try:
                await self._serve()
            finally:
                self.active = False

    async def _serve(self) -> None:
        async with (
            Broker(self._options, self._take, role="approvals", max_packet=LARGEST_PACKET) as bus,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self.board.run(bus))
            group.create_task(self.clerk.run(bus))
            if self._approvals.settings.mqtt != "off":
                group.create_task(self._listen(bus))

    def _take(self, messages: Sequence[Message]) -> None:
        for message in messages:
            parsed = self._names.parse(message.topic)
            if parsed is None:
                continue
            if parsed.kind.name == "approval":
                self.board.take(message)
            elif parsed.kind.name == "approval_decision" and message.payload:
                self.clerk.take(message)

    async def _listen(self, bus: Broker) -> None:
        generation = 0
        wanted = [self._names.filter("approval_decision", site=site) for site in self._sites]
        while True:
            generation = await bus.wait_connected(generation)
            try:
                if self._approvals.settings.mqtt == "broker":
                    self.clerk.unbound = await self._unbound(bus)
                await bus.subscribe(
                    wanted, qos=KINDS["approval_decision"].qos, retain_handling=2, retain_as_published=True
                )
                self.active = True
            except BrokerRefusedError as error:
                log.error("Nothing can be decided over MQTT: %s", error)  # noqa: TRY400 -- the sentence says it all
            except BrokerError:
                continue

    async def _unbound(self, bus: Broker) -> str:
        """Why a name in a topic proves nothing at this broker; empty: it does."""
        if self._bound is not None:
            return "" if self._bound else ANYBODY
        why = await unbound(bus, self._names, next(iter(self._sites)))
        if why:
            log.error("%s", why)
        return why
