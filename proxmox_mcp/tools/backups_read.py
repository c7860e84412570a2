"""Backups that there are: archives on storages, snapshots on Backup Servers. One that both name is listed once."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mqtt_bridge.model import utc
from proxmox_mcp.tools import asking, contents, words
from proxmox_mcp.tools.base import Call, Moment, Page, Paged, Tool, Vmid, named_like, paged

if TYPE_CHECKING:
    from mqtt_bridge.proxmox.client import ProxmoxClient

Verified = Literal["ok", "failed", "none"]
LIMIT = 50
NAMESPACES = 50  # of a datastore that are looked into
_KIND = re.compile(r":backup/(?:vzdump-(?P<archive>qemu|lxc)-|(?P<pbs>vm|ct|host)/(?P<id>[^/]+)/)")
_TYPES = {"vm": "qemu", "ct": "lxc", "host": "host", "qemu": "qemu", "lxc": "lxc"}


class BackupsFilter(Paged):
    """Which backups."""

    vmid: Vmid | None = Field(default=None, description="only this guest's")
    storage: str | None = Field(default=None, description="storage as a glob")
    datastore: str | None = Field(default=None, description="datastore of a Backup Server as a glob")
    node: str | None = Field(default=None, description="only storages of this node")
    site: str | None = Field(default=None, description="only this site")
    since: Moment | None = Field(default=None, description="only newer ones: ISO 8601, or e.g. 7d")
    verified: Verified | None = None
    protected: bool | None = None
    limit: int = Field(default=LIMIT, ge=1, le=1000, description="rows at most")


class Backup(asking.Part):
    """A backup. null: not known there, or does not apply."""

    volume: str = Field(description="volume id of a storage, or type/id/time in a datastore")
    site: str
    storage: str | None
    node: str | None = Field(description="null: shared, or in a datastore")
    datastore: str | None
    namespace: str
    vmid: int | None
    type: str
    created_at: str | None
    size: int | None
    protected: bool
    verified: Verified | None = Field(description="none: never; null: not kept there")
    encrypted: bool | None
    notes: str

    @property
    def key(self) -> str:
        """Names it among all others, for cursors."""
        return f"{self.site}/{self.storage or self.datastore}/{self.node or self.namespace}/{self.volume}"


class BackupList(Page):
    """A page of backups, newest first; the counts are of all that match."""

    guests: int = 0
    bytes: int = 0
    protected: int = 0
    failed_verification: int = 0
    backups: tuple[Backup, ...] = ()

    def text(self) -> str:
        head = (
            f"{self.total} backups of {self.guests} guests, {words.size(self.bytes)}, {self.protected} protected, "
            f"{self.failed_verification} with failed verification"
        )
        rows = ((b.created_at, b.vmid, words.size(b.size), _flags(b), _where(b), b.volume) for b in self.backups)
        body = words.table(("created", "guest", "size", "flags", "where", "backup"), rows) if self.backups else ""
        return words.answer(head, body, self, more=self.next_cursor)


def _where(backup: Backup) -> str:
    """The volume names its storage itself."""
    if backup.storage is None:
        return "/".join(part for part in (backup.site, backup.datastore, backup.namespace) if part)
    return backup.node or ""


def _flags(backup: Backup) -> str:
    said = {"ok": "verified", "failed": "VERIFY FAILED"}.get(backup.verified or "", "")
    parts = (said, "protected" * backup.protected, "encrypted" * bool(backup.encrypted))
    return " ".join(part for part in parts if part)


async def list_backups(call: Call, args: BackupsFilter) -> BackupList:
    """All sites at once; a storage or server that is silent becomes a note."""
    found = await _found(call, args)
    rows = [backup for backup in _once(found.backups) if _fits(backup, args)]
    rows.sort(key=lambda b: (b.created_at or "", b.key), reverse=True)
    shown, cursor = paged(rows, lambda b: b.key, args)
    return BackupList(
        **asking.now(call, *found.notes, complete=not found.notes),
        total=len(rows),
        next_cursor=cursor,
        guests=len({(b.type, b.vmid) for b in rows if b.vmid is not None}),
        bytes=sum(b.size or 0 for b in rows),
        protected=sum(b.protected for b in rows),
        failed_verification=sum(b.verified == "failed" for b in rows),
        backups=tuple(shown),
    )


@dataclass
class _Found:
    backups: list[Backup] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def _found(call: Call, args: BackupsFilter) -> _Found:
    """Storages of Proxmox VE and datastores of Backup Servers, as far as the filters let them in."""
    questions = {}
    machines = asking.sites(call, "pve", args.site)
    servers = {} if args.storage or args.node else asking.sites(call, "pbs", args.site)
    if machines:
        questions["storages"] = _on_storages(machines, args)
    for site, client in servers.items():
        questions[site] = _on_server(site, client, args)
    heard = await asking.together(questions)
    heard.require()
    whole = _Found(notes=heard.notes)
    for found in heard.answers.values():
        whole.backups += found.backups
        whole.notes += found.notes
    return whole


# --- storages --------------------------------------------------------------------------------------------------------


async def _on_storages(clients: "Mapping[str, ProxmoxClient]", args: BackupsFilter) -> _Found:
    wanted = contents.Wanted(("backup",), args.node, args.storage, args.datastore, args.vmid)
    listed = await contents.volumes(clients, wanted)
    notes = list(listed.notes)
    blind = [client for site, client in clients.items() if not any(v.site == site for v in listed.volumes)]
    if listed.asked or not args.datastore:
        notes += await asking.unseen_at(blind, ("/storage", "Datastore.AllocateSpace"), ("/vms", "VM.Backup"))
    return _Found([_archive(volume) for volume in listed.volumes], notes)


def _archive(volume: contents.Volume) -> Backup:
    row = volume.row
    volid = str(row["volid"])
    kind = _KIND.search(volid)
    pbs = volume.datastore is not None
    state = (row.get("verification") or {}).get("state")
    vmid = row.get("vmid")
    return Backup(
        volume=volid,
        site=volume.site,
        storage=volume.storage,
        node=volume.node,
        datastore=volume.datastore,
        namespace=volume.namespace,
        vmid=int(vmid) if vmid else None,
        type=_TYPES.get((kind and (kind["archive"] or kind["pbs"])) or str(row.get("subtype")), "unknown"),
        created_at=utc(row.get("ctime")),
        size=row.get("size"),
        protected=bool(row.get("protected")),
        verified=_verified(state) if pbs else None,
        encrypted=bool(row.get("encrypted")) if pbs else None,
        notes=asking.clean(row.get("notes"), 80),
    )


def _verified(state: object) -> Verified:
    return "ok" if state == "ok" else "failed" if state == "failed" else "none"


# --- Backup Servers --------------------------------------------------------------------------------------------------


async def _on_server(site: str, client: "ProxmoxClient", args: BackupsFilter) -> _Found:
    stores = await client.get("admin", "datastore", deadline=asking.DEADLINE)
    names = [str(row["store"]) for row in stores if named_like(args.datastore, str(row["store"]))]
    heard = await asking.together({name: _in_store(site, client, name, args) for name in names})
    whole = _Found(notes=heard.notes)
    for found in heard.answers.values():
        whole.backups += found.backups
        whole.notes += found.notes
    if not whole.backups:
        whole.notes += await asking.unseen(client, ("/datastore", "Datastore.Audit"))
    return whole


async def _in_store(site: str, client: "ProxmoxClient", store: str, args: BackupsFilter) -> _Found:
    path = ("admin", "datastore", store)
    spaces = await client.get(*path, "namespace", deadline=asking.DEADLINE)
    names = [str(row.get("ns") or "") for row in spaces]
    only: dict[str, Any] = {} if args.vmid is None else {"backup-id": str(args.vmid)}
    heard = await asking.together(
        {
            name: client.get(*path, "snapshots", ns=name or None, deadline=asking.DEADLINE, **only)
            for name in names[:NAMESPACES]
        }
    )
    notes = heard.notes
    if len(names) > NAMESPACES:
        notes.append(f"Only {NAMESPACES} of the {len(names)} namespaces of {store} were looked into.")
    return _Found([_snapshot(site, store, ns, row) for ns, rows in heard.answers.items() for row in rows], notes)


def _snapshot(site: str, store: str, namespace: str, row: Mapping[str, Any]) -> Backup:
    kind, ident, at = str(row["backup-type"]), str(row["backup-id"]), utc(row.get("backup-time"))
    files: Sequence[Any] = row.get("files") or ()
    modes = {each.get("crypt-mode") for each in files if isinstance(each, Mapping)}
    return Backup(
        volume=f"{kind}/{ident}/{at}",
        site=site,
        storage=None,
        node=None,
        datastore=store,
        namespace=namespace,
        vmid=int(ident) if kind != "host" and ident.isdigit() else None,
        type=_TYPES.get(kind, "unknown"),
        created_at=at,
        size=row.get("size"),
        protected=bool(row.get("protected")),
        verified=_verified((row.get("verification") or {}).get("state")),
        encrypted="encrypt" in modes if modes else None,
        notes=asking.clean(row.get("comment"), 80),
    )


# --- both ------------------------------------------------------------------------------------------------------------


def _once(backups: Sequence[Backup]) -> list[Backup]:
    """Without a server's rows of what a storage on that datastore lists too; those lend their verification.

    A storage knows its server by an address, not by our site: it is the same one only where no other fits.
    """
    servers = Counter(_same(b) for b in backups if b.storage is None)
    direct = {_same(b): b for b in backups if b.storage is None}
    through = {_same(b) for b in backups if b.storage is not None and servers[_same(b)] == 1}
    kept = [b for b in backups if b.storage is not None or _same(b) not in through]
    return [_enriched(b, direct.get(_same(b))) if b.storage is not None and _same(b) in through else b for b in kept]


def _same(backup: Backup) -> tuple[str | None, str, str, int | None, str | None]:
    return backup.datastore, backup.namespace, backup.type, backup.vmid, backup.created_at


def _enriched(backup: Backup, direct: Backup | None) -> Backup:
    if direct is None:
        return backup
    known = {"verified": direct.verified, "protected": direct.protected or backup.protected}
    if direct.encrypted is not None:
        known["encrypted"] = direct.encrypted
    return backup.model_copy(update=known)


def _fits(backup: Backup, args: BackupsFilter) -> bool:
    return (
        args.vmid in {None, backup.vmid}
        and (args.datastore is None or (backup.datastore is not None and named_like(args.datastore, backup.datastore)))
        and (args.since is None or (backup.created_at or "") >= args.since)
        and args.verified in {None, backup.verified}
        and args.protected in {None, backup.protected}
    )


TOOLS = (
    Tool(
        "list_backups",
        "Backups that there are",
        "Backups on storages and Backup Servers, newest first: guest, size, verified, protected, encrypted.",
        "backups",
        BackupsFilter,
        BackupList,
        list_backups,
    ),
)
