"""The audit file as events: of every process that writes it, each line once, across restarts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mqtt_bridge.audit.events import CURSOR, AuditEvents, reports_of
from mqtt_bridge.audit.trail import FILE, Audit
from mqtt_bridge.events.intake import JournalError
from tests.listeners.live_support import Taken

DONE = {
    "id": "a" * 32, "principal": "agent", "channel": "stdio", "action": "guest.stop", "risk": "change", "site": "lab",
    "node": "pve1", "target": "VM 100 (web01)", "guests": [100],
}  # fmt: skip


@asynccontextmanager
async def reading(folder: Path, taken: Taken) -> AsyncIterator[None]:
    task = asyncio.create_task(AuditEvents(folder).run(taken))
    try:
        async with asyncio.timeout(10):
            while CURSOR not in taken.cursors:
                await asyncio.sleep(0.01)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(taken: Taken, number: int) -> None:
    async with asyncio.timeout(10):
        while len(taken.reports) < number:
            await asyncio.sleep(0.02)


async def test_what_is_done_refused_and_failed_is_told_and_nothing_else(tmp_path: Path) -> None:
    audit, taken = Audit(tmp_path), Taken()
    await audit.write("action.outcome", **DONE, ok=True, result="done")  # before the very first start
    async with reading(tmp_path, taken):
        await audit.write("action.intent", **DONE)
        await audit.write("action.outcome", **DONE, ok=True, result="done", approved_by="alice", upid="UPID:x")
        await audit.write("action.outcome", **DONE, ok=False, result="failed", answer="VM is locked")
        await audit.write("action.outcome", **DONE, ok=True, result="started")
        await audit.write("action.refused", **DONE, reason="Outside PROXMOX_VMID_ALLOWLIST: VM 100 (web01).")
        await until(taken, 4)
    assert taken.kinds == ["audit.action.done", "audit.action.failed", "audit.action.started", "audit.action.refused"]
    done, failed, started, refused = taken.reports
    assert (done.verdict.severity, done.verdict.guest, done.verdict.node, done.site) == ("info", 100, "pve1", "lab")
    assert "Approved by alice." in done.verdict.message
    assert done.verdict.fields["task"] == "UPID:x"
    assert (failed.verdict.severity, failed.verdict.ok, failed.verdict.message) == ("warning", False, "VM is locked")
    assert (started.verdict.severity, started.verdict.ok) == ("info", None)
    assert refused.verdict.severity == "warning"
    assert "PROXMOX_VMID_ALLOWLIST" in refused.verdict.message
    assert len({report.identity for report in taken.reports}) == 4


async def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    audit, taken = Audit(tmp_path), Taken()
    async with reading(tmp_path, taken):
        await audit.write("action.refused", **DONE, reason="one")
        await until(taken, 1)
    await audit.write("action.refused", **DONE, reason="two")
    async with reading(tmp_path, taken):
        await until(taken, 2)
    assert [report.verdict.message for report in taken.reports] == ["one", "two"]


async def test_a_journal_that_takes_nothing_loses_no_line(tmp_path: Path) -> None:
    class Full(Taken):
        broken = False

        async def __call__(self, reports: Any, *, cursors: Any = None) -> None:
            if self.broken:
                raise JournalError("disk full")
            await super().__call__(reports, cursors=cursors)

    audit, taken = Audit(tmp_path), Full()
    async with reading(tmp_path, taken):
        taken.broken = True
        await audit.write("action.refused", **DONE, reason="one")
        await asyncio.sleep(0.2)
        taken.broken = False
        await until(taken, 1)
    assert [report.verdict.message for report in taken.reports] == ["one"]


async def test_a_file_that_became_shorter_is_told(tmp_path: Path) -> None:
    audit, taken = Audit(tmp_path), Taken()
    for reason in ("one", "two"):
        await audit.write("action.refused", **DONE, reason=reason)
    async with reading(tmp_path, taken):
        path = tmp_path / FILE
        path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
        await until(taken, 1)
    [report] = taken.reports
    assert (report.verdict.kind, report.verdict.severity) == ("audit.file.shortened", "warning")
    assert "audit verify" in report.verdict.message


def test_a_line_that_is_none_of_ours_tells_nothing() -> None:
    for line in (b"", b"{}", b"garbage \xff", b'{"seq": 1, "hash": "x", "prev": "y", "event": "action.outcome"'):
        assert list(reports_of(line)) == []
