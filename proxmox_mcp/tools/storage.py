"""Storages and datastores, and how well guests are backed up."""

from typing import ClassVar, Literal

from pydantic import Field

from mqtt_bridge.model import DatastoreState, GuestState, Model, StorageState, TaskInfo
from proxmox_mcp.store import seconds
from proxmox_mcp.tools import words
from proxmox_mcp.tools.base import Call, Listed, Old, Page, Paged, Tool, fresh, named_like, paged
from proxmox_mcp.view import View


class StorageFilter(Listed):
    """Which storages."""

    old: ClassVar[Old] = {"storage": "name"}
    name: str | None = Field(default=None, description="storage name as a glob")
    min_used_percent: float | None = Field(default=None, ge=0, le=100, description="only those at least so full")


class StorageList(Page):
    """A page of storages, and the datastores of Backup Servers."""

    storages: tuple[StorageState, ...] = ()
    datastores: tuple[DatastoreState, ...] = Field(default=(), description="on every page")

    def text(self) -> str:
        rows = [
            (s.storage, s.node or f"shared ({len(s.nodes)} nodes)", s.type, words.share(s.used_percent),
             words.size(s.used), words.size(s.total), s.status)
            for s in self.storages
        ] + [
            (d.store, d.site, "datastore", words.share(d.used_percent), words.size(d.used), words.size(d.total),
             "available" if d.available else "not available")
            for d in self.datastores
        ]  # fmt: skip
        head = f"{self.total} storages, {len(self.datastores)} datastores"
        body = words.table(("storage", "where", "type", "used", "bytes", "of", "status"), rows)
        return words.answer(head, body, self, more=self.next_cursor)


def _fits(storage: StorageState, args: StorageFilter) -> bool:
    return (
        (args.node is None or storage.node == args.node or args.node in storage.nodes)
        and named_like(args.name, storage.storage)
        and (args.min_used_percent is None or (storage.used_percent or 0) >= args.min_used_percent)
    )


def _store_fits(store: DatastoreState, args: StorageFilter) -> bool:
    return (
        args.node is None
        and named_like(args.name, store.store)
        and (args.min_used_percent is None or (store.used_percent or 0) >= args.min_used_percent)
    )


async def get_storage(call: Call, args: StorageFilter) -> StorageList:
    """How full storages and datastores are."""
    view = await call.view()
    found = [s for s in view.storages(args.site) if _fits(s, args)]
    shown, cursor = paged(found, lambda s: f"{s.site}/{s.node or ''}/{s.storage}", args)
    return StorageList(
        **fresh(view, view.sites(args.site)),
        total=len(found),
        next_cursor=cursor,
        storages=tuple(shown),
        datastores=tuple(d for d in view.datastores(args.site) if _store_fits(d, args)),
    )


# --- backups ---------------------------------------------------------------------------------------------------------

Coverage = Literal["covered", "uncovered", "unknown"]


class BackupFilter(Paged):
    """Which guests."""

    site: str | None = Field(default=None, description="only this site")
    node: str | None = Field(default=None, description="only guests of this node")
    coverage: Coverage | None = Field(default=None, description="only guests that are in a job, in none, or not known")
    older_than_days: float | None = Field(
        default=None, ge=0, description="only guests whose last known backup is older, or that have none that is known"
    )


class GuestBackup(Model):
    """A guest's backups."""

    site: str
    vmid: int
    type: str
    name: str
    node: str
    last_backup: str | None = Field(description="null: none is known; that is not the same as none exists")
    age_days: float | None
    coverage: Coverage = Field(description="whether some backup job includes it")


