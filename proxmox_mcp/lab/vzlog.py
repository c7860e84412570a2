"""What vzdump writes: its log, the names of its archives, its snapshots on a backup server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .pbs.state import PbsSnapshot
from .push.pve_texts import BackupResult
from .state import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


TOOK, FAILED_AFTER = 30, 20
"""Seconds of a backup, as its log has it: simulated time is shorter."""
_JOB_LINES = (
    "INFO: starting new",
    "INFO: Backup started",
    "INFO: Failed at",
    "INFO: Backup finished",
    "INFO: Backup job",
)
_OPTIONS = ("mode", "compress", "notes-template", "notification-mode", "pool", "all", "quiet", "remove")


def command(guests: Sequence[Guest | int], storage: str, params: Mapping[str, object], node: str) -> str:
    """Write the job as a command line, as vzdump logs it; all guests of a pool or node are not named."""
    every = bool(params.get("pool") or params.get("all"))
    named = [] if every else [str(one if isinstance(one, int) else one.vmid) for one in guests]
    given = {key: str(params[key]) for key in _OPTIONS if key in params} | {"storage": storage, "node": node}
    options = [f"--{key} {_quoted(value)}" for key, value in given.items()]
    return " ".join(["vzdump", *named, *options])


def _quoted(text: str) -> str:
    return text if text.replace("-", "").replace("_", "").isalnum() else f"'{text}'"


def result(guest: Guest, storage: Storage, at: float, size: int, log: Sequence[str]) -> BackupResult:
    """Sum one guest's backup up for the notification; a size of 0 means that it failed."""
    took = TOOK if size else FAILED_AFTER
    name = volume(guest, storage, int(at), size, "").volid.partition(":backup/")[2]
    path = name if storage.kind == "pbs" else f"{storage.path}/dump/{name}"
    told = [line for line in log if not line.startswith(_JOB_LINES)]
    stamped = tuple(f"{stamp(at + (took if place > 5 else 0))} {line}" for place, line in enumerate(told))  # noqa: PLR2004
    return BackupResult(guest.vmid, guest.name, took, size, path if size else "", stamped)


def missing(vmid: int, line: str, at: float) -> BackupResult:
    return BackupResult(vmid, f"VM {vmid}", 0, 0, "", (f"{stamp(at)} {line}",))


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
