"""Volumes that a caller names: on which storage, and whose they are. A guest's disk is that guest's, wherever it goes.

Paths are never taken: only `storage:…`, as Proxmox lists it.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, StrictStr

from mqtt_bridge.actions.guest_disks import disks
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import ActionError
from mqtt_bridge.targets import GuestRef, GuestTarget, NewGuest, NodeTarget, Role, StorageRef, StorageTarget, Touched

_VOLID = re.compile(r"[A-Za-z][A-Za-z0-9._-]*:[^\x00-\x20\x7f,=;\\:]+")
_OWNER = re.compile(r"(?:^|/)(?:vm|base|subvol|basevol)-(\d+)-[^/]*$|(?:^|/)(\d+)/[^/]*$")
OWNED = frozenset({"images", "rootdir"})  # contents that belong to a guest


def _volid(text: str) -> str:
    names = text.partition(":")[2].split("/")
    if not _VOLID.fullmatch(text) or any(name in {"", ".", ".."} for name in names):
        raise ValueError("it is no volume id: it looks like storage:iso/name.iso, as list_images shows it")
    return text


Volid = Annotated[StrictStr, Field(max_length=512), AfterValidator(_volid)]


@dataclass(frozen=True)
class Volume:
    """A volume that is there. `owner` is the guest that it belongs to; `size` in bytes."""

    volid: str
    storage: StorageTarget
    content: str
    size: int | None
    owner: int | None


def owner_of(volid: str) -> int | None:
    """The guest that a disk's name says it belongs to: `local:100/vm-100-disk-0.qcow2`, `pool:vm-100-disk-0`.

    A linked clone's has its template's before it (`pool:base-9000-disk-0/vm-100-disk-0`): the last one counts.
    """
    found = _OWNER.search(volid.partition(":")[2])
    return int(found[1] or found[2]) if found else None


async def read_volume(reading: Reading, node: NodeTarget, volid: str, contents: Collection[str]) -> Volume:
    """The volume as the node sees it; ActionError if it is not there or of another content than `contents`."""
    name = volid.partition(":")[0]
    storage = await reading.storage(StorageRef(name, node.node, node.site))
    listed = await reading.api(node.site).get("nodes", node.node, "storage", name, "content")
    row = next((row for row in listed if row.get("volid") == volid), None)
    if row is None:
        raise ActionError(
            f"There is no volume {volid} on {node.node}, or the token may not see it (Datastore.AllocateSpace).",
            cure="list_images shows what there is.",
        )
    content = str(row.get("content", ""))
    if content not in contents:
        raise ActionError(f"{volid} is of content {content}.", cure=f"Here it must be {' or '.join(sorted(contents))}.")
    owner = row.get("vmid") or owner_of(volid)
    return Volume(volid, storage, content, row.get("size"), int(owner) if owner and content in OWNED else None)


async def touched(reading: Reading, volume: Volume, role: Role) -> tuple[Touched, ...]:
    """What using a volume touches: its storage, and the guest that it belongs to with `role`.

    ActionError where its guest is not there: whether the rules allow it cannot be told then.
    """
    storage = Touched(volume.storage, "read")
    if volume.owner is None:
        return (storage,)
    rows = await reading.guest_rows(volume.storage.site)
    if not any(row["vmid"] == volume.owner for row in rows):
        raise ActionError(
            f"{volume.volid} belongs to guest {volume.owner}, which is not there or not to be seen.",
            cure="So it cannot be told whether the rules allow its use: do it in Proxmox itself.",
        )
    return (storage, Touched(await reading.guest(GuestRef(volume.owner, volume.storage.site)), role))


async def foreign(reading: Reading, guest: GuestTarget, role: Role) -> tuple[Touched, ...]:
    """The guests whose volumes another one has in its configuration: what reaches all its disks reaches theirs.

    Of one that is not there only the id is known, so that lists of guests can judge it.
    """
    owners = {owner_of(disk.volume) for disk in disks(guest.config, guest.type)} - {None, guest.vmid}
    there = {int(row["vmid"]) for row in await reading.guest_rows(guest.site)} if owners else set()
    return tuple(
        [
            Touched(await reading.guest(GuestRef(vmid, guest.site)), role)
            if vmid in there
            else Touched(NewGuest(guest.site, vmid, guest.type, guest.node), "read")
            for vmid in sorted(owner for owner in owners if owner)
        ]
    )


async def storage_for(reading: Reading, node: NodeTarget, wanted: str | None, content: str) -> StorageTarget:
    """The storage that is named, or the first by name on the node that takes this content and is active.

    ActionError if it does not take it, or none does.
    """
    if wanted is not None:
        found = await reading.storage(StorageRef(wanted, node.node, node.site))
        if content not in found.content:
            takes = ", ".join(sorted(found.content)) or "nothing"
            raise ActionError(
                f"Storage {wanted} takes {takes}, not {content}.", cure=await _instead(reading, node, content)
            )
        return found
    names = await _taking(reading, node, content)
    if not names:
        raise ActionError(f"No active storage of {node.node} takes {content}, or the token sees none.")
    return await reading.storage(StorageRef(names[0], node.node, node.site))


async def _taking(reading: Reading, node: NodeTarget, content: str) -> list[str]:
    rows = await reading.api(node.site).get("nodes", node.node, "storage", content=content, enabled=1)
    return sorted(str(row["storage"]) for row in rows if row.get("active"))


async def _instead(reading: Reading, node: NodeTarget, content: str) -> str:
    names = await _taking(reading, node, content)
    return f"These do: {', '.join(names)}." if names else ""
