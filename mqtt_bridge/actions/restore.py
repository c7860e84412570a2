"""A guest from a backup: as a new one, or in the place of one that there is.

Proxmox writes over a guest only if it is sent `force`, which never is. So what restores over a guest has two steps: the
guest is destroyed, then the backup restored under its id. Before that the archive's configuration is read out of the
archive itself (it is there and readable), and the token is asked for rights that do not vanish with the guest.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mqtt_bridge.actions.backup_lookup import Found, find_backup
from mqtt_bridge.actions.guest_disks import disks, storage_rows, storage_target
from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.restore_job import Job, RestoreArgs
from mqtt_bridge.actions.restore_over import in_the_way
from mqtt_bridge.actions.row import Action, ActionError, Privilege
from mqtt_bridge.errors import ForbiddenError, NotFoundError
from mqtt_bridge.model import GuestType, utc
from mqtt_bridge.proxmox.rows import split_list
from mqtt_bridge.targets import (
    GuestRef,
    GuestTarget,
    NewGuest,
    NodeRef,
    StorageRef,
    Touched,
)

HOLDS: Mapping[GuestType, str] = {"qemu": "images", "lxc": "rootdir"}
_LINE = re.compile(r"([a-z][a-z0-9_.-]*):\s*(.*)", re.IGNORECASE)
_BRINGS = re.compile(r"args|hookscript|(hostpci|usb|dev)\d+|lxc\..*|cicustom")


async def _plan(reading: Reading, ref: StorageRef, args: RestoreArgs) -> Plan:
    found = await find_backup(reading, ref, args.volume)
    if found.type is None:
        raise ActionError(f"{args.volume} is of a physical host, which is no guest.", cure="Use proxmox-backup-client.")
    site = found.storage.site
    guest = await _existing(reading, site, args)
    node = await reading.node(NodeRef(_node(found, args, guest), site))
    if not node.online:
        raise ActionError(f"The {node.label} is offline.", cure="Name another node.")
    config = await _archived(reading, found, node.node)
    job = Job(args, found, found.type, node, config, guest)
    job, problem = await _stores(reading, job)
    return await (_over(reading, job, problem) if guest else _new(reading, job, problem))


async def _existing(reading: Reading, site: str, args: RestoreArgs) -> GuestTarget | None:
    """The guest in whose place it shall go; an id that is taken is refused unless that was asked for."""
    if args.vmid is None:
        if args.overwrite:
            raise ActionError("overwrite needs the id of the guest that goes.", cure="Give its vmid.")
        return None
    if not any(row["vmid"] == args.vmid for row in await reading.guest_rows(site)):
        return None
    guest = await reading.guest(GuestRef(args.vmid, site))
    if not args.overwrite:
        raise ActionError(
            f"There is {guest.label} already.",
            cure="Leave vmid out for the next free one. overwrite=true destroys it and puts the backup in its place.",
        )
    return guest


def _node(found: Found, args: RestoreArgs, guest: GuestTarget | None) -> str:
    """Where it goes; ActionError if the backup cannot be reached there."""
    home = found.owners.nodes.get(found.target.vmid or -1)
    node = guest.node if guest else args.node or (home if home in found.nodes else found.nodes[0])
    if guest and args.node not in {None, guest.node}:
        raise ActionError(f"{guest.label} is on {guest.node}.", cure="Leave the node out, and migrate it afterwards.")
    if node not in found.nodes:
        raise ActionError(
            f"{found.target.volume} cannot be reached from {node}.",
            cure=f"It can be restored on {', '.join(found.nodes)}, and migrated then.",
        )
    return node


async def _archived(reading: Reading, found: Found, node: str) -> dict[str, str]:
    """The configuration inside the archive; its snapshots' sections and comments are left out."""
    path = ("nodes", node, "vzdump", "extractconfig")
    text = str(await reading.api(found.storage.site).get(*path, volume=found.target.volume))
    current = text.partition("\n[")[0]
    return {m[1]: m[2] for line in current.splitlines() if (m := _LINE.fullmatch(line.strip()))}


async def _stores(reading: Reading, job: Job) -> tuple[Job, ActionError | None]:
    """The storages that its disks will be on."""
    rows = {str(r["storage"]): r for r in await storage_rows(reading.api(job.node.site)) if r["node"] == job.node.node}
    before = [disk.storage for disk in disks(job.config, job.type)]
    wanted = [job.storage] if job.storage else sorted(set(before))
    kind = HOLDS[job.type]
    good = sorted(n for n, r in rows.items() if r.get("status") == "available" and kind in _content(r))
    bad = [name for name in wanted if name not in good]
    targets = tuple(storage_target(job.node.site, rows[name]) for name in wanted if name in rows)
    job = replace(job, stores=targets)
    if not bad and (wanted or not before):
        return job, None
    what = ", ".join(bad) or "its storage"
    return job, ActionError(
        f"The disks cannot go to {what} on {job.node.node}: not there, not available, or without content {kind!r}.",
        cure=f"Give storage one of: {', '.join(good) or 'none is there'}.",
    )


def _content(row: Mapping[str, Any]) -> tuple[str, ...]:
    return split_list(row.get("content"))


