"""What the parts of a shutdown work with: one call at a time, looks at the site, and whether it was aborted."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mqtt_bridge.actions import ActionError, Actions
from mqtt_bridge.errors import PolicyError, ProxmoxError, UnknownTargetError
from mqtt_bridge.policy import Principal
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.site_shutdown.book import Book
from mqtt_bridge.site_shutdown.progress import Progress
from mqtt_bridge.targets import Ref

log = logging.getLogger(__name__)

CALL = 60.0  # seconds for one call, its fresh reads among them
ALIVE = 60.0  # seconds between two notes while nothing happens
KINDS = ("qemu", "lxc")


class Aborted(Exception):  # noqa: N818 -- no error: somebody asked for it
    """No further call is begun."""


@dataclass(frozen=True)
class Refused:
    """Why a call was not taken. `for_good`: asking again is of no use."""

    why: str
    for_good: bool = False


@dataclass
class Around:
    """Of one shutdown that is carried through. `progress` is the newest; `keep` replaces it."""

    actions: Actions
    api: Api
    book: Book
    progress: Progress
    upids: dict[Ref, str] = field(default_factory=dict)  # the task of the last call to each, where there is one
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self, **fields: object) -> None:
        """One step on, written down."""
        self.progress = self.progress.step(**fields)
        await self.book.keep(self.progress)

    async def say(self, message: str) -> None:
        """Where that is new."""
        if message != self.progress.message:
            await self.keep(message=message)

    def check(self) -> None:
        """Before each call; raises Aborted."""
        if self.stop.is_set():
            raise Aborted

    async def pause(self, seconds: float) -> None:
        """Ends early by an abort, which it raises. Notes now and then that somebody is at it."""
        if time.time() - self.progress.changed > ALIVE:
            await self.keep()
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            return
        raise Aborted

    async def call(self, action: str, target: Ref, **args: Any) -> Refused | None:
        """None: Proxmox took it, or there is nothing to do any more. Raises Aborted, AuditError."""
        self.check()
        order = self.progress.order
        try:
            result = await self.actions.perform(
                Principal(order.principal, "mqtt", order.level),
                action,
                target,
                args=args,
                wait=False,
                timeout=CALL,
                reason=": ".join(part for part in ("site shutdown", order.who, order.reason) if part),
            )
        except PolicyError as error:
            return Refused(str(error), for_good=True)
        except (ActionError, UnknownTargetError, ProxmoxError) as error:
            return Refused(str(error))
        self.upids[target] = result.upid or ""
        return None if result.status in {"done", "started"} else Refused(result.message)

    # --- looks -------------------------------------------------------------------------------------------------------

    async def states(self, wanted: Iterable[int]) -> Mapping[int, tuple[str, str]]:
        """Node and state of those that exist, as their nodes say now; `unknown` where one cannot be asked.

        Raises ProxmoxError where the list of guests itself cannot be read.
        """
        rows = await self.api.get("cluster", "resources", purpose="poll", type="vm")
        ids = set(wanted)
        listed = {int(row["vmid"]): str(row["node"]) for row in rows if row.get("vmid") in ids}
        found: dict[int, tuple[str, str]] = {vmid: (node, "unknown") for vmid, node in listed.items()}
        for answer in await asyncio.gather(*(self._on(node) for node in sorted(set(listed.values())))):
            found |= {vmid: seen for vmid, seen in answer.items() if vmid in listed}
        return found

    async def _on(self, node: str) -> dict[int, tuple[str, str]]:
        found: dict[int, tuple[str, str]] = {}
        try:
            for rows in await asyncio.gather(*(self.api.get("nodes", node, kind, purpose="poll") for kind in KINDS)):
                found |= {int(row["vmid"]): (node, str(row.get("status"))) for row in rows}
        except ProxmoxError as error:
            log.debug("The guests of %s cannot be read: %s", node, error)
        return found

    async def task_failed(self, target: Ref) -> str:
        """Why the task of the last call to it failed; empty: it runs, ended well, or cannot be asked."""
        if not (upid := self.upids.get(target)):
            return ""
        try:
            task = await self.api.wait_task(upid, timeout=0)
        except (ProxmoxError, UnknownTargetError):
            return ""
        return (task.exitstatus or "no exit status") if task.finished and not task.ok else ""

    async def nodes(self) -> Mapping[str, float | None]:
        """Those that are online, with the time of their last start. Raises ProxmoxError."""
        rows: Sequence[Mapping[str, Any]] = await self.api.get("nodes", purpose="poll")
        online = (row for row in rows if row.get("status") == "online")
        return {str(row["node"]): time.time() - row["uptime"] if row.get("uptime") else None for row in online}
