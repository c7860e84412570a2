"""Mail of the system around Proxmox (cron, apt, sudo, …), and `system.mail`: what no rule knows."""

import re

from mqtt_bridge.model import Severity
from mqtt_bridge.wording.notice import Notice, short_name
from mqtt_bridge.wording.rules import Rule, by_title, node_of, verdict
from mqtt_bridge.wording.verdict import Verdict

_C = re.compile
_I = re.IGNORECASE
_NODE = r"(?P<node>[\w.-]{1,255})"

RULES = (
    Rule("system.mail", _C(rf"\*\*\* SECURITY information for {_NODE} \*\*\*", _I), severity="warning"),
    Rule("update.available", _C(rf"\b\d{{1,5}} (?:\w{{1,20}} )?package updates?(?:\(s\))? for {_NODE}", _I)),
    Rule("system.mail", _C(rf"apt-listchanges: (?:news|changelogs) for {_NODE}", _I), severity="info"),
    Rule(
        "system.mail",
        _C(
            rf"unattended[- ]upgrades? result for '?{_NODE}'?:? {{0,3}}'?(?P<result>SUCCESS|FAILURE|ERROR|True|False)?",
            _I,
        ),
    ),
    Rule("system.mail", _C(rf"Cron <[\w.-]{{1,64}}@{_NODE}>", _I)),
    Rule("system.mail", _C(rf"Anacron job '[^'\n]{{1,100}}' on {_NODE}", _I)),
    Rule("system.mail", _C(rf"Logwatch for {_NODE}", _I), severity="info"),
    Rule("system.mail", _C(rf"\[Fail2Ban\] .{{1,100}}?: banned .{{1,100}}? from {_NODE}", _I), severity="warning"),
    Rule("system.mail", _C(rf"\[Fail2Ban\] .{{1,100}}?: (?:started|stopped) on {_NODE}", _I), severity="info"),
    Rule("system.mail", _C(rf"\[rkhunter\] Warnings found for {_NODE}", _I), severity="warning"),
    Rule("system.mail", _C(rf"\[rkhunter\] .{{0,60}}? (?:on|for) {_NODE}", _I)),
    Rule("system.mail", _C(rf"\[chkrootkit\] .{{0,60}}?(?:on|for|\() ?{_NODE}", _I)),
    Rule("system.mail", _C(rf"CRON-APT \w{{1,20}} on {_NODE}", _I)),
    Rule("system.mail", _C(r"Undeliver(?:ed|able) Mail|Mail delivery failed|Delivery Status Notification", _I),
         severity="warning", sender=False),
    Rule("ceph.health.cleared", _C(r"\bHEALTH_OK\b"), ok=True, sender=False),
    Rule("ceph.health.warn", _C(r"\bHEALTH_WARN\b"), ok=False, sender=False),
    Rule("ceph.health.warn", _C(r"\bHEALTH_ERR\b"), ok=False, severity="error", sender=False),
)  # fmt: skip

