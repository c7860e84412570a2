# ruff: noqa: E501 -- one rule, one row
"""What Proxmox VE's daemons say of guests, backups and replication.

Sources: qemu-server (QMPClient, QemuServer, qmeventd), pve-container, pve-guest-common, pve-manager (vzdump, API).
"""

from mqtt_bridge.wording.syslog_row import VMID, Row, noise, row

LOCKS: tuple[Row, ...] = (
    row("noise", "trying to acquire cfs lock"),
    row("noise", "trying to acquire lock"),
    row("cluster.lock.timeout", "cfs-lock", r"cfs-lock '(?P<lock>[^']{1,100})' error", "No lock on {lock}"),
    row(
        "cluster.lock.timeout",
        "cfs lock",
        r"(?:error with cfs lock|cfs lock) '?(?P<lock>[^':]{1,100})",
        "No lock on {lock}",
    ),
    row("cluster.lock.timeout", "got lock request timeout", "", "The cluster gave no lock in time"),
    row("cluster.lock.timeout", "lost lock '", r"lost lock '(?P<lock>[^']{1,100})", "Lost the lock {lock}"),
)
GUESTS: tuple[Row, ...] = (
    row("guest.agent.timeout", " command", rf"VM {VMID} (?:qmp|qga) command '?(?P<command>guest-[\w-]{{1,40}})'? failed - "
        r"(?P<error>[^\n]{0,200}(?:time(?:d )?out|unable to connect|not running\?)[^\n]*)", "VM {guest}: its guest agent does not answer"),
    row("guest.agent.timeout", "qmp guest-", rf"VM {VMID} qmp (?P<command>guest-\S{{1,40}}) got timeout", "VM {guest}: its guest agent does not answer"),
    row("guest.agent.timeout", " guest-", rf"VM {VMID} (?P<command>guest-[\w-]{{1,40}}) failed - (?P<error>[^\n]{{0,200}}time(?:d )?out)", "VM {guest}: its guest agent does not answer"),
    row("guest.agent.timeout", "qga command", rf"VM {VMID} qga command", "VM {guest}: its guest agent does not answer"),
    row("guest.agent.timeout", "guest agent", rf"(?:VM {VMID}[^\n]{{0,60}})?[Gg]uest agent is not running", "VM {guest}: its guest agent does not run"),
    row("guest.agent.timeout", "qga socket", rf"VM {VMID} qga socket", "VM {guest}: its guest agent does not answer"),
    row("guest.qmp.timeout", "qmp command", rf"VM {VMID} qmp command (?:'(?P<command>[\w-]{{1,60}})' )?failed - "
        r"(?P<error>[^\n]{0,200}time(?:d )?out[^\n]*)", "VM {guest} does not answer: {error}"),
    row("guest.qmp.timeout", "qmp socket", rf"VM {VMID} qmp socket - timeout", "VM {guest} does not answer"),
    row("guest.qmp.failed", "qmp command", rf"VM {VMID} (?:qmp command|not running)(?:[^\n]{{0,80}}?failed - (?P<error>[^\n]*))?",
        "VM {guest}: a command to QEMU failed: {error}"),
    row("guest.qmp.failed", "qmp socket", rf"VM {VMID} qmp socket", "VM {guest}: QEMU's control socket failed"),
    row("guest.stopped", "leanup for ", rf"(?:Starting|Finished) cleanup for {VMID}", "Guest {guest} has stopped"),
    row("guest.start.failed", "startup for container", rf"startup for container '{VMID}' failed", "CT {guest} did not start"),
    row("guest.start.failed", "/usr/bin/kvm -id", rf"/usr/bin/kvm -id {VMID} [\s\S]{{0,2000}}(?:failed|got timeout): ?(?P<error>[^\n]*)", "VM {guest} did not start: {error}"),
    row("guest.start.failed", "start failed: ", rf"/usr/bin/kvm -id {VMID}\b", "VM {guest} did not start"),
    row("guest.start.failed", "lxc-start", rf"lxc-start:? {VMID}:?", "CT {guest} did not start"),
    row("guest.start.failed", "Failed to start", rf"(?:CT|VM|[Cc]ontainer) {VMID}", "Guest {guest} did not start"),
    row("guest.start.failed", "start failed", rf"(?:VM|CT) {VMID}[^\n]{{0,40}}start failed", "Guest {guest} did not start"),
    row("guest.start.failed", "tarting ", rf"[Ss]tarting (?:VM|CT) {VMID} failed", "Guest {guest} did not start"),
    row("guest.start.failed", "start failed: ", r"start failed: (?P<error>[^\n]*)", "A guest did not start: {error}"),
    row("guest.start.failed", "QEMU exited with code", "", "A VM did not start: QEMU exited"),
    row("guest.start.failed", "timeout waiting on systemd", "", "A VM did not start: systemd did not answer"),
    row("guest.starting", "tarting ", rf"(?:^|> )[Ss]tarting (?:VM|CT) {VMID}\b", "Guest {guest} is starting"),
    row("guest.starting", "start ", rf"(?:^|> )start (?:VM|CT) {VMID}\b", "Guest {guest} is starting"),
    row("guest.starting", "started with PID", rf"(?:VM|CT) {VMID} started with PID", "Guest {guest} has started"),
    row("guest.oom", "killed by", rf"(?:VM|CT) {VMID}[^\n]{{0,80}}(?:OOM|oom)", "Guest {guest} was killed for lack of memory"),
)  # fmt: skip
BACKUPS: tuple[Row, ...] = (
    row("backup.guest.finished", "Finished Backup of ", rf"Finished Backup of (?:VM|CT) {VMID} \((?P<duration>[\d:]+)\)?",
        "Backup of guest {guest} finished"),
    row("backup.guest.failed", "ackup of ", rf"Backup of (?:VM|CT) {VMID} failed - (?P<error>[^\n]*)", "Backup of guest {guest} failed: {error}"),
    row("backup.job.finished", "Backup job finished successfully", "", "Backup job finished"),
    row("backup.job.failed", "Backup job finished with errors", "", "Backup job finished with errors"),
    row("backup.job.failed", "Backup job failed", r"Backup job failed(?: - (?P<error>[^\n]*))?", "Backup job failed: {error}"),
    row("backup.job.failed", "job errors", r"^(?:TASK ERROR: |ERROR: )?job errors$", "Backup job finished with errors"),
    row("replication.failed", "replication job error", rf"(?:\(?(?P<job>{VMID}-\d{{1,4}})[):] ?)?(?:got unexpected )?replication job error(?: - (?P<error>[^\n]*))?",
        "Replication of guest {guest} failed: {error}"),
    row("replication.failed", "send/receive failed, cleaning up", "", "A replication failed"),
    row("replication.failed", "eplication", rf"[Rr]eplication job '?(?P<job>{VMID}-\d{{1,4}})'?[^\n]{{0,80}}failed", "Replication of guest {guest} failed"),
)  # fmt: skip
TROUBLE: tuple[Row, ...] = (
    row("service.error", "status update error", r"status update error: (?P<error>[^\n]*)", "A status can't be collected: {error}"),
    row("service.error", "Address already in use", "", "A service can't start: its address is in use"),
    row("service.error", "ompilation ", r"[Cc]ompilation (?:failed|aborted)", "A service does not start: its code is broken"),
    row("service.error", "syntax error at ", "", "A service's code is broken"),
    row("service.error", ".pm line ", r"^(?:Missing right|Can't locate|Undefined subroutine|Bareword|Global symbol|Unmatched|Can't call method)", "A service's code is broken"),
    row("service.error", "Unable to fork", "", "A service can't start a process"),
    row("service.error", "unable to start server", "", "A service did not start"),
    row("noise", "Stopping ", rf"Stopping (?:VM|CT) {VMID} \(timeout = "),
    row("noise", "Starting Backup of ", rf"(?:VM|CT) {VMID}"),
    row("syslog.message", "@", r"^<[^>\s]{1,120}@[^>\s]{1,60}> (?!\w+ing \w+proxy)"),
)  # fmt: skip
CHATTER: tuple[Row, ...] = noise(
    "INFO: ", "problem with client ", "worker ", "worker(s)", "received signal ", "server closing", "server stopped", "server shutdown",
    "restarting server", "starting server", "detected vanished client connection", "still active, waiting",
    "modified cpu set for ", "auth key pair too old", "update new package list", "successfully acquired lock",
    "Restarting daemon", "exit code 0", "read: Connection reset by peer", "notified via target", "forked process",
    "starting termproxy", "starting vnc proxy", "launch command:", "CPU soft mask", "Replication job started",
    "Custom certificate does not expire soon", "Certificate does not expire", "no subscription", "reopening access log",
    "ipset ", "inotify poll request", "shutting down", "watchdog active", "watchdog closed", "Use of uninitialized value", "Deep recursion",
)  # fmt: skip
