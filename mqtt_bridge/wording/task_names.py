# ruff: noqa: E501, ISC004 -- one rule, one row
"""Task types of Proxmox VE and Backup Server in words, and how a task's log tells its type.

Names: `task_desc_table` of the web interfaces, and the worker types that the API code passes to fork_worker and spawn.
"""

import re
from typing import Final

# type → (what, with {id} where the task's id belongs)
NAMES: Final[dict[str, str]] = {
    "vzdump": "Backup of {guest}",
    "qmstart": "Start of VM {id}", "qmstop": "Stop of VM {id}", "qmshutdown": "Shutdown of VM {id}",
    "qmreboot": "Reboot of VM {id}", "qmreset": "Reset of VM {id}", "qmsuspend": "Hibernation of VM {id}",
    "qmpause": "Pause of VM {id}", "qmresume": "Resume of VM {id}", "qmcreate": "Creation of VM {id}",
    "qmdestroy": "Removal of VM {id}", "qmclone": "Clone of VM {id}", "qmmigrate": "Migration of VM {id}",
    "qmigrate": "Migration of VM {id}", "qmrestore": "Restore of VM {id}", "qmsnapshot": "Snapshot of VM {id}",
    "qmdelsnapshot": "Removal of a snapshot of VM {id}", "qmrollback": "Rollback of VM {id}",
    "qmtemplate": "Conversion of VM {id} to a template", "qmconfig": "Configuration of VM {id}",
    "qmmove": "Move of a disk of VM {id}", "resize": "Resize of a disk of guest {id}",
    "vzstart": "Start of CT {id}", "vzstop": "Stop of CT {id}", "vzshutdown": "Shutdown of CT {id}",
    "vzreboot": "Reboot of CT {id}", "vzsuspend": "Suspension of CT {id}", "vzresume": "Resume of CT {id}",
    "vzcreate": "Creation of CT {id}", "vzdestroy": "Removal of CT {id}", "vzclone": "Clone of CT {id}",
    "vzmigrate": "Migration of CT {id}", "vzrestore": "Restore of CT {id}", "vzsnapshot": "Snapshot of CT {id}",
    "vzdelsnapshot": "Removal of a snapshot of CT {id}", "vzrollback": "Rollback of CT {id}",
    "vztemplate": "Conversion of CT {id} to a template", "move_volume": "Move of a volume of CT {id}",
    "vncproxy": "Console of guest {id}", "vncshell": "Shell", "termproxy": "Console {id}",
    "spiceproxy": "SPICE console of VM {id}", "vzconsole": "Console of CT {id}",
    "startall": "Start of all guests", "stopall": "Stop of all guests", "migrateall": "Migration of all guests",
    "suspendall": "Suspension of all guests", "hastart": "HA start of guest {id}", "hastop": "HA stop of guest {id}",
    "hamigrate": "HA migration of guest {id}", "harelocate": "HA relocation of guest {id}",
    "hashutdown": "HA shutdown of guest {id}", "aptupdate": "Refresh of the package list", "aptupgrade": "Upgrade",
    "download": "Download of {id}", "imgcopy": "Copy of {id}", "imgdel": "Removal of {id}", "imgimport": "Import",
    "srvstart": "Start of service {id}", "srvstop": "Stop of service {id}", "srvrestart": "Restart of service {id}",
    "srvreload": "Reload of service {id}", "srvnetrestart": "Reload of the network",
    "acmenewcert": "Order of a certificate", "acmerenew": "Renewal of the certificate",
    "acmerevoke": "Revocation of the certificate", "acmeregister": "Registration of an ACME account",
    "auth-realm-sync": "Synchronisation of realm {id}", "zfscreate": "Creation of ZFS pool {id}",
    "garbage_collection": "Garbage collection of {id}", "verificationjob": "Verification job {id}",
    "verify": "Verification of {id}", "verify_group": "Verification of {id}", "verify_snapshot": "Verification of {id}",
    "prune": "Prune of {id}", "prunejob": "Prune job {id}", "syncjob": "Sync job {id}", "sync": "Sync of {id}",
    "pull": "Pull of {id}", "push": "Push of {id}", "backup": "Backup to {id}", "reader": "Restore from {id}",
    "tape-backup": "Tape backup {id}", "tape-backup-job": "Tape backup job {id}", "tape-restore": "Tape restore {id}",
    "logrotate": "Rotation of the logs", "delete-datastore": "Removal of datastore {id}",
    "create-datastore": "Creation of datastore {id}", "cephcreateosd": "Creation of an OSD",
    "cephdestroyosd": "Removal of OSD {id}", "unmount-device": "Unmount of {id}", "mount-device": "Mount of {id}",
}  # fmt: skip

_VMID = r"(?P<guest>[1-9]\d{2,8})"


