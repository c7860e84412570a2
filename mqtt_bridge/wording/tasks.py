"""A task of Proxmox VE or Backup Server in whatever form it comes: list entry, status answer, log text, syslog line."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from mqtt_bridge.proxmox.upid import Upid
from mqtt_bridge.wording.clean import TITLE_LIMIT, clean, one_line
from mqtt_bridge.wording.kinds import severity_of
from mqtt_bridge.wording.task_names import FROM_LOG, NAMES
from mqtt_bridge.wording.verdict import Verdict

TEXT_LIMIT: Final = 1_000_000
TOLD_BY: Final = 20_000
"""Characters at both ends of a log that tell the type of its task."""
UPID_LIMIT: Final = 700
FAR: Final = 1e11
_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_INDEX: Final = re.compile(r"(?P<upid>UPID:\S{20,690}:)(?: [01])? (?P<end>[0-9A-Fa-f]{8}) (?P<status>\S[^\n]{0,2000})")
_UPID: Final = re.compile(r"UPID:[A-Za-z0-9.-]{1,64}:[^\s'\"]{20,600}:")
_VMID: Final = re.compile(r"[1-9]\d{2,8}")
_WARNINGS: Final = re.compile(r"WARNINGS?: \d+|WARNING\b|warnings: \d+", re.IGNORECASE)
_OUTCOMES: Final = {
    "finished": (True, "finished"),
    "warning": (True, "finished with warnings"),
    "started": (None, "started"),
}


def outcome_of(status: str | None) -> str:
    """`started`, `finished`, `warning` or `failed`, from what stands as a task's status."""
    if status is None or status.lower() in {"running", "active"}:
        return "started"
    if status in {"OK", "ok"}:
        return "finished"
    return "warning" if _WARNINGS.match(status) else "failed"


def parse_upid(text: str | None) -> Upid | None:
    """A UPID, or None. Proxmox leaves out the last colon in places."""
    if not text or not text.startswith("UPID:") or len(text) > UPID_LIMIT:
        return None
    for candidate in (text, text + ":"):
        try:
            return Upid.parse(candidate)
        except ValueError:
            continue
    return None


def task_verdict(
    status: str | None,
    *,
    upid: str | None = None,
    type_: str | None = None,
    id_: str | None = None,
    node: str | None = None,
    user: str | None = None,
    at: float | None = None,
    endtime: float | None = None,
) -> Verdict:
    """What a task's facts say; `status` is None while it runs, otherwise its exit status.

    What the UPID tells is taken where the fact itself is not given. `at` is the time to report; without it the end of
    a task that has ended (`endtime`), or the start that the UPID tells.
    """
    known = parse_upid(upid)
    if upid and not known:
        node, type_, id_, user = _loose(upid, (node, type_, id_, user))
    type_ = type_ or (known.type if known else None)
    type_ = type_ if type_ and _TYPE.fullmatch(type_) else "unknown"
    id_ = (known.id if known else "") if id_ is None else id_
    node = (known.node if known else None) or (node.split(".", 1)[0] if node else None)
    user = user or (known.user if known else None)
    outcome = outcome_of(status)
    started = float(known.starttime) if known else None
    if at is None:
        at = started if outcome == "started" else endtime
    guest = known.guest if known else _guest(type_, id_)
    ok, words = _OUTCOMES.get(outcome, (False, "failed"))
    kind = f"task.{type_}.{outcome}"
    return Verdict(
        kind=kind,
        severity=severity_of(kind),
        node=node,
        guest=guest,
        ok=ok,
        title=_title(type_, id_, node, words, status if outcome == "failed" else None),
        message=clean(status) if status and outcome not in {"finished", "started"} else "",
        at=at,
        upid=known.text if known else None,
        fields=_facts(type_, id_, user, status, known.pid if known else None),
    )


