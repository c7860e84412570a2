"""What Proxmox VE and Backup Server notify about, as titles alone, as texts alone and by their fields alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_bridge.wording.notice import Notice, moment, short_name
from mqtt_bridge.wording.notification import read
from mqtt_bridge.wording.proxmox_rules import TYPES

BACKUP_SERVER = "Please visit the web interface for further details:\n\n<https://pbs.lan:8007/#DataStore-tank>\n"


@pytest.mark.parametrize(
    ("title", "text", "kind", "ok"),
    [
        ("Garbage Collect Datastore 'tank' successful ", "Garbage collection successful.", "gc.finished", True),
        ("Garbage Collect Datastore 'tank' failed ", "Garbage collection failed: EIO", "gc.failed", False),
        ("Pruning datastore 'tank' successful ", "Pruning successful.", "prune.finished", True),
        ("Pruning datastore 'tank' failed ", "Pruning failed: EIO", "prune.failed", False),
        ("Sync local datastore 'tank' successful  ", "Synchronization successful.", "sync.finished", True),
        ("Sync remote 'off' datastore 'tank' failed  ", "Synchronization failed: EIO", "sync.failed", False),
        ("Verify Datastore 'tank' successful ", "Verification successful.", "verify.finished", True),
        ("Verify Datastore 'tank' failed ", "Verification failed on these snapshots/groups:", "verify.failed", False),
        ("Tape Backup 'd' datastore 'tank' successful  ", "Tape Backup successful.", "tape.backup.finished", True),
        ("Tape Backup datastore 'tank' failed", "Tape Backup failed: EIO", "tape.backup.failed", False),
        ("Load Media 'T 1' request for drive 'lto8' ", "Please insert the requested media into the backup drive.",
         "tape.load.requested", None),
        ("Load Media 'T1' request for changer 'c' ", "Please insert the requested media into the changer.",
         "tape.load.requested", None),
        ("Could not renew certificate ", "PBS was not able to renew a TLS certificate.", "certificate.renewal.failed",
         False),
        ("New software packages available (pbs)", "Proxmox Backup Server has the following updates available:",
         "update.available", None),
    ],
)  # fmt: skip
def test_title_text_and_both(title: str, text: str, kind: str, ok: bool | None) -> None:
    for notice in (
        Notice(title=title, text=f"{text}\n\n{BACKUP_SERVER}"),
        Notice(title=f"Fwd: [lab] {title}", host="pbs.lan"),
        Notice(text=f"Job ID:    j-1\n\n{text}\n{BACKUP_SERVER}"),
        Notice(title="something of our own", text=f"{text}\n{BACKUP_SERVER}"),
    ):
        verdict = read(notice)
        assert (verdict.kind, verdict.ok, verdict.node, verdict.guest) == (kind, ok, "pbs", None)
        assert "Please visit" not in verdict.message


@pytest.mark.parametrize("name", TYPES)
def test_the_field_type_alone(name: str) -> None:
    good, bad = (read(Notice(type=name, severity=word, host="pve1")) for word in ("info", "error"))
    assert good.node == bad.node == "pve1"
    assert good.kind.rsplit(".", 1)[0] == bad.kind.rsplit(".", 1)[0]
    assert good.fields["type"] == name


@pytest.mark.parametrize(
    ("title", "kind", "node", "guest"),
    [
        ("Replication Job: '900-0' failed", "replication.failed", None, 900),
        ("Replication Job: 900-12 failed", "replication.failed", None, 900),
        ("Trying to fence node 'pve-2'", "node.fencing", "pve-2", None),
        ("FENCE: Try to fence node 'pve-2'", "node.fencing", "pve-2", None),
        ("SUCCEED: fencing: acknowledged - got agent lock for node 'pve-2'", "node.fenced", "pve-2", None),
        ("Successfully fenced node ‘pve-2’", "node.fenced", "pve-2", None),
        ("New software packages available (pve-2.lan)", "update.available", "pve-2", None),
        ("Test notification", "notification.test", None, None),
        ("vzdump backup status (pve-2.lan) : backup successful", "backup.job.finished", "pve-2", None),
        ("vzdump backup status (pve-2): backup failed: no such job", "backup.job.failed", "pve-2", None),
        ("A Test notification about something", "system.mail", None, None),
    ],
)
def test_titles_alone(title: str, kind: str, node: str | None, guest: int | None) -> None:
    verdict = read(Notice(title=title))
    assert (verdict.kind, verdict.node, verdict.guest) == (kind, node, guest)


def test_the_reporting_node_is_not_the_fenced_one() -> None:
    assert read(Notice(title="Trying to fence node 'pve2'", host="pve1", sender="pve1")).node == "pve2"


def test_job_upid_and_fields() -> None:
    upid = "UPID:pbs:0000031A:000004F5:00000A12:68D88F00:garbage_collection:tank:root@pam:"
    verdict = read(Notice(title="Garbage Collect Datastore 'tank' successful", text=f"Task ID:  {upid}\n"))
    assert (verdict.upid, verdict.node, verdict.fields["datastore"]) == (upid, "pbs", "tank")
    verdict = read(Notice(text="Job ID:    v-1\nDatastore: tank\n\nVerification failed: nothing\n"))
    assert (verdict.job, verdict.fields["error"]) == ("v-1", "nothing")
    text = "Job ID: s\nDatastore:   near\nRemote: r\n\nSynchronization failed: no route to host\n"
    verdict = read(Notice(title="Sync remote 'r' datastore 'far' failed", text=text))
    assert verdict.fields == {
        "remote": "r", "remote_datastore": "far", "datastore": "near", "error": "no route to host"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "guest", "guests"),
    [
        ("101  a  ok  3s  1 GiB", 101, ((101, True),)),
        ("101  ok  err  3s  0 B", 101, ((101, False),)),
        ("101    err  3s  0 B", 101, ((101, False),)),
        ("101  two words  aborted  3s  0 B", 101, ((101, False),)),
        ("101  a  ok  3s  1 GiB\n102  b  err  3s  0 B", None, ((101, True), (102, False))),
        ("| 101 | a | ok | 3s |", 101, ((101, True),)),
        ("101  a  ok  00:00:03  1.00GB  /x", 101, ((101, True),)),
        ("", None, ()),
    ],
)
def test_the_table_of_guests(rows: str, guest: int | None, guests: tuple[tuple[int, bool], ...]) -> None:
    verdict = read(Notice(text=f"VMID  Name  Status  Time  Size\n{rows}\n\nTotal running time: 3s\n"))
    assert (verdict.guest, verdict.guests) == (guest, guests)
    assert verdict.ok is (bool(guests) and all(ok for _, ok in guests))


def test_reports_of_before_proxmox_ve_5() -> None:
    text = "  VMID       STATUS       TIME       SIZE  FILENAME\n  101        err      00:00:05     0.00MB  -\n"
    assert read(Notice(text=text)).guests == ((101, False),)


def test_the_log_alone_tells_the_guests() -> None:
    log = "INFO: Starting Backup of VM 101 (qemu)\nERROR: Backup of VM 101 failed - got timeout\n"
    verdict = read(Notice(text=log + "INFO: Starting Backup of VM 102 (lxc)\nINFO: Finished Backup of VM 102 (0:01)\n"))
    assert (verdict.kind, verdict.guest, verdict.guests) == ("backup.job.failed", None, ((101, False), (102, True)))


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("pve1.example.org", "pve1"), ("pve-köln.de", "pve-köln"), ("'pve1'", "pve1"), ("10.0.0.1", None),
        ("::1", None),
        ("<hostname>", None), ("hostname", None), ("host.example.org", "host"), ("localhost.lan", None), ("a b", None),
        ("-x", None), ("x" * 64, None), (None, None), ("", None),
    ],
)  # fmt: skip
def test_short_names(host: str | None, name: str | None) -> None:
    assert short_name(host) == name


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2025-01-14T03:00:00Z", 1736823600), ("2025-01-14 04:00:00+0100", 1736823600), ("1736823600", 1736823600),
        ("Tue, 14 Jan 2025 04:00:00 +0100", 1736823600), ("2025-01-14 04:00:00", None), ("yesterday", None),
        ("2025-13-14T03:00:00Z", None), (True, None), (float("nan"), None), (float("inf"), None), (-1, None),
        (None, None),
    ],
)  # fmt: skip
def test_moments(text: str | float | None, seconds: float | None) -> None:
    assert moment(text) == seconds


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("Something on host pve-1 broke", "pve-1"), ("broke on node 'alpha'", "alpha"), ("Host: alpha.lan\nx", "alpha"),
        ("broke on host that failed", None), ("UPS running on battery", None), ("server error", None),
        ("node: 10.0.0.1", None),
    ],
)  # fmt: skip
def test_a_host_that_an_unknown_text_names(text: str, node: str | None) -> None:
    verdict = read(Notice(title="note", text=text))
    assert (verdict.kind, verdict.node) == ("system.mail", node)


@pytest.mark.parametrize(
    ("title", "text", "expected"),
    [
        ("*** SECURITY information for pve1 ***", "x", ("system.mail", "warning", "pve1", None)),
        ("Cron <root@pve1.lan> /bin/x", "error: disk full", ("system.mail", "error", "pve1", None)),
        ("Cron <root@pve1> /bin/x", "done, no errors", ("system.mail", "info", "pve1", None)),
        ("unattended-upgrades result for 'pve1': 'True'", "x failed", ("system.mail", "info", "pve1", True)),
        ("unattended-upgrades result for pve1: FAILURE", "x", ("system.mail", "error", "pve1", False)),
        ("apt-listchanges: news for pve1", "may fail", ("system.mail", "info", "pve1", None)),
        ("[Fail2Ban] sshd: banned 1.2.3.4 from pve1.lan", "x", ("system.mail", "warning", "pve1", None)),
        ("12 Debian package update(s) for pve1.lan", "x", ("update.available", "info", "pve1", None)),
        ("3 updates for your review", "x", ("system.mail", "info", None, None)),
        ("Undelivered Mail Returned to Sender", "error", ("system.mail", "warning", None, None)),
        ("HEALTH_WARN", "[WARN] OSD_DOWN: 1 osds down", ("ceph.health.warn", "warning", None, False)),
        ("HEALTH_ERR", "x", ("ceph.health.warn", "error", None, False)),
        ("HEALTH_OK", "x", ("ceph.health.cleared", "info", None, True)),
    ],
)
def test_mail_of_the_system(title: str, text: str, expected: tuple[str, str, str | None, bool | None]) -> None:
    verdict = read(Notice(title=title, text=text))
    assert (verdict.kind, verdict.severity, verdict.node, verdict.ok) == expected


@given(st.text(), st.text(), st.none() | st.text(), st.none() | st.text())
def test_any_notice(title: str, text: str, host: str | None, severity: str | None) -> None:
    assert read(Notice(title=title, text=text, host=host, severity=severity)).kind
