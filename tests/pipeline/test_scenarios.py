import pytest

from mqtt_bridge.events.correlate import Correlator
from tests.pipeline.happenings import Scenario, backup_failure, place, stored, told, upid

_TASK = upid("vzdump", "101")
_MULTI = upid("vzdump")
_PBS = "UPID:pbs:0000031B:000004F6:00000A13:6AFF8F00:{}:{}:root@pam:"
_VERIFY = _PBS.format("verificationjob", r"nas\x2dbackups\x3anas\x2dbackups\x2dverify")
_SYNC = _PBS.format("syncjob", r"offsite\x3aarchive\x3anas\x2dbackups\x3a\x3as\x2d0e1f")
_PRUNE = _PBS.format("prunejob", r"nas\x2dbackups\x3adefault")
_GC = _PBS.format("garbage_collection", r"nas\x2dbackups")
_PBS_AT = 0x6AFF8F00 - 1_795_140_000

SURER = (0, "surer")  # repeats the first, which is trusted less

SCENARIOS = [
    Scenario("a failed backup on six channels", [
        (told("WEBSOCKET", "task.vzdump.failed", 42, guest=101, upid=_TASK), "A", None),
        (told("EMAIL", "backup.job.failed", 43, guest=101, guests={101: False}), "A", 0),
        (told("WEBHOOK", "backup.job.failed", 43, guest=101, guests={101: False}, job="backup-sw"), "A", 0),
        (told("GOTIFY_IN", "backup.job.failed", 43, guest=101), "A", 0),
        (told("SYSLOG", "backup.guest.failed", 41, guest=101), "A", 0),
        (told("SYSLOG", "task.vzdump.failed", 42, guest=101, upid=_TASK), "A", 0),
        (told("WEBSOCKET", "task.vzdump.failed", 42, guest=101, upid=_TASK, tag="pvedaemon"), "A", 0),
    ]),
    Scenario("what is trusted less comes first", [
        (told("SYSLOG", "backup.guest.failed", 41, guest=101), "A", None),
        (told("EMAIL", "backup.job.failed", 43, guest=101, guests={101: False}), "A", SURER),
        (told("WEBSOCKET", "task.vzdump.failed", 42, guest=101, upid=_TASK), "A", SURER),
        (told("WEBHOOK", "backup.job.failed", 43, guest=101, guests={101: False}), "A", 0),
    ]),
    Scenario("a forged OK mail before a failure silences nothing", [
        (told("SMTP", "backup.job.finished", 40, guest=101, guests={101: True}), "A", None),
        (told("WEBSOCKET", "task.vzdump.failed", 42, guest=101, upid=_TASK), "B", None),
        (told("EMAIL", "backup.job.failed", 43, guest=101, guests={101: False}), "B", 1),
    ]),
    Scenario("a forged OK after a failure is no end of it", [
        (told("WEBSOCKET", "task.vzdump.failed", 42, guest=101, upid=_TASK), "A", None),
        (told("SMTP", "backup.job.finished", 43, guest=101, guests={101: True}), "B", None),
        (told("EMAIL", "backup.job.failed", 44, guest=101, guests={101: False}), "A", 0),
    ]),
    Scenario("a forged failure swallows no later real one", [
        (told("SYSLOG", "backup.guest.failed", 10, guest=101), "A", None),
        (told("SMTP", "backup.job.failed", 11, guest=101, guests={101: False}), "A", 0),
        (told("EMAIL", "backup.job.failed", 43, guest=101, guests={101: False}), "A", SURER),
        (told("WEBSOCKET", "task.vzdump.failed", 42, guest=101, upid=_TASK), "A", SURER),
    ]),
    Scenario("a forged start does not tie two nights together", [
        (told("SMTP", "backup.job.started", 0), "A", None),
        (told("WEBSOCKET", "task.vzdump.failed", 42, guest=101, upid=_TASK), "A", None),
        (told("WEBSOCKET", "task.vzdump.failed", 3600, guest=101, upid=upid("vzdump", "101", at=3590)), "B", None),
    ]),
    Scenario("a job with several guests is their parent", [
        (told("WEBSOCKET", "task.vzdump.started", 0, upid=_MULTI), "A", None),
        (told("SYSLOG", "backup.job.started", 0), "A", 0),
        (told("SYSLOG", "backup.guest.finished", 300, guest=100), "A", None),
        (told("SYSLOG", "backup.guest.failed", 7000, guest=101), "A", None),
        (told("SYSLOG", "backup.guest.failed", 9000, guest=102), "A", None),
        (told("WEBSOCKET", "task.vzdump.failed", 20_000, upid=_MULTI), "A", None),
        (told("EMAIL", "backup.job.failed", 20_001, guests={100: True, 101: False, 102: False}), "A", 5),
    ]),
    Scenario("a guest of a job whose report came first", [
        (told("EMAIL", "backup.job.failed", 9000, guests={100: True, 101: False}), "A", None),
        (told("SYSLOG", "backup.guest.failed", 8990, guest=101), "A", 0),
        (told("SYSLOG", "backup.guest.finished", 4000, guest=100), "A", None),
    ]),
    Scenario("guests of no known job are happenings of their own", [
        (told("SYSLOG", "backup.guest.failed", 0, guest=101), "A", None),
        (told("SYSLOG", "backup.guest.failed", 5, guest=102), "B", None),
    ]),
    Scenario("a guest's log line that names no node finds its job by the guest", [
        (told("EMAIL", "backup.job.failed", 100, guests={1061: False, 1062: True}), "A", None),
        (told("SYSLOG", "backup.guest.failed", 95, guest=1061, node=None), "A", 0),
    ]),
    Scenario("started never makes the end a duplicate", [
        (told("WEBSOCKET", "task.vzdump.started", 0, guest=101, upid=_TASK), "A", None),
        (told("SYSLOG", "task.vzdump.started", 0, guest=101, upid=_TASK), "A", 0),
        (told("WEBSOCKET", "task.vzdump.finished", 42, guest=101, upid=_TASK), "A", None),
        (told("EMAIL", "backup.job.finished", 43, guest=101, guests={101: True}), "A", 2),
    ]),
    Scenario("the same backup the next night", [
        (told("EMAIL", "backup.job.failed", 0, guest=101, guests={101: False}), "A", None),
        (told("EMAIL", "backup.job.failed", 86_400, guest=101, guests={101: False}), "B", None),
        (told("SYSLOG", "backup.guest.failed", 86_399, guest=101), "B", 1),
    ]),
    Scenario("the same backup fifteen minutes later, by another run", [
        (told("WEBSOCKET", "task.vzdump.failed", 42, guest=101, upid=_TASK), "A", None),
        (told("EMAIL", "backup.job.failed", 43, guest=101, guests={101: False}), "A", 0),
        (told("WEBSOCKET", "task.vzdump.failed", 942, guest=101, upid=upid("vzdump", "101", at=900)), "B", None),
        (told("EMAIL", "backup.job.failed", 943, guest=101, guests={101: False}), "B", 2),
    ]),
    Scenario("five minutes later, and the mail overtakes the task", [
        (told("WEBSOCKET", "task.vzdump.failed", 42, guest=101, upid=_TASK), "A", None),
        (told("EMAIL", "backup.job.failed", 43, guest=101, guests={101: False}), "A", 0),
        (told("EMAIL", "backup.job.failed", 343, guest=101, guests={101: False}), "B", None),
        (told("WEBSOCKET", "task.vzdump.failed", 342, guest=101, upid=upid("vzdump", "101", at=300)), "B",
         (2, "surer")),
    ]),
    Scenario("two jobs on two nodes at the same time", [
        (told("EMAIL", "backup.job.failed", 43, job="backup-sw"), "A", None),
        (told("EMAIL", "backup.job.failed", 43, node="pve2", job="backup-sw"), "B", None),
        (told("WEBSOCKET", "task.vzdump.failed", 42, upid=_MULTI), "A", SURER),
    ]),
    Scenario("two guests one after the other by hand", [
        (told("WEBSOCKET", "task.vzdump.failed", 42, guest=101, upid=_TASK), "A", None),
        (told("WEBSOCKET", "task.vzdump.failed", 60, guest=102, upid=upid("vzdump", "102", at=45)), "B", None),
        (told("EMAIL", "backup.job.failed", 61, guest=102, guests={102: False}), "B", 1),
        (told("EMAIL", "backup.job.failed", 43, guest=101, guests={101: False}), "A", 0),
    ]),
    Scenario("a warning is not the success that the mail tells", [
        (told("WEBSOCKET", "task.vzdump.warning", 42, guest=101, ok=True, severity="warning", upid=_TASK), "A", None),
        (told("EMAIL", "backup.job.finished", 43, guest=101, guests={101: True}), "A", None),
    ]),
    Scenario("the same node name at another site", [
        (told("EMAIL", "backup.job.failed", 43, guest=101, guests={101: False}), "A", None),
        (told("WEBHOOK", "backup.job.failed", 43, guest=101, site="other", guests={101: False}), "B", None),
    ]),
    Scenario("a node's name in other letters", [
        (told("WEBSOCKET", "task.vzdump.failed", 42, guest=101, node="PVE1", upid=_TASK), "A", None),
        (told("EMAIL", "backup.job.failed", 43, guest=101, guests={101: False}), "A", 0),
    ]),
    Scenario("garbage collection", [
        (told("WEBSOCKET", "task.garbage_collection.finished", _PBS_AT + 9, node="pbs", upid=_GC), "A", None),
        (told("EMAIL", "gc.finished", _PBS_AT + 10, node="backup", datastore="nas-backups"), "A", 0),
        (told("EMAIL", "gc.failed", _PBS_AT + 10, node="pbs", datastore="other"), "B", None),
    ]),
    Scenario("verification, by datastore and job", [
        (told("EMAIL", "verify.failed", _PBS_AT + 70, node="pbs", datastore="nas-backups"), "A", None),
        (told("WEBSOCKET", "task.verificationjob.failed", _PBS_AT + 60, node="pbs", upid=_VERIFY), "A", SURER),
        (told("GOTIFY_IN", "verify.failed", _PBS_AT + 70, node="pbs", datastore="nas-backups",
              job="nas-backups-verify"), "A", 0),
    ]),
    Scenario("a bad chunk while a verification runs", [
        (told("WEBSOCKET", "task.verificationjob.started", _PBS_AT, node="pbs", upid=_VERIFY), "A", None),
        (told("SYSLOG", "verify.chunk.failed", _PBS_AT + 30, node="pbs"), "A", None),
        (told("WEBSOCKET", "task.verificationjob.failed", _PBS_AT + 60, node="pbs", upid=_VERIFY), "A", None),
    ]),
    Scenario("sync by its job's id", [
        (told("WEBSOCKET", "task.syncjob.failed", _PBS_AT + 60, node="pbs", upid=_SYNC), "A", None),
        (told("EMAIL", "sync.failed", _PBS_AT + 61, node="pbs", remote="offsite", job="s-0e1f"), "A", 0),
        (told("EMAIL", "sync.failed", _PBS_AT + 61, node="pbs", remote="offsite", job="s-ffff"), "B", None),
    ]),
    Scenario("prune", [
        (told("WEBSOCKET", "task.prunejob.finished", _PBS_AT + 60, node="pbs", upid=_PRUNE), "A", None),
        (told("EMAIL", "prune.finished", _PBS_AT + 61, node="pbs", datastore="nas-backups", job="default"), "A", 0),
    ]),
    Scenario("replication, and its next try", [
        (told("EMAIL", "replication.failed", 0, guest=900, job="900-0"), "A", None),
        (told("WEBHOOK", "replication.failed", 1, guest=900, job="900-0"), "A", 0),
        (told("EMAIL", "replication.failed", 1, guest=900, job="900-1"), "B", None),
        (told("EMAIL", "replication.failed", 300, guest=900, job="900-0"), "C", None),
    ]),
    Scenario("a node incident: stages are no duplicates, the same stage is", [
        (told("WEBSOCKET", "node.offline", 0, severity="critical"), "A", None),
        (told("EMAIL", "node.fencing", 60, severity="critical", ok=False), "A", None),
        (told("SYSLOG", "node.fencing", 60, severity="critical", ok=False), "A", 1),
        (told("WEBHOOK", "node.fencing", 60, severity="critical", ok=False), "A", 1),
        (told("EMAIL", "node.fenced", 130, severity="critical", ok=True), "A", None),
        (told("WEBSOCKET", "guest.stopped.unexpected", 70, guest=100, severity="error"), "A", None),
        (told("WEBSOCKET", "guest.stopped.unexpected", 70, guest=101, severity="error"), "A", None),
        (told("WEBSOCKET", "ha.service.recovered", 140, guest=100, ok=True, severity="warning"), "A", None),
        (told("WEBSOCKET", "node.online", 900, ok=True), "A", None),
        (told("WEBSOCKET", "node.offline", 1000, severity="critical"), "B", None),
        (told("EMAIL", "node.fencing", 61, severity="critical", ok=False), "A", 1),
    ]),
    Scenario("a flapping node is no chain of duplicates", [
        (told("WEBSOCKET", "node.offline", 0, severity="critical"), "A", None),
        (told("WEBSOCKET", "node.online", 10, ok=True), "A", None),
        (told("WEBSOCKET", "node.offline", 20, severity="critical"), "B", None),
        (told("WEBSOCKET", "node.online", 30, ok=True), "B", None),
        (told("WEBSOCKET", "node.offline", 40, severity="critical"), "C", None),
    ]),
    Scenario("a forged node.online ends no real incident", [
        (told("WEBSOCKET", "node.offline", 0, severity="critical"), "A", None),
        (told("SYSLOG", "node.online", 10, ok=True), "A", None),
        (told("EMAIL", "node.fencing", 60, severity="critical", ok=False), "A", None),
        (told("WEBSOCKET", "node.online", 90, ok=True), "A", (1, "surer")),
    ]),
    Scenario("two nodes lost at once are two incidents", [
        (told("WEBSOCKET", "node.offline", 0, severity="critical"), "A", None),
        (told("WEBSOCKET", "node.offline", 0, node="pve2", severity="critical"), "B", None),
        (told("WEBSOCKET", "guest.stopped.unexpected", 5, node="pve2", guest=200, severity="error"), "B", None),
    ]),
    Scenario("a guest stops by itself on a healthy node", [
        (told("WEBSOCKET", "guest.stopped.unexpected", 0, guest=100, severity="error"), "A", None),
        (told("WEBSOCKET", "guest.stopped.unexpected", 1, guest=101, severity="error"), "B", None),
    ]),
    Scenario("quorum lost, as every node tells it", [
        (told("WEBSOCKET", "quorum.lost", 0, node=None, severity="critical"), "A", None),
        (told("SYSLOG", "quorum.lost", 1, node="pve1", severity="critical"), "A", 0),
        (told("SYSLOG", "quorum.lost", 1, node="pve2", severity="critical"), "A", 0),
        (told("SYSLOG", "corosync.token.lost", 0, node="pve2", ok=False, severity="warning"), "A", None),
        (told("WEBSOCKET", "quorum.ok", 60, node=None, ok=True), "A", None),
        (told("WEBSOCKET", "quorum.lost", 120, node=None, severity="critical"), "B", None),
    ]),
    Scenario("quorum of clusters that cannot be told apart", [
        (told("SYSLOG", "quorum.lost", 1, site="unassigned", node="a1", severity="critical"), "A", None),
        (told("SYSLOG", "quorum.lost", 1, site="unassigned", node="b1", severity="critical"), "B", None),
    ]),
    Scenario("a stop that was asked for: task and state", [
        (told("WEBSOCKET", "task.qmshutdown.started", 0, guest=100, upid=upid("qmshutdown", "100")), "A", None),
        (told("WEBSOCKET", "guest.stopped", 9, guest=100, ok=True), "A", None),
        (told("WEBSOCKET", "task.qmshutdown.finished", 10, guest=100, upid=upid("qmshutdown", "100")), "A", 1),
        (told("SYSLOG", "guest.stopped", 9, guest=100), "A", 1),
    ]),
    Scenario("a stop that a backup explains belongs to the backup", [
        (told("WEBSOCKET", "guest.stopped", 3, guest=101, ok=True, upid=_TASK), "A", None),
        (told("WEBSOCKET", "task.vzdump.finished", 42, guest=101, upid=_TASK), "A", None),
        (told("EMAIL", "backup.job.finished", 43, guest=101, guests={101: True}), "A", 1),
        (told("WEBSOCKET", "guest.started", 40, guest=101, ok=True, upid=_TASK), "A", None),
    ]),
    Scenario("a guest that a task stopped: the state names the task", [
        (told("WEBSOCKET", "guest.stopped", 9, guest=100, ok=True, upid=upid("qmstop", "100")), "A", None),
        (told("WEBSOCKET", "task.qmstop.finished", 10, guest=100, upid=upid("qmstop", "100")), "A", 0),
        (told("WEBSOCKET", "guest.stopped", 50, guest=100, ok=True, upid=upid("qmstop", "100", at=48)), "B", None),
    ]),
    Scenario("HA in error, started, in error again", [
        (told("WEBSOCKET", "ha.service.state", 0, guest=100, state="error", severity="error", ok=False), "A", None),
        (told("SYSLOG", "ha.service.state", 1, guest=100, state="error", severity="error", ok=False), "A", 0),
        (told("WEBSOCKET", "ha.service.state", 50, guest=100, state="started", ok=True), "B", None),
        (told("WEBSOCKET", "ha.service.state", 100, guest=100, state="error", severity="error", ok=False), "C", None),
    ]),
    Scenario("paused, resumed, paused", [
        (told("WEBSOCKET", "guest.paused", 0, guest=100), "A", None),
        (told("WEBSOCKET", "guest.resumed", 10, guest=100), "A", None),
        (told("WEBSOCKET", "guest.paused", 20, guest=100), "B", None),
    ]),
    Scenario("an API that comes and goes", [
        (told("WEBSOCKET", "site.offline", 0, node=None, severity="error"), "A", None),
        (told("WEBSOCKET", "site.online", 10, node=None, ok=True), "A", None),
        (told("WEBSOCKET", "site.offline", 20, node=None, severity="error"), "B", None),
    ]),
    Scenario("usage that passes the threshold, falls, and passes it again", [
        (told("WEBSOCKET", "storage.usage.high", 0, storage="local", severity="warning"), "A", None),
        (told("WEBSOCKET", "storage.usage.ok", 300, storage="local", ok=True), "A", None),
        (told("WEBSOCKET", "storage.usage.high", 600, storage="local", severity="warning"), "B", None),
    ]),
    Scenario("stop, start, stop within a minute", [
        (told("WEBSOCKET", "guest.stopped", 0, guest=100, ok=True), "A", None),
        (told("WEBSOCKET", "guest.started", 10, guest=100, ok=True), "B", None),
        (told("WEBSOCKET", "guest.stopped", 20, guest=100, ok=True), "C", None),
        (told("WEBSOCKET", "guest.started", 30, guest=100, ok=True), "D", None),
    ]),
    Scenario("a shutdown that fails, then a stop", [
        (told("WEBSOCKET", "task.qmshutdown.failed", 60, guest=100, upid=upid("qmshutdown", "100")), "A", None),
        (told("WEBSOCKET", "task.qmstop.failed", 70, guest=100, upid=upid("qmstop", "100", at=69)), "A", None),
        (told("WEBSOCKET", "task.qmstop.finished", 90, guest=100, upid=upid("qmstop", "100", at=89)), "B", None),
    ]),
    Scenario("a start that fails: task and log", [
        (told("WEBSOCKET", "task.qmstart.failed", 1, guest=111, upid=upid("qmstart", "111")), "A", None),
        (told("SYSLOG", "guest.start.failed", 1, guest=111), "A", 0),
        (told("WEBSOCKET", "task.qmstart.failed", 31, guest=111, upid=upid("qmstart", "111", at=30)), "B", None),
    ]),
    Scenario("a pool's trouble: mail and log, and another pool", [
        (told("EMAIL", "storage.zfs.degraded", 0, ok=False, pool="rpool"), "A", None),
        (told("SYSLOG", "storage.zfs.degraded", 1, ok=False, pool="rpool"), "A", 0),
        (told("SYSLOG", "storage.zfs.errors", 1, ok=False, pool="rpool"), "A", None),
        (told("EMAIL", "storage.zfs.degraded", 1, ok=False, pool="tank"), "B", None),
        (told("EMAIL", "storage.zfs.degraded", 1, node="pve2", ok=False, pool="rpool"), "C", None),
    ]),
    Scenario("md arrays by either name of the device", [
        (told("EMAIL", "storage.md.degraded", 0, ok=False, device="/dev/md0"), "A", None),
        (told("SYSLOG", "storage.md.degraded", 1, ok=False, array="md0"), "A", 0),
        (told("SYSLOG", "storage.md.degraded", 1, ok=False, array="md1"), "B", None),
    ]),
    Scenario("SMART by disk", [
        (told("EMAIL", "disk.smart.failing", 0, ok=False, severity="critical", device="/dev/sdh [SAT]"), "A", None),
        (told("SYSLOG", "disk.smart.failing", 2, ok=False, severity="critical", device="/dev/sdh"), "A", 0),
        (told("EMAIL", "disk.smart.failing", 0, ok=False, severity="critical", device="/dev/sdi [SAT]"), "B", None),
    ]),
    Scenario("a shared storage offline, as each node says", [
        (told("SYSLOG", "storage.offline", 0, storage="nas", severity="warning"), "A", None),
        (told("SYSLOG", "storage.offline", 10, storage="nas", severity="warning"), "A", 0),
        (told("SYSLOG", "storage.offline", 3, storage="nas", node="pve2", severity="warning"), "A", None),
        (told("WEBSOCKET", "storage.offline", 9, storage="nas", node=None, severity="warning"), "A", None),
        (told("SYSLOG", "storage.offline", 20, storage="nas", node="pve2", severity="warning"), "A", 3),
        (told("SYSLOG", "storage.offline", 20, storage="iso", severity="warning"), "B", None),
        (told("WEBSOCKET", "storage.online", 60, storage="nas", node=None, ok=True), "A", None),
        (told("WEBSOCKET", "storage.offline", 90, storage="nas", node=None, severity="warning"), "C", None),
    ]),
    Scenario("a storage that is full on two nodes are two storages", [
        (told("WEBSOCKET", "storage.usage.high", 0, storage="local", severity="warning", ok=False), "A", None),
        (told("WEBSOCKET", "storage.usage.high", 0, storage="local", node="pve2", severity="warning", ok=False),
         "B", None),
        (told("WEBSOCKET", "storage.usage.high", 60, storage="local", severity="error", ok=False), "A", None),
    ]),
    Scenario("updates of a node", [
        (told("EMAIL", "update.available", 0), "A", None),
        (told("WEBHOOK", "update.available", 1), "A", 0),
        (told("EMAIL", "update.available", 1, node="pve2"), "B", None),
        (told("EMAIL", "update.available", 86_400), "C", None),
    ]),
    Scenario("failed logins by address and user", [
        (told("SYSLOG", "auth.failed", 0, severity="warning", rhost="::ffff:192.0.2.7", user="root@pam"), "A", None),
        (told("SYSLOG", "auth.failed", 0, severity="warning", rhost="192.0.2.7", user="root"), "A", 0),
        (told("SYSLOG", "auth.failed", 0, severity="warning", rhost="192.0.2.8", user="root"), "B", None),
        (told("SYSLOG", "auth.failed", 0, severity="warning", rhost="192.0.2.7", user="admin@pve"), "C", None),
        (told("SYSLOG", "auth.failed", 9000, severity="warning", rhost="192.0.2.7", user="root"), "D", None),
    ]),
    Scenario("a certificate that was not renewed", [
        (told("EMAIL", "certificate.renewal.failed", 2, node="pbs"), "A", None),
        (told("WEBSOCKET", "task.acme-renew-cert.failed", 1, node="pbs", upid=upid("acme-renew-cert", node="pbs")),
         "A", SURER),
    ]),
    Scenario("one task id told by log and API", [
        (told("SYSLOG", "task.qmclone.failed", 5, guest=9000, upid=upid("qmclone", "9000")), "A", None),
        (told("WEBSOCKET", "task.qmclone.failed", 5, guest=9000, upid=upid("qmclone", "9000")), "A", SURER),
        (told("WEBSOCKET", "task.qmclone.failed", 5, guest=9000, upid=upid("qmclone", "9000", pid=2)), "B", None),
    ]),
    Scenario("mails of which nothing is known are alike only when they say the same", [
        (told("EMAIL", "system.mail", 0, title="Cron <root@pve1> /bin/x"), "A", None),
        (told("SMTP", "system.mail", 1, title="Cron <root@pve1> /bin/x"), "A", 0),
        (told("EMAIL", "system.mail", 1, title="Cron <root@pve1> /bin/y"), "B", None),
    ]),
    Scenario("a test notification on every channel", [
        (told("EMAIL", "notification.test", 0, node=None), "A", None),
        (told("WEBHOOK", "notification.test", 0, node=None), "A", 0),
        (told("GOTIFY_IN", "notification.test", 1, node=None), "A", 0),
        (told("EMAIL", "notification.test", 60, node=None), "B", None),
    ]),
    Scenario("an agent that does not answer, every few seconds", [
        (told("SYSLOG", "guest.agent.timeout", 0, guest=101, ok=False, severity="warning"), "A", None),
        (told("SYSLOG", "guest.agent.timeout", 20, guest=101, ok=False, severity="warning"), "A", 0),
        (told("SYSLOG", "guest.agent.timeout", 20, guest=102, ok=False, severity="warning"), "B", None),
    ]),
    Scenario("what lasts for hours comes back as a reminder", [
        *[(told("SYSLOG", "storage.offline", at, storage="nas", severity="warning"), "A", 0 if at else None)
          for at in range(0, 3601, 400)],
        (told("SYSLOG", "storage.offline", 3700, storage="nas", severity="warning"), "B", None),
    ]),
    Scenario("authenticated, but less than the API", [
        (told("WEBHOOK", "node.fencing", 0, severity="critical", ok=False), "A", None),
        (told("WEBSOCKET", "node.fencing", 0, severity="critical", ok=False), "A", SURER),
        (told("EMAIL", "node.fencing", 0, severity="critical", ok=False), "A", 0),
    ]),
    Scenario("a report that does not say its node", [
        (told("WEBHOOK", "system.mail", 0, title="Cron <root> /bin/x"), "A", None),
        (told("SMTP", "system.mail", 1, node=None, title="Cron <root> /bin/x"), "A", 0),
        (told("GOTIFY_IN", "system.mail", 2, node=None, title="Cron <root> /bin/x"), "A", 0),
        (told("GOTIFY_IN", "system.mail", 2, node=None, title="Cron <root> /bin/y"), "B", None),
    ]),
    Scenario("the one that says its node comes last", [
        (told("GOTIFY_IN", "storage.zfs.degraded", 0, node=None, ok=False, pool="rpool"), "A", None),
        (told("WEBHOOK", "storage.zfs.degraded", 1, ok=False, pool="rpool"), "A", 0),
        (told("WEBHOOK", "storage.zfs.degraded", 1, node="pve2", ok=False, pool="rpool"), "B", None),
    ]),
    Scenario("a report of no node that could be of either", [
        (told("WEBHOOK", "update.available", 0), "A", None),
        (told("WEBHOOK", "update.available", 0, node="pve2"), "B", None),
        (told("GOTIFY_IN", "update.available", 1, node=None), "C", None),
        (told("SMTP", "update.available", 1, node=None), "C", 2),
    ]),
    Scenario("neither node nor guest: the only backup that ended like that", [
        (told("WEBSOCKET", "task.vzdump.failed", 42, guest=101, upid=_TASK), "A", None),
        (told("WEBSOCKET", "task.vzdump.finished", 43, node="pve2", guest=102,
              upid=upid("vzdump", "102", node="pve2")), "B", None),
        (told("GOTIFY_IN", "backup.job.failed", 43, node=None), "A", 0),
        (told("GOTIFY_IN", "backup.job.failed", 43, node=None, site="unassigned"), "C", None),
    ]),
    Scenario("a node that is not said, and a site that is not known", [
        (told("WEBHOOK", "system.mail", 0, site="unassigned", title="Cron"), "A", None),
        (told("SMTP", "system.mail", 1, site="unassigned", node=None, title="Cron"), "B", None),
    ]),
]  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenario(scenario: Scenario) -> None:
    placed = place(scenario.events)
    letters: dict[str, str] = {}
    seen = [letters.setdefault(one.correlation_id, chr(ord("A") + len(letters))) for one in placed]
    position = {event.id: number for number, event in enumerate(scenario.events)}
    assert seen == [letter for _, letter, _ in scenario.rows]
    told_before = [one.duplicate_of and position[one.duplicate_of] for one in placed]
    expected = [row[2] if isinstance(row[2], tuple) else (row[2], "") for row in scenario.rows]
    surer = ["surer" if one.surer else "" for one in placed]
    assert list(zip(told_before, surer, strict=True)) == expected


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_restart_after_any_of_them_changes_nothing(scenario: Scenario) -> None:
    whole = place(scenario.events)
    for cut in range(1, len(scenario.events)):
        before = stored(scenario.events[:cut])
        again = Correlator()
        for event in before:
            again.learn(event)
        assert place(scenario.events[cut:], again) == whole[cut:], f"restart after {cut}"


def test_there_are_enough() -> None:
    assert len(SCENARIOS) >= 40
    assert len(backup_failure()) == 7
