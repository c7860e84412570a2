"""What the audit file says was done, refused or failed, as events `audit.action.*`.

Every process of a STATE_DIR that acts writes that file, so reading it is the one way to hear of all of them: MCP over
stdio too, which has no journal. How far it was read is a cursor in the journal, so nothing is told twice or left out.
"""

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mqtt_bridge.audit.trail import FILE, parse
from mqtt_bridge.events.intake import Intake, IntakeFullError, JournalError, Report
from mqtt_bridge.redact import redact_text
from mqtt_bridge.wording.clean import one_line
from mqtt_bridge.wording.kinds import severity_of
from mqtt_bridge.wording.verdict import Verdict

SOURCE = "AUDIT"
CURSOR = "audit/offset"
EVERY = 0.5  # seconds between two looks
CHUNK = 256 * 1024  # bytes of one look; a record is shorter than a quarter of it
TEXT = 2000  # characters of a reason
SHRUNK = "audit.file.shortened"
FIELDS = (
    *((name, name) for name in ("action", "risk", "principal", "channel", "approval", "approved_by", "setting")),
    ("task", "upid"),  # not as `upid`, which would make it one happening with the task itself
    ("order", "id"),
)
log = logging.getLogger(__name__)


class AuditEvents:
    """`run` it supervised, in the process that owns the journal."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE

    async def run(self, intake: Intake) -> None:
        """Until cancelled. The very first start tells nothing of what was before it."""
        told = await intake.cursor(CURSOR)
        offset = int(told) if told is not None else await asyncio.to_thread(_size, self._path)
        if told is None:
            await intake([], cursors={CURSOR: str(offset)})
        while True:
            lines, offset_after = await asyncio.to_thread(_read, self._path, offset)
            reports = [report for line in lines for report in reports_of(line)]
            if offset_after < offset:
                reports = [_shorter(offset, offset_after)]
            if offset_after != offset:
                try:
                    await intake(reports, cursors={CURSOR: str(offset_after)})
                except (IntakeFullError, JournalError) as error:
                    log.debug("Told later: %s", error)
                else:
                    offset = offset_after
                    continue
            await asyncio.sleep(EVERY)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read(path: Path, offset: int) -> tuple[list[bytes], int]:
    """Whole lines from there on, and where they end; where the file is shorter than that, its length."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size < offset:
                return [], size
            file.seek(offset)
            block = file.read(CHUNK)
    except OSError:
        return [], 0 if not path.exists() else offset
    end = block.rfind(b"\n") + 1
    if not end and len(block) == CHUNK:  # nothing that we wrote: a record is shorter
        return [], offset + CHUNK
    return block[:end].splitlines(), offset + end


def reports_of(line: bytes) -> Iterator[Report]:
    """What a line of the audit file tells, if it tells of an action's end or refusal."""
    record = parse(line)
    if record is None:
        return
    match record.get("event"):
        case "action.outcome":
            unseen = record.get("result") in {"started", "unknown"}
            what = "started" if unseen else "done" if record.get("ok") else "failed"
            yield _report(record, what, str(record.get("answer") or ""))
        case "action.refused":
            yield _report(record, "refused", str(record.get("reason") or ""))


def _report(record: Mapping[str, Any], what: str, text: str) -> Report:
    kind = f"audit.action.{what}"
    who = f"{record.get('principal')} ({record.get('channel')})"
    approved = f" Approved by {record['approved_by']}." if record.get("approved_by") else ""
    guests = record.get("guests") or []
    fields: dict[str, str | int | float | bool | None] = {
        name: value for name, key in FIELDS if isinstance(value := record.get(key), str) and value
    }
    verdict = Verdict(
        kind,
        severity_of(kind),
        node=str(record["node"]) if record.get("node") else None,
        guest=guests[0] if len(guests) == 1 and isinstance(guests[0], int) else None,
        ok={"done": True, "failed": False, "refused": False}.get(what),
        title=one_line(f"{record.get('action')} on {record.get('target')} by {who}: {what}"),
        message=redact_text(f"{text}{approved}".strip())[:TEXT],
        fields=fields,
    )
    identity = f"{record['seq']}/{record['hash'][:32]}"
    site = record.get("site")
    return Report(identity, verdict, "authenticated", at=_at(record), site=site if isinstance(site, str) else None)


def _at(record: Mapping[str, Any]) -> float | None:
    try:
        return datetime.fromisoformat(str(record["time"])).timestamp()
    except (KeyError, ValueError):
        return None


def _shorter(before: int, now: int) -> Report:
    """Nobody but somebody who tampers makes an append-only file shorter."""
    text = f"It was {before} bytes long and is {now}. `proxmox-mcp audit verify` says what is missing."
    facts = json.dumps([before, now])
    verdict = Verdict(SHRUNK, "warning", ok=False, title="The audit file became shorter", message=text)
    return Report(f"shorter/{facts}", verdict, "authenticated")
