"""The ZFS event daemon and mdadm's monitor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_bridge.wording import classify
from mqtt_bridge.wording.mail import read_mail
from mqtt_bridge.wording.notice import Notice
from mqtt_bridge.wording.zed import read

FINE, BROKEN = "errors: No known data errors", "errors: 3 data errors, use '-v' for a list"
UPGRADE = "status: Some supported and requested features are not enabled on the pool.\n"
UNWELL = "status: One or more devices could not be used because the label is missing or\n\tinvalid.\n"


def finished(what: str, state: str, errors: int, status: str = "", end: str = FINE) -> str:
    scan = f"  scan: {what} repaired 0B in 02:05:56 with {errors} errors on Tue Jul  1 02:05:56 2025\n"
    return (
        f"ZFS has finished a {what}:\n\n   eid: 1\n class: {what}_finish\n  host: pve1.lan\n"
        f"  time: 2025-07-01 02:05:56+0200\n  pool: tank\n state: {state}\n{status}{scan}\n{end}\n"
    )


@pytest.mark.parametrize(
    ("text", "severity", "ok"),
    [
        (finished("scrub", "ONLINE", 0), "info", True),
        (finished("scrub", "ONLINE", 0, UPGRADE), "info", True),
        (finished("scrub", "ONLINE", 0, UNWELL), "warning", True),
        (finished("scrub", "DEGRADED", 0), "warning", True),
        (finished("scrub", "ONLINE", 3), "error", False),
        (finished("scrub", "ONLINE", 0, end=BROKEN), "error", False),
        (finished("resilver", "DEGRADED", 0), "warning", True),
        (finished("trim", "ONLINE", 0), "info", True),
    ],
)
def test_how_a_scrub_ended(text: str, severity: str, ok: bool) -> None:
    verdict = read_mail(text)
    assert verdict.kind == ("system.mail" if "trim" in text else "storage.zfs.scrub.finished")
    assert (verdict.severity, verdict.ok, verdict.node) == (severity, ok, "pve1")
    assert verdict.fields["pool"] == "tank"
    assert verdict.at == 1751328356


@pytest.mark.parametrize(
    ("title", "kind", "severity"),
    [
        ("ZFS device fault for pool rpool on pve1", "storage.zfs.degraded", "error"),
        ("ZFS vdev.open_failed event for rpool on pve1", "storage.zfs.degraded", "error"),
        ("ZFS data error for rpool on pve1", "storage.zfs.errors", "error"),
        ("ZFS io error for rpool on pve1", "storage.zfs.io", "error"),
        ("ZFS io_failure event for rpool on pve1", "storage.zfs.suspended", "critical"),
        ("ZFS zpool event for rpool on pve1", "storage.zfs.missing", "error"),
        ("ZFS config_sync event for rpool on pve1", "system.mail", "info"),
        ("ZFS SCRUB.FINISH event for rpool on pve1", "storage.zfs.scrub.finished", "info"),
    ],
)
def test_the_title_alone(title: str, kind: str, severity: str) -> None:
    verdict = read_mail(f"Subject: [lab] {title}\n\n")
    assert (verdict.kind, verdict.severity, verdict.node) == (kind, severity, "pve1")
    assert verdict.fields["pool"] == "rpool"


@pytest.mark.parametrize(("state", "kind"), [("DEGRADED", "degraded"), ("SUSPENDED", "suspended")])
def test_zpool_status_that_a_script_mails(state: str, kind: str) -> None:
    verdict = read_mail(f"Subject: Cron <root@pve1> zpool status -x\n\n  pool: tank\n state: {state}\n")
    assert (verdict.kind, verdict.ok) == (f"storage.zfs.{kind}", False)
    assert read_mail("Subject: x\n\n  pool: tank\n state: ONLINE\n").kind == "system.mail"


@pytest.mark.parametrize(
    ("event", "kind", "severity", "ok"),
    [
        ("DegradedArray", "storage.md.degraded", "error", False),
        ("Fail", "storage.md.degraded", "error", False),
        ("FailSpare", "storage.md.degraded", "error", False),
        ("DeviceDisappeared", "storage.md.degraded", "error", False),
        ("SparesMissing", "storage.md.warning", "warning", None),
        ("RebuildFinished", "system.mail", "info", True),
        ("Rebuild40", "system.mail", "info", None),
        ("TestMessage", "notification.test", "info", None),
    ],
)
def test_mdadm(event: str, kind: str, severity: str, ok: bool | None) -> None:
    verdict = read_mail(f"Subject: {event} event on /dev/md127:pve1.lan\n\nA {event} event had been detected on md\n")
    assert (verdict.kind, verdict.severity, verdict.ok, verdict.node) == (kind, severity, ok, "pve1")
    assert verdict.fields["device"] == "/dev/md127"
    body = f"mail message from mdadm\nrunning on pve1\n\nA {event} event had been detected on md device /dev/md/0.\n"
    assert (read_mail(body).kind, read_mail(body).node) == (kind, "pve1")


def test_gotify_brings_the_same() -> None:
    assert classify("gotify", '{"title":"ZFS data error for tank on pve1","message":"x"}').kind == "storage.zfs.errors"


@given(st.text(), st.text())
def test_any_text(title: str, text: str) -> None:
    assert read(Notice(title=title, text=text)) is None or title or text
    assert read(Notice(title=f"ZFS {title} event", text=f"ZFS has finished a {text}")) is not None
