"""Datastores of Backup Servers: how full, and how their jobs went."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from mqtt_bridge.model import DatastoreState, JobRun, utc
from proxmox_mcp.tools import asking, words
from proxmox_mcp.tools.base import Call, Page, Paged, Tool, fresh, named_like, paged
from proxmox_mcp.view import View

if TYPE_CHECKING:
    from mqtt_bridge.proxmox.client import ProxmoxClient

JOBS = ("verify", "prune", "sync")


class DatastoreFilter(Paged):
    """Which datastores."""

    site: str | None = Field(default=None, description="only this Backup Server")
    datastore: str | None = Field(default=None, description="name as a glob")
    include_details: bool = Field(default=False, description="also ask for jobs, schedules, garbage collection")


class DatastoreJob(asking.Part):
    """A job of a datastore; its id is what run_datastore_job takes."""

    site: str
    store: str
    kind: str
    id: str
    schedule: str | None
    next_run: str | None
    last_run: str | None
    last_state: str | None


class DatastoreList(Page):
    """A page of datastores."""

    datastores: tuple[DatastoreState, ...] = ()
    jobs: tuple[DatastoreJob, ...] | None = Field(default=None, description="null: not asked for")

    def text(self) -> str:
        rows = (
            (d.store, d.site, "yes" if d.available else f"NO {d.error or ''}", words.share(d.used_percent),
             words.size(d.used), words.size(d.total), d.estimated_full, d.snapshots, d.last_backup,
             *(_run(job) for job in (d.gc, d.verify, d.prune, d.sync)), " ".join(d.namespaces or ()))
            for d in self.datastores
        )  # fmt: skip
        titles = ("datastore", "site", "available", "used", "bytes", "of", "full by", "snapshots", "last backup", "gc",
                  "verify", "prune", "sync", "namespaces")  # fmt: skip
        body = words.table(titles, rows) if self.datastores else ""
        if self.jobs:
            listed = ((j.kind, j.id, j.store, j.schedule, j.next_run, j.last_run, j.last_state) for j in self.jobs)
            body += "\n" + words.table(("job", "id", "store", "schedule", "next", "last", "state"), listed)
        return words.answer(f"{self.total} datastores", body, self, more=self.next_cursor)


def _run(run: JobRun | None) -> str | None:
    return None if run is None else f"{run.status} {run.ended_at or ''}".strip()


async def get_datastores(call: Call, args: DatastoreFilter) -> DatastoreList:
    """From the mirror; jobs from the API if asked for."""
    view = await call.view()
    found = [d for d in view.datastores(args.site) if named_like(args.datastore, d.store)]
    shown, cursor = paged(found, lambda d: f"{d.site}/{d.store}", args)
    jobs, notes = await _jobs(call, shown) if args.include_details else (None, [])
    return DatastoreList(
        **fresh(view, _servers(view, args.site), *notes),
        total=len(found),
        next_cursor=cursor,
        datastores=tuple(shown),
        jobs=None if jobs is None else tuple(jobs),
    )


def _servers(view: View, site: str | None) -> list[str]:
    """Whether a Proxmox VE site is stale says nothing here."""
    names = view.sites(site)
    return [name for name in names if (whole := view.cluster(name)) is None or whole.kind == "pbs"] or names


async def _jobs(call: Call, shown: Any) -> tuple[list[DatastoreJob], list[str]]:
    stores = {(d.site, d.store) for d in shown}
    clients = {site: call.client(site) for site, _ in stores}
    heard = await asking.together(
        {(site, kind): _asked(client, kind) for site, client in clients.items() for kind in (*JOBS, "gc")}
    )
    found = [
        _job(site, kind, row)
        for (site, kind), rows in heard.answers.items()
        for row in rows
        if (site, row.get("store")) in stores
    ]
    return sorted(found, key=lambda j: (j.site, j.store, j.kind, j.id)), heard.notes


async def _asked(client: "ProxmoxClient", kind: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = await client.get("admin", kind, deadline=asking.DEADLINE)
    return rows


def _job(site: str, kind: str, row: dict[str, Any]) -> DatastoreJob:
    return DatastoreJob(
        site=site,
        store=str(row.get("store")),
        kind=kind,
        id=str(row.get("id") or row.get("store")),
        schedule=row.get("schedule"),
        next_run=utc(row.get("next-run")),
        last_run=utc(row.get("last-run-endtime")),
        last_state=asking.clean(row["last-run-state"]) if row.get("last-run-state") else None,
    )


TOOLS = (
    Tool(
        "get_datastores",
        "Datastores",
        "Datastores of Backup Servers: usage, when full, namespaces, last garbage collection, verify, prune and sync.",
        "backups",
        DatastoreFilter,
        DatastoreList,
        get_datastores,
    ),
)
