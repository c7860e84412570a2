"""The contract between a listener and everything behind it. A listener sees reports and this; never MQTT."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.model import Trust
from mqtt_bridge.wording.verdict import Verdict


class IntakeFullError(BridgeError):
    """More was handed over than can be written down: the sender has to try again (503, 451, a paused read)."""


class JournalError(BridgeError):
    """The journal cannot be written (disk full, damaged): nothing was accepted."""


@dataclass(frozen=True, slots=True)
class Report:
    """One thing that a channel told.

    `identity` is what identifies it within its listener (UPID and status, Message-ID and content, Gotify id, …): the
    same identity again makes no second event. `at` is when it happened in Unix seconds; without it the verdict's time
    counts, then the time of receipt. `site` None is found by node and guest.
    """

    identity: str
    verdict: Verdict
    trust: Trust
    at: float | None = None
    site: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)


class Intake(Protocol):
    """One listener's way in. Made for it by the pipeline; counts and health show in bridge/info, /health, /metrics."""

    async def __call__(self, reports: Sequence[Report], *, cursors: Mapping[str, str] | None = None) -> None:
        """Returns once the batch and the cursors are committed together (group commit with other listeners).

        Raises IntakeFullError or JournalError; then nothing of the batch was accepted.
        """
        ...

    async def cursor(self, name: str) -> str | None:
        """A cursor of this listener as last committed; None: never, so this is its very first start."""
        ...

    def reject(self, reason: str, count: int = 1) -> None:
        """Count what was refused, under a short constant reason: `too large`, `wrong token`, `source not allowed`."""
        ...

    def healthy(self, detail: str = "") -> None:
        """It works; `detail` says on what in a few words: `listening on 0.0.0.0:514`, `INBOX with IDLE`."""
        ...

    def unhealthy(self, reason: str) -> None:
        """It does not work at present: cause and cure in a sentence without secrets."""
        ...


class Listener(Protocol):
    """One way in. Its constructor does nothing; `run` goes on until cancelled, and is restarted when it fails."""

    name: str

    async def run(self, intake: Intake) -> None: ...
