"""What a guest's lock means, and what to do about it."""

import re
from collections.abc import Mapping

from mqtt_bridge.actions.row import ActionError
from mqtt_bridge.targets import GuestTarget

LOCKS: Mapping[str, str] = {
    "backup": "a backup of it runs, or one was cut off",
    "clone": "it is being cloned, or that was cut off",
    "create": "it is being created or restored, or that was cut off",
    "disk": "one of its disks is being moved or resized, or that was cut off",
    "migrate": "it is being migrated, or that was cut off",
    "rollback": "it is being rolled back to a snapshot, or that was cut off",
    "snapshot": "a snapshot of it is being made, or that was cut off",
    "snapshot-delete": "a snapshot of it is being deleted, or that was cut off",
    "suspending": "it is being suspended to disk, or that was cut off",
    "suspended": "it is suspended to disk: start or resume brings it back",
}
_LOCKED = re.compile(r"is locked \(([a-z-]+)\)")


def lock_text(guest: GuestTarget, lock: str) -> tuple[str, str]:
    """What a lock means, and what to do about it."""
    why = LOCKS.get(lock, "Proxmox is working on it, or was cut off")
    unlock = "qm" if guest.type == "qemu" else "pct"
    return why, f"Wait until that is over; if nothing of the kind runs, `{unlock} unlock {guest.vmid}` on {guest.node}."


def locked(guest: GuestTarget, *tolerated: str) -> ActionError | None:
    """The error of a guest with a lock that the action does not live with."""
    if not guest.lock or guest.lock in tolerated:
        return None
    why, cure = lock_text(guest, guest.lock)
    return ActionError(f"{guest.label} is locked ({guest.lock}): {why}.", cure=cure)


def lock_hint(guest: GuestTarget, exitstatus: str) -> str:
    """What a task's error means where it speaks of a lock."""
    found = _LOCKED.search(exitstatus)
    if not found:
        return ""
    why, cure = lock_text(guest, found[1])
    return f"Probably {why}. {cure}"