def _rows(*rows: tuple[str, str]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((kind, re.compile(pattern)) for kind, pattern in rows)


# type ← a line of the task's log; the first row that is found counts.
FROM_LOG: Final = _rows(
    ("vzdump", rf"(?:Starting|Finished|ERROR:) Backup of (?:VM|CT) {_VMID}"),
    ("vzdump", r"starting new backup job: vzdump|Backup job (?:finished|failed)|creating (?:vzdump|Proxmox Backup Server)"
     r" archive|^INFO: trying to get global lock"),
    ("verificationjob", r"[Ss]tarting datastore verify job|(?:^|: )verif(?:y|ication) job '"),
    ("verify", r"(?:^|: )verify (?:datastore|group|backup) |(?:^|: )Verify datastore"),
    ("garbage_collection", r"[Ss]tarting garbage collection on store|Garbage collection error|Start GC phase1"),
    ("prunejob", r"prune job '"),
    ("prune", r"[Ss]tarting (?:datastore )?prune on"),
    ("syncjob", r"[Ss]tarting datastore sync job|(?:^|: )sync job '"),
    ("sync", r"(?:^|: )(?:pull|sync|Sync) datastore '"),
    ("tape-backup-job", r"[Ss]tarting tape backup job"),
    ("tape-backup", r"tape backup of datastore"),
    ("tape-restore", r"^[^\n]{0,40}Restore catalog|Restoring snapshot .{0,80}tape"),
    ("backup", rf"starting new backup on datastore '[^']{{1,80}}'[^\n]{{0,80}}?(?:\"(?:ns/[^\"]{{1,80}}/)?(?:vm|ct)/{_VMID}/)"),
    ("backup", r"starting new backup on datastore"),
    ("reader", r"starting new backup reader datastore"),
    ("logrotate", r"starting logrotate|[Ss]tarting task log rotation"),
    ("vzmigrate", rf"starting migration of CT {_VMID}"),
    ("vzmigrate", r"CT is locked \(migrate\)"),
    ("qmigrate", rf"starting (?:online/live |offline )?migration (?:of VM {_VMID}|on (?:tcp|unix|exec))|migration finished "
     r"with problems|ERROR: online migrate failure|ERROR: migration aborted \(duration"),
    ("vzmigrate", r"start container on target node|shutdown CT "),
    ("qmrestore", r"restore vma archive|restore proxmox backup image|rescan volumes\.\.\.|pbs-restore|"
     r"new volume ID is|progress \d{1,3}% \(read \d"),
    ("vzrestore", r"recovering backed-up configuration from|restoring '[^'\n]{1,200}' now|restore-(?:lxc|ct)"),
    ("vzcreate", r"extracting archive '[^'\n]{0,200}vztmpl|Creating SSH host key|Detected container architecture"),
    ("vzclone", r"create (?:full|linked) clone of mountpoint"),
    ("qmmove", r"create full clone of drive \S+ \([^)\n]{1,120}\)[\s\S]{0,2000}?(?:switching to the new disk|moving disk)"),
    ("qmclone", r"create (?:full|linked) clone of drive|clone failed"),
    ("hamigrate", rf"Requesting HA migration for (?:VM|CT) {_VMID}"),
    ("hastart", rf"Requesting HA start for (?:VM|CT) {_VMID}"),
    ("hastop", rf"Requesting HA stop for (?:VM|CT) {_VMID}"),
    ("vzstart", rf"startup for container '{_VMID}' failed"),
    ("vzstart", rf"(?:Failed to initialize|hook\.[\w-]{{1,20}} for) container \"{_VMID}\""),
    ("vzstart", r"lxc_init: \d|__lxc_start: \d|run_buffer: \d|lxc-start|CT is locked \((?:mounted|create)\)"),
    ("vzrollback", rf"rollback of CT {_VMID}"),
    ("qmshutdown", r"VM quit/powerdown failed"),
    ("qmsnapshot", r"snapshotting 'drive-|saving VM state and RAM|snapshot create failed"),
    ("qmdestroy", rf"purging VM {_VMID} from related"),
    ("vzdestroy", rf"purging CT {_VMID} from related"),
    ("qmstart", rf"(?:VM (?=\d{{3,9}} already running)|command '/usr/bin/kvm -id ){_VMID}"),
    ("qmstart", r"ifname=tap(?P<guest>[1-9]\d{2,8})i\d[\s\S]{0,4000}start failed: "),
    ("qmstart", r"start failed: |^kvm: -|QEMU exited with code|(?:^|\n)kvm: |swtpm_setup|timeout waiting on systemd"),
    ("vzshutdown", r"command 'lxc-stop -n \d{3,9} [^\n]{0,80}' failed"),
    ("aptupdate", r"starting apt-get update"),
    ("acmenewcert", r"Placing ACME order|Loading ACME account details"),
    ("stopall", r"Stopping (?:VM|CT) \d{3,9} \(timeout"),
    ("startall", r"(?:^|\n)Starting (?:VM|CT) \d{3,9}"),
    ("srvreload", r"starting network reload|ifreload"),
    ("download", r"downloading https?://\S{1,400} to "),
    ("imgcopy", r"starting file import from: "),
    ("auth-realm-sync", r"starting sync for realm"),
)  # fmt: skip
