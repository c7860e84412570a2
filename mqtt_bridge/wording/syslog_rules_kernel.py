# ruff: noqa: E501 -- one rule, one row
"""What the Linux kernel says of memory, disks, file systems and networks (printk formats of 5.x and 6.x)."""

from mqtt_bridge.wording.syslog_row import VMID, Row, noise, row

_NIC = r"(?P<link>[A-Za-z][\w.@-]{1,30})"
_DISK = r"(?P<device>[a-z][\w-]{1,40})"

MEMORY: tuple[Row, ...] = (
    row("guest.oom", "oom-kill:", rf"(?:task_memcg|oom_memcg)=/(?:qemu\.slice/{VMID}\.scope)", "VM {guest} was killed for lack of memory"),
    row("guest.oom", "oom-kill:", rf"(?:task_memcg|oom_memcg)=/(?:lxc(?:\.payload)?[./]){VMID}\b", "CT {guest}: a process was killed for lack of memory"),
    row("guest.oom", "asks in /lxc", rf"Tasks in /lxc(?:\.payload)?[./]{VMID}\b", "CT {guest}: processes were killed for lack of memory"),
    row("guest.oom", "ask in /lxc", rf"Task in /lxc(?:\.payload)?[./]{VMID}\b", "CT {guest}: a process was killed for lack of memory"),
    row("guest.oom", "ask in /qemu", rf"Task in /qemu\.slice/{VMID}\.scope", "VM {guest} was killed for lack of memory"),
    row("cgroup.oom", "oom-kill:", r"CONSTRAINT_MEMCG[^\n]{0,200}(?:task=(?P<task>[^,]{1,60}))", "{task} was killed: its memory limit is reached"),
    row("node.oom", "oom-kill:", r"(?:task=(?P<task>[^,]{1,60}))?", "The node is out of memory: {task} was killed"),
    row("cgroup.oom", "emory cgroup out of memory", r"(?:Killed process|Kill process) (?P<pid>\d+) \((?P<task>[^)]{1,60})\)", "{task} was killed: its memory limit is reached"),
    row("cgroup.oom", "emory cgroup out of memory", "", "A memory limit is reached"),
    row("node.oom", "ut of memory", r"Kill(?:ed)? process (?P<pid>\d+) \((?P<task>[^)]{1,60})\)", "The node is out of memory: {task} was killed"),
    row("node.oom", "invoked oom-killer", r"^(?P<task>.{1,60}?) invoked", "The node is out of memory"),
    row("node.oom", "Out of memory", "", "The node is out of memory"),
)  # fmt: skip
ZFS: tuple[Row, ...] = (
    row("storage.zfs.suspended", "has been suspended", r"Pool '(?P<pool>[^']{1,80})'", "ZFS pool {pool} is suspended"),
    row(
        "storage.zfs.io",
        "zio pool=",
        r"zio pool=(?P<pool>\S+) vdev=(?P<device>\S+) error=(?P<error>\d+)",
        "ZFS pool {pool} has I/O errors on {device}",
    ),
)
RAID: tuple[Row, ...] = (
    row("storage.md.degraded", "md/raid", r"md/raid\w*:(?P<pool>\w+): (?:Disk failure on (?P<device>\w+)|Operation continuing on \d+ devices)", "RAID {pool} is degraded: {device} failed"),
    row("storage.md.degraded", "md/raid", r"md/raid\w*:(?P<pool>\w+): (?:not enough|cannot start|too many)", "RAID {pool} is degraded"),
    row("storage.md.degraded", "md/raid", r"md/raid\w*:(?P<pool>\w+): (?:raid level \S+ )?active with (?P<active>\d+) out of (?!(?P=active)\b)\d+", "RAID {pool} runs with {active} devices"),
    row("storage.md.warning", "md/raid", r"md/raid\w*:(?P<pool>\w+): not clean", "RAID {pool} is being rebuilt"),
    row("storage.md.degraded", "peration continuing on", r"on \d+ devices", "A RAID is degraded"),
    row("disk.io.error", "md/raid", r"md/raid\w*:(?P<pool>\w+): (?:\S+: )?(?:read error|unrecoverable|redirecting|rescheduling|read correction)", "RAID {pool} has read errors"),
    row("storage.md.warning", " of RAID array", r"md: (?:recovery|resync) of RAID array (?P<pool>\w+)", "RAID {pool} is being rebuilt"),
    row("storage.md.degraded", "md: ", r"md: kicking non-fresh (?P<device>\w+)", "A RAID is degraded: {device} is not current"),
)  # fmt: skip
DISKS: tuple[Row, ...] = (
    row("disk.io.error", "FAILED Result", r"\[(?P<device>\w+)\]", "Disk {device} has I/O errors"),
    row("disk.io.error", "failed: Result: ", r"\[(?P<device>\w+)\]", "Disk {device} has I/O errors"),
    row("disk.io.error", "Sense", r"\[(?P<device>\w+)\][^\n]{0,200}(?:Add\. Sense|Sense Key ?: ?(?!No Sense|Not Ready \[deferred))", "Disk {device} has I/O errors"),
    row("disk.io.error", "I/O error", rf"I/O error[ ,]+(?:on )?(?:dev(?:ice)?)? ?{_DISK},", "Disk {device} has I/O errors"),
    row("disk.io.error", "I/O error", r"(?:I/O error|logical block)", "A disk has I/O errors"),
    row("disk.io.error", " error, dev ", rf"(?:critical \w+|print_req_error:|recovered|protection|\w+) error, dev {_DISK}", "Disk {device} has I/O errors"),
    row("disk.io.error", "CDB: ", r"\[(?P<device>\w+)\]", "Disk {device} has I/O errors"),
    row("disk.io.error", "ata", r"(?P<device>ata\d+(?:\.\d+)?): (?:exception Emask|failed command|error: \{|hard resetting link|SError|COMRESET failed|"
        r"limiting SATA|status: \{ DRDY ERR|revalidation failed|disabled|disable device|device error|SRST failed|qc timeout|link is slow)", "{device}: errors on the disk's link"),
    row("disk.io.error", "nvme", r"(?P<device>nvme\d+(?:n\d+)?)[: ][^\n]{0,200}(?:timeout(?! set)|controller is down|not ready|[Rr]emoving|probe failure|Abort status|aborting|resetting controller|failed|[Ee]rror)",
        "NVMe {device} does not answer"),
    row("disk.io.error", "offline device", rf"(?:\[?{_DISK}\]?:? )?rejecting I/O", "A disk is gone"),
    row("disk.io.error", "EXT4-fs error", r"device (?P<device>[\w-]+)", "File system on {device} has errors"),
    row("disk.io.error", "emounting filesystem read-only", r"\((?P<device>[\w-]+)\)", "File system on {device} is read-only now"),
    row("disk.io.error", "EXT4-fs", r"EXT4-fs (?:warning )?\((?:device )?(?P<device>[\w-]+)\)[^\n]{0,200}(?:error(?!s=)|failed|failure|corrupt)", "File system on {device} has errors"),
    row("disk.io.error", "borting journal", r"device (?P<device>[\w-]+)", "File system on {device} gave up its journal"),
    row("disk.io.error", "JBD2: ", r"[Ee]rror|failure", "A file system's journal has errors"),
    row("disk.io.error", "XFS (", r"XFS \((?P<device>[\w-]+)\): [^\n]{0,200}(?:[Cc]orruption|error|[Ss]hutting down|shutdown|[Ff]ailed)", "File system on {device} has errors"),
    row("disk.io.error", "BTRFS", r"BTRFS (?:error|critical|warning)?[^\n]{0,10}\(device (?P<device>[\w-]+)[^\n]{0,200}(?:err|corrupt|csum failed|forced readonly|abort)", "File system on {device} has errors"),
    row("disk.io.error", "rror on swap-device", r"swap-device \((?P<device>[\d:]+)", "The swap device {device} has errors"),
    row("disk.io.error", "evice offlined", r"sd (?P<device>[\d:]+)", "Disk {device} is gone"),
    row("disk.io.error", "", r"^(?P<device>(?:mpt\dsas|megaraid_sas|aacraid|hpsa|arcmsr)\S*)[: ][^\n]{0,200}(?i:non-operational|medium error|unrecoverable|degraded|fault state|is gone)",
        "Disk controller {device} tells of errors"),
    row("disk.io.error", "Device not ready", "", "A disk does not answer"),
    row("disk.io.error", "attempting task abort", "", "A disk does not answer"),
    row("disk.io.error", "Medium Error", "", "A disk can't read a sector"),
    row("disk.io.error", "reset", r"(?:usb-storage|uas|mpt\dsas|megaraid|aacraid|hpsa|scsi)[^\n]{0,200}(?:reset|abort)[^\n]{0,200}(?:fail|error)", "A disk controller had to be reset"),
)  # fmt: skip
SHARES: tuple[Row, ...] = (
    row("storage.usage.high", "device-mapper: thin", r"low water mark|out-of-(?:data|metadata)-space|no free (?:data|metadata) space", "A thin pool is running full"),
    row("storage.nfs.unreachable", "nfs: server", r"nfs: server (?P<server>\S+) not responding", "NFS server {server} does not answer"),
    row("storage.status", "nfs: server", r"nfs: server (?P<server>\S+) OK", "NFS server {server} answers again"),
    row("storage.nfs.unreachable", "NFS", r"NFS: (?:state manager|nfs4_\w+)[^\n]{0,200}(?:failed|error)[^\n]{0,200}(?:server (?P<server>\S+))?", "An NFS server does not answer"),
    row("storage.offline", "CIFS", r"CIFS:? (?:VFS: )?[^\n]{0,200}(?:has not responded|cifs_mount failed|Send error|STATUS_LOGON_FAILURE|No task to wake|Server \S+ |BAD_NETWORK_NAME|STATUS_[A-Z_]+|rc = -\d)", "An SMB server does not answer"),
)  # fmt: skip
NETWORK: tuple[Row, ...] = (
    row("network.nic.hang", "Unit Hang", rf"(?:{_NIC}: )?(?:\S+: )?Detected (?:Hardware|Tx) Unit Hang", "Network card {link} hangs"),
    row("network.nic.hang", "NETDEV WATCHDOG", rf"NETDEV WATCHDOG: {_NIC}", "Network card {link} hangs"),
    row("network.nic.hang", "transmit queue", rf"(?:{_NIC}:? )?(?:\([^)]{{1,40}}\): )?transmit queue \d+ timed out", "Network card {link} hangs"),
    row("network.nic.hang", "eset adapter", rf"(?:{_NIC}: )?Reset adapter", "Network card {link} was reset"),
    row("network.nic.hang", "dapter reset", "", "A network card was reset"),
    row("network.nic.hang", "driver issue detected", rf"(?:{_NIC}: )?[TR]X driver issue detected", "Network card {link} hangs"),
    row("network.nic.hang", "PCIe link lost", rf"(?:{_NIC}: )?PCIe link lost", "Network card {link} is gone"),
    row("network.nic.hang", "r8169", rf"{_NIC}: rtl_\w+ == \d", "Network card {link} hangs"),
    row("network.link.down", "link failed", rf"port \d+\({_NIC}\) link failed", "Link {link} is down"),
    row("network.nic.hang", "TX timeout", rf"{_NIC}: ", "Network card {link} hangs"),
    row("network.bridge.port", "entered ", rf"port \d+\((?P<link>(?:tap|veth|fwpr|fwln){VMID}[a-z]\d+)\) entered (?P<state>\w+) state", "Bridge port {link} of guest {guest}: {state}"),
    row("network.bridge.port", "entered ", rf"fwbr{VMID}i\d+: port \d+\((?P<link>[^)]{{1,40}})\) entered (?P<state>\w+) state", "Bridge port {link} of guest {guest}: {state}"),
    row("network.bridge.port", "entered ", r"port \d+\((?P<link>[^)]{1,40})\) entered (?P<state>\w+) state", "Bridge port {link}: {state}"),
    row("network.link.down", "link status ", rf"\(slave {_NIC}\): link status (?:definitely )?down|link status (?:definitely )?down for (?:interface|active interface) ", "Bond member {link} is down"),
    row("network.link.up", "link status ", rf"\(slave {_NIC}\): link status (?:definitely )?up|link status (?:definitely )?up for interface", "Bond member {link} is up"),
    row("network.link.down", "without any active interface", rf"{_NIC}: ", "Bond {link} has no link left", "error"),
    row("noise", "SATA link"),
    row("noise", "ink becomes ready", r"\b(?:tap|veth|fw(?:br|pr|ln))\d\S*: link becomes ready"),
    row("network.link.up", "ink becomes ready", rf"{_NIC}: link becomes ready", "Link {link} is up"),
    row("network.link.down", "own", rf"(?:{_NIC}:? )?(?:NIC )?(?:Copper |Fibre |Fiber )?[Ll]ink (?:is )?[Dd]own", "Link {link} is down"),
    row("network.link.up", "p", rf"(?:{_NIC}:? )?(?:NIC )?(?:Copper |Fibre |Fiber )?[Ll]ink (?:is )?[Uu]p\b", "Link {link} is up"),
    row("network.link.down", "link change old", rf"{_NIC}: [^\n]{{0,40}}link change old \d+ new 0\b", "Link {link} is down"),
    row("network.link.up", "link change old", rf"{_NIC}: [^\n]{{0,40}}link change old", "Link {link} is up"),
    row("network.link.down", "ost carrier", rf"{_NIC}: [Ll]ost carrier", "Link {link} is down"),
    row("network.link.up", "ained carrier", rf"{_NIC}: [Gg]ained carrier", "Link {link} is up"),
)  # fmt: skip
FIREWALL: tuple[Row, ...] = (
    row("noise", "pvefw logger"),
    row("noise", "received terminate request"),
    row("noise", "ACCEPT: "),
    row("firewall.dropped", "PVEFW", rf"^(?:0|{VMID}) \d (?P<chain>PVEFW-\S+|\S+) \S+ \S+ (?:policy )?(?P<action>DROP|REJECT)", "Firewall: {action} in {chain}"),
    row("firewall.dropped", "SRC=", rf"^(?:0|{VMID}) \d (?P<chain>\S+) \S+ \S+ (?:policy )?(?P<action>[A-Z]+)[^\n]{{0,200}}SRC=(?P<source>\S+)", "Firewall: {action} of {source}"),
    row("firewall.dropped", "SRC=", r"IN=(?P<link>\S*)[^\n]{0,200}SRC=(?P<source>\S+)", "Firewall dropped a packet of {source}"),
    row("firewall.dropped", "policy ", r"policy (?P<action>DROP|REJECT):", "Firewall: {action}"),
)  # fmt: skip
OTHER: tuple[Row, ...] = (
    row("service.error", "segfault at", r"^(?P<task>\S+?)\[(?P<pid>\d+)\]: segfault", "{task} crashed"),
    row("service.error", "traps: ", r"traps: (?P<task>\S+?)\[", "{task} crashed"),
    row("service.error", "general protection", r"(?:^|traps: )(?P<task>\S+?)\[(?P<pid>\d+)\]", "{task} crashed"),
    row("syslog.message", "blocked for more than", r"task (?P<task>\S{1,60}) blocked for more than (?P<seconds>\d+) seconds", "{task} has hung for {seconds} s", "error", ok=False),
    row("syslog.message", "lockup", r"(?:soft|hard) lockup|hard LOCKUP", "A processor hangs", "critical", ok=False),
    row("syslog.message", "Kernel panic", "", "The kernel panicked", "critical", ok=False),
    row("syslog.message", "own address as source", r"received packet on (?P<link>\S+)", "A network loop at {link}, or an address used twice", "warning", ok=False),
    row("syslog.message", "TCP: out of memory", "", "The memory for TCP is used up", "warning", ok=False),
    row("syslog.message", "kernel BUG at", "", "The kernel met a fault of its own", "critical", ok=False),
    row("syslog.message", "detected stall", r"rcu\S*|RCU", "A processor hangs", "error", ok=False),
    row("syslog.message", "Hardware Error", "", "The hardware reports an error", "error", ok=False),
    row("syslog.message", "EDAC", r"EDAC \w+: \d+ UE\b", "Memory is damaged: an error could not be corrected", "error", ok=False),
    row("syslog.message", "EDAC", r"EDAC \w+: \d+ CE\b", "Memory is failing: an error was corrected", "warning", ok=False),
    row("syslog.message", "AER: ", r"AER: (?:Multiple )?[Uu]ncorrect\w+", "A device on the PCI bus has errors", "error", ok=False),
    row("syslog.message", "fault addr", r"(?:DMAR|AMD-Vi|IOMMU)", "A device reached for memory that is not its own", "error", ok=False),
    row("syslog.message", "AMD-Vi", r"IO_PAGE_FAULT|ILLEGAL_DEV_TABLE_ENTRY", "A device reached for memory that is not its own", "error", ok=False),
    row("syslog.message", "above threshold", r"temperature", "The processor is too hot", "warning", ok=False),
    row("node.time.jump", "timekeeping watchdog", "", "The clock is unstable"),
    row("watchdog.expired", "watchdog did not stop", "", "The watchdog was left running: the node resets"),
    row("node.shutdown", "reboot: ", r"reboot: (?:Restarting system|Power down|System halted)", "The node shuts down"),
    row("node.shutdown", "Restarting system", "", "The node restarts"),
    row("noise", "apparmor=", rf"profile=\"lxc-{VMID}"),
    row("noise", "", r"^(?:ACPI\b|atkbd |i8042|\[?drm|snd[_-]|sof-|i915 |nouveau |amdgpu |Bluetooth|iwlwifi |tpm|psmouse|mei_|uvcvideo"
        r"|EDAC |hid-|usb usb|tsc: |RAS: |Warning: PCIe ACS|x86/|pci 0000|SGX |Spectre|Lockdown|mce: CPU|microcode|smpboot|ENERGY_PERF"
        r"|resource sanity|spl: |ZFS: |cgroup: |kvm(?:_\w+)?: |kvm \[|pcieport \S+ AER: (?:Multiple )?Corrected|usb \d[\d.-]*: (?:device descriptor|new |New |USB disconnect|reset |unable to enumerate)"
        r"|Command line|Linux version|perf: |hrtimer: )"),
    *noise("[Firmware Bug]", "[Firmware Warn]", "apparmor=", "audit:", "promiscuous mode", "oom_reaper", "SATA link up"),
)  # fmt: skip
KERNEL: tuple[Row, ...] = (*MEMORY, *ZFS, *RAID, *DISKS, *SHARES, *FIREWALL, *NETWORK, *OTHER)
