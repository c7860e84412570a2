"""One stage of guests: each is asked to shut down, and looked at until it has, or until the stage's time is up."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mqtt_bridge.errors import ProxmoxError, UnknownTargetError
from mqtt_bridge.site_shutdown.around import Around, Refused
from mqtt_bridge.site_shutdown.plan import OTHERS
from mqtt_bridge.site_shutdown.progress import Stage
from mqtt_bridge.targets import GuestRef

PACE = 1.0  # seconds between two looks
AGAIN = 10.0  # seconds until a guest whose shutdown was refused is asked again
BATCH = 16  # guests asked side by side, between two notes of how far it is
FORCED = 30.0  # seconds in which a stop must be seen
MARGIN = 3  # seconds that Proxmox's own patience ends before ours: its task holds the guest's lock until then


class GuestStage:
    """`run` it; it can be left at any point and run anew."""

    def __init__(self, around: Around, stage: Stage) -> None:
        self._around = around
        self._stage = stage
        self._tried: dict[int, float] = {}
        self._forbidden: set[int] = set()
        self._paused: set[int] = set()  # it cannot hear; `stop` can end it
        self._untold: set[int] = set()  # their node does not answer now, so a call there would only hold up the others
        self._silent = False
        self._places: dict[int, str] = {}
        self._why: dict[int, str] = {}

    async def run(self) -> None:
        """Raises Aborted, AuditError."""
        around, timeout = self._around, self._around.progress.wanted.stage_timeout
        end = time.monotonic() + timeout  # a clock that is set meanwhile makes it no longer
        while left := await self._look():
            seconds = int(end - time.monotonic())
            if seconds <= 0 or (self._forbidden | self._paused).issuperset(left):
                break
            if seconds > AGAIN:
                await self._drop_failed(left)
            await self._ask(self._askable(left), seconds)
            await around.pause(PACE)
        if left and around.progress.wanted.force:
            left = await self._force(left)
        if left:
            late = {vmid: self._places.get(vmid, "") for vmid in left}
            known = around.progress
            untold = dict.fromkeys(self._untold.intersection(left), "Its node does not answer.")
            await around.keep(late={**known.late, **late}, why={**known.why, **self._why, **untold})

    def _askable(self, left: Sequence[int]) -> Sequence[int]:
        progress, now = self._around.progress, time.monotonic()
        never = {*progress.asked, *self._forbidden, *self._paused, *self._untold}
        return [v for v in left if v not in never and now - self._tried.get(v, -AGAIN) >= AGAIN]

    async def _drop_failed(self, left: Sequence[int]) -> None:
        """What Proxmox took, and refused in the task, is asked again: a lock that came in between, for one."""
        around, now = self._around, time.monotonic()
        taken = set(around.progress.asked) - self._untold
        asked = [v for v in left if v in taken and now - self._tried.get(v, -AGAIN) >= AGAIN]
        whys = await asyncio.gather(*(around.task_failed(self._ref(vmid)) for vmid in asked))
        self._tried |= dict.fromkeys(asked, now)
        if failed := {vmid: why for vmid, why in zip(asked, whys, strict=True) if why}:
            self._why |= failed
            await around.keep(asked=tuple(v for v in around.progress.asked if v not in failed))

    async def _look(self) -> tuple[int, ...]:
        """Those that are not down; what was seen is noted."""
        around, mine = self._around, self._stage.vmids
        watched = around.progress.vmids if self._stage.name == OTHERS else mine
        try:
            seen = await around.states(watched) if watched else {}
        except ProxmoxError as error:
            self._silent = True
            await around.say(f"Stage {self._stage.name}: Proxmox does not answer, and is asked again. {error.message}")
            return self._not_in(around.progress.down)
        self._untold = {vmid for vmid, (_, state) in seen.items() if state == "unknown"}
        self._places |= {vmid: node for vmid, (node, _) in seen.items()}
        if again := {v for v in around.progress.down if v in seen and seen[v][1] == "running"}:
            await self._started_again(again)
            mine = self._stage.vmids
        down = set(around.progress.down) | set(self._gone(seen))
        left = self._not_in(down)
        if self._silent or len(down) > len(around.progress.down):
            self._silent = False
            named = f"; still up: {_few(around.progress.label(vmid) for vmid in left)}" if left else ""
            message = f"Stage {self._stage.name}: {len(mine) - len(left)} of {len(mine)} guests are down{named}."
            await around.keep(down=tuple(v for v in around.progress.vmids if v in down), message=message)
        return left

    async def _started_again(self, vmids: set[int]) -> None:
        """By its own reboot, by somebody or by HA: it belongs to this stage now, and is asked anew."""
        progress = self._around.progress
        new = vmids.difference(self._stage.vmids)
        self._stage = self._stage.model_copy(update={"vmids": (*self._stage.vmids, *sorted(new))})
        stages = [s.model_copy(update={"vmids": tuple(v for v in s.vmids if v not in new)}) for s in progress.stages]
        stages[progress.at] = self._stage
        self._tried = {vmid: at for vmid, at in self._tried.items() if vmid not in vmids}
        await self._around.keep(
            stages=tuple(stages),
            down=tuple(v for v in progress.down if v not in vmids),
            asked=tuple(v for v in progress.asked if v not in vmids),
        )

    def _not_in(self, down: Sequence[int] | set[int]) -> tuple[int, ...]:
        gone = set(down)
        return tuple(vmid for vmid in self._stage.vmids if vmid not in gone)

    def _gone(self, seen: Mapping[int, tuple[str, str]]) -> Iterator[int]:
        """What stands still. What is not listed is not known: a token that lost its rights sees empty lists."""
        return (vmid for vmid, (_, state) in seen.items() if state == "stopped")

    async def _ask(self, vmids: Sequence[int], seconds: int) -> None:
        """Those of `asking` may be asked twice, after a crash in between: better than never."""
        around = self._around
        for start in range(0, len(vmids), BATCH):
            batch = tuple(vmids[start : start + BATCH])
            around.check()
            await around.keep(asking=batch)
            calls = [self._shut_down(vmid, seconds) for vmid in batch]
            answers = dict(zip(batch, await asyncio.gather(*calls, return_exceptions=True), strict=True))
            taken = tuple(vmid for vmid, answer in answers.items() if answer is None)
            self._note(answers)
            await around.keep(asking=(), asked=(*around.progress.asked, *taken))
            _raised(answers.values())

    async def _shut_down(self, vmid: int, seconds: int) -> Refused | None:
        patience = max(1, seconds - MARGIN)
        answer = await self._around.call("guest.shutdown", self._ref(vmid), timeout=patience)
        if answer is not None and not answer.for_good and await self._is_paused(vmid):
            self._paused.add(vmid)
        return answer

    async def _is_paused(self, vmid: int) -> bool:
        try:
            return (await self._around.actions.reading().guest(self._ref(vmid))).state == "paused"
        except (ProxmoxError, UnknownTargetError):
            return False

    def _note(self, answers: Mapping[int, Refused | BaseException | None]) -> None:
        now = time.monotonic()
        for vmid, answer in answers.items():
            if isinstance(answer, Refused):
                self._tried[vmid] = now
                self._why[vmid] = answer.why[:300]
                if answer.for_good:
                    self._forbidden.add(vmid)

    async def _force(self, left: tuple[int, ...]) -> tuple[int, ...]:
        """What has not shut down in time is stopped."""
        around = self._around
        until = time.monotonic() + FORCED
        await around.say(f"Stage {self._stage.name}: {_few(map(around.progress.label, left))} is stopped.")
        stopped: set[int] = set()
        while left and time.monotonic() < until:
            out = stopped | self._forbidden | self._untold
            wanted = [vmid for vmid in left if vmid not in out]
            calls = [around.call("guest.stop", self._ref(vmid)) for vmid in wanted[:BATCH]]
            answers = dict(zip(wanted, await asyncio.gather(*calls, return_exceptions=True), strict=False))
            self._note(answers)
            _raised(answers.values())
            stopped |= {vmid for vmid, answer in answers.items() if answer is None}
            await around.keep(forced=tuple(sorted({*around.progress.forced, *stopped})))
            await around.pause(PACE)
            left = await self._look()
            if self._forbidden.issuperset(left):
                break
        return left

    def _ref(self, vmid: int) -> GuestRef:
        return GuestRef(vmid, self._around.progress.site)


def _raised(answers: Iterable[Refused | BaseException | None]) -> None:
    """What one of the calls raised, after the others are noted."""
    if error := next((answer for answer in answers if isinstance(answer, BaseException)), None):
        raise error


def _few(names: Iterable[str], most: int = 10) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