def _loose(upid: str, given: tuple[str | None, ...]) -> tuple[str | None, ...]:
    """Node, type, id and user of a UPID that is cut or not quite right; what is given already goes before."""
    part = upid[:UPID_LIMIT].rstrip(":").split(":")
    if part[0] != "UPID" or len(part) not in {8, 9} or not _TYPE.fullmatch(part[-3]):
        return given
    told = (part[1], part[-3], part[-2], part[-1])
    return tuple(mine or theirs for mine, theirs in zip(given, told, strict=True))


def _line(text: str, limit: int = TITLE_LIMIT) -> str:
    """`one_line`, with a short cut for what is one clean line already."""
    if len(text) <= limit and text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()
    return one_line(text, limit)


def _guest(type_: str, id_: str) -> int | None:
    if _VMID.fullmatch(id_) and type_ != "unknown" and not type_.startswith(("srv", "ceph")):
        return int(id_)
    found = re.search(r"(?:^|[:/])(?:vm|ct)/([1-9]\d{2,8})(?:/|$)", id_[:500])
    return int(found[1]) if found else None


def _facts(type_: str, id_: str, user: str | None, status: str | None, pid: int | None) -> dict[str, Any]:
    told: dict[str, Any] = {"type": type_, "id": _line(id_) or None, "user": user, "pid": pid}
    if status is not None and outcome_of(status) != "started":
        told["exitstatus"] = _line(status, 500)
    return {name: value for name, value in told.items() if value is not None}


def _title(type_: str, id_: str, node: str | None, words: str, why: str | None) -> str:
    guest = f"guest {id_}" if _VMID.fullmatch(id_) else (id_ or "several guests")
    name = NAMES.get(type_)
    what = f"Task {type_} {id_}" if name is None else name.replace("{id}", id_).replace("{guest}", guest)
    what = "A task" if type_ == "unknown" and not id_ else what.strip()
    return _line(f"{what} {words}{f' on {node}' if node else ''}{f': {why}' if why else ''}")


