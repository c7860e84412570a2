"""Handing reports to the intake until it has taken them: one that it cannot take costs no other."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mqtt_bridge.events.intake import Intake, IntakeFullError, JournalError, Report


@dataclass(frozen=True)
class Patience:
    """How long to wait, and who is told. Pauses are seconds, doubling.

    `troubled` is called each time that the journal fails, `faulty` for a report that a fault of ours refuses.
    """

    first_pause: float
    longest_full: float
    longest_failed: float
    troubled: Callable[[JournalError], None]
    faulty: Callable[[Exception], None]

    async def hand_over(
        self, intake: Intake, waiting: list[Report], size: int, cursors: Mapping[str, str] | None = None
    ) -> None:
        """In order, `size` at once at most; the cursors are committed with the last. What was taken leaves `waiting`.

        Reports stay the same, so that one that is handed over again makes no second event.
        """
        pause, most = self.first_pause, size
        while waiting or cursors:
            batch, last = waiting[:most], len(waiting) <= most
            longest = self.longest_failed
            try:
                await intake(batch, cursors=cursors if last else None)
            except IntakeFullError:
                most, longest = max(1, most // 2), self.longest_full
            except JournalError as error:
                self.troubled(error)
            except Exception as error:  # noqa: BLE001 -- a fault of ours: `faulty` is told
                if len(batch) > 1:
                    most = len(batch) // 2
                    continue
                self.faulty(error)
                if waiting:  # it is the reason, and would hold up all others for ever
                    del waiting[0]
                    continue
            else:
                del waiting[: len(batch)]
                if last:
                    return
                pause, most = self.first_pause, min(size, most * 2)
                continue
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 -- jitter
            pause = min(longest, pause * 2)
