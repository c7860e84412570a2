"""What one restore is made of: what was asked for, and what the backup says of itself."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, StrictStr

from mqtt_bridge.actions.backup_lookup import BackupVolume, Found
from mqtt_bridge.actions.guest_disks import disks
from mqtt_bridge.actions.row import Args, Bool, Int, Word
from mqtt_bridge.model import GuestType
from mqtt_bridge.targets import GuestTarget, NodeTarget, StorageTarget

_LABEL = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


def _dns(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise ValueError("it must be a DNS name: letters, digits, '-' and '.'")
    return text


class RestoreArgs(Args):
    """`vmid`: the next free one if not given; one that exists needs `overwrite`, and what it is now is destroyed.

    `storage`: where its disks go; if not given, where they were. `unique`: new hardware addresses; if not given, when
    the original still exists beside it.
    """

    volume: BackupVolume
    vmid: Int | None = None
    overwrite: Bool | None = None
    node: Word | None = None
    storage: Word | None = None
    name: Annotated[StrictStr, Field(max_length=253), AfterValidator(_dns)] | None = None
    pool: Word | None = None
    unique: Bool | None = None
    start: Bool | None = None


@dataclass(frozen=True)
class Job:
    """What is known of one restore before its plan is made."""

    args: RestoreArgs
    found: Found
    type: GuestType
    node: NodeTarget
    config: Mapping[str, str]
    guest: GuestTarget | None
    stores: tuple[StorageTarget, ...] = ()

    @property
    def name(self) -> str:
        return self.args.name or self.config.get("name" if self.type == "qemu" else "hostname", "")

    @property
    def pool(self) -> str | None:
        return self.args.pool or (self.guest.pool if self.guest else None)

    @property
    def storage(self) -> str | None:
        """A container is always told: without it Proxmox takes `local`, wherever its disks were."""
        if self.args.storage or self.type == "qemu":
            return self.args.storage
        rootfs = [disk.storage for disk in disks(self.config, "lxc") if disk.key == "rootfs"]
        return rootfs[0] if rootfs else None

    @property
    def unique(self) -> bool | None:
        if self.args.unique is not None or self.guest:
            return self.args.unique
        return True if self.found.target.vmid in self.found.owners.nodes else None
