"""A log line of a Proxmox host → what it means."""

import re
from dataclasses import replace
from typing import Any, Final

from mqtt_bridge.wording.clean import MESSAGE_LIMIT, TITLE_LIMIT, clean, one_line
from mqtt_bridge.wording.kinds import ok_of, severity_of
from mqtt_bridge.wording.syslog_frames import Frame, read_frame, short_host
from mqtt_bridge.wording.syslog_programs import Family, family_of
from mqtt_bridge.wording.syslog_row import Row
from mqtt_bridge.wording.syslog_words import severity_by_text
from mqtt_bridge.wording.tasks import read_log, task_verdict
from mqtt_bridge.wording.verdict import Verdict

SEARCHED: Final = 2000
"""Characters of a message that rules look at: its beginning and, of a longer one, its last 500."""

_WIDE_GAP: Final = re.compile(r"[ \t]{3,}")
_TASK: Final = re.compile(r"(?P<what>starting|end) task (?P<upid>UPID:\S{10,600}?:)(?: (?P<status>[\s\S]*))?$")
_STARTED_BY: Final = re.compile(
    r"(?P<what>start|shutdown|stop|suspend|resume|reset|reboot) (?:VM|CT) \d+: "
    r"(?P<upid>UPID:\S{20,600})"
)
_GUEST_UNIT: Final = re.compile(r"(?:pve-container@|qemu-server@|lxc@)?([1-9]\d{2,8})\.(?:service|scope)")
_USER: Final = re.compile(r"^<(?P<user>[^>\s]{1,120})> ")
_JOB_VMIDS: Final = re.compile(r"(?<!\S)(?!--)[1-9]\d{2,8}(?:,[1-9]\d{2,8})*(?!\S)")
_OPTION: Final = re.compile(r"--(?P<name>[\w-]+)(?:[ =](?P<value>'[^']*'|[^\s-]\S*))?")
_ACCESS_LOG: Final = re.compile(r'\S+ - \S+ \[[^\]]{10,40}\] "(?:GET|POST|PUT|DELETE|HEAD|OPTIONS) ')
_ROUTINE: Final = re.compile(
    r"(?:\[?(?:info|notice|debug)\]?:? )?(?:last message repeated|start(?:ing|ed)|stop(?:ping|ped)|restarted"
    r"|listening|ready|running|loaded|version|initiali[sz]ed|reload(?:ing|ed)|connected|exiting|shutting down"
    r"|done|success|ok\b|finished|completed"
    r"|\S{1,80}\.(?:scope|service|slice|mount): (?:Consumed|Deactivated|Succeeded))",
    re.IGNORECASE,
)
_NAMED_GUEST: Final = re.compile(r"\b(?:VM|CT|[Cc]ontainer) '?([1-9]\d{2,8})\b")
_JOURNAL_NOTE: Final = re.compile(r"-- (?:Logs begin|Journal begins|Reboot|Boot|No entries|MARK)")


class _Words(dict[str, Any]):
    """What a title may name; a missing word is empty."""

    def __missing__(self, key: str) -> str:
        return ""


def read_syslog(raw: str | bytes, now: float | None = None) -> Verdict:
    """What a log line tells, in whatever framing. `now` (Unix seconds) gives lines without a year their year."""
    return read_line(read_frame(raw, now))


def read_line(frame: Frame) -> Verdict:
    """What a line that has been taken apart tells."""
    message = frame.message
    if "UPID:" in message:
        found = _task(frame)
        if found:
            return found
    if message.startswith("TASK "):
        return _end_of_log(frame)
    if "backup job: vzdump" in message:
        return _backup_job(frame)
    family = family_of(frame.program)
    return _by_rows(family.rows, frame) or _unknown(frame, family)


def _by_rows(rows: tuple[Row, ...], frame: Frame) -> Verdict | None:
    message = frame.message
    if len(message) > SEARCHED:
        message = f"{message[: SEARCHED - 500]} {message[-500:]}"
    for entry in rows:
        if entry.has in message:
            if entry.pattern is None:
                return _verdict(entry, {}, frame)
            found_row = entry.pattern.search(message)
            if found_row:
                return _verdict(entry, found_row.groupdict(), frame)
    return None


def _end_of_log(frame: Frame) -> Verdict:
    """`TASK ERROR: …` as a line of its own: the task, if its words tell which, else what its error tells."""
    verdict = read_log(frame.message)
    if verdict.kind == "task.unknown.failed":
        told = _by_rows(family_of("").rows, replace(frame, message=frame.message.partition(": ")[2]))
        if told and told.kind not in {"noise", "syslog.message"}:
            return told
    return _with_frame(verdict, frame)


def _tidy(text: str) -> str:
    """`clean`, with a short cut for what is clean already, as nearly every line is."""
    if text.isascii() and text.isprintable() and len(text) < MESSAGE_LIMIT:
        return text
    return clean(_WIDE_GAP.sub("  ", text))


def _facts(frame: Frame) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if frame.program:
        facts["program"] = one_line(frame.program) if not frame.program.isascii() else frame.program
    if frame.pid:
        facts["pid"] = frame.pid
    user = _USER.match(frame.message) if frame.message.startswith("<") else None
    if user:
        facts["user"] = one_line(user["user"])
    return facts


