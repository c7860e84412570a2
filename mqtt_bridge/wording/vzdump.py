"""The report of a backup job: `vzdump backup status`, with its table of guests and its log."""

import re
from collections.abc import Iterator

from mqtt_bridge.wording.clean import one_line
from mqtt_bridge.wording.notice import Notice, short_name
from mqtt_bridge.wording.rules import job_of, node_of, verdict
from mqtt_bridge.wording.verdict import Verdict

_TITLE = re.compile(
    r"vzdump backup status[ \t]{0,3}(?:\((?P<node>[^()\n]{1,255})\))?[ \t]{0,3}:[ \t]{0,3}"
    r"(?:backup[ \t]{1,3})?(?P<result>successful|failed|OK|ERROR)\b(?::[ \t]{0,3}(?P<error>[^\n]{1,1000}))?",
    re.IGNORECASE,
)
_NAMED = re.compile(r"vzdump backup status", re.IGNORECASE)
_TABLE = re.compile(
    r"^[ \t|*`>]{0,12}VMID[ \t|]{1,200}(?:(?:GUEST )?NAME[ \t|]{1,200})?STATUS\b", re.IGNORECASE | re.MULTILINE
)
_LOG = re.compile(r"\b(?:INFO|ERROR): (?:Starting Backup|Finished Backup|Backup) of (?:VM|CT) [1-9]\d{2,8}\b")
_ROW = re.compile(
    r"[ \t|>`*]{0,12}(?P<vmid>[1-9]\d{2,8})[ \t|]"
    r"(?:.{0,200}?[ \t|])??(?P<status>ok|err|error|failed|fail|aborted|todo|warn|warning)[ \t|]{1,60}"
    r"(?:[\d-]|n/a|null|$)",
    re.IGNORECASE,
)
_FINISHED = re.compile(r"\bFinished Backup of (?:VM|CT) ([1-9]\d{2,8})\b")
_FAILED = re.compile(r"\bERROR: Backup of (?:VM|CT) ([1-9]\d{2,8}) failed\b")
_STARTED = re.compile(r"\bStarting Backup of (?:VM|CT) ([1-9]\d{2,8})\b")
_ERROR_LINE = re.compile(r"^[^\n]{0,80}?\b(?:ERROR|TASK ERROR|WARN(?:ING)?): [^\n]{1,1000}$", re.MULTILINE)
_COMMAND = re.compile(r"^[ \t`>]{0,8}(?:INFO: starting new backup job: )?(vzdump [^\n]{1,2000})$", re.MULTILINE)
_IDS = re.compile(r"vzdump ((?:[1-9]\d{2,8}[ ,]{1,2}){0,500}[1-9]\d{2,8})(?= --| *$)")
_OPTION = re.compile(r"--(storage|mode|compress|dumpdir)[ =]'?([\w./:-]{1,200})")
_TOTALS = (
    (
        "total_time",
        re.compile(r"^[ \t|]{0,8}Total running time:[ \t]{0,8}(\S[^\n]{0,40})$", re.IGNORECASE | re.MULTILINE),
    ),
    ("total_size", re.compile(r"^[ \t|]{0,8}Total size:[ \t]{0,8}(\S[^\n]{0,40})$", re.IGNORECASE | re.MULTILINE)),
)
_STATUS = {"ok": True, "warn": True, "warning": True, "todo": None}
_ROWS = 5000
_GUESTS = 2000
_SHOWN_ERRORS = 20


def read(notice: Notice) -> Verdict | None:
    """A backup job's report, or None."""
    title = _TITLE.search(notice.head[:2000])
    if not title and not _is_report(notice):
        return None
    text = notice.text
    guests = _guests(text)
    ok = _outcome(notice, title, guests)
    kind = "backup.job.finished" if ok else "backup.job.failed"
    error = one_line(title["error"], 500) if title and title["error"] else None
    named = short_name(title["node"]) if title else None
    return verdict(
        kind,
        notice,
        node=named or node_of(notice),
        ok=ok,
        guest=_only(guests, text, ok=ok),
        guests=tuple(sorted(guests.items())),
        job=job_of(notice),
        message=None if ok else _failures(text, guests, error),
        fields={"type": "vzdump", **_facts(text), **({"error": error} if error else {})},
    )


def _is_report(notice: Notice) -> bool:
    if notice.type not in (None, "vzdump"):
        return False
    return bool(_TABLE.search(notice.body) or _LOG.search(notice.body[:50_000]) or _NAMED.search(notice.head[:2000]))


def _guests(text: str) -> dict[int, bool | None]:
    """Every guest with its outcome: the table's word, else the log's."""
    guests: dict[int, bool | None] = {}
    for pattern, outcome in ((_STARTED, None), (_FINISHED, True), (_FAILED, False)):
        for found in pattern.finditer(text):
            if len(guests) < _GUESTS or int(found[1]) in guests:
                guests[int(found[1])] = outcome
    for vmid, status in _table(text):
        guests[vmid] = _STATUS.get(status, False)
    return dict(sorted(guests.items())[:_GUESTS])


def _table(text: str) -> Iterator[tuple[int, str]]:
    header = _TABLE.search(text)
    if not header:
        return
    for number, line in enumerate(text[header.end() :].split("\n")):
        if number > _ROWS or "Total running time" in line or line.lstrip().startswith(("Logs", "Detailed backup logs")):
            return
        row = _ROW.match(line[:1000])
        if row:
            yield int(row["vmid"]), row["status"].lower()


def _outcome(notice: Notice, title: re.Match[str] | None, guests: dict[int, bool | None]) -> bool:
    """The title's word; without one what the guests say; without any what the sender declared."""
    if title:
        return title["result"].lower() in ("successful", "ok")
    if False in guests.values() or notice.severity in ("error", "critical"):
        return False
    return any(guests.values()) or notice.severity in ("info", "notice")


def _only(guests: dict[int, bool | None], text: str, *, ok: bool) -> int | None:
    """The guest of a job of one guest: the one reported, or the one asked for; not if the job failed without it."""
    if guests:
        vmid, outcome = next(iter(guests.items()))
        return vmid if len(guests) == 1 and (ok or outcome is not True) else None
    command = _COMMAND.search(text)
    asked = _IDS.match(command[1]) if command else None
    ids = re.findall(r"\d+", asked[1]) if asked else []
    return int(ids[0]) if len(ids) == 1 else None


def _facts(text: str) -> dict[str, str | int]:
    command = _COMMAND.search(text)
    facts: dict[str, str | int] = dict(_OPTION.findall(command[1])) if command else {}
    for name, pattern in _TOTALS:
        found = pattern.search(text)
        if found:
            facts[name] = one_line(found[1], 60)
    return facts


def _failures(text: str, guests: dict[int, bool | None], error: str | None) -> str:
    """What a person wants of a failed job: the reason, the guests that failed, the lines that say why."""
    failed = [str(vmid) for vmid, ok in sorted(guests.items()) if ok is False]
    lines = [error] if error else []
    if failed:
        lines.append(f"Failed: {', '.join(failed)} (of {len(guests)} guests)")
    lines += [line.strip() for line in list(dict.fromkeys(_ERROR_LINE.findall(text)))[:_SHOWN_ERRORS]]
    if len(lines) > (1 if failed else 0):
        return "\n".join(lines)
    return "\n".join([*lines, text[:3000].strip()])