class BackupInfo(Page):
    """Backups of the guests that match, the ones without or with the oldest backup first."""

    covered: int = 0
    uncovered: int = 0
    unknown: int = 0
    without_known_backup: int = 0
    guests: tuple[GuestBackup, ...] = ()
    failed_tasks: tuple[TaskInfo, ...] = Field(default=(), description="failed backup tasks among the site's last 50")
    running_tasks: tuple[TaskInfo, ...] = ()
    datastores: tuple[DatastoreState, ...] = ()

    def text(self) -> str:
        head = (
            f"{self.total} guests: {self.covered} in a backup job, {self.uncovered} in none, {self.unknown} not known; "
            f"{self.without_known_backup} without a known backup; {len(self.failed_tasks)} failed backup tasks"
        )
        rows = ((g.vmid, g.name, g.node, g.last_backup, g.age_days, g.coverage) for g in self.guests)
        body = words.table(("vmid", "name", "node", "last backup", "age in days", "job"), rows)
        failed = "".join(f"\nFailed: {t.ended_at} {t.upid} {t.exitstatus}" for t in self.failed_tasks)
        return words.answer(head, body + failed, self, more=self.next_cursor)


BACKUP_TASKS = frozenset({"vzdump", "backup"})


def _backup(guest: GuestState, now: float) -> GuestBackup:
    at = seconds(guest.last_backup)
    coverage: Coverage = {True: "covered", False: "uncovered", None: "unknown"}[guest.backup_covered]  # type: ignore[assignment]
    return GuestBackup(
        site=guest.site,
        vmid=guest.vmid,
        type=guest.type,
        name=guest.name,
        node=guest.node,
        last_backup=guest.last_backup,
        age_days=None if at is None else round((now - at) / words.DAY, 1),
        coverage=coverage,
    )


def _old_enough(backup: GuestBackup, args: BackupFilter) -> bool:
    return args.older_than_days is None or backup.age_days is None or backup.age_days > args.older_than_days


async def get_backup_info(call: Call, args: BackupFilter) -> BackupInfo:
    """Last backups, coverage by jobs, failed backup tasks."""
    view = await call.view()
    now = call.services.clock()
    guests = [g.state for g in view.guests(args.site) if not g.state.template and args.node in {None, g.state.node}]
    rows = [
        b for b in (_backup(g, now) for g in guests) if args.coverage in {None, b.coverage} and _old_enough(b, args)
    ]
    rows.sort(key=lambda b: (b.last_backup or "", b.site, b.vmid))
    shown, cursor = paged(rows, lambda b: f"{b.site}/{b.vmid}", args)
    tasks = [t for t in view.tasks(args.site) if t.type in BACKUP_TASKS]
    return BackupInfo(
        **fresh(view, view.sites(args.site), *_doubts(view, args.site, rows)),
        total=len(rows),
        next_cursor=cursor,
        covered=sum(b.coverage == "covered" for b in rows),
        uncovered=sum(b.coverage == "uncovered" for b in rows),
        unknown=sum(b.coverage == "unknown" for b in rows),
        without_known_backup=sum(b.last_backup is None for b in rows),
        guests=tuple(shown),
        failed_tasks=tuple(t for t in tasks if t.status == "failed"),
        running_tasks=tuple(t for t in tasks if t.status == "running"),
        datastores=tuple(view.datastores(args.site)),
    )


def _doubts(view: View, site: str | None, rows: list[GuestBackup]) -> list[str]:
    notes = []
    if any(b.last_backup is None for b in rows):
        notes.append(
            "A missing last_backup means that none is known: with few rights the token sees neither backup files nor "
            "older tasks."
        )
    hidden = [
        m.cure
        for name in view.sites(site)
        if (info := view.bridge(name))
        for m in info.missing
        if "backup" in m.feature
    ]
    return [*notes, *dict.fromkeys(hidden)]


TOOLS = (
    Tool(
        "get_storage",
        "Storages",
        "List storages (a shared one once) and Backup Server datastores with type, content and how full they are.",
        "core",
        StorageFilter,
        StorageList,
        get_storage,
    ),
    Tool(
        "get_backup_info",
        "Backups",
        "How well guests are backed up: last known backup and its age, whether a backup job includes them, failed and "
        "running backup tasks, datastores. The guests worst off come first; what is not known is called unknown.",
        "core",
        BackupFilter,
        BackupInfo,
        get_backup_info,
    ),
)
