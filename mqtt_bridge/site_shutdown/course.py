"""One shutdown, from where it is to its end."""

import logging
import time
from collections.abc import Iterable

from mqtt_bridge.audit.trail import AuditError
from mqtt_bridge.errors import PolicyError, ProxmoxError
from mqtt_bridge.policy import Principal
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.site_shutdown.around import Aborted, Around
from mqtt_bridge.site_shutdown.guests import GuestStage
from mqtt_bridge.site_shutdown.nodes import NodeStage
from mqtt_bridge.site_shutdown.plan import OTHERS, make
from mqtt_bridge.site_shutdown.progress import Phase, Progress, Stage
from mqtt_bridge.site_shutdown.wanted import ShutdownError

log = logging.getLogger(__name__)

NAMED = 20  # things in a sentence


class Course:
    """`run` it."""

    def __init__(self, around: Around, permission: PermissionSettings) -> None:
        self._around = around
        self._permission = permission

    async def run(self) -> None:
        """Ends with the shutdown, however that ends."""
        around, refused = self._around, dict[str, str]()
        try:
            while stage := around.progress.stage:
                await GuestStage(around, await self._whole(stage)).run()
                await self._next()
            if around.progress.nodes:
                nodes = NodeStage(around)
                refused = nodes.refused
                await nodes.run()
            await self._last_look()
        except Aborted:
            await self._end("aborted", aborted(around.progress))
        except AuditError as error:
            await self._end("failed", f"It stopped: {error}")
        else:
            remaining = around.progress.remaining
            text = _failed(around.progress, refused) if remaining else _done(around.progress)
            await self._end("failed" if remaining else "done", text)

    async def _next(self) -> None:
        """The stage after this one; behind the last one, the nodes announce themselves."""
        after = self._around.progress.step(at=self._around.progress.at + 1)
        stage = after.stage
        message = f"Stage {stage.name} begins: {len(stage.vmids)} guests." if stage else after.message
        await self._around.keep(at=after.at, since=time.time(), message=message)

    async def _last_look(self) -> None:
        """At what was late: it may be down by now, or run on a node that stays, where HA took it."""
        around, left = self._around, self._around.progress.guests_left
        if not left or around.progress.silent:
            return
        try:
            seen = await around.states(left)
        except ProxmoxError:  # nobody is left to say so
            return
        late = {vmid: node for vmid, (node, state) in seen.items() if state == "running"}
        down = {vmid for vmid, (_, state) in seen.items() if state == "stopped"}.union(around.progress.down)
        await around.keep(
            late={**around.progress.late, **late}, down=tuple(v for v in around.progress.vmids if v in down)
        )

    async def _end(self, phase: Phase, message: str) -> None:
        await self._around.keep(phase=phase, ended=time.time(), message=message)

    async def _whole(self, stage: Stage) -> Stage:
        """The last stage of guests has those too that were started meanwhile."""
        around, progress = self._around, self._around.progress
        if stage.name != OTHERS:
            return stage
        principal = Principal(progress.order.principal, "mqtt", progress.order.level)
        try:
            plan = await make(around.actions.reading(), self._permission, principal, progress.site, progress.wanted)
        except (PolicyError, ProxmoxError, ShutdownError) as error:
            log.info("What was started meanwhile is not known: %s", error)
            return stage
        known = set(progress.vmids)
        new = [guest for guest in plan.guests if guest.vmid not in known]
        if not new:
            return stage
        whole = stage.model_copy(update={"vmids": (*stage.vmids, *(guest.vmid for guest in new))})
        stages = tuple(whole if one.name == OTHERS else one for one in progress.stages)
        await around.keep(stages=stages, labels={**progress.labels, **{guest.vmid: guest.label for guest in new}})
        return whole


def aborted(progress: Progress) -> str:
    """What was done, and what it takes to have it back."""
    asked = [v for v in progress.asked if v not in progress.down]
    text = "Aborted: nothing more is begun."
    text += f" {len(progress.down)} guests are down" + (f": {_few(progress, progress.down)}." if progress.down else ".")
    if asked:
        text += f" Asked before, so it still goes down: {_few(progress, asked)}."
    if progress.nodes_asked:
        text += f" These nodes were asked before and go down: {', '.join(progress.nodes_asked)}."
    if progress.down or asked:
        text += " Nothing is started again by itself: send `start` to each that is to come back."
    return text


def _done(progress: Progress) -> str:
    text = f"All is down: {len(progress.down)} guests, {len(progress.nodes)} nodes."
    if progress.silent:
        text += " Of the last ones it is seen that no API answers any more since they were asked."
    if late := [v for v in progress.late if v not in progress.down]:
        text += f" Not shut down in time, so it went with its node: {_few(progress, late)}."
    if progress.forced:
        text += f" Stopped, since it did not shut down: {_few(progress, progress.forced)}."
    return text + after(progress)


def _failed(progress: Progress, refused: dict[str, str]) -> str:
    guests = [v for v in progress.remaining if isinstance(v, int)]
    text = f"Still up: {_few(progress, progress.remaining)}."
    whys = [f"node {node}: {refused[node]}" for node in progress.nodes_left if node in refused]
    whys += [f"{progress.label(v)}: {progress.why[v]}" for v in guests if v in progress.why]
    return text + (f" {' '.join(whys[:5])}" if whys else "") + after(progress)


def after(progress: Progress) -> str:
    """What else there is to know."""
    text = f" Left out: {'; '.join(progress.left_out[:NAMED])}." if progress.left_out else ""
    if managed := progress.published().ha_stopped:
        text += f" HA keeps these stopped until they are started: {_few(progress, managed)}."
    return text


def _few(progress: Progress, what: Iterable[int | str]) -> str:
    names = [progress.label(one) for one in what]
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