def _verdict(entry: Row, groups: dict[str, str | None], frame: Frame) -> Verdict:
    """The verdict of a row that fits."""
    message = _tidy(frame.message)
    facts = _facts(frame)
    node, guest, job = frame.host, None, None
    for name, value in groups.items():
        if value is None:
            continue
        if name == "node":
            node = short_host(value)
        elif name == "guest":
            guest = int(value)
        elif name == "job":
            job = value
        else:
            facts[name] = value if len(value) < TITLE_LIMIT and value.isprintable() else one_line(value)
    if guest is None and "unit" in facts:
        unit = _GUEST_UNIT.match(facts["unit"])
        guest = int(unit[1]) if unit else None
    ok = ok_of(entry.kind) if entry.ok == "kind" else entry.ok
    severity = entry.severity or severity_of(entry.kind)
    return Verdict(
        entry.kind,
        severity,
        node,
        guest,
        ok,
        title=_title(entry.title, facts, node, guest, message),
        message=message,
        at=frame.at,
        job=job,
        fields=facts,
    )


def _title(template: str, facts: dict[str, Any], node: str | None, guest: int | None, message: str) -> str:
    if not template:
        text = f"{facts['program']}: {message}" if "program" in facts else message
        return one_line(text)
    words = _Words(facts)
    words["node"], words["guest"] = node or "", "" if guest is None else guest
    text = " ".join(template.format_map(words).split()).rstrip(" :").removesuffix(" on").removesuffix(" from")
    if node and node not in text:
        head, colon, why = text.partition(": ")
        text = f"{head} on {node}{colon}{why}"
    return text if len(text) < TITLE_LIMIT and text.isascii() and text.isprintable() else one_line(text)


def _with_frame(verdict: Verdict, frame: Frame) -> Verdict:
    """A task's verdict with what the line around it tells."""
    node = verdict.node or frame.host
    title = verdict.title
    if node and not verdict.node:
        head, colon, why = title.partition(": ")
        title = one_line(f"{head} on {node}{colon}{why}")
    facts = {**verdict.fields, **_facts(frame)}
    return replace(verdict, node=node, title=title, at=frame.at if frame.at is not None else verdict.at, fields=facts)


def _task(frame: Frame) -> Verdict | None:
    """`starting task UPID:…:` and `end task UPID:…: status`, as every daemon logs them; `start VM 100: UPID:…`."""
    found = _TASK.search(frame.message)
    if found:
        ended = found["what"] == "end"
        status = ((found["status"] or "").strip() or "unexpected status") if ended else None
        verdict = task_verdict(status, upid=found["upid"])
        return _with_frame(verdict, frame) if verdict.kind.split(".")[1] != "unknown" else None
    asked = _STARTED_BY.search(frame.message)
    if asked and asked["what"] != "start":
        verdict = task_verdict(None, upid=asked["upid"].rstrip(":") + ":")
        return _with_frame(verdict, frame) if verdict.upid else None
    return None


def _backup_job(frame: Frame) -> Verdict:
    """`starting new backup job: vzdump 101 --storage x …`; several guests are a list, a pool or `--all` none."""
    arguments = frame.message.split("backup job: vzdump", 1)[1]
    options = {found["name"]: (found["value"] or "").strip("'") for found in _OPTION.finditer(arguments)}
    plain = _OPTION.sub(" ", arguments)
    vmids = [int(vmid) for found in _JOB_VMIDS.findall(plain) for vmid in found.split(",")]
    guest = vmids[0] if len(vmids) == 1 else None
    what = f"guest {guest}" if guest else f"{len(vmids)} guests" if vmids else "guests"
    facts = _facts(frame) | {name: one_line(options[name]) for name in ("storage", "mode", "pool") if options.get(name)}
    node = frame.host or short_host(options.get("node"))
    return Verdict(
        "backup.job.started",
        "info",
        node,
        guest,
        None,
        title=one_line(f"Backup of {what} started{f' on {node}' if node else ''}"),
        message=_tidy(frame.message),
        at=frame.at,
        guests=tuple((vmid, None) for vmid in vmids[:1000]) if len(vmids) > 1 else (),
        job=one_line(options["job-id"]) if options.get("job-id") else None,
        fields=facts,
    )


def _unknown(frame: Frame, family: Family) -> Verdict:
    """A line that no rule knows: an event of its own where its words alarm, noise where they don't."""
    message = _tidy(frame.message)
    severity = severity_by_text(message, frame.priority)
    silent = not message or _ROUTINE.match(message) or _ACCESS_LOG.match(message) or _JOURNAL_NOTE.match(message)
    facts = _facts(frame)
    kind = "noise" if severity == "info" and (family.quiet or silent) else "syslog.message"
    if family.ours and severity in {"error", "critical"}:
        kind, severity = "service.error", "error"
    return Verdict(
        kind,
        "info" if kind == "noise" else severity,
        frame.host,
        _only_guest(message) if kind != "noise" else None,
        None if kind == "noise" or severity == "info" else False,
        title=_title("", facts, frame.host, None, message),
        message=message,
        at=frame.at,
        fields=facts,
    )


def _only_guest(message: str) -> int | None:
    """The guest that a line names, if it names one alone."""
    named = set(_NAMED_GUEST.findall(message[:SEARCHED]))
    return int(named.pop()) if len(named) == 1 else None
