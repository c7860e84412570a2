"""The rows of the store. Every function runs inside a transaction of its caller, and judges time by the wall clock.

pending -> approved | rejected | expired | stale        approved -> used | expired | stale
"""

import json
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from mqtt_bridge.approvals.types import Approval, ApprovalRequest, State
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.policy import Principal
from mqtt_bridge.wording.clean import clean, one_line

PENDING_EACH = 20  # of one principal: a flood of requests must not bury people
PENDING_ALL = 200
VAIN_EACH = 60  # of one principal within the time of one approval that nobody approved: asking again and again
MOST = 5000  # rows that are over
KEPT = 7 * 86400.0  # seconds that what is over stays to be looked at
COMMAND_IDS_KEPT = 86400.0
TRIES = 5  # wrong codes, then the code is dead
ID_BYTES = 16
LINE, LINES = 500, 100  # characters of a call, note or reason; calls and notes
_COLUMNS = (
    "id, site, state, principal, channel, action, title, risk, target, digest, body, created_at, expires_at, "
    "decided_at, decided_by, decided_how"
)
_BODY = ("args", "calls", "notes", "chosen", "reason")


def _rows(connection: sqlite3.Connection, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with closing(connection.execute(sql, values)) as cursor:
        return cursor.fetchall()


def _changed(connection: sqlite3.Connection, sql: str, values: Sequence[Any]) -> int:
    with closing(connection.execute(sql, values)) as cursor:
        return cursor.rowcount


def expire(connection: sqlite3.Connection, now: float) -> list[Approval]:
    """Those whose time is over, from now on `expired`; and what nobody looks at any more goes."""
    over = _read(connection, "state IN ('pending', 'approved') AND expires_at <= ?", [now])
    for one in over:
        _changed(connection, "UPDATE approvals SET state = 'expired' WHERE id = ?", [one.id])
    gone = "SELECT id FROM approvals WHERE state IN ('pending', 'approved')"
    _changed(connection, f"DELETE FROM codes WHERE approval NOT IN ({gone})", [])  # noqa: S608 -- no value in it
    ended = "state NOT IN ('pending', 'approved') AND expires_at <= ?"
    _changed(connection, f"DELETE FROM approvals WHERE {ended}", [now - KEPT])  # noqa: S608 -- no value in it
    newest = "SELECT id FROM approvals WHERE state NOT IN ('pending', 'approved') ORDER BY created_at DESC"
    _changed(connection, f"DELETE FROM approvals WHERE id IN ({newest} LIMIT -1 OFFSET ?)", [MOST])  # noqa: S608
    return over


def _bounded(connection: sqlite3.Connection, who: tuple[str, str], since: float) -> None:
    """Raises PolicyError where this principal, or everybody together, asks more than people can look at."""
    sql = """SELECT COUNT(*) FILTER (WHERE state = 'pending' AND principal = ? AND channel = ?),
      COUNT(*) FILTER (WHERE state NOT IN ('approved', 'used') AND created_at > ? AND principal = ? AND channel = ?),
      COUNT(*) FILTER (WHERE state = 'pending') FROM approvals"""
    ((mine, vain, everyone),) = _rows(connection, sql, [*who, since, *who])
    whose = f"{everyone} requests wait" if everyone >= PENDING_ALL else ""
    whose = f"{vain} requests of {who[0]} lately were not approved, or wait" if vain >= VAIN_EACH else whose
    whose = f"{mine} requests of {who[0]} wait" if mine >= PENDING_EACH else whose
    if whose:
        raise PolicyError(
            f"{whose} for an approval, so no further one is taken.",
            cure="Have them decided (`proxmox-mcp approvals`), or wait until they expire.",
            setting="APPROVAL_TIMEOUT",
        )


def add(connection: sqlite3.Connection, request: ApprovalRequest, now: float, timeout: float) -> tuple[Approval, bool]:
    """A pending row for this, and whether it is new: the same request of the same principal shares one."""
    who = (request.principal.name, request.principal.channel)
    same = "state = 'pending' AND expires_at > ? AND principal = ? AND channel = ? AND digest = ?"
    if found := _read(connection, same, [now, *who, request.digest]):
        return found[0], False
    _bounded(connection, who, now - timeout)
    row = Approval(
        id=secrets.token_hex(ID_BYTES), site=request.site, state="pending", principal=who[0], channel=who[1],
        action=request.action, title=one_line(request.title), risk=request.risk, target=one_line(request.target_label),
        digest=request.digest, args=dict(request.args), calls=_lines(request.calls), notes=_lines(request.notes),
        chosen=dict(request.chosen), reason=clean(request.reason, LINE), created_at=now, expires_at=now + timeout,
    )  # fmt: skip
    _insert(connection, row)
    return row, True


def approved(connection: sqlite3.Connection, request: ApprovalRequest, now: float) -> str | None:
    """The id of what this same principal was given for this same request and has not used."""
    same = "state = 'approved' AND expires_at > ? AND principal = ? AND channel = ? AND digest = ?"
    who = (request.principal.name, request.principal.channel)
    return next((row.id for row in _read(connection, same, [now, *who, request.digest])), None)


def _lines(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(one_line(text, LINE) for text in texts[:LINES])


def _insert(connection: sqlite3.Connection, row: Approval) -> None:
    body = json.dumps({name: getattr(row, name) for name in _BODY})
    values = [body if name == "body" else getattr(row, name) for name in _COLUMNS.split(", ")]
    marks = ", ".join("?" * len(values))
    _changed(connection, f"INSERT INTO approvals ({_COLUMNS}) VALUES ({marks})", values)  # noqa: S608 -- columns


def get(connection: sqlite3.Connection, given: str, now: float) -> Approval | None:
    """By its whole id. One whose time is over is expired, also where that is not written down yet."""
    row = next(iter(_read(connection, "id = ?", [given])), None)
    over = row is not None and row.state in {"pending", "approved"} and row.expires_at <= now
    return replace(row, state="expired") if row and over else row


def due(connection: sqlite3.Connection, now: float) -> bool:
    """Whether anything is over its time, or old enough to go."""
    over = "state IN ('pending', 'approved') AND expires_at <= ?"
    old = "state NOT IN ('pending', 'approved') AND expires_at <= ?"
    sql = f"SELECT EXISTS (SELECT 1 FROM approvals WHERE ({over}) OR ({old}))"  # noqa: S608 -- no value in it
    return bool(_rows(connection, sql, [now, now - KEPT])[0][0])


def pending(connection: sqlite3.Connection, now: float) -> list[Approval]:
    """What waits for a decision, oldest first."""
    return _read(connection, "state = 'pending' AND expires_at > ?", [now])


def recent(connection: sqlite3.Connection, limit: int) -> list[Approval]:
    """The newest, whatever became of them."""
    return _read(connection, "1", [], tail=f"ORDER BY created_at DESC LIMIT {int(limit)}")


def _read(
    connection: sqlite3.Connection, where: str, values: Sequence[Any], tail: str = "ORDER BY created_at, id"
) -> list[Approval]:
    sql = f"SELECT {_COLUMNS} FROM approvals WHERE {where} {tail}"  # noqa: S608 -- conditions of this file
    return list(_approvals(_rows(connection, sql, values)))


def _approvals(rows: Sequence[tuple[Any, ...]]) -> Iterator[Approval]:
    for row in rows:
        fields = dict(zip(_COLUMNS.split(", "), row, strict=True))
        body = json.loads(fields.pop("body"))
        yield Approval(
            **fields,
            args=body["args"],
            calls=tuple(body["calls"]),
            notes=tuple(body["notes"]),
            chosen=body["chosen"],
            reason=body["reason"],
        )


def move(  # noqa: PLR0917 -- a row's change: from, to, when, by whom
    connection: sqlite3.Connection, given: str, before: State, after: State, now: float, by: str = "", how: str = ""
) -> bool:
    """From one state to the next, if it is still in the first: exactly one of any number of callers gets True."""
    if by:
        sql = (
            "UPDATE approvals SET state = ?, decided_at = ?, decided_by = ?, decided_how = ? WHERE id = ? AND state = ?"
        )
        values: list[Any] = [after, now, by, how, given, before]
    else:
        sql, values = "UPDATE approvals SET state = ? WHERE id = ? AND state = ?", [after, given, before]
    return _changed(connection, sql, values) == 1


def owned(row: Approval | None, principal: Principal) -> Approval:
    """It, if it is this principal's; raises PolicyError."""
    if row is None:
        raise PolicyError("There is no such approval.", cure="Ask without one: a new one is made.")
    if (row.principal, row.channel) != (principal.name, principal.channel):
        raise PolicyError("This approval belongs to somebody else.", cure="Ask for one of your own.")
    return row


# --- one-time codes --------------------------------------------------------------------------------------------------


def put_code(connection: sqlite3.Connection, given: str, approver: str, mac: bytes) -> None:
    """A code for this approver; one that he had before is dead."""
    _changed(
        connection, "INSERT OR REPLACE INTO codes (approval, approver, mac) VALUES (?, ?, ?)", [given, approver, mac]
    )


def code_sent(connection: sqlite3.Connection, given: str, approver: str) -> None:
    """It has reached him: after a restart no other is made."""
    _changed(connection, "UPDATE codes SET sent = 1 WHERE approval = ? AND approver = ?", [given, approver])


def has_code(connection: sqlite3.Connection, given: str, approver: str) -> bool:
    """Whether one has reached him."""
    return bool(
        _rows(connection, "SELECT 1 FROM codes WHERE approval = ? AND approver = ? AND sent", [given, approver])
    )


def code_for_try(connection: sqlite3.Connection, given: str, approver: str) -> tuple[bytes | None, int]:
    """The code's hash and the tries that are left after this one; None once it is dead, or was never made."""
    rows = _rows(connection, "SELECT mac, tries FROM codes WHERE approval = ? AND approver = ?", [given, approver])
    if not rows or rows[0][1] >= TRIES:
        return None, 0
    _changed(connection, "UPDATE codes SET tries = tries + 1 WHERE approval = ? AND approver = ?", [given, approver])
    return bytes(rows[0][0]), TRIES - rows[0][1] - 1


# --- ids of MQTT commands --------------------------------------------------------------------------------------------


def use_command_id(connection: sqlite3.Connection, site: str, identity: str, now: float) -> bool:
    """Note it; False: it was used before."""
    _changed(connection, "DELETE FROM command_ids WHERE at <= ?", [now - COMMAND_IDS_KEPT])
    return _changed(connection, "INSERT OR IGNORE INTO command_ids VALUES (?, ?, ?)", [site, identity, now]) == 1
