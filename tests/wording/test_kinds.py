"""Severity by kind."""

import pytest

from mqtt_bridge.wording.kinds import ok_of, severity_of


@pytest.mark.parametrize(
    ("kind", "severity", "ok"),
    [
        ("task.vzdump.failed", "error", False),
        ("task.vzdump.warning", "warning", True),
        ("task.vzdump.finished", "info", True),
        ("task.vzdump.started", "info", None),
        ("backup.guest.failed", "error", False),
        ("verify.finished", "info", True),
        ("verify.chunk.failed", "error", False),
        ("replication.failed", "error", False),
        ("quorum.lost", "critical", False),
        ("quorum.ok", "info", True),
        ("watchdog.expiring", "critical", False),
        ("corosync.link.up", "info", True),
        ("corosync.unheard.of", "warning", None),
        ("auth.failed", "warning", False),
        ("guest.qmp.failed", "warning", False),
        ("guest.stopped", "info", None),
        ("guest.stopped.unexpected", "error", False),
        ("node.offline", "critical", False),
        ("audit.action.finished", "info", None),
        ("audit.action.refused", "warning", False),
        ("security.token.used", "warning", None),
        ("storage.zfs.suspended", "critical", False),
        ("something.new", "info", None),
    ],
)
def test_severity_and_outcome(kind: str, severity: str, ok: bool | None) -> None:
    assert (severity_of(kind), ok_of(kind)) == (severity, ok)