_NOT_BAD = _C(
    r"\b(?:no|0|zero|without|keine?)\b[ \t](?:\w{1,20}[ \t])?(?:errors?|failures?|warnings?|problems?|failed|fehler)\b"
    r"|\b(?:errors?|warnings?|failures?|failed)\b[ \t]{0,3}[:=][ \t]{0,3}(?:0|none|no)\b|\bfail2ban\b|\bfailover\b"
    r"|\berror[- ]free\b|\brecovered\b|\bif .{0,40}\bfails?\b",
    _I,
)
_BY_WORDS: tuple[tuple[Severity, re.Pattern[str]], ...] = (
    (
        "critical",
        _C(r"\b(?:kernel panic|emergency|emerg|critical|fatal error|data loss|system is going down|disaster)\b", _I),
    ),
    (
        "error",
        _C(
            r"\b(?:errors?|fail(?:s|ed|ure|ures|ing)?|fatal|panic|cannot|can't|could not|unable to|no space left|down"
            r"|offline|unreachable|crash(?:ed)?|segfault|corrupt(?:ed|ion)?|permission denied|command not found"
            r"|no such file or directory|traceback|fehler|fehlgeschlagen|erreur|échec|error(?:e|es)|fallo|falló)\b",
            _I,
        ),
    ),
    (
        "warning",
        _C(
            r"\b(?:warn(?:ing|ings)?|alert|caution|degraded|denied|refused|security|suspicious|intrusion|banned|expir\w+"
            r"|(?:disk|storage|pool|file ?system|partition|volume) (?:is )?(?:almost |nearly )?full"
            r"|on battery|timed? ?out|timeout|deprecated|low (?:disk|space|battery)|high (?:load|usage|temperature)"
            r"|threshold|exceed(?:s|ed)?|not in (?:the )?sudoers|incorrect password|attention|warnung|achtung"
            r"|avertissement|advertencia|aviso)\b",
            _I,
        ),
    ),
)
_DECLARED: dict[str, Severity] = {
    "info": "info", "information": "info", "informational": "info", "debug": "info", "ok": "info", "resolved": "info",
    "success": "info", "low": "info", "normal": "info", "up": "info",
    "alerting": "warning", "firing": "warning",
    "notice": "warning", "warning": "warning", "warn": "warning", "average": "warning", "medium": "warning",
    "error": "error", "err": "error", "high": "error", "major": "error", "failed": "error", "failure": "error",
    "down": "error",
    "critical": "critical", "crit": "critical", "fatal": "critical", "disaster": "critical", "emergency": "critical",
    "emerg": "critical", "alert": "critical", "panic": "critical", "page": "critical",
}  # fmt: skip


def declared_severity(word: str | None) -> Severity | None:
    """The severity that a sender's word means; None for `unknown` and anything else."""
    return _DECLARED.get((word or "").strip().lower())


def severity_by_words(text: str) -> Severity:
    """The worst that the words of a text tell."""
    plain = _NOT_BAD.sub(" ", text[:20_000])
    return next((severity for severity, words in _BY_WORDS if words.search(plain)), "info")


def known(notice: Notice) -> Verdict | None:
    """A mail of a well-known program, or None."""
    found = by_title(RULES, notice)
    if not found or found.kind != "system.mail":
        return found
    if found.ok is not None:
        return _with(notice, found, "info" if found.ok else "error")
    fixed = next((rule.severity for rule in RULES if rule.title and rule.title.search(notice.head[:2000])), None)
    return found if fixed else _with(notice, found, _of_text(notice))


def unknown(notice: Notice) -> Verdict:
    """What no rule knows."""
    return verdict("system.mail", notice, node=node_of(notice) or _host_in(notice), severity=_of_stranger(notice))


def _with(notice: Notice, found: Verdict, severity: Severity) -> Verdict:
    return verdict("system.mail", notice, node=found.node, ok=found.ok, severity=severity, fields=found.fields)


def _of_text(notice: Notice) -> Severity:
    return declared_severity(notice.severity) or severity_by_words(f"{notice.title}\n{notice.text[:20_000]}")


def _of_stranger(notice: Notice) -> Severity:
    """The same where words mean less: of a person's mail only the subject's count, of a circular none."""
    if not (notice.circular or notice.personal):
        return _of_text(notice)
    return declared_severity(notice.severity) or severity_by_words("" if notice.circular else notice.title)


# Without a colon or quotes only what looks like a name: "on host that failed" names none.
_ON_HOST = _C(
    r"\b(?:(?:detected on host|hostname|host ?name|host|node): {0,12}"
    r"|(?:on|from) (?:host|node) (?=['\"]|[\w.-]{0,100}[\d.-]\w))"
    rf"['\"]?{_NODE}",
    _I,
)


def _host_in(notice: Notice) -> str | None:
    """The host that a text of unknown origin names in so many words."""
    found = _ON_HOST.search(f"{notice.title}\n{notice.text[:5000]}")
    return short_name(found["node"]) if found else None
