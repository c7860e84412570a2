"""Events as they come, and a desk at which it is decided who is told of them, with a clock in the test's hand."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from mqtt_bridge.journal.schema import migrate
from mqtt_bridge.model import Event, GuestState, utc
from mqtt_bridge.notifiers.notice import Notice
from mqtt_bridge.notifying import deliveries
from mqtt_bridge.notifying.deciding import Decider
from mqtt_bridge.settings.notifying import NotifySettings, Routing
from mqtt_bridge.wording.kinds import ok_of, severity_of

NOON = 1_790_000_000 // 86400 * 86400 + 12 * 3600.0  # of some day, UTC
_NUMBERS = count(1)


def event(kind: str, *, at: float = NOON, guest: int | None = None, node: str | None = "pve1", **given: Any) -> Event:
    """Of this kind; another one each time. `same` is what it is correlated by."""
    identity = f"e{next(_NUMBERS)}"
    fields: dict[str, Any] = {
        "id": identity,
        "kind": kind,
        "title": f"{kind} {guest if guest is not None else node}",
        "source": "WEBSOCKET",
        "timestamp": utc(at),
        "site": "lab",
        "node": node,
        "guest": guest,
        "severity": severity_of(kind),
        "ok": ok_of(kind),
        "correlation_id": given.pop("same", identity),
    }
    return Event(**{**fields, **given})


def loud(*names: str, **routing: Any) -> dict[str, Routing]:
    """No rate limit unless one is given."""
    return {name: Routing(**{"rate_limit": 0, **routing}) for name in names}


@dataclass
class Desk:
    """Deciding alone, on a database in memory; every delivery that is due is taken by its service when asked for."""

    settings: NotifySettings
    names: Sequence[str] = ("A", "B")
    now: float = NOON
    guests: Sequence[GuestState] = ()
    connection: sqlite3.Connection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        migrate(self.connection, ":memory:")
        self.restart()

    def restart(self) -> None:
        """Nothing is kept but the database."""
        self.decider = Decider(self.settings, self.names)

    def take(self, *events: Event) -> None:
        self.decider.take(events, self.connection, self.now)

    def on(self, kind: str, **given: Any) -> Event:
        """It happens now."""
        made = event(kind, at=given.pop("at", self.now), **given)
        self.take(made)
        return made

    def later(self, seconds: float, step: float = 1.0) -> None:
        """Let the clock run."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + step)
            self.decider.tick(self.connection, self.now, self.guests)

    def sent(self, name: str = "A") -> list[Notice]:
        """What this notifier is to tell now; its service takes it."""
        found: list[Notice] = []
        while due := deliveries.due(self.connection, name, self.now):
            deliveries.sent(self.connection, due.seq, self.now, f"ref-{due.seq}", "")
            found.append(due.notice)
        return found

    def words(self, name: str = "A") -> list[tuple[str, str]]:
        """Kind and title of that."""
        return [(notice.kind, notice.title) for notice in self.sent(name)]


def desk(*names: str, routing: dict[str, Any] | None = None, **settings: Any) -> Desk:
    """Without rate limits and morning digest unless given."""
    names = names or ("A", "B")
    given = {"routing": loud(*names, **(routing or {})), "timezone": "UTC", "digest_at": "off", **settings}
    return Desk(NotifySettings(**given), names)
