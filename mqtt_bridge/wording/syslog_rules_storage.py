# ruff: noqa: E501 -- one rule, one row
"""Storage: what pvestatd and the tasks say of storages, zed, smartd, mdadm, ceph.

Sources: pve-storage, pve-manager (pvestatd), openzfs (zed.d), smartmontools (smartd.cpp), mdadm (Monitor.c), ceph.
"""

from mqtt_bridge.wording.syslog_row import Row, noise, row

_REFUSED = r"(?P<error>[^\n]{0,200}(?:40[13] |[Uu]nauthorized|permission check failed|authentication fail|NT_STATUS_LOGON_FAILURE|LOGON_FAILURE)[^\n]*)"

MULTIPATH: tuple[Row, ...] = (
    row("syslog.message", "remaining active paths: 0", r"(?P<device>\S+): remaining", "No path to {device} is left", "error", ok=False),
    row("syslog.message", "path", r"(?P<device>\w+): (?:\w+ - )?(?:path (?:is )?(?:offline|down)|(?:mark as )?failed path|[Ff]ail(?:ing)? path)", "A path to {device} is lost", "warning", ok=False),
    row("syslog.message", "mark as failed", r"(?P<device>\w+): mark as failed", "A path to {device} is lost", "warning", ok=False),
)  # fmt: skip
STORAGE: tuple[Row, ...] = (
    row("datastore.error", "unable to open chunk store", r"chunk store (?:'(?P<storage>[^']{1,80})' )?at [^\n]*? - (?P<error>[^\n]*)", "A datastore can't be opened: {error}"),
    row("storage.zfs.suspended", "currently suspended", r"'(?P<pool>[^']{1,80})': pool I/O is currently suspended", "ZFS pool {pool} is suspended"),
    row("storage.zfs.missing", "no such pool", r"(?:open|import) '(?P<pool>[^']{1,80})': no such pool", "ZFS pool {pool} is missing"),
    row("storage.zfs.missing", "zfs error: ", r"cannot open '(?P<pool>[^']{1,120})': dataset does not exist", "ZFS dataset {pool} is missing"),
    row("storage.zfs.missing", "cannot import", r"cannot import '?(?P<pool>[\w.:-]{1,80})", "ZFS pool {pool} can't be imported"),
    row("storage.offline", "activate storage", rf"activate storage '(?P<storage>[^']{{1,100}})'[^\n]*? {_REFUSED}",
        "Storage {storage} refuses the login", "error"),
    row("storage.offline", "error fetching datastores", rf"(?:^|[\s'])(?P<storage>[\w.-]{{1,100}}): error fetching datastores - {_REFUSED}",
        "Storage {storage} refuses the login", "error"),
    row("storage.offline", "mount error", rf"mount error[^\n]{{0,20}}: {_REFUSED}", "A storage refuses the login", "error"),
    row("storage.offline", "error fetching datastores", r"(?:^|[\s'])(?P<storage>[\w.-]{1,100}): error fetching datastores - (?P<error>[^\n]*)",
        "Storage {storage} is not reachable: {error}"),
    row("storage.offline", "is not online", r"storage '?(?P<storage>[^'\s]{1,100})'? is not online", "Storage {storage} is offline"),
    row("storage.offline", "activate storage", r"activate storage '(?P<storage>[^']{1,100})'(?:[ :,-]+(?P<error>[^\n]*))?", "Storage {storage} is offline: {error}"),
    row("storage.offline", "mount error", r"mount error[^:\n]{0,20}: (?P<error>[^\n]*)", "A storage can't be mounted: {error}"),
    row("storage.offline", "mount.", r"mount\.(?:nfs4?|cifs): (?P<error>[^\n]*)", "A storage can't be mounted: {error}"),
    row("storage.offline", "proxmox-backup-client failed", r"failed: (?P<error>[^\n]*)", "A Backup Server does not answer: {error}"),
    row("storage.offline", "' failed: ", r"command '(?:/usr)?/s?bin/(?:smbclient|showmount|rpcinfo|iscsiadm|mount|gluster|rbd|zpool|zfs|vgs|lvs|pvs|sshfs)\b[^\n]*' failed: (?P<error>[^\n]*)",
        "A storage can't be reached: {error}"),
    row("storage.offline", "rados_connect failed", r"rados_connect failed - (?P<error>[^\n]*)", "Ceph can't be reached: {error}"),
    row("storage.offline", "transaction_id is", r"pool (?P<pool>\S{1,100}) ", "LVM thin pool {pool} can't be used"),
    row("storage.offline", "is not mounted", r"storage '?(?P<storage>[\w.-]{1,100})'?[^\n]{0,200}is not mounted", "Storage {storage} is not mounted"),
    row("storage.offline", "no such logical volume", r"volume (?P<pool>\S{1,100})", "LVM volume {pool} is missing"),
    row("storage.offline", "no such volume group", r"group (?P<pool>\S{1,100})", "LVM group {pool} is missing"),
    row("storage.offline", "storage ", r"storage '?(?P<storage>[\w.-]{1,100})'? (?:does not exist|is not available|not available)", "Storage {storage} is not available"),
    row("storage.disabled", "is disabled", r"storage '?(?P<storage>[\w.-]{1,100})'? is disabled", "Storage {storage} is disabled"),
    row("storage.usage.high", "Thin pool", r"Thin (?:pool|metadata) (?P<pool>\S{1,100})[^\n]{0,40} is now (?P<percent>[\d.]+)% full",
        "LVM thin pool {pool} is {percent} % full"),
    row("storage.usage.high", "pool", r"(?:low water mark|out-of-(?:data|metadata)-space|free space below|no free (?:data|metadata) space)", "A thin pool is running full"),
    row("storage.usage.high", "space", r"[Nn]o space left on device", "A file system is full"),
)  # fmt: skip
PVESTATD: tuple[Row, ...] = (
    row("node.status.slow", " update time (", r"\((?P<seconds>[\d.]+) seconds\)", "Collecting the status took {seconds} s"),
    *STORAGE,
    row("storage.offline", "got timeout", r"^(?:\S{1,40} status update error: )?(?P<error>(?:command '[^\n]{1,300}' failed: )?got timeout)", "A storage does not answer"),
)  # fmt: skip
ZED: tuple[Row, ...] = (
    row("storage.zfs.errors", "class=", r"class=(?P<class>checksum|data|authentication|data_error)\b(?:[^\n]{0,200}pool=['\"]?(?P<pool>[^\s'\"]{1,100}))?"
        r"(?:[^\n]{0,200}vdev=(?P<device>[^\s]{1,120}))?", "ZFS pool {pool} has {class} errors on {device}"),
    row("storage.zfs.suspended", "class=io_failure", r"(?:pool=['\"]?(?P<pool>[^\s'\"]{1,100}))?", "ZFS pool {pool} is suspended"),
    row("storage.zfs.io", "class=", r"class=(?P<class>io|probe_failure|delay|deadman|io_timeout|dio_verify_\w+)\b(?:[^\n]{0,200}pool=['\"]?(?P<pool>[^\s'\"]{1,100}))?"
        r"(?:[^\n]{0,200}vdev=(?P<device>[^\s]{1,120}))?", "ZFS pool {pool} has I/O errors on {device}"),
    row("storage.zfs.degraded", "class=", r"class=(?:statechange|removed|vdev[._]\w+|resource\.\S+)\b[^\n]*?"
        r"(?:vdev_state=(?P<state>FAULTED|DEGRADED|UNAVAIL|REMOVED|OFFLINE|CANT_OPEN))", "A device of a ZFS pool is {state}"),
    row("storage.zfs.degraded", "class=", r"class=(?P<class>removed|vdev\.(?:open_failed|corrupt_data|no_replicas|bad_guid_sum|too_small|bad_label|unknown)|vdev_remove_dev)\b"
        r"(?:[^\n]{0,200}pool=['\"]?(?P<pool>[^\s'\"]{1,100}))?", "ZFS pool {pool} lost a device"),
    row("storage.zfs.missing", "class=zpool", r"class=zpool\b(?:[^\n]{0,200}pool=['\"]?(?P<pool>[^\s'\"]{1,100}))?", "ZFS pool {pool} can't be opened"),
    row("storage.zfs.scrub.finished", "class=scrub_finish", r"(?:pool=['\"]?(?P<pool>[^\s'\"]{1,100}))?", "Scrub of ZFS pool {pool} finished"),
    row("storage.zfs.scrub.finished", "class=resilver_finish", r"(?:pool=['\"]?(?P<pool>[^\s'\"]{1,100}))?", "Resilver of ZFS pool {pool} finished"),
    row("storage.zfs.degraded", "state", r"pool '?(?P<pool>[^\s']{1,80})'? (?:is )?(?:DEGRADED|FAULTED)", "ZFS pool {pool} is degraded"),
    *noise("eid=", "class=", "Processing events", "ZFS Event Daemon", "Exiting", "Invoking", "Diagnosis Engine"),
)  # fmt: skip
_DEVICE = r"Device: (?P<device>\S+?)(?: \[[^\]]{1,40}\])?,"
SMARTD: tuple[Row, ...] = (
    row("disk.smart.failing", "FAILED SMART self-check", _DEVICE, "Disk {device} is about to fail"),
    row("disk.smart.failing", "BACK UP DATA NOW", _DEVICE, "Disk {device} is about to fail"),
    row("disk.smart.failing", "Critical Warning (", rf"{_DEVICE} Critical Warning \((?P<value>\w+)\)", "Disk {device} gives a critical warning"),
    row("disk.smart.failing", "FAILING", _DEVICE, "Disk {device} is failing"),
    row("disk.smart.warning", "Failed SMART usage", _DEVICE, "Disk {device}: a usage attribute has failed"),
    row("disk.temperature.high", "emperature", rf"{_DEVICE} [Tt]emperature (?P<celsius>\d+) (?:Celsius )?reached (?:critical )?limit", "Disk {device} has {celsius} °C"),
    row("disk.smart.attribute", "changed", rf"{_DEVICE} (?:SMART (?:Usage|Prefailure) Attribute: (?P<attribute>\d+ \S+) changed|[Tt]emperature changed)", "Disk {device}: a value changed"),
    row("disk.smart.warning", "increased from", _DEVICE, "Disk {device}: an error count rose"),
    row("disk.smart.warning", "unreadable (pending) sectors", rf"{_DEVICE} (?P<count>\d+)", "Disk {device} has {count} unreadable sectors"),
    row("disk.smart.warning", "ncorrectable sectors", rf"{_DEVICE} (?P<count>\d+)", "Disk {device} has {count} uncorrectable sectors"),
    row("disk.smart.warning", "error", rf"{_DEVICE}[^\n]{{0,200}}(?:with error|error count)", "Disk {device} tells of errors"),
    row("noise", "without error"),
    row("disk.smart.warning", "ailed", _DEVICE, "Disk {device} can't be read by smartd"),
    row("disk.smart.warning", "not capable of SMART", _DEVICE, "Disk {device} can't be checked by smartd"),
    row("disk.smart.warning", "able to", _DEVICE, "Disk {device} can't be read by smartd"),
    row("disk.smart.warning", "unable to open", r"unable to open (?:\w+ )?device|Device: ", "A disk can't be opened by smartd"),
    row("disk.smart.warning", "elow threshold", _DEVICE, "Disk {device}: spare below its threshold"),
    *noise("Device: ", "Monitoring", "smartd ", "Opened", "Drive: ", "Configuration", "Copyright", "Signal", "exit"),
)  # fmt: skip
MDADM: tuple[Row, ...] = (
    row("storage.md.degraded", "event", r"(?P<event>Fail|FailSpare|DegradedArray|DeviceDisappeared)(?: event)? (?:event )?(?:detected )?on md device (?P<pool>/?[\w/.-]+)",
        "RAID {pool} is degraded"),
    row("storage.md.warning", "event", r"(?P<event>SparesMissing|RebuildStarted|RebuildFinished|MoveSpare)(?: event)? (?:event )?(?:detected )?on md device (?P<pool>/?[\w/.-]+)",
        "RAID {pool}: {event}"),
    *noise("event detected on md device"),
)  # fmt: skip
CEPH: tuple[Row, ...] = (
    row("ceph.health.cleared", "Health check cleared", r"Health check cleared: (?P<check>\w+)", "Ceph: {check} is over"),
    row("ceph.health.cleared", "Cluster is now healthy", "", "Ceph is healthy"),
    row("ceph.health.cleared", "HEALTH_OK", r"(?:overall |now |health )?HEALTH_OK", "Ceph is healthy"),
    row("ceph.health.warn", "[ERR]", r"(?:Health check|HEALTH_ERR|health)", "Ceph reports an error", "error"),
    row("ceph.health.warn", "HEALTH_ERR", "", "Ceph reports an error", "error"),
    row("ceph.health.warn", "Health check ", r"Health check (?:failed|update): (?P<error>[^\n]*)", "Ceph: {error}"),
    row("ceph.health.warn", "HEALTH_WARN", "", "Ceph is not healthy"),
    row("ceph.health.warn", "Health detail", "", "Ceph is not healthy"),
    row("ceph.health.warn", "slow ", r"slow (?:ops|requests)", "Ceph is slow"),
    row("ceph.health.warn", "osd", r"osd[. ]?\d+[^\n]{0,80}(?:marked (?:itself )?down|failed|reporters? from different)", "Ceph lost an OSD"),
    row("ceph.health.warn", "libceph: ", r"libceph: (?:osd\d+ \S{0,80} ?(?:down|socket closed)|osd\d+ down|mon\d+ \S{1,80} (?:session lost|socket closed))", "Ceph does not answer"),
    row("ceph.health.warn", "[WRN]", r"\[WRN\] ?:? (?P<error>[^\n]*)", "Ceph: {error}"),
)  # fmt: skip
