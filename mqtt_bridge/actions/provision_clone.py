"""Clones: full ones of anything, linked ones of templates, to another node or storage where Proxmox can."""

from typing import Any, Self

from pydantic import Field, model_validator

from mqtt_bridge.actions.guest_disks import disks
from mqtt_bridge.actions.locks import locked
from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.provision_args import Name, NewVmid, NodeName, PoolName, SnapshotName, StorageName
from mqtt_bridge.actions.provision_new import check_pool
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import Action, ActionError, Args, Bool, Privilege, Text
from mqtt_bridge.actions.volumes import foreign, storage_for
from mqtt_bridge.proxmox.lookup import find_guest
from mqtt_bridge.targets import GuestRef, GuestTarget, NewGuest, NodeRef, NodeTarget, StorageRef, StorageTarget, Touched

KEEPS = "The clone has the tags, the addresses and the cloud-init settings of its source."


class CloneArgs(Args):
    """`newid`: the clone's VMID. `full`: by default a template is cloned linked, anything else in full."""

    newid: NewVmid | None = None
    name: Name | None = None
    full: Bool | None = Field(default=None)
    target: NodeName | None = None
    storage: StorageName | None = None
    pool: PoolName | None = None
    snapshot: SnapshotName | None = None
    description: Text | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.storage is not None and self.full is False:
            raise ValueError("storage goes with full clones only: a linked one lies where its template does")
        return self


async def _plan(reading: Reading, ref: GuestRef, args: CloneArgs) -> Plan:
    source = await reading.guest(ref)
    node = await reading.node(NodeRef(args.target or source.node, source.site))
    storages = await _storages(reading, source, node, args)
    await check_pool(reading, source.site, args.pool)
    newid, chosen = await reading.new_vmid(source.site, args.newid)
    full = args.full if args.full is not None else args.storage is not None or not source.template
    new = NewGuest(source.site, newid, source.type, node.node, args.name or "", source.tags, args.pool)
    path = ("nodes", source.node, source.type, source.vmid, "clone")
    return Plan(
        CLONE,
        reading.api(source.site),
        source,
        (Step("POST", path, _params(source, args, newid, full=full)),),
        (
            Touched(source, "read"),
            Touched(new, "create"),
            Touched(node, "read"),
            *(Touched(s) for s in storages),
            *await foreign(reading, source, "read"),
        ),
        _see,
        args,
        problem=await _problem(reading, source, node, storages, args, full=full),
        notes=(KEEPS, *_linked(source, full=full)),
        chosen=chosen,
        state=source.state,
    )


async def _storages(
    reading: Reading, source: GuestTarget, node: NodeTarget, args: CloneArgs
) -> tuple[StorageTarget, ...]:
    """Those that the clone's disks come to lie on; what is not named stays where the source has it."""
    if args.storage is not None:
        return (await storage_for(reading, node, args.storage, "images" if source.type == "qemu" else "rootdir"),)
    names = dict.fromkeys(disk.storage for disk in disks(source.config, source.type))
    return tuple([await reading.storage(StorageRef(name, source.node, source.site)) for name in names])


def _params(source: GuestTarget, args: CloneArgs, newid: int, *, full: bool) -> dict[str, Any]:
    params = {
        "newid": newid,
        "name" if source.type == "qemu" else "hostname": args.name,
        "full": int(full),
        "target": args.target,
        "storage": args.storage,
        "pool": args.pool,
        "snapname": args.snapshot,
        "description": args.description,
    }
    return {key: value for key, value in params.items() if value is not None}


def _linked(source: GuestTarget, *, full: bool) -> tuple[str, ...]:
    return () if full else (f"It is a linked clone: {source.label} cannot be deleted while it is there.",)


async def _problem(
    reading: Reading,
    source: GuestTarget,
    node: NodeTarget,
    storages: tuple[StorageTarget, ...],
    args: CloneArgs,
    *,
    full: bool,
) -> ActionError | None:
    if problem := locked(source):
        return problem
    if not node.online:
        return ActionError(f"The {node.label} is offline.", cure="Name another node.")
    if not full and not source.template and args.snapshot is None:
        return ActionError(f"{source.label} is no template: only a template is cloned linked.", cure="Leave full out.")
    if source.type == "lxc" and full and source.state == "running" and args.snapshot is None:
        cure = "Stop it first, or make a snapshot and clone that (snapshot)."
        return ActionError(f"{source.label} runs: a running container can be cloned from a snapshot only.", cure=cure)
    if args.snapshot is not None and (missing := await _no_snapshot(reading, source, args.snapshot)):
        return missing
    return _not_shared(source, node, storages, full=full, moved=args.storage is not None)


async def _no_snapshot(reading: Reading, source: GuestTarget, wanted: str) -> ActionError | None:
    path = ("nodes", source.node, source.type, source.vmid, "snapshot")
    names = [str(row["name"]) for row in await reading.api(source.site).get(*path) if row.get("name") != "current"]
    if wanted in names:
        return None
    return ActionError(f"{source.label} has no snapshot {wanted}.", cure=f"It has: {', '.join(names[:20]) or 'none'}.")


def _not_shared(
    source: GuestTarget, node: NodeTarget, storages: tuple[StorageTarget, ...], *, full: bool, moved: bool
) -> ActionError | None:
    """Another node must see the source's disks: Proxmox copies them there through shared storage only."""
    if node.node == source.node:
        return None
    local = [s.storage for s in storages if not s.shared]
    if not local:
        return None
    what = "is not shared, so the clone cannot be made on" if moved or full else "is not shared with"
    return ActionError(
        f"Storage {local[0]} {what} {node.node}.",
        cure=f"Clone it on {source.node} and migrate the clone" + (", or name a shared storage." if full else "."),
    )


async def _see(plan: Plan, outcome: Outcome) -> Seen:
    """The clone, not its source."""
    new = next(o.target for o in plan.objects if isinstance(o.target, NewGuest))
    source = plan.target
    rows = await plan.api.get("cluster", "resources", type="vm")
    if not any(row.get("vmid") == new.vmid for row in rows):
        text = f"there is no guest {new.vmid} afterwards."
        return Seen(ok=False, message=text, state=plan.state, changed=False)
    clone = await find_guest({source.site: plan.api}, new.vmid, source.site)
    details = {"vmid": clone.vmid, "node": clone.node, "name": clone.name}
    if not outcome.ok or clone.lock:
        text = f"{clone.label} is there, perhaps not whole."
        return Seen(ok=False, message=text, state=plan.state, details=details)
    return Seen(ok=True, message=f"{clone.label} is on {clone.node}.", state=plan.state, details=details)


CLONE = Action(
    "guest.clone",
    "Clone",
    "change",
    "guest",
    (
        Privilege("VM.Clone", "/vms/{vmid}"),
        Privilege("VM.Allocate", "/vms/{newid}"),
        Privilege("Datastore.AllocateSpace", "/storage/{storage}"),
    ),
    CloneArgs,
    _plan,
)
ROWS: tuple[Action, ...] = (CLONE,)
