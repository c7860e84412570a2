"""What a check found out, for people and for machines."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby


@dataclass(frozen=True)
class Finding:
    """One line. `ok` is true only for what was seen to work, and None for a note and for what was not tried."""

    subject: str
    what: str
    ok: bool | None
    detail: str
    cure: str = ""


_TAGS = {True: "ok", False: "FAIL", None: "note"}


def passed(findings: Sequence[Finding]) -> bool:
    """Whether everything that is enabled works."""
    return all(finding.ok is not False for finding in findings)


def render(findings: Sequence[Finding]) -> str:
    """A line each with the cause, and the cure below it; the verdict at the end."""
    rows = _joined(findings)
    width = max((len(row.what) for row in rows), default=0)
    lines: list[str] = []
    subject = ""
    for row in rows:
        if row.subject != subject:
            subject = row.subject
            lines += ["", subject] if lines else [subject]
        lines.append(f"  {_TAGS[row.ok]:<4}  {row.what:<{width}}  {row.detail}")
        lines += [f"  {'':<4}  {'':<{width}}  -> {line}" for line in row.cure.splitlines()]
    return "\n".join([*lines, "", _verdict(findings)])


def _joined(findings: Sequence[Finding]) -> list[Finding]:
    """Neighbours that say the same (not tried, …) as one."""
    same = groupby(findings, key=lambda finding: (finding.subject, finding.ok, finding.detail, finding.cure))
    groups = [list(group) for _, group in same]
    return [replace(group[0], what=", ".join(dict.fromkeys(f.what for f in group))) for group in groups]


def _verdict(findings: Sequence[Finding]) -> str:
    failed = sum(finding.ok is False for finding in findings)
    if failed:
        return f"{failed} of {len(findings)} findings {'is a problem' if failed == 1 else 'are problems'}."
    return "Everything that is enabled works."


def to_json(findings: Sequence[Finding]) -> str:
    """`{"ok": …, "findings": […]}`."""
    return json.dumps({"ok": passed(findings), "findings": [asdict(finding) for finding in findings]}, indent=2)
