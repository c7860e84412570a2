# ruff: noqa: E501 -- one rule, one row
"""systemd, clocks, cron, mail and Proxmox Backup Server.

Sources: systemd (core/unit.c, core/service.c), chrony (sourcestats, local.c), proxmox-backup (src/bin, pbs-datastore).
"""

from mqtt_bridge.wording.syslog_row import VMID, Row, noise, row

_UNIT = r"(?P<unit>[\w@:.\\-]{1,120}\.(?:service|scope|mount|socket|timer|slice|device|target))"

SYSTEMD: tuple[Row, ...] = (
    row("guest.oom", "OOM killer", rf"^{VMID}\.scope: ", "VM {guest} was killed for lack of memory"),
    row("guest.oom", "oom-kill", rf"^(?:pve-container@)?{VMID}\.(?:scope|service): ", "Guest {guest} was killed for lack of memory"),
    row("guest.oom", "OOM killer", rf"^pve-container@{VMID}\.service: ", "CT {guest}: a process was killed for lack of memory"),
    row("guest.start.failed", "Failed to start", rf"(?:LXC Container: |pve-container@){VMID}", "CT {guest} did not start"),
    row("storage.offline", "Failed to mount", r"Failed to mount (?P<storage>/mnt/pve/\S+?|mnt-pve-\S+\.mount)\.?(?:\s|$)", "{storage} can't be mounted"),
    row("storage.offline", "Mounting /mnt/pve/", r"Mounting /mnt/pve/(?P<storage>\S+) (?:failed|timed out)", "Storage {storage} can't be mounted"),
    row("storage.offline", "mnt-pve-", r"mnt-pve-(?P<storage>\S+)\.mount: (?:Mount process exited|Failed with result|Mounting timed out)", "Storage {storage} can't be mounted"),
    row("noise", "status=0/SUCCESS"),
    row("service.error", "process exited", rf"{_UNIT}: (?P<what>[Mm]ain|[Cc]ontrol) process exited, (?P<error>[^\n]*)", "{unit} failed: {error}"),
    row("service.error", "Failed with result", rf"{_UNIT}: Failed with result '(?P<error>[^']*)'", "{unit} failed: {error}"),
    row("service.error", "entered failed state", rf"(?:Unit )?{_UNIT}", "{unit} failed"),
    row("service.error", "repeated too quickly", rf"{_UNIT}: ", "{unit} failed again and again"),
    row("service.error", "Failed to start", r"Failed to start (?P<unit>[^\n]{1,150})", "{unit} did not start"),
    row("service.error", "Failed to ", r"Failed to (?:mount|activate|reload|restart|listen)[^\n]*? (?P<unit>[^\n]{1,150})", "{unit} failed"),
    row("service.error", "Dependency failed", r"for (?P<unit>[^\n]{1,150})", "{unit} did not start: a dependency failed"),
    row("service.error", "ailed", r"^(?:Reload failed|Failed|[^\n]{1,120}\.(?:service|mount|timer|socket|slice): )[^\n]*", "A service failed"),
    row("service.error", "atchdog timeout", rf"{_UNIT}: ", "{unit} hangs"),
    row("service.error", "timed out", rf"{_UNIT}: [^\n]{{0,200}}(?:timed out|timeout)", "{unit} took too long"),
    row("service.error", "OOM killer", rf"{_UNIT}: ", "{unit}: a process was killed for lack of memory"),
    row("service.error", "dumped core", rf"(?:{_UNIT}|(?P<task>\S+)\) of user)", "{unit}{task} crashed"),
    row("guest.stopped", ".scope: ", rf"^{VMID}\.scope: (?:Deactivated successfully|Succeeded)", "VM {guest} has stopped"),
    row("guest.stopped", "pve-container@", rf"^pve-container@{VMID}\.service: (?:Deactivated successfully|Succeeded)", "CT {guest} has stopped"),
    row("guest.stopped", "LXC Container: ", rf"^Stopped (?:\S+ - )?(?:PVE )?LXC Container: {VMID}", "CT {guest} has stopped"),
    row("guest.starting", "LXC Container: ", rf"^Start(?:ing|ed) (?:\S+ - )?(?:PVE )?LXC Container: {VMID}", "CT {guest} is starting"),
    row("guest.starting", ".scope", rf"^Started {VMID}\.scope", "VM {guest} is starting"),
    row("node.shutdown", "own", r"^(?:System is (?:powering|going) down|Shutting down\.?$|Reached target (?:\S+ - )?(?:System )?(?:Shutdown|Power-?Off|Power Off))", "The node shuts down"),
    row("node.shutdown", "The system will ", r"^The system will (?:power off|reboot|halt|be halted|shut ?down)", "The node shuts down"),
    row("node.shutdown", "eboot", r"^(?:System is rebooting|Reached target (?:\S+ - )?(?:System )?Reboot|Rebooting\.)", "The node restarts"),
    row("node.shutdown", "Power", r"^(?:Power key pressed|Powering off|Reached target (?:\S+ - )?(?:System )?Power)", "The node shuts down"),
    row("syslog.message", "Server returned error", r"error (?P<error>[A-Z]+)", "A name server answers with {error}", "warning", ok=False),
    row("node.time.jump", "Time has been changed", "", "The clock was changed"),
    row("node.time.jump", "ime jumped backwards", "", "The clock jumped"),
)  # fmt: skip
SYSTEMD_CHATTER: tuple[Row, ...] = noise(
    "Start", "Stop", "Finished ", "Reached target", "Created slice", "Removed slice", "Listening on", "Mounted ", "Mounting ",
    "Unmount", "Deactivated", "Succeeded", "Consumed ", "Reload", "Scheduled restart job", "Queued start job", "Set hostname",
    "Closed ", "New session", "Removed session", "Session ", "Condition", "Reexecut", "Set up automount", "Startup finished",
    "Activat", "Found device", "Received SIG", "Forwarding", "Journal", "Runtime Journal", "System Journal", "Watching system",
    "PIDFile", "Supervising", "Successfully", "Requested transaction", "Binding to", "Got notification",
)  # fmt: skip
CLOCKS: tuple[Row, ...] = (
    row("node.time.jump", "ystem clock wrong by", r"wrong by (?P<seconds>-?[\d.]+) seconds", "The clock is wrong by {seconds} s"),
    row("node.time.jump", "clock was stepped", r"by (?P<seconds>-?[\d.]+) seconds", "The clock was set by {seconds} s"),
    row("node.time.jump", "time jump detected", "", "The clock jumped"),
    row("node.time.jump", "ime stepped", "", "The clock was set"),
    row("node.time.jump", "time reset", r"time reset (?P<seconds>[+-]?[\d.]+)", "The clock was set by {seconds} s"),
    row("node.time.jump", "step time server", r"offset (?P<seconds>[+-]?[\d.]+)", "The clock was set by {seconds} s"),
    row("syslog.message", "no selectable sources", "", "No time server can be used", "warning", ok=False),
    row("syslog.message", "imed out waiting for reply", "", "A time server does not answer", "warning", ok=False),
    row("syslog.message", "o reachable", "", "No time server can be reached", "warning", ok=False),
    *noise("Selected source", "Source ", "Synchronized to", "ontacted time server", "Initial ", "System clock TAI", "Using ",
           "chronyd ", "Loaded ", "Frequency ", "Received ", "Network configuration changed", "Can't ", "exiting", "adjust"),
)  # fmt: skip
PBS: tuple[Row, ...] = (
    row("verify.chunk.failed", "chunk", r"can't verify chunk|(?:corrupt(?:ed)?|bad) chunk|chunk \S{0,80} ?(?:was|is) (?:marked as )?corrupt|unable to load chunk|wrong (?:digest|checksum)|"
        r"chunk (?:verification|digest)[^\n]{0,200}(?:fail|wrong|mismatch)|failed to verify chunk|detected chunk with wrong|renam\w+ (?:corrupted )?chunk", "A chunk of a backup is damaged"),
    row("verify.failed", "erif", r"verification failed|unable to start verif\w* job|verify \S{1,200} failed|verif\w+ job[^\n]{0,200}(?:failed|error)", "Verification of backups failed"),
    row("gc.failed", "arbage collection", r"(?:unable to start|failed|error|abort)", "Garbage collection failed"),
    row("gc.failed", "GC ", r"GC (?:failed|error)", "Garbage collection failed"),
    row("prune.failed", "prune", r"unable to start (?:datastore )?prune|prune[^\n]{0,200}(?:failed|error)", "Pruning of backups failed"),
    row("sync.failed", "sync", r"(?:unable to start (?:datastore )?sync|sync (?:job|group|datastore)?[^\n]{0,200}failed|sync failed)", "Sync of backups failed"),
    row("backup.job.failed", "backup failed", r"backup failed(?:: (?P<error>[^\n]*))?", "A backup to this server failed: {error}"),
    row("backup.job.failed", "finish failed", r"(?P<error>finish failed[^\n]*)", "A backup to this server failed"),
    row("backup.job.started", "starting new backup on datastore", rf"datastore '(?P<storage>[^']{{1,100}})'[^\n]{{0,200}}(?:vm|ct)/{VMID}/", "Backup of guest {guest} to {storage} started"),
    row("backup.job.started", "starting new backup on datastore", r"datastore '(?P<storage>[^']{1,100})'", "Backup to {storage} started"),
    row("backup.job.finished", "backup finished successfully", "", "A backup to this server finished"),
    row("tape.load.requested", "lease insert", r"[Pp]lease insert", "A tape is asked for"),
    row("service.error", "Failed to get api service", r"service: (?P<error>[^\n]*)", "The Backup Server's API does not answer: {error}"),
    row("datastore.error", "datastore", r"(?:datastore|store) '?(?P<storage>[\w.-]{1,100})'?[^\n]{0,200}(?:error|fail|unable|not available|cannot|could not|does not exist|not mounted|maintenance|denied)",
        "Datastore {storage} has an error"),
    row("datastore.error", "datastore", r"(?:[Uu]nable|[Ee]rror|[Ff]ail|[Cc]annot|[Cc]ould not|[Mm]issing)[^\n]{0,200}datastore", "A datastore has an error"),
    row("datastore.error", "chunk", r"(?:unable|fail|cannot|could not|error)[^\n]{0,200}(?:chunk store|\.chunks|chunk file|chunk)", "A datastore has an error"),
    row("datastore.error", "os error", r"(?P<error>(?:No space left on device|Input/output error|Read-only file system|Stale file handle|No such device)[^\n]{0,200}os error \d+)", "A datastore has an error: {error}"),
    row("datastore.error", "snapshot", r"(?:error|unable|fail)[^\n]{0,200}(?:snapshot|backup group|manifest)", "A datastore has an error"),
    *noise("rrd", "RRD", "GET /", "POST /", "upload_chunk", "download chunk", "protocol upgrade", "add blob", "created new", "register",
           "successfully ", "task triggered", "TASK OK", "Upload statistics", "percentage done", "processed ", "starting new backup reader",
           "reader finished", "dynamic_append", "fixed_append", "dynamic_close", "fixed_close", "write rrd", "daemon", "service is ready",
           "removing failed backup", "removing backup", "detaching", "starting rrd", "done (", "auth"),
)  # fmt: skip
POWER: tuple[Row, ...] = (
    row("noise", "", r"(?i)no longer on|mains returned|on line power|power (?:is )?(?:back|restored|returned)|communications? .{0,40}(?:restored|established)"),
    row("syslog.message", "", r"(?i)batter(?:y|ies) (?:is |are )?(?:low|critical|exhausted)|low battery|replace battery|needs to be replaced", "The UPS's battery is low or bad", "critical", ok=False),
    row("syslog.message", "", r"(?i)on (?:\w+ )?batter(?:y|ies)|power failure|mains? (?:failed|lost)", "The UPS runs on its battery", "warning", ok=False),
)  # fmt: skip
CRON_MAIL: tuple[Row, ...] = (
    row("syslog.message", "warning: ", r"warning: (?:[\w ]{0,60}: )?(?:unable|cannot|could not|mail_queue_enter|not enough free space|database)", "", "error", ok=False),
    row("syslog.message", "connect to ", r"^connect to (?P<server>[^\s\[]{1,200})[^\n]{0,200}(?:refused|timed out|unreachable|No route)", "The mail server {server} can't be reached", "warning", ok=False),
    row("syslog.message", "non-delivery notification", "", "A mail could not be delivered", "warning", ok=False),
    row("syslog.message", "status=", r"status=(?P<status>bounced|deferred)", "A mail was {status}", "warning", ok=False),
    row("syslog.message", "fatal:", "", "", "error", ok=False),
    *noise("CMD", "status=sent", "session ", "job ", "Job ", "Anacron", "pidfile", "INFO", "removed", "message-id=", "from=", "queue active",
           "connect from", "connect to", "lost connection", "statistics:", "daemon started", "starting the Postfix", "refreshing", "warning: "),
)  # fmt: skip
