"""Backup jobs and what they leave out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import bad_parameters

if TYPE_CHECKING:
    from proxmox_mcp.lab.state import BackupJob, Guest
    from proxmox_mcp.lab.world import World


def backup_job(world: World, job: BackupJob) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": job.ident,
        "type": "vzdump",
        "schedule": job.schedule,
        "storage": job.storage,
        "mode": job.mode,
        "enabled": int(job.enabled),
        "notes-template": "{{guestname}}",
        "notification-mode": "notification-system",
        "next-run": (int(world.now()) // 86_400 + 1) * 86_400 + 7_200,
    }
    keep = dict(part.split("=") for part in job.keep.split(","))
    optional: dict[str, Any] = {
        "vmid": ",".join(map(str, job.vmids)),
        "all": int(job.everything),
        "exclude": ",".join(map(str, job.exclude)),
        "pool": job.pool,
        "comment": job.comment,
        "prune-backups": keep,
    }
    return row | {key: value for key, value in optional.items() if value}


def backup_jobs(call: Call) -> list[dict[str, Any]]:
    """A token that may only audit got an empty list from the recorded cluster."""
    if not call.may("/", "Sys.Modify"):
        return []
    return [backup_job(call.world, job) for job in call.world.backup_jobs.values()]


def one_backup_job(call: Call) -> dict[str, Any]:
    job = call.world.backup_jobs.get(call.params["id"])
    if job is None:
        raise bad_parameters({"id": f"No such job '{call.params['id']}'"})
    return backup_job(call.world, job)


def _covered(job: BackupJob, guests: list[Guest]) -> set[int]:
    named = set(job.vmids)
    every = {one.vmid for one in guests if one.vmid in named or job.everything or (job.pool and job.pool == one.pool)}
    return every.difference(job.exclude)


def not_backed_up(call: Call) -> list[dict[str, Any]]:
    guests = call.world.sorted_guests()
    covered = {vmid for job in call.world.backup_jobs.values() if job.enabled for vmid in _covered(job, guests)}
    return [
        {"vmid": guest.vmid, "name": guest.name, "type": guest.kind} for guest in guests if guest.vmid not in covered
    ]


ROUTES: tuple[Route, ...] = (
    ("GET", "/cluster/backup", backup_jobs),
    ("GET", "/cluster/backup/{id}", one_backup_job),
    ("GET", "/cluster/backup-info/not-backed-up", not_backed_up),
)
