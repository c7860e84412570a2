"""What new guests are made from: installation images, container templates, disk images; and the next free VMID."""

from typing import Literal

from pydantic import Field

from mqtt_bridge.errors import RejectedError
from mqtt_bridge.model import utc
from proxmox_mcp.tools import asking, contents, words
from proxmox_mcp.tools.base import Arguments, Call, Listed, Page, SiteArgument, Tool, Vmid, named_like, paged
from proxmox_mcp.view import Answer

Kind = Literal["iso", "vztmpl", "import"]
KINDS: tuple[Kind, ...] = ("iso", "vztmpl", "import")


class ImageFilter(Listed):
    """Which images."""

    type: Kind | None = Field(default=None, description="iso, vztmpl (container template) or import (disk image)")
    storage: str | None = Field(default=None, description="storage as a glob")
    name: str | None = Field(default=None, description="file name as a glob, e.g. *debian*")


class Image(asking.Part):
    """An image; `volid` is what other tools take. `node` null: on a shared storage."""

    site: str
    node: str | None
    storage: str
    type: Kind
    volid: str
    size: int | None
    format: str | None
    created_at: str | None


class ImageList(Page):
    """A page of images."""

    bytes: int = Field(default=0, description="of all that fit")
    images: tuple[Image, ...] = ()

    def text(self) -> str:
        rows = ((i.volid, i.type, i.node or "shared", i.site, words.size(i.size), i.created_at) for i in self.images)
        body = words.table(("volume", "type", "node", "site", "size", "created"), rows) if self.images else ""
        return words.answer(f"{self.total} images, {words.size(self.bytes)}", body, self, more=self.next_cursor)


async def list_images(call: Call, args: ImageFilter) -> ImageList:
    """By storage and name."""
    clients = asking.hosts(call, args.site)
    kinds = (args.type,) if args.type else KINDS
    listed = await contents.volumes(clients, contents.Wanted(kinds, args.node, args.storage))
    found = sorted(
        (_image(volume) for volume in listed.volumes if _fits(volume, args)),
        key=lambda i: (i.site, i.storage, i.node or "", i.volid),
    )
    shown, cursor = paged(found, lambda i: f"{i.site}/{i.node or ''}/{i.volid}", args)
    notes = list(listed.notes)
    if not listed.volumes:
        notes += await asking.unseen_at(list(clients.values()), ("/storage", "Datastore.AllocateSpace"))
    return ImageList(
        **asking.now(call, *notes, complete=not notes),
        total=len(found),
        next_cursor=cursor,
        bytes=sum(i.size or 0 for i in found),
        images=tuple(shown),
    )


def _fits(volume: contents.Volume, args: ImageFilter) -> bool:
    return volume.row.get("content") in KINDS and named_like(args.name, str(volume.row["volid"]).rpartition("/")[2])


def _image(volume: contents.Volume) -> Image:
    row = volume.row
    return Image(
        site=volume.site,
        node=volume.node,
        storage=volume.storage,
        type=row["content"],
        volid=str(row["volid"]),
        size=row.get("size"),
        format=row.get("format"),
        created_at=utc(row.get("ctime")),
    )


class VmidRequest(Arguments):
    """Of which site, or whether a certain one is free."""

    vmid: Vmid | None = Field(default=None, description="is this one free?")
    site: SiteArgument = None


class NextVmid(Answer):
    """A VMID that is free now; nothing reserves it."""

    site: str
    vmid: int
    free: bool = True

    def text(self) -> str:
        return f"VMID {self.vmid} is {'free' if self.free else 'taken'} on site {self.site}."


async def get_next_vmid(call: Call, args: VmidRequest) -> NextVmid:
    """As Proxmox chooses it: also guests that the token does not see count as taken."""
    found = asking.hosts(call, args.site)
    if len(found) > 1:
        raise asking.AskedWrongError("Each site has VMIDs of its own.", cure=f"Give `site`: {', '.join(found)}.")
    site, client = next(iter(found.items()))
    try:
        vmid, free = int(await client.get("cluster", "nextid", vmid=args.vmid)), True
    except RejectedError as error:
        if args.vmid is None or "already exists" not in error.fields.get("vmid", ""):
            raise
        vmid, free = args.vmid, False
    return NextVmid(**asking.now(call), site=site, vmid=vmid, free=free)


TOOLS = (
    Tool(
        "get_next_vmid",
        "Next free VMID",
        "The next free VMID, or whether `vmid` is free.",
        "provision",
        VmidRequest,
        NextVmid,
        get_next_vmid,
    ),
    Tool(
        "list_images",
        "Images",
        "ISO images, container templates and importable disk images on storages; by type, storage, node and name.",
        "provision",
        ImageFilter,
        ImageList,
        list_images,
    ),
)
