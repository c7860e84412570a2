"""Notices to tell."""

from typing import Any

from mqtt_bridge.model import Event
from mqtt_bridge.notifiers.notice import Notice

LOG = """INFO: starting new backup job: vzdump 101 --storage pbs-main --mode snapshot
INFO: Starting Backup of VM 101 (qemu)
INFO: status = running
INFO: VM Name: web01
INFO: include disk 'scsi0' 'local-zfs:vm-101-disk-0' 64G
INFO: creating Proxmox Backup Server archive 'vm/101/2026-11-20T03:00:12Z'
INFO: started backup task '3f2c9a10-0f6b-4a51-9a2b-1f7c39a1'
INFO:  12% (7.7 GiB of 64.0 GiB) in 41s, read: 192.3 MiB/s, write: 91.0 MiB/s
ERROR: backup write data failed: command error: write_data upload error: No space left on device (os error 28)
INFO: aborting backup job
ERROR: Backup of VM 101 failed - backup write data failed: No space left on device (os error 28)
INFO: Backup job finished with errors"""


def notice(**changes: Any) -> Notice:
    """A failed backup."""
    given: dict[str, Any] = {
        "id": "delivery-1",
        "kind": "event",
        "title": "Backup of VM 101 (web01) failed",
        "text": "The backup to pbs-main stopped at 12 %: no space left on device.\nThe last good one: 19 November.",
        "severity": "error",
        "at": "2026-11-20T03:00:54Z",
        "site": "lab",
        "incident": "inc-7f3a91",
        "url": "https://pve1.lan:8006/#v1:0:=qemu%2F101",
        "log": LOG,
        "facts": (("Node", "pve1"), ("Guest", "101 (web01)"), ("Storage", "pbs-main"), ("Duration", "42 s")),
    }
    return Notice(**given | changes)


def event(number: int, **changes: Any) -> Event:
    """A backup that went well."""
    names = ("web01", "db01", "nas", "mail", "dns", "build", "git", "ci", "wiki", "grafana", "ha", "proxy")
    name = names[number % len(names)]
    given: dict[str, Any] = {
        "id": f"event-{number}",
        "kind": "backup.guest.finished",
        "title": f"Backup of {name} finished",
        "source": "WEBSOCKET",
        "timestamp": f"2026-11-20T0{1 + number % 3}:{number % 60:02}:12Z",
        "site": "lab",
        "node": f"pve{1 + number % 3}",
        "guest": 100 + number,
        "severity": "info",
        "ok": True,
        "context": {"name": name},
    }
    return Event(**given | changes)


def digest(good: int, *others: Event) -> Notice:
    """The morning's."""
    done = good + sum(bool(other.ok) for other in others)
    return notice(
        kind="digest",
        title=f"{done} of {good + len(others)} backed up, 2 exempt",
        text="Last night's backups.",
        severity="info",
        at="2026-11-20T07:00:00Z",
        incident="",
        url=None,
        log="",
        facts=(("Exempt", "2 (tag no-backup)"),),
        events=[*(event(number) for number in range(good)), *others],
    )
