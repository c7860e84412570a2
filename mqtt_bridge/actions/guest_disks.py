"""A guest's disks, and what their storages can do: for errors that name the disk in the way."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mqtt_bridge.actions.property_string import parse, volume_of
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.targets import GuestTarget, StorageTarget

_DISK = {"qemu": re.compile(r"(scsi|virtio|sata|ide|efidisk|tpmstate)\d+"), "lxc": re.compile(r"rootfs|mp\d+")}
_BY_FILE = frozenset(
    {"dir", "nfs", "cifs", "glusterfs", "cephfs", "lvm"}
)  # a snapshot lives in a qcow2 file (or volume)
_NEVER = frozenset({"iscsi", "iscsidirect", "esxi"})


@dataclass(frozen=True)
class Disk:
    """`kind` is the type of its storage (`lvmthin`, `nfs`), empty where the token may not see it."""

    key: str
    volume: str
    kind: str = ""

    @property
    def storage(self) -> str:
        """The storage that it lies on."""
        return self.volume.partition(":")[0]

    @property
    def cannot_snapshot(self) -> bool:
        """As far as its storage's type and its name tell; Proxmox itself has the last word."""
        return self.kind in _NEVER or (self.kind in _BY_FILE and not self.volume.endswith(".qcow2"))

    def __str__(self) -> str:
        return f"{self.key} on {self.storage}" + (f" ({self.kind})" if self.kind else "")


def disks(config: Mapping[str, Any], guest_type: str, kinds: Mapping[str, str] | None = None) -> tuple[Disk, ...]:
    """The disks that a configuration names, CD drives left out, by their keys."""
    found = ((key, volume) for key, volume in sorted(_drives(config, guest_type)) if volume)
    return tuple(Disk(key, volume, (kinds or {}).get(volume.partition(":")[0], "")) for key, volume in found)


def _drives(config: Mapping[str, Any], guest_type: str) -> Iterator[tuple[str, str]]:
    for key, text in config.items():
        if _DISK[guest_type].fullmatch(key) and parse(str(text)).get("media") != "cdrom":
            yield key, volume_of(str(text))


async def storage_rows(api: Api) -> list[Mapping[str, Any]]:
    """The storages of a site, one row for each node, in an order that stays the same."""
    rows = await api.get("cluster", "resources", type="storage")
    return sorted((r for r in rows if r.get("storage")), key=lambda row: (str(row["storage"]), str(row.get("node"))))


def kinds_of(rows: list[Mapping[str, Any]]) -> dict[str, str]:
    """The type of each storage."""
    return {str(row["storage"]): str(row.get("plugintype") or "") for row in rows}


def storage_target(site: str, row: Mapping[str, Any]) -> StorageTarget:
    """A row of theirs as what an action touches."""
    content = frozenset(str(row.get("content") or "").split(",")) - {""}
    shared = bool(row.get("shared"))
    return StorageTarget(site, str(row["storage"]), str(row["node"]), str(row.get("plugintype") or ""), shared, content)


async def can_snapshot(api: Api, guest: GuestTarget) -> bool:
    """Whether Proxmox says that all of a guest's disks can."""
    answer = await api.get("nodes", guest.node, guest.type, guest.vmid, "feature", feature="snapshot")
    return bool(answer.get("hasFeature"))


async def guest_disks(api: Api, guest: GuestTarget) -> tuple[Disk, ...]:
    """A guest's disks with the types of their storages."""
    return disks(guest.config, guest.type, kinds_of(await storage_rows(api)))
