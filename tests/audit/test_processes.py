"""Several processes append at once, and a process that is killed does not hold anyone up."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mqtt_bridge.audit.trail import Audit, AuditError
from mqtt_bridge.audit.verify import verify

WRITER = """
import sys
from pathlib import Path
from mqtt_bridge.audit.trail import Audit
audit = Audit(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    audit.append("x", writer=sys.argv[2], number=number)
"""
FOREVER = WRITER.replace("range(int(sys.argv[3]))", "iter(int, 1)")


def writer(folder: Path, name: str, count: int, code: str = WRITER) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", code, str(folder), name, str(count)])


def test_processes_append_one_chain(tmp_path: Path) -> None:
    writers = [writer(tmp_path, name, 60) for name in "abc"]
    assert [process.wait(60) for process in writers] == [0, 0, 0]
    report = verify(tmp_path / "audit.jsonl")
    assert report.ok
    assert report.records == 180
    records = [json.loads(line) for line in report.path.read_bytes().splitlines()]
    for name in "abc":
        assert [r["number"] for r in records if r["writer"] == name] == list(range(60))


def test_a_writer_that_is_killed_leaves_a_chain_to_write_on(tmp_path: Path) -> None:
    for _ in range(3):
        process = writer(tmp_path, "a", 0, FOREVER)
        path = tmp_path / "audit.jsonl"
        before = path.stat().st_size if path.exists() else 0
        while not path.exists() or path.stat().st_size < before + 2000:
            assert process.poll() is None
        process.kill()
        process.wait()
        Audit(tmp_path).append("after", pid=process.pid)
        assert verify(path).ok


def test_a_lock_that_is_not_released_is_an_error_and_not_a_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqtt_bridge.audit.trail.LOCK_WAIT", 0.1)
    audit = Audit(tmp_path)
    audit.append("x")
    with audit.path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(AuditError, match="another process"):
            audit.append("x")
    audit.append("x")
    assert verify(audit.path).records == 2
