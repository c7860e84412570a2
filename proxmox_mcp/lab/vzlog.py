"""What vzdump writes: its log, the names of its archives, its snapshots on a backup server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .pbs.state import PbsSnapshot
from .state import Volume

if TYPE_CHECKING:
    from .pbs.state import PbsHost
    from .state import Guest, Storage


def stamp(at: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return datetime.fromtimestamp(at, UTC).strftime(form)


def iso(at: float) -> str:
    return stamp(at, "%Y-%m-%dT%H:%M:%SZ")


def archive(guest: Guest, at: float) -> str:
    """Name an archive in a directory."""
    suffix = "vma.zst" if guest.kind == "qemu" else "tar.zst"
    return f"vzdump-{guest.kind}-{guest.vmid}-{stamp(at, '%Y_%m_%d-%H_%M_%S')}.{suffix}"


def volume(guest: Guest, storage: Storage, at: int, size: int, notes: str) -> Volume:
    """Describe the backup as the storage lists it."""
    kind = "vm" if guest.kind == "qemu" else "ct"
    if storage.kind == "pbs":
        volid = f"{storage.name}:backup/{kind}/{guest.vmid}/{iso(at)}"
        form = f"pbs-{kind}"
    else:
        name = archive(guest, at)
        volid, form = f"{storage.name}:backup/{name}", name.split(".", 1)[1]
    return Volume(volid, "backup", form, size, at, guest.vmid, notes, subtype=guest.kind)


def snapshot(host: PbsHost, store: str, guest: Guest, *, at: int, size: int, notes: str) -> None:
    kind = "vm" if guest.kind == "qemu" else "ct"
    old = host.clock.now() - at > 86_400  # noqa: PLR2004 - verified daily
    host.datastores[store].snapshots.append(
        PbsSnapshot(kind, str(guest.vmid), at, size, comment=notes, verified="ok" if old else "")
    )


def lines(guest: Guest, storage: str, mode: str, at: float, size: int, *, error: str = "") -> list[str]:
    """Give the log of one guest's backup, without the first and last lines of the job."""
    what = "VM" if guest.kind == "qemu" else "CT"
    rows = [
        f"INFO: starting new backup job: vzdump {guest.vmid} --mode {mode} --storage {storage} --node {guest.node}",
        f"INFO: Starting Backup of VM {guest.vmid} ({guest.kind})",
        f"INFO: Backup started at {stamp(at)}",
        f"INFO: status = {'running' if guest.running else 'stopped'}",
        f"INFO: {what} Name: {guest.name}",
        f"INFO: backup mode: {mode}",
        "INFO: ionice priority: 7",
        f"INFO: creating vzdump archive '{archive(guest, at)}'",
    ]
    if error:
        return [
            *rows,
            f"ERROR: Backup of VM {guest.vmid} failed - {error}",
            f"INFO: Failed at {stamp(at + 20)}",
            "INFO: Backup job finished with errors",
        ]
    gib = size / 1024**3
    return [
        *rows,
        f"INFO:  50% ({gib / 2:.1f} GiB of {gib:.1f} GiB) in 15s, read: 201.1 MiB/s, write: 180.4 MiB/s",
        f"INFO: 100% ({gib:.1f} GiB of {gib:.1f} GiB) in 30s, read: 198.7 MiB/s, write: 176.9 MiB/s",
        f"INFO: transferred {gib:.2f} GiB in 30 seconds",
        f"INFO: archive file size: {gib:.2f}GB",
        f"INFO: Finished Backup of VM {guest.vmid} (00:00:30)",
        f"INFO: Backup finished at {stamp(at + 30)}",
        "INFO: Backup job finished successfully",
    ]
