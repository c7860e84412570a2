"""When somebody does not want to be told: maintenance of a site, node, guest or tag. Kept in the journal's database."""

import re
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Literal

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.model import Event, Trust
from mqtt_bridge.notifying.routing import tags_of

Scope = Literal["site", "node", "guest", "tag"]

SHORTEST, LONGEST = 1.0, 365 * 86400.0  # seconds
REBOOT = 15 * 60.0  # seconds that a node may need to come back
GOING = 10 * 60.0  # seconds between a node's stopping all of its guests and its going
DOUBTFUL = 5 * 60.0  # the same where anyone could have said that it restarts
_DURATION = re.compile(r"(\d{1,6})\s*([smhdw]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
AUTOMATIC = "its restart was asked for"
_RESTART = "restart-"
_SHUTDOWN, _OWN = "shutdown-", "site.shutdown."
_SHUT_DOWN = "the site was shut down"
# Seconds from an event of a site's shutdown on, which says when it ends; what was under way still goes down afterwards.
_SPARED = {f"{_OWN}started": 6 * 3600.0, f"{_OWN}done": 12 * 3600.0, f"{_OWN}aborted": 60.0, f"{_OWN}failed": 60.0}


@dataclass(frozen=True, slots=True)
class Silence:
    """`target` is the node's name, the VMID or the tag; `site` empty means every site (tags alone). Unix seconds."""

    id: str
    scope: Scope
    site: str
    target: str
    since: float
    until: float
    reason: str = ""
    by: str = ""

    def covers(self, event: Event) -> bool:
        """Whether it is about this event: a node's covers its guests, a guest's no job of several."""
        if self.site and event.site != self.site:
            return False
        if self.scope == "tag":
            return self.target.casefold() in tags_of(event)
        if self.scope == "guest":
            return str(event.guest) == self.target
        if self.id.startswith(_SHUTDOWN) and event.kind.startswith(_OWN):
            return False
        return self.scope == "site" or (event.node or "").casefold() == self.target.casefold()

    def __str__(self) -> str:
        return f"{self.scope} {self.target or self.site}"


def duration(text: str) -> float:
    """Seconds of `90`, `30m`, `2h`, `1d`; raises BridgeError."""
    found = _DURATION.fullmatch(text.strip().lower())
    length = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not SHORTEST <= length <= LONGEST:
        raise BridgeError(f"{text[:40]!r} is no duration.", cure="Write 30m, 2h or 1d; at most 365d.")
    return float(length)


def silence(scope: Scope, site: str, target: str, now: float, length: float, reason: str = "", by: str = "") -> Silence:  # noqa: PLR0917 -- its columns
    """A new one."""
    length = min(max(length, SHORTEST), LONGEST)
    return Silence(secrets.token_hex(4), scope, site, target, now, now + length, reason[:200], by[:100])


def of_restart(event: Event, now: float) -> Silence | None:
    """The silence that a node's restart brings about: what it takes along is expected. `until` is the latest end.

    Anyone can send a line of syslog; what only such a line says holds a real loss back for a shorter time.
    """
    if event.kind != "node.shutdown" or not event.node:
        return None
    lengths: dict[Trust, float] = {"api": REBOOT, "authenticated": REBOOT, "unauthenticated": DOUBTFUL}
    return restart(event.site, event.node, now, lengths[event.trust], "node.shutdown")


def restart(site: str, node: str, now: float, length: float = REBOOT, by: str = "") -> Silence:
    """What holds while a node restarts that someone asked to; one for each node."""
    return Silence(of_node(site, node), "node", site, node, now, now + length, AUTOMATIC, by[:100])


def of_site(site: str) -> str:
    """The id of that."""
    return f"{_SHUTDOWN}{site}"


def of_shutdown(event: Event, now: float) -> Silence | None:
    """What a site's shutdown takes down is not told; one for each site. `back`: it is up again already."""
    length = _SPARED.get(event.kind)
    if length is None:
        return None
    length = min(length, REBOOT) if event.metadata.get("back") else length
    reason = _SHUT_DOWN if event.kind == f"{_OWN}done" else "the site is being shut down"
    return Silence(of_site(event.site), "site", event.site, "", now, now + length, reason, "SITE_SHUTDOWN")


def stops_all(event: Event) -> bool:
    """Whether Proxmox stops all guests of a node, as it does itself (as root) before the node goes."""
    by_itself = event.trust == "api" and event.metadata.get("user") == "root@pam"
    return by_itself and event.kind.startswith("task.stopall.") and event.node is not None


def of_node(site: str, node: str) -> str:
    """The id of that."""
    return f"{_RESTART}{site}-{node.casefold()}"


def is_automatic(one: Silence) -> bool:
    """Whether a restart or a shutdown brought it about."""
    return one.id.startswith((_RESTART, _SHUTDOWN))


# --- the database's thread -------------------------------------------------------------------------------------------


def add(connection: sqlite3.Connection, one: Silence) -> None:
    """The same id again replaces it, but never makes it longer than it was to be: a repeated log line is no restart."""
    sql = """INSERT INTO silences VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"""
    connection.execute(sql, astuple(one))


def put(connection: sqlite3.Connection, one: Silence) -> None:
    """Begin it, or give it this end."""
    add(connection, one)
    renew(connection, one.id, one)


def renew(connection: sqlite3.Connection, identity: str, one: Silence) -> None:
    """Give it the end, reason and author of this one."""
    sql = "UPDATE silences SET until = ?, reason = ?, by = ? WHERE id = ?"
    connection.execute(sql, [one.until, one.reason, one.by, identity])


def come_back(connection: sqlite3.Connection, site: str, now: float) -> None:
    """A site that was shut down is there again: what is still away in a while is told."""
    sql = "UPDATE silences SET until = min(until, ?) WHERE id = ? AND reason = ?"
    connection.execute(sql, [now + REBOOT, of_site(site), _SHUT_DOWN])


def active(connection: sqlite3.Connection, now: float) -> list[Silence]:
    """Those that hold now."""
    return _some(connection, "WHERE since <= ? AND until > ?", [now, now])


def ended(connection: sqlite3.Connection, now: float) -> list[Silence]:
    """Those whose end is still to be dealt with."""
    return _some(connection, "WHERE until <= ?", [now])


def every(connection: sqlite3.Connection) -> list[Silence]:
    """All that are not over."""
    return _some(connection, "ORDER BY until", [])


def end(connection: sqlite3.Connection, identity: str, now: float) -> bool:
    """Let it end now; False: there is none of that id."""
    sql = "UPDATE silences SET until = min(until, ?) WHERE id = ?"
    return connection.execute(sql, [now, identity]).rowcount > 0


def forget(connection: sqlite3.Connection, identity: str) -> None:
    """Its end was dealt with."""
    connection.execute("DELETE FROM silences WHERE id = ?", [identity])


def _some(connection: sqlite3.Connection, rest: str, parameters: Sequence[float]) -> list[Silence]:
    sql = f"SELECT id, scope, site, target, since, until, reason, by FROM silences {rest}"  # noqa: S608 -- constants
    return [Silence(*row) for row in connection.execute(sql, parameters)]
