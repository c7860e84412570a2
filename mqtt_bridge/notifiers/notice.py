"""The contract between what decides that somebody is to be told, and what tells them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.model import Event
from mqtt_bridge.severity import Severity

NoticeKind = Literal["event", "update", "recovery", "reminder", "digest", "test", "message"]


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be told, the same for every service. Its texts come from outside: data, never markup.

    `id` is the delivery's: the same again is the same message (Idempotency-Key). `incident` threads what belongs
    together; `previous` is what this notifier's `send` returned for the last notice of that incident, so that a
    service that can edit or thread does so. `events` has one event, or those of a digest. `url` leads to the page in
    Proxmox. `facts` are label and value pairs worth showing beside the text: node, guest, storage, duration.
    """

    id: str
    kind: NoticeKind
    title: str
    text: str
    severity: Severity
    at: str
    site: str = ""
    incident: str = ""
    previous: str | None = None
    url: str | None = None
    log: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    events: Sequence[Event] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Sent:
    """The service took it. `ref` is its own name for the message, for edits and threads; `answer` what it said."""

    ref: str | None = None
    answer: str = ""


class LaterError(BridgeError):
    """It did not work now and may work later: unreachable, busy, rate limited. `after` seconds if the service said."""

    def __init__(self, message: str, *, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class RefusedError(BridgeError):
    """It never will: wrong token, no such webhook, a message that the service refuses. Cause and cure in a sentence."""


class Notifier(Protocol):
    """One service. `async with` it; the constructor does nothing."""

    name: str

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...

    async def send(self, notice: Notice) -> Sent:
        """Returns once the service has taken it; raises LaterError or RefusedError. Bounded in time by itself."""
        ...
