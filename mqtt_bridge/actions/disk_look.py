"""What is known of a disk before it is changed: its volume, whose it is, what still needs it, where it goes."""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from mqtt_bridge.actions.hardware import below, size_of
from mqtt_bridge.actions.property_string import parse, volume_of
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import ActionError
from mqtt_bridge.errors import ForbiddenError
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.targets import GuestTarget, StorageRef, StorageTarget

SLOTS: Final = {"scsi": 31, "virtio": 16, "sata": 6, "ide": 4, "mp": 256, "unused": 256}
CONTENT: Final = {"qemu": "images", "lxc": "rootdir"}
DISK: Final = {
    "qemu": re.compile(r"(scsi|virtio|sata|ide|efidisk|tpmstate|unused)\d+"),
    "lxc": re.compile(r"rootfs|(mp|unused)\d+"),
}
SHOWN = 12
MOST_SNAPSHOTS = 64  # that are looked into
_OWNER = re.compile(r"(?:vm|base|subvol|basevol)-(\d+)-[^/]*$")


@dataclass(frozen=True)
class Disk:
    """`text` is its property string; `size` in bytes, None where Proxmox has not noted it."""

    key: str
    text: str
    volume: str
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """`scsi`, `mp`, `unused`."""
        return self.key.rstrip("0123456789")

    @property
    def storage(self) -> str:
        """Where it lies."""
        return self.volume.partition(":")[0]

    @property
    def size(self) -> int | None:
        """Bytes."""
        return size_of(self.fields.get("size", ""))

    @property
    def owner(self) -> int | None:
        """The guest whose volume it is, as its name says."""
        found = _OWNER.search(self.volume)
        return int(found[1]) if found else None


def disk(guest: GuestTarget, key: str) -> Disk | ActionError:
    """A guest's own disk on a storage. CD drives, devices and folders of the node, and foreign volumes are not."""
    text = str(guest.config.get(key, ""))
    found = Disk(key, text, volume_of(text), parse(text))
    if not text or not DISK[guest.type].fullmatch(key):
        have = sorted(name for name in guest.config if DISK[guest.type].fullmatch(name))
        return ActionError(
            f"{guest.label} has no disk {key[:40]}.", cure=f"It has: {', '.join(have[:SHOWN]) or 'none'}."
        )
    if found.fields.get("media") == "cdrom":
        return ActionError(f"{key} of {guest.label} is a CD drive, no disk.", cure="Change it in Proxmox itself.")
    if not found.volume:
        text = f"{key} of {guest.label} is a device or folder of its node, not a volume on a storage."
        return ActionError(text, cure="Change it in Proxmox itself.")
    if found.owner not in {None, guest.vmid}:
        text = f"{key} of {guest.label} is {found.volume}, a volume of guest {found.owner}."
        return ActionError(text, cure="Change it in Proxmox itself, or through the guest that it belongs to.")
    return found


async def storage_for(
    reading: Reading, guest: GuestTarget, name: str, size: int | None
) -> tuple[StorageTarget, ActionError | None, tuple[str, ...]]:
    """A storage on the guest's node, why a disk cannot go there, and what to know about its room."""
    storage = await reading.storage(StorageRef(name, guest.node, guest.site))
    wanted = CONTENT[guest.type]
    if wanted not in storage.content:
        rows = await reading.api(guest.site).get("cluster", "resources", type="storage")
        fit = sorted({str(r["storage"]) for r in rows if _takes(r, guest.node, wanted)})
        text = (
            f"Storage {name} takes no {'disks of VMs' if wanted == 'images' else 'volumes of containers'} ({wanted})."
        )
        return storage, ActionError(text, cure=f"Such do: {', '.join(fit[:SHOWN]) or 'none'}."), ()
    return storage, None, await _room(reading.api(guest.site), guest.node, name, size)


def _takes(row: Any, node: str, content: str) -> bool:
    return row.get("node") == node and content in str(row.get("content", "")).split(",")


async def _room(api: Api, node: str, name: str, size: int | None) -> tuple[str, ...]:
    try:
        free = (await api.get("nodes", node, "storage", name, "status")).get("avail")
    except ForbiddenError:
        return ()
    if not isinstance(free, int):
        return ()
    short = " That is less than the disk's size." if size is not None and free < size else ""
    return (f"{name} has {free / 1024**3:.1f} GiB free.{short}",)


async def snapshots_of(api: Api, guest: GuestTarget, volume: str) -> tuple[str, ...]:
    """The snapshots that a volume is part of: it cannot be deleted as long as they are there."""
    rows = [r for r in await api.get(*below(guest, "snapshot")) if r.get("name") != "current"]
    found = []
    for row in rows[:MOST_SNAPSHOTS]:
        config = await api.get(*below(guest, "snapshot", str(row["name"]), "config"))
        if any(volume_of(str(text)) == volume for key, text in config.items() if DISK[guest.type].fullmatch(key)):
            found.append(str(row["name"]))
    return tuple(found)


def in_snapshots(names: tuple[str, ...], what: str) -> ActionError | None:
    """The error of what snapshots still need."""
    if not names:
        return None
    listed = ", ".join(names[:5]) + ("…" if names[5:] else "")
    return ActionError(
        f"{what} is part of the snapshots {listed}, so it cannot be deleted.", cure="Delete those first."
    )
