"""Why a guest cannot be destroyed to put its backup in its place: said before anything is sent."""

from mqtt_bridge.actions.locks import locked
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.restore_job import Job
from mqtt_bridge.actions.row import ActionError
from mqtt_bridge.proxmox.permissions import holds
from mqtt_bridge.targets import GuestTarget


async def in_the_way(reading: Reading, job: Job, guest: GuestTarget) -> ActionError | None:
    """The first thing, if there is one."""
    return _not_over(job, guest) or await _tied(reading, guest) or await _rights(reading, job, guest)


def _not_over(job: Job, guest: GuestTarget) -> ActionError | None:
    if guest.type != job.type:
        return ActionError(f"The backup is not of the same kind as {guest.label}.", cure="Restore it into a new id.")
    if guest.template:
        return ActionError(f"{guest.label} is a template: others may live on its disks.", cure="Restore into a new id.")
    if guest.state != "stopped":
        return ActionError(
            f"{guest.label} is {guest.state}; a restore over it needs it stopped.", cure="Stop it first."
        )
    return locked(guest)


async def _tied(reading: Reading, guest: GuestTarget) -> ActionError | None:
    """What Proxmox does not destroy as long as something else refers to it."""
    if guest.ha:
        return ActionError(
            f"{guest.label} is managed by HA.", cure="Take it out of HA first, and put it in again after."
        )
    jobs = await reading.api(guest.site).get("cluster", "replication")
    if any(job.get("guest") == guest.vmid for job in jobs):
        return ActionError(f"{guest.label} is replicated.", cure="Remove its replication jobs first.")
    return None


async def _rights(reading: Reading, job: Job, guest: GuestTarget) -> ActionError | None:
    """Rights that are given on the guest itself go with it: the second step would be refused."""
    permissions = await reading.api(guest.site).get("access", "permissions")
    after = {path: held for path, held in permissions.items() if path != f"/vms/{guest.vmid}"}
    here = [f"/vms/{guest.vmid}"]
    needs = [("VM.Allocate", [*here, f"/pool/{job.pool}"] if job.pool else here), ("VM.Backup", here)]
    needs += [("Datastore.AllocateSpace", [f"/storage/{store.storage}"]) for store in (*job.stores, job.found.storage)]
    if job.type == "lxc" and job.config.get("unprivileged") != "1":
        needs.append(("Sys.Modify", ["/"]))
    lacking = [f"{right} on {paths[-1]}" for right, paths in needs if not any(holds(after, p, right) for p in paths)]
    if not lacking:
        return None
    return ActionError(
        f"Once {guest.label} is destroyed the token may not restore it: it lacks {', '.join(lacking)}.",
        cure=f"Grant it above the guest (/vms or its pool), not on /vms/{guest.vmid}; or restore into a new id.",
    )
