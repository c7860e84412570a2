"""Each check finds what it is for, stays silent where all is well, and says so where it cannot tell."""

import re
import time
from dataclasses import replace

import pytest

from mqtt_bridge.diagnostics.diagnostics import CHECKS, Facts, Finding, diagnose
from mqtt_bridge.model import (
    ClusterState,
    DatastoreState,
    GuestState,
    JobRun,
    NodeState,
    StorageState,
    TaskInfo,
    utc,
)

NOW = time.time()
HOUR, DAY = 3600.0, 86_400.0


def ago(seconds: float) -> str:
    return utc(NOW - seconds) or ""


CLUSTER = ClusterState(site="lab", name="Lab", kind="cluster", quorate=True, nodes_total=2, nodes_online=2)
NODE = NodeState(
    site="lab",
    node="pve1",
    status="online",
    available=True,
    version="9.2.1",
    updates=0,
    certificate_expires=ago(-200 * DAY),
)
GUEST = GuestState(
    site="lab", vmid=100, type="qemu", name="web", node="pve1", status="running", available=True, backup_covered=True
)
STORAGE = StorageState(
    site="lab", storage="local", node="pve1", shared=False, status="available", available=True, used_percent=50
)
STORE = DatastoreState(site="lab", store="main", available=True, used_percent=50, gc=JobRun(status="ok"))
TASK = TaskInfo(
    upid="UPID:1",
    site="lab",
    node="pve1",
    type="vzdump",
    guest=100,
    user="root@pam",
    status="ok",
    started_at=ago(HOUR),
    ended_at=ago(HOUR),
)
WELL = Facts(
    site="lab",
    now=NOW,
    cluster=CLUSTER,
    nodes=(NODE, NODE.model_copy(update={"node": "pve2"})),
    guests=(GUEST,),
    storages=(STORAGE,),
    datastores=(STORE,),
    tasks=(TASK,),
)


def guest(**changes: object) -> tuple[GuestState, ...]:
    return (GUEST.model_copy(update=changes),)


def task(**changes: object) -> tuple[TaskInfo, ...]:
    return (TASK.model_copy(update=changes),)


def found(facts: Facts, check: str) -> list[Finding]:
    return [finding for finding in diagnose(facts) if finding.check == check]


def test_where_all_is_well_nothing_is_found() -> None:
    assert diagnose(WELL) == []