def _string(entry: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        value = entry.get(name)
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return str(value)
    return None


def _number(entry: Mapping[str, Any], name: str) -> float | None:
    value = entry.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < FAR else None


def read_entry(entry: Mapping[str, Any]) -> Verdict:
    """An entry of a task list, or the answer of `tasks/<upid>/status`, of Proxmox VE or Backup Server."""
    status, ended = _string(entry, "exitstatus"), _number(entry, "endtime")
    if status is None:
        told = _string(entry, "status", "state")
        status = "unexpected status" if told is None and ended else told
        status = "unknown" if told == "stopped" else status
    return task_verdict(
        status,
        upid=_string(entry, "upid"),
        type_=_string(entry, "type", "worker_type"),
        id_=_string(entry, "id", "worker_id"),
        node=_string(entry, "node"),
        user=_string(entry, "user"),
        endtime=ended,
    )


def _entry_of(text: str) -> Mapping[str, Any] | None:
    """The task in a JSON text: itself, `data` around it, or a list of one."""
    if not text.startswith(("{", "[")):
        return None
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for _ in range(3):
        if isinstance(found, dict) and isinstance(found.get("data"), dict | list) and "upid" not in found:
            found = found["data"]
        elif isinstance(found, list) and found and isinstance(found[0], dict):
            found = _lines_of(found) or found[0]
    return found if isinstance(found, dict) else None


def _lines_of(rows: list[Any]) -> dict[str, Any] | None:
    """The log as the API gives it, `[{"n": 1, "t": "…"}, …]`, as one text."""
    if not all(isinstance(row, dict) and isinstance(row.get("t"), str) for row in rows):
        return None
    return {"log": "\n".join(row["t"] for row in rows)}


_STAMP: Final = r"(?:^|\n)(?:\S{19,40}: |\d{4}-\d\d-\d\d \d\d:\d\d:\d\d )?"
_END: Final = re.compile(_STAMP + r"TASK (OK|WARNINGS?: \d+|ERROR: [^\n]{0,2000})\s*$")
_JOB_END: Final = (
    ("Backup job finished successfully", "OK"),
    ("Backup job finished with errors", "job errors"),
    ("migration finished successfully", "OK"),
    ("migration finished with problems", "migration problems"),
    ("backup finished successfully", "OK"),
)
_ERRORS: Final = re.compile(
    _STAMP + r"(?:TASK )?ERROR: ([^\n]{1,500})|"
    r"(?:^|\n)([^\n]{0,300}(?:"
    r"failed|[Ff]ailed to |error:|[Uu]nable to|cannot |can't |exited with status [1-9])[^\n]{0,300})"
)
_GUESTS: Final = re.compile(r"(?:Starting Backup of|(Finished) Backup of|(ERROR): Backup of) (?:VM|CT) ([1-9]\d{2,8})")


def read_log(text: str) -> Verdict:
    """The log of a task: its type from what it says it does, its outcome from how it ends."""
    text = text[:TEXT_LIMIT].replace("\r\n", "\n").strip("\ufeff \n\t\r\0")
    status, type_, guest = _status_of_log(text), "unknown", None
    ends = text if len(text) <= 2 * TOLD_BY else f"{text[:TOLD_BY]}\n{text[-TOLD_BY:]}"
    for name, pattern in FROM_LOG:
        found = pattern.search(ends)
        if found:
            type_, told = name, found.groupdict().get("guest")
            guest = int(told) if told else None
            break
    upid = _UPID.search(text)
    named = parse_upid(upid[0]) if upid and type_ == "unknown" else None
    verdict = task_verdict(status, upid=named.text if named else None, type_=None if named else type_, id_=_id(guest))
    outcomes = _guests_of(text) if type_ == "vzdump" else ()
    if len(outcomes) > 1:
        guest, verdict = None, task_verdict(status, type_=type_, id_="")
    elif outcomes:
        guest = outcomes[0][0]
        verdict = task_verdict(status, type_=type_, id_=str(guest))
    guest = verdict.guest if guest is None else guest
    return replace(verdict, guest=guest, message=clean(text[-3500:]), guests=outcomes if len(outcomes) > 1 else ())


def _id(guest: int | None) -> str:
    return str(guest) if guest else ""


def _status_of_log(text: str) -> str | None:
    found = _END.search(text[-4000:])
    if found:
        return found[1].removeprefix("ERROR: ")
    for words, status in _JOB_END:
        if words in text:
            return status if status == "OK" else _last_error(text) or status
    return _last_error(text)


def _last_error(text: str) -> str | None:
    """The last line that tells of an error; None while there is none."""
    found = list(_ERRORS.finditer(text[-20000:]))
    return (found[-1][1] or found[-1][2]).strip() if found else None


def _guests_of(text: str) -> tuple[tuple[int, bool | None], ...]:
    outcomes: dict[int, bool | None] = {}
    for done, failed, vmid in _GUESTS.findall(text):
        outcome = True if done else False if failed else None
        if outcome is not None or int(vmid) not in outcomes:
            outcomes[int(vmid)] = outcome
    return tuple(outcomes.items())[:1000]


def read_task(raw: str | bytes, now: float | None = None) -> Verdict:
    """A task-list entry, a status answer, a line of a node's task index, or a task's log.

    `now` is not needed: tasks tell their times themselves.
    """
    del now
    text = raw[: 4 * TEXT_LIMIT].decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    text = text[:TEXT_LIMIT].strip("\ufeff \t\r\n\0")
    index = _INDEX.fullmatch(text)
    if index:
        return task_verdict(index["status"], upid=index["upid"], endtime=float(int(index["end"], 16)))
    entry = _entry_of(text)
    if entry is None:
        return read_log(text)
    log = entry.get("log")
    return read_log(log) if isinstance(log, str) and "status" not in entry else read_entry(entry)


__all__ = ["outcome_of", "parse_upid", "read_entry", "read_log", "read_task", "task_verdict"]
