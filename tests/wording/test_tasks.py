# ruff: noqa: E501 -- lines as they are logged
"""Tasks: list entries, status answers, logs."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqtt_bridge.model import SEVERITIES
from mqtt_bridge.wording import classify
from mqtt_bridge.wording.tasks import read_log, read_task, task_verdict

_LINES = (Path(__file__).parent / "data" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
SAMPLES = [record for record in map(json.loads, _LINES) if record["channel"] == "task"]
UPID = "UPID:pve2:0003F1A2:0A1B2C3D:6650A1F0:vzdump:200:backup@pbs!nightly:"


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: record["id"])
def test_samples(record: dict[str, Any]) -> None:
    verdict = classify("task", record["raw"])
    assert {name: getattr(verdict, name) for name in record["expected"]} == record["expected"]


@pytest.mark.parametrize(
    ("status", "kind", "ok"),
    [
        (None, "task.vzdump.started", None),
        ("running", "task.vzdump.started", None),
        ("RUNNING", "task.vzdump.started", None),
        ("OK", "task.vzdump.finished", True),
        ("WARNINGS: 3", "task.vzdump.warning", True),
        ("unexpected status", "task.vzdump.failed", False),
        ("interrupted by signal", "task.vzdump.failed", False),
        ("unknown", "task.vzdump.failed", False),
        ("", "task.vzdump.failed", False),
        ("job errors", "task.vzdump.failed", False),
    ],
)
def test_a_status_is_an_outcome(status: str | None, kind: str, ok: bool | None) -> None:
    verdict = task_verdict(status, upid=UPID, endtime=1716560375)
    assert (verdict.kind, verdict.ok, verdict.node, verdict.guest) == (kind, ok, "pve2", 200)
    assert verdict.upid == UPID
    assert verdict.at == (0x6650A1F0 if ok is None else 1716560375)


def test_a_title_says_what_failed_where_and_why() -> None:
    verdict = task_verdict("job errors", upid=UPID)
    assert verdict.title == "Backup of guest 200 failed on pve2: job errors"
    assert verdict.fields["exitstatus"] == "job errors"
    assert verdict.fields["user"] == "backup@pbs!nightly"


@pytest.mark.parametrize(
    ("entry", "kind", "guest"),
    [
        ({"type": "qmstart", "id": "101", "node": "pve", "status": "OK", "endtime": 1}, "task.qmstart.finished", 101),
        ({"data": {"upid": UPID, "status": "running"}}, "task.vzdump.started", 200),
        ({"data": {"upid": UPID, "status": "stopped", "exitstatus": "OK"}}, "task.vzdump.finished", 200),
        ({"data": {"upid": UPID, "status": "stopped"}}, "task.vzdump.failed", 200),
        ({"upid": UPID, "starttime": 1716560368}, "task.vzdump.started", 200),
        ([{"upid": UPID, "status": "OK"}], "task.vzdump.finished", 200),
        ({"worker_type": "backup", "worker_id": "store:vm/104", "status": "OK"}, "task.backup.finished", 104),
        (
            {"data": [{"n": 1, "t": "INFO: Starting Backup of VM 104 (qemu)"}, {"n": 2, "t": "TASK OK"}]},
            "task.vzdump.finished",
            104,
        ),
    ],
)
def test_entries_of_both_products(entry: object, kind: str, guest: int) -> None:
    verdict = read_task(json.dumps(entry))
    assert (verdict.kind, verdict.guest) == (kind, guest)


@pytest.mark.parametrize(
    ("log", "kind", "guest"),
    [
        ("INFO: Starting Backup of VM 100 (qemu)\nINFO: Finished Backup of VM 100 (00:00:05)\nTASK OK", "vzdump.finished", 100),
        ("INFO: Starting Backup of VM 100 (qemu)\nINFO: starting kvm", "vzdump.started", 100),
        ("INFO: Finished Backup of VM 100 (1)\nERROR: Backup of VM 101 failed - x\nTASK ERROR: job errors", "vzdump.failed", None),
        ("INFO: Finished Backup of CT 100 (1)\nTASK WARNINGS: 2", "vzdump.warning", 100),
        ("2026-09-28T00:00:00+02:00: starting garbage collection on store nas\n2026-09-28T00:00:09+02:00: TASK OK", "garbage_collection.finished", None),
        ("2026-09-28T00:00:00+02:00: Starting datastore sync job 'a:b:c::s-1'\n2026-09-28T00:00:09+02:00: TASK ERROR: sync failed with some errors.", "syncjob.failed", None),
        ("2026-09-28T00:00:00+02:00: prune job 'daily'\n2026-09-28T00:00:09+02:00: TASK WARNINGS: 1", "prunejob.warning", None),
        ("2026-09-28T00:00:00+02:00: starting new backup on datastore 'nas' from ::ffff:10.0.0.2: \"vm/101/2024-09-25T01:00:35Z\"\n2026-09-28T00:00:09+02:00: TASK OK", "backup.finished", 101),
        ("starting migration of VM 105 to node 'pve2' (10.0.0.2)\nTASK ERROR: migration aborted", "qmigrate.failed", 105),
        ("starting migration of CT 105 to node 'pve2' (10.0.0.2)\nTASK OK", "vzmigrate.finished", 105),
        ("restore vma archive: zstd -q -d -c /x | vma extract\nTASK OK", "qmrestore.finished", None),
        ("create full clone of drive scsi0 (local-lvm:vm-100-disk-0)\nTASK ERROR: clone failed: got timeout", "qmclone.failed", None),
        ("recovering backed-up configuration from 'pbs:backup/ct/101/2024'\nTASK OK", "vzrestore.finished", None),
        ("TASK ERROR: VM quit/powerdown failed - got timeout", "qmshutdown.failed", None),
        ("TASK ERROR: start failed: QEMU exited with code 1", "qmstart.failed", None),
        ("starting apt-get update\nTASK ERROR: command 'apt-get update' failed: exit code 100", "aptupdate.failed", None),
        ("Requesting HA migration for VM 125 to node pve-02\nTASK OK", "hamigrate.finished", 125),
        ("2025-04-15 11:04:06 ERROR: migration aborted (duration 00:00:00): Can't connect", "qmigrate.failed", None),
        ("kvm: -netdev type=tap,id=net0,ifname=tap101i0,script=x failed\nTASK ERROR: start failed: QEMU exited with code 1", "qmstart.failed", 101),
        ("something that nobody knows\nTASK OK", "unknown.finished", None),
    ],
)  # fmt: skip
def test_a_log_tells_its_type_and_its_end(log: str, kind: str, guest: int | None) -> None:
    for text in (log, log.replace("\n", "\r\n"), f"\ufeff{log}\n"):
        verdict = read_log(text)
        assert (verdict.kind, verdict.guest) == (f"task.{kind}", guest)


def test_a_backup_of_several_guests_tells_of_each() -> None:
    verdict = read_log(
        "INFO: Starting Backup of VM 100 (qemu)\nINFO: Finished Backup of VM 100 (00:00:05)\n"
        "INFO: Starting Backup of VM 101 (qemu)\nERROR: Backup of VM 101 failed - got timeout\nTASK ERROR: job errors"
    )
    assert verdict.guests == ((100, True), (101, False))
    assert verdict.guest is None


def test_a_task_id_that_is_not_quite_right_still_tells() -> None:
    verdict = task_verdict("OK", upid="UPID:pve-1:0000A0:00B1:68BF:qmstart:102:root@pam:")
    assert (verdict.kind, verdict.node, verdict.guest, verdict.upid) == ("task.qmstart.finished", "pve-1", 102, None)


_KEYS = st.sampled_from(
    ["upid", "status", "exitstatus", "type", "worker_type", "id", "node", "endtime", "data", "n", "t"]
)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just(UPID)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_KEYS, inner, max_size=6)),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.binary(), _JSON.map(json.dumps)))
def test_nothing_raises(raw: str | bytes) -> None:
    verdict = read_task(raw)
    assert verdict.severity in SEVERITIES
    assert verdict.kind.startswith("task.")
    assert "\n" not in verdict.title