@pytest.mark.parametrize(
    ("check", "changes", "severity", "says"),
    [
        ("freshness", {"stale": True}, "error", "stale"),
        ("freshness", {"complete": False}, "warning", "not complete"),
        ("quorum", {"cluster": CLUSTER.model_copy(update={"quorate": False, "nodes_online": 1})}, "critical", "1 of 2"),
        ("nodes", {"nodes": (NODE.model_copy(update={"status": "offline"}),)}, "critical", "VM 100 \\(web\\)"),
        ("nodes", {"nodes": (NODE.model_copy(update={"status": "unknown"}),)}, "warning", "is unknown"),
        ("ha", {"cluster": CLUSTER.model_copy(update={"ha_errors": ("vm:100",)})}, "error", "vm:100"),
        ("storage", {"storages": (STORAGE.model_copy(update={"used_percent": 85.0}),)}, "warning", "85 %"),
        ("storage", {"storages": (STORAGE.model_copy(update={"used_percent": 95.0}),)}, "critical", "95 %"),
        ("storage", {"storages": (STORAGE.model_copy(update={"available": False}),)}, "warning", "not available"),
        ("storage", {"datastores": (STORE.model_copy(update={"used_percent": 99.0}),)}, "critical", "Datastore main"),
        ("storage", {"datastores": (STORE.model_copy(update={"error": "no mount"}),)}, "error", "no mount"),
        ("backup_coverage", {"guests": guest(backup_covered=False)}, "warning", "1 guests are in no backup job"),
        (
            "backup_server",
            {"datastores": (STORE.model_copy(update={"verify": JobRun(status="failed")}),)},
            "error",
            "verify",
        ),
        ("backup_server", {"datastores": (STORE.model_copy(update={"unverified": 2}),)}, "error", "2 snapshots"),
        ("failed_tasks", {"tasks": task(status="failed", exitstatus="job errors")}, "error", "job errors"),
        ("locks", {"guests": guest(lock="backup"), "lock_seen": {100: NOW - 5 * HOUR}}, "error", "at least 5.0 h"),
        (
            "locks",
            {"guests": guest(lock="backup"), "tasks": task(status="running", started_at=ago(3 * HOUR), ended_at=None)},
            "warning",
            "For 3.0 h",
        ),
        ("updates", {"nodes": (NODE.model_copy(update={"updates": 7}),)}, "info", "pve1: 7"),
        ("updates", {"nodes": (NODE, NODE.model_copy(update={"version": "8.4"}))}, "info", "different versions"),
        (
            "certificates",
            {"nodes": (NODE.model_copy(update={"certificate_expires": ago(-5 * DAY)}),)},
            "warning",
            "5 days",
        ),
        (
            "certificates",
            {"nodes": (NODE.model_copy(update={"certificate_expires": ago(DAY)}),)},
            "error",
            "has expired",
        ),
    ],
)
def test_what_is_wrong_is_found(check: str, changes: dict[str, object], severity: str, says: str) -> None:
    [finding] = found(replace(WELL, **changes), check)  # type: ignore[arg-type]
    assert finding.severity == severity
    assert not finding.unknown
    assert re.search(says, f"{finding.title} {finding.evidence}")
    assert finding.remedy


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("quorum", {"cluster": None}),
        ("quorum", {"cluster": CLUSTER.model_copy(update={"quorate": None})}),
        ("backup_coverage", {"guests": guest(backup_covered=None)}),
        ("failed_tasks", {"tasks": None}),
        ("failed_tasks", {"tasks": task() * 50}),
        ("locks", {"guests": guest(lock="backup")}),
        ("locks", {"guests": guest(lock="backup"), "lock_seen": {100: NOW - 60}}),
    ],
)
def test_what_cannot_be_told_is_called_unknown(check: str, changes: dict[str, object]) -> None:
    [finding] = found(replace(WELL, **changes), check)  # type: ignore[arg-type]
    assert finding.unknown
    assert finding.severity == "info"


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("quorum", {"cluster": CLUSTER.model_copy(update={"kind": "standalone", "quorate": None})}),
        ("storage", {"storages": (STORAGE.model_copy(update={"used_percent": 84.9}),)}),
        ("storage", {"storages": (STORAGE.model_copy(update={"used_percent": None}),)}),
        ("backup_coverage", {"guests": guest(backup_covered=False, template=True)}),
        ("failed_tasks", {"tasks": task(status="failed", started_at=ago(2 * DAY), ended_at=ago(2 * DAY))}),
        ("failed_tasks", {"tasks": task(status="warning")}),
        ("locks", {"guests": guest(lock="backup"), "tasks": task(status="running", started_at=ago(60), ended_at=None)}),
        ("certificates", {"nodes": (NODE.model_copy(update={"certificate_expires": None}),)}),
        ("certificates", {"nodes": (NODE.model_copy(update={"certificate_expires": ago(-31 * DAY)}),)}),
    ],
)
def test_what_is_fine_is_not_reported(check: str, changes: dict[str, object]) -> None:
    assert found(replace(WELL, **changes), check) == []  # type: ignore[arg-type]


def test_the_worst_comes_first() -> None:
    facts = replace(WELL, nodes=(NODE.model_copy(update={"updates": 3, "status": "offline"}),), stale=True)
    assert [f.severity for f in diagnose(facts)] == ["critical", "error", "info"]


def test_every_check_has_a_question_and_a_name_of_its_own() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.asks for check in CHECKS)
