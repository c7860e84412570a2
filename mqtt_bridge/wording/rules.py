"""How a rule looks, and how it is read: rows of patterns with named groups, tried in order."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mqtt_bridge.model import Severity
from mqtt_bridge.wording.clean import clean, one_line
from mqtt_bridge.wording.kinds import severity_of
from mqtt_bridge.wording.notice import Notice, short_name
from mqtt_bridge.wording.verdict import Verdict

OUTCOMES: Mapping[str, bool] = {
    "successful": True, "success": True, "succeeded": True, "ok": True, "finished": True, "true": True,
    "failed": False, "failure": False, "error": False, "err": False, "false": False,
}  # fmt: skip
FIELD_LIMIT = 500
NO_TEXT = "a message without text"


@dataclass(frozen=True, slots=True)
class Rule:
    """A row. `title` and `text` are alternatives: either one makes the rule fit.

    In `kind`, `{end}` becomes `finished` or `failed` after the group `result`. Other groups: `node`, `guest`, `job`;
    the rest become fields. `sender`: whether the host that sent it stands for the node where nothing names one.
    """

    kind: str
    title: re.Pattern[str] | None = None
    text: re.Pattern[str] | None = None
    ok: bool | None = None
    severity: Severity | None = None
    sender: bool = True


def by_title(rules: Iterable[Rule], notice: Notice) -> Verdict | None:
    """The first rule that the title fits."""
    return _first(((rule, rule.title) for rule in rules), notice.head[:2000], notice)


def by_text(rules: Iterable[Rule], notice: Notice) -> Verdict | None:
    """The first rule that the text fits."""
    return _first(((rule, rule.text) for rule in rules), notice.body, notice)


def _first(rows: Iterable[tuple[Rule, re.Pattern[str] | None]], where: str, notice: Notice) -> Verdict | None:
    for rule, pattern in rows:
        found = pattern.search(where) if pattern else None
        if found:
            return _verdict(rule, found.groupdict(), notice)
    return None


def _verdict(rule: Rule, groups: dict[str, str | None], notice: Notice) -> Verdict:
    result = groups.pop("result", None)
    ok = OUTCOMES.get(result.lower()) if result else rule.ok
    kind = rule.kind.format(end="failed" if ok is False else "finished")
    node = short_name(groups.pop("node", None)) or node_of(notice, sender=rule.sender)
    guest = groups.pop("guest", None)
    job = groups.pop("job", None) or job_of(notice)
    facts = {
        name: one_line(value, FIELD_LIMIT) for name, value in {**_details(rule, notice), **groups}.items() if value
    }
    return verdict(
        kind,
        notice,
        severity=rule.severity,
        node=node,
        ok=ok,
        job=job,
        fields=facts,
        guest=int(guest) if guest else None,
        guests=((int(guest), ok),) if guest else (),
    )


def _details(rule: Rule, notice: Notice) -> dict[str, str | None]:
    """What the text tells beside a title that fits already: the error, the datastore."""
    found = rule.text.search(notice.body) if rule.text else None
    store = _DATASTORE.search(notice.body[:20_000]) if found else None
    told = {name: value for name, value in (found.groupdict() if found else {}).items() if name not in _OF_VERDICT}
    return {"datastore": store[1] if store else None, **told}


def verdict(
    kind: str,
    notice: Notice,
    *,
    node: str | None,
    ok: bool | None = None,
    severity: Severity | None = None,
    guest: int | None = None,
    guests: tuple[tuple[int, bool | None], ...] = (),
    job: str | None = None,
    upid: str | None = None,
    message: str | None = None,
    at: float | None = None,
    fields: Mapping[str, str | int | float | bool | None] | None = None,
) -> Verdict:
    """A verdict with the title, message and time of `notice`."""
    title = one_line(notice.title) or one_line(next(iter(notice.first_lines), "").strip("`*# ")) or NO_TEXT
    told = {"type": notice.type, "hostname": notice.host}
    every = {**{k: one_line(v, FIELD_LIMIT) for k, v in told.items() if v}, **(fields or {})}
    if notice.truncated:
        every["truncated"] = True
    return Verdict(
        kind=kind,
        severity=severity or severity_of(kind),
        node=node,
        guest=guest,
        ok=ok,
        title=title,
        message=clean(shown(notice.text) if message is None else message),
        at=at or notice.at,
        guests=guests,
        job=one_line(job, FIELD_LIMIT) if job else None,
        upid=upid or upid_of(notice.body),
        fields=every,
    )


_UPID = re.compile(r"UPID:[a-zA-Z0-9-]{1,63}:[0-9A-Fa-f]{8}:[0-9A-Fa-f]{8,9}:[^\s\"'<>,]{10,400}?@[^\s:\"'<>,]{1,100}:")
_URL_HOST = re.compile(r"https?://([\w.-]{1,255}):8007(?:/|\b)")
_COMMAND = re.compile(r"\bvzdump [^\n]{1,2000}")
_COMMAND_NODE = re.compile(r"--node[ =]([\w.-]{1,255})")
_DATASTORE = re.compile(r"(?mi)^[ \t>*]{0,8}Datastore:[ \t]{1,40}([\w.-]{1,100})")
_OF_VERDICT = frozenset({"node", "guest", "job", "result"})
_JOB = re.compile(r"(?mi)^[ \t>*]{0,8}Job ID:[ \t]+(\S{1,200})")


def upid_of(text: str) -> str | None:
    """The task id that the text names, if it names one."""
    found = {match[0] for match in _UPID.finditer(text[:50_000])}
    return found.pop() if len(found) == 1 else None


def job_of(notice: Notice) -> str | None:
    found = notice.facts.get("job-id") or notice.facts.get("job_id") or notice.facts.get("jobid")
    if found:
        return found
    named = _JOB.search(notice.body[:20_000])
    return named[1] if named else None


def node_of(notice: Notice, *, sender: bool = True) -> str | None:
    """The node that the sender's fields, an address or a task id in the text, or the mail's envelope name."""
    named = short_name(notice.host)
    if named:
        return named
    command = _COMMAND.search(notice.body[:50_000])
    named_in = _URL_HOST.search(notice.body[:50_000]) or (_COMMAND_NODE.search(command[0]) if command else None)
    if named_in and short_name(named_in[1]):
        return short_name(named_in[1])
    upid = upid_of(notice.body)
    if upid:
        return short_name(upid.split(":")[1])
    return short_name(notice.sender) if sender else None


_CLOSING = re.compile(
    r"(?mi)^[ \t]*(?:Please visit the web interface for further details:|To upgrade visit the web.?interface:.*"
    r"|<https?://[^>\s]{1,400}>|Faithfully yours, etc\.|```\w{0,10}|You can also use the smartctl utility .{0,100}"
    r"|For details see host's SYSLOG\.|Another message will be sent .{0,100})[ \t]*$"
)


def shown(text: str) -> str:
    """Without fences and what every such text ends with."""
    return _CLOSING.sub("", text[:40_000]).strip()
