"""Backups: made, restored, deleted, wherever they lie."""

from typing import ClassVar, Literal

from pydantic import Field

from mqtt_bridge.targets import DatastoreRef, GuestRef, StorageRef
from proxmox_mcp.tools.base import Call, NodeArgument, Old, SiteArgument, Tool, Vmid
from proxmox_mcp.tools.control import ControlAnswer, Timing, perform

VOLUME = "as list_backups shows it"


class CreateOrder(Timing):
    """What to back up, and how."""

    vmid: Vmid
    storage: str | None = Field(default=None, description="default: a Backup Server's, else the first")
    mode: Literal["snapshot", "suspend", "stop"] | None = None
    compress: Literal["none", "zstd", "gzip", "lzo"] | None = None
    notes: str | None = Field(default=None, description="{{guestname}} is filled in")
    protected: bool | None = None
    node: NodeArgument = None
    site: SiteArgument = None


class RestoreOrder(Timing):
    """Which backup to restore, and as what."""

    old: ClassVar[Old] = {"archive": "volume"}
    volume: str = Field(description=VOLUME)
    vmid: Vmid | None = Field(default=None, description="default: next free")
    overwrite: bool | None = Field(default=None, description="destroy guest `vmid` for it")
    node: str | None = Field(default=None, description="target")
    storage: str | None = Field(default=None, description="for its disks")
    name: str | None = None
    pool: str | None = None
    unique: bool | None = Field(default=None, description="new MACs")
    start: bool | None = None
    site: SiteArgument = None


class DeleteOrder(Timing):
    """Which backup to delete."""

    old: ClassVar[Old] = {"volid": "volume", "storage": None}  # a volume's name begins with its storage's
    volume: str = Field(description=VOLUME)
    datastore: str | None = Field(default=None, description="where volume is type/id/time")
    namespace: str | None = None
    node: NodeArgument = None
    site: SiteArgument = None


async def create_backup(call: Call, args: CreateOrder) -> ControlAnswer:
    """With vzdump."""
    return await perform(call, "backup.create", GuestRef(args.vmid, args.site, args.node), args)


async def restore_backup(call: Call, args: RestoreOrder) -> ControlAnswer:
    """A volume that lies on one node's own storage can only go to that node."""
    named = ("volume", "vmid", "overwrite", "node", "storage", "name", "pool", "unique", "start")
    given = {name: getattr(args, name) for name in named}
    return await perform(call, "backup.restore", _storage(args.volume, None, args.site), args, given)


async def delete_backup(call: Call, args: DeleteOrder) -> ControlAnswer:
    """On a storage by its volume id; in a datastore by type/id/time."""
    if args.datastore:
        ref = DatastoreRef(args.datastore, args.site)
        given = {"snapshot": args.volume, "namespace": args.namespace}
        return await perform(call, "datastore.forget", ref, args, given)
    ref_on = _storage(args.volume, args.node, args.site)
    return await perform(call, "backup.delete", ref_on, args, {"volume": args.volume, "namespace": args.namespace})


def _storage(volume: str, node: str | None, site: str | None) -> StorageRef:
    return StorageRef(volume.partition(":")[0], node, site)


TOOLS = (
    Tool(
        "create_backup",
        "Back up a guest",
        "Older backups stay. Modes stop and suspend take it down meanwhile.",
        "backups",
        CreateOrder,
        ControlAnswer,
        create_backup,
        risk="operate",
        idempotent=False,
    ),
    Tool(
        "restore_backup",
        "Restore a backup",
        "As a new guest, or with `overwrite` over a stopped one, which is destroyed.",
        "backups",
        RestoreOrder,
        ControlAnswer,
        restore_backup,
        risk="change",
        destructive=True,
        idempotent=False,
    ),
    Tool(
        "delete_backup",
        "Delete a backup",
        "On a storage or in a Backup Server's datastore. Protected ones stay.",
        "backups",
        DeleteOrder,
        ControlAnswer,
        delete_backup,
        risk="destroy",
        destructive=True,
    ),
)
