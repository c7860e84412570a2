"""Approvals in a process that runs notifiers and owns a journal: on MQTT, told to approvers, as events, in a chat."""

from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from mqtt_bridge.approvals.approvals import Approvals
from mqtt_bridge.approvals.desk import Desk
from mqtt_bridge.approvals.telling import Announce, Teller
from mqtt_bridge.approvals.ways import Given, own
from mqtt_bridge.approvals.witness import Witness
from mqtt_bridge.events.intake import Intake
from mqtt_bridge.mqtt.broker import BrokerOptions
from mqtt_bridge.supervise import Parts
from mqtt_bridge.topics import Topics


@dataclass(frozen=True)
class Around:
    """What the office works with. `bound`: see Desk; `announce`: tells everybody, None where no notifier runs."""

    options: BrokerOptions
    names: Topics
    sites: Collection[str]
    intake: Intake
    announce: Announce | None = None
    bound: bool | None = None


class Office:
    """`async with` it inside of the approvals that it is for."""

    def __init__(self, approvals: Approvals, settings: Given, around: Around) -> None:
        self.desk = Desk(approvals, around.options, around.names, around.sites, bound=around.bound)
        self.teller = Teller(approvals, lambda approver: own(settings, approver), around.announce)
        self._witness = Witness(approvals)
        self._intake = around.intake
        self._parts = Parts()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._parts)
            await stack.enter_async_context(self.desk)
            self._parts.start("approvers", self.teller.run)
            self._parts.start("approvals as events", lambda: self._witness.run(self._intake))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def problems(self) -> list[str]:
        """What is wrong at present, a sentence each."""
        found = [f"{part.name}: {part.problem}" for part in self._parts.parts if part.problem]
        found += [f"Approvals: {self.desk.problem}"] if self.desk.problem else []
        return found + [f"No one-time code reaches {where}: {why}" for where, why in self.teller.problems.items()]