# --- as a new guest --------------------------------------------------------------------------------------------------


async def _new(reading: Reading, job: Job, problem: ActionError | None) -> Plan:
    site = job.node.site
    vmid, chosen = await reading.new_vmid(site, job.args.vmid)
    tags = frozenset(tag.casefold() for tag in split_list(job.config.get("tags")))
    target = NewGuest(site, vmid, job.type, job.node.node, job.name, tags, job.pool)
    notes = list(_origin(job))
    if job.unique and job.args.unique is None:
        notes.append("The original still exists, so it gets new hardware addresses; its IP addresses stay the same.")
    return Plan(
        ROW,
        reading.api(site),
        target,
        (_restore(job, vmid),),
        (Touched(target, "create"), *_used(job)),
        _see,
        job.args,
        title="Restore",
        takes_down=False,
        problem=problem,
        notes=tuple(notes),
        chosen=chosen,
    )


def _used(job: Job) -> tuple[Touched, ...]:
    return (
        Touched(job.found.target, "read"),
        Touched(job.found.storage, "read"),
        Touched(job.node, "read"),
        *(Touched(store, "write") for store in job.stores),
    )


def _restore(job: Job, vmid: int) -> Step:
    volume, name = job.found.target.volume, job.args.name
    own: dict[str, Any] = {"archive": volume, "name": name}
    if job.type == "lxc":
        own = {"ostemplate": volume, "restore": 1, "hostname": name}
    more = {"storage": job.storage, "pool": job.pool, "unique": _flag(job.unique), "start": _flag(job.args.start)}
    params = {key: value for key, value in {"vmid": vmid, **own, **more}.items() if value is not None}
    return Step("POST", ("nodes", job.node.node, job.type), params)


def _flag(value: bool | None) -> int | None:
    return None if value is None else int(value)


def _origin(job: Job) -> tuple[str, ...]:
    row = job.found.row
    notes = [f"The backup is of {utc(row.get('ctime'))}, {int(row.get('size') or 0) / 2**30:.1f} GiB."]
    if (row.get("verification") or {}).get("state") == "failed":
        notes.append("Its last verification FAILED.")
    brings = sorted(key for key in job.config if _BRINGS.fullmatch(key))
    brings += [key for key, text in job.config.items() if re.fullmatch(r"mp\d+", key) and text.startswith("/")]
    if brings:
        notes.append(f"Its configuration brings along what is tied to a host: {', '.join(brings)}.")
    return tuple(notes)


# --- in the place of a guest -----------------------------------------------------------------------------------------


async def _over(reading: Reading, job: Job, problem: ActionError | None) -> Plan:
    guest = job.guest
    if guest is None:
        raise TypeError(job)
    path = ("nodes", guest.node, guest.type, guest.vmid)
    api = reading.api(guest.site)
    snapshots = [str(row["name"]) for row in await api.get(*path, "snapshot") if row.get("name") != "current"]
    lost = "Its disks, unused ones too, its firewall rules and rights that were given on it alone are lost"
    lost += f", and its snapshots: {', '.join(snapshots[:10])}." if snapshots else "."
    tags = frozenset(tag.casefold() for tag in split_list(job.config.get("tags")))
    becomes = NewGuest(guest.site, guest.vmid, job.type, guest.node, job.name, tags, job.pool)
    return Plan(
        ROW,
        api,
        guest,
        (Step("DELETE", path), _restore(job, guest.vmid)),
        (Touched(guest, "destroy"), Touched(becomes, "create"), *_used(job)),
        _see,
        job.args,
        title="Restore",
        risk="destroy",
        takes_down=True,
        problem=await in_the_way(reading, job, guest) or problem,
        notes=(
            f"{guest.label} is destroyed first, then restored. If that fails it is gone, but the backup is not.",
            lost,
            *_origin(job),
        ),
        state=guest.state,
    )


async def _see(plan: Plan, outcome: Outcome) -> Seen:
    guest = plan.target
    if not isinstance(guest, GuestTarget | NewGuest) or not isinstance(plan.args, RestoreArgs):
        raise TypeError(guest)
    path = ("nodes", guest.node, guest.type, guest.vmid, "status", "current")
    try:
        now = await plan.api.get(*path)
    except (NotFoundError, ForbiddenError) as error:
        text = f"{guest.label} cannot be seen: {error.message}"
        return Seen(ok=False, message=text, changed=bool(outcome.answers) or None)
    state = str(now.get("status"))
    good = not now.get("lock") and (not plan.args.start or state == "running")
    details = {"vmid": guest.vmid, "name": now.get("name"), "node": guest.node, "volume": plan.args.volume}
    text = f"{guest.label} is there and {state}{'' if good else ', but not as it should be'}."
    return Seen(ok=outcome.ok and good, message=text, state=state, details=details)


ROW = Action(
    "backup.restore",
    "Restore",
    "change",
    "storage",
    (
        Privilege("VM.Allocate", "/vms/{vmid}"),
        Privilege("VM.Backup", "/vms/{vmid}"),
        Privilege("Datastore.AllocateSpace", "/storage/{storage}"),
    ),
    RestoreArgs,
    _plan,
)
ROWS: tuple[Action, ...] = (ROW,)
