"""What would be done: made by reading everything that an action touches, sent by nobody until it was judged."""

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mqtt_bridge.actions.row import Action, ActionError, Args, NoArgs, revealed
from mqtt_bridge.proxmox.api import Api, OnProgress
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import Level
from mqtt_bridge.targets import Target, Touched

Method = Literal["POST", "PUT", "DELETE"]


@dataclass(frozen=True)
class Step:
    """One API call. `params` may hold a Secret. `task`: the answer must be a UPID, and its end is waited for.

    `hidden` are keys whose values are not shown (argv, input data), beside those that `redact` knows by name.
    A UPID that comes although none was promised is waited for too.
    """

    method: Method
    segments: tuple[str | int, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    task: bool = True
    hidden: frozenset[str] = frozenset()

    @property
    def path(self) -> str:
        """As people write it."""
        return "/" + "/".join(str(segment) for segment in self.segments)


@dataclass
class Outcome:
    """What came of the steps. `answers` are Proxmox's, one for each step that was carried out."""

    until: float
    ok: bool = True
    answers: list[Any] = field(default_factory=list)
    upid: str | None = None
    exitstatus: str | None = None
    log_tail: tuple[str, ...] = ()
    warnings: int = 0
    on_progress: OnProgress | None = None
    wait: bool = True

    @property
    def left(self) -> float:
        """Seconds until the caller's time is up."""
        return max(0.0, self.until - time.monotonic())


@dataclass(frozen=True)
class Seen:
    """What was seen afterwards, by reading Proxmox again: `message` goes on after `Title of target:`.

    `ok` is false where what was asked for is not what is there. `started`: Proxmox took it, and its end cannot be seen.
    """

    ok: bool
    message: str
    state: str | None = None
    changed: bool | None = True
    details: Mapping[str, Any] = field(default_factory=dict)
    started: bool = False


See = Callable[["Plan", Outcome], Awaitable[Seen]]


@dataclass(frozen=True)
class Plan:
    """One action, ready to be judged.

    `objects` is all that it reads, writes, makes or destroys, with how. `nothing` says why nothing needs to be sent,
    `problem` why it makes no sense: both are heard after the policy. `notes` is what an approver must know.
    `chosen` are ids that were picked for it and that an approval holds it to. `narrow` says how a caller may ask for
    less after a refusal.
    """

    row: Action
    api: Api
    target: Target
    steps: tuple[Step, ...]
    objects: tuple[Touched, ...]
    see: See
    args: Args = field(default_factory=NoArgs)
    title: str = ""
    risk: Level | None = None
    takes_down: bool | None = None
    nothing: str | None = None
    problem: ActionError | None = None
    notes: tuple[str, ...] = ()
    chosen: Mapping[str, Any] = field(default_factory=dict)
    state: str | None = None
    narrow: str = ""
    hint: Callable[[str], str] = lambda _status: ""

    @property
    def name(self) -> str:
        """The title with what it is done to."""
        return f"{self.title or self.row.title} of {self.target.label}"

    @property
    def danger(self) -> Level:
        """Its risk, as its arguments make it."""
        return self.risk or self.row.risk

    @property
    def downs(self) -> bool:
        """Whether something stops working."""
        return self.row.takes_down if self.takes_down is None else self.takes_down

    @property
    def hidden(self) -> frozenset[str]:
        """Arguments whose values are shown to nobody."""
        return frozenset().union(*(step.hidden for step in self.steps))

    def facts(self) -> dict[str, Any]:
        """Everything that an approval is bound to, as plain JSON; secrets open: for a keyed digest only."""
        facts = {
            "site": self.target.site,
            "action": self.row.name,
            "risk": self.danger,
            "args": {name: getattr(self.args, name) for name in type(self.args).model_fields},
            "steps": [(s.method, s.path, revealed(s.params)) for s in self.steps],
            "objects": sorted(json.dumps([o.role, o.target.identity], sort_keys=True) for o in self.objects),
        }
        plain: dict[str, Any] = json.loads(json.dumps(facts, sort_keys=True, default=_plain))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Args):
        return {name: getattr(value, name) for name in type(value).model_fields}
    return sorted(value, key=str) if isinstance(value, set | frozenset) else str(value)
