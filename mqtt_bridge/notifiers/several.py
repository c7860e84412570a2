"""One notice for several: recipients of a mail, URLs of Apprise. Who has it already is not told again at a retry."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mqtt_bridge.notifiers.notice import LaterError, RefusedError, Sent

_NOTICES = 500  # whose outcome is remembered until they are settled; a restart forgets, and tells all of them again


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it for one of them; `reason` is a sentence or what the service said."""

    state: Literal["sent", "later", "refused"]
    reason: str = ""
    after: float | None = None


class Several:
    """Remembers what is final for each, until it is for all."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, dict[str, Outcome]] = OrderedDict()

    def remaining(self, notice: str, everyone: Iterable[str]) -> list[str]:
        """Who has neither got it nor refused it, each once."""
        known = self._known.get(notice, {})
        return [each for each in dict.fromkeys(everyone) if each not in known]

    def settle(self, notice: str, fresh: dict[str, Outcome], ref: str | None = None) -> Sent:
        """All outcomes as one. Raises LaterError as long as someone waits, RefusedError where nobody got it."""
        known = self._known.pop(notice, {}) | fresh
        waiting = {who: outcome for who, outcome in known.items() if outcome.state == "later"}
        if waiting:
            self._known[notice] = {who: outcome for who, outcome in known.items() if who not in waiting}
            while len(self._known) > _NOTICES:
                self._known.popitem(last=False)
            raise LaterError(_sentence(known, "later"), after=_longest(waiting.values()))
        if not any(outcome.state == "sent" for outcome in known.values()):
            raise RefusedError(_sentence(known, "refused"))
        return Sent(ref, _sentence(known, "sent"))


def _sentence(outcomes: dict[str, Outcome], first: str) -> str:
    """What matters first; with one alone, no name is needed."""
    if len(outcomes) == 1:
        return next(iter(outcomes.values())).reason
    ordered = sorted(outcomes.items(), key=lambda item: item[1].state != first)
    words = {"sent": "sent", "later": "not yet", "refused": "refused"}
    return "; ".join(f"{who}: {words[outcome.state]}, {outcome.reason}".rstrip(", ") for who, outcome in ordered)


def _longest(outcomes: Iterable[Outcome]) -> float | None:
    return max((outcome.after for outcome in outcomes if outcome.after is not None), default=None)
