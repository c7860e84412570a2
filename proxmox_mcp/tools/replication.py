"""Storage replication: jobs, and how their last runs went."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from mqtt_bridge.model import utc
from proxmox_mcp.tools import asking, words
from proxmox_mcp.tools.base import Call, Listed, Page, Tool, Vmid, paged

if TYPE_CHECKING:
    from mqtt_bridge.proxmox.client import ProxmoxClient

Row = dict[str, Any]


class ReplicationFilter(Listed):
    """Which jobs."""

    vmid: Vmid | None = Field(default=None, description="only this guest")
    failing: bool = Field(default=False, description="only jobs whose last run failed")


class ReplicationJob(asking.Part):
    """A job. null: not known, e.g. its node does not answer."""

    site: str
    id: str
    vmid: int
    source: str | None
    target: str
    schedule: str
    enabled: bool
    last_sync: str | None
    next_sync: str | None
    duration_s: float | None
    fail_count: int | None
    error: str
    comment: str


class ReplicationList(Page):
    """A page of jobs; those that fail come first."""

    failing: int = 0
    jobs: tuple[ReplicationJob, ...] = ()

    def text(self) -> str:
        rows = (
            (j.id, j.source, j.target, j.schedule, "on" if j.enabled else "off", j.last_sync, j.next_sync,
             j.fail_count, j.error)
            for j in self.jobs
        )  # fmt: skip
        titles = ("job", "from", "to", "schedule", "", "last", "next", "failed", "error")
        head = f"{self.total} replication jobs, {self.failing} failing"
        return words.answer(head, words.table(titles, rows) if self.jobs else "", self, more=self.next_cursor)


async def get_replication(call: Call, args: ReplicationFilter) -> ReplicationList:
    """Jobs of each site, with what the nodes say of their runs."""
    clients = asking.hosts(call, args.site)
    heard = await asking.together({site: _site(site, client) for site, client in clients.items()})
    heard.require()
    found = [job for jobs, _ in heard.answers.values() for job in jobs if _fits(job, args)]
    found.sort(key=lambda j: (not j.fail_count, j.site, j.id))
    shown, cursor = paged(found, lambda j: f"{j.site}/{j.id}", args)
    notes = [*heard.notes, *(note for _, said in heard.answers.values() for note in said)]
    blind = [clients[site] for site, (jobs, _) in heard.answers.items() if not jobs]
    notes += await asking.unseen_at(blind, ("/vms", "VM.Audit"))
    return ReplicationList(
        **asking.now(call, *notes, complete=not notes),
        total=len(found),
        next_cursor=cursor,
        failing=sum(bool(j.fail_count) for j in found),
        jobs=tuple(shown),
    )


async def _site(site: str, client: "ProxmoxClient") -> tuple[list[ReplicationJob], list[str]]:
    """Configured jobs, and their state from each node that is a source of one and online."""
    jobs: list[Row] = await client.get("cluster", "replication", deadline=asking.DEADLINE)
    if not jobs:
        return [], []
    nodes = await asking.members(client)
    heard = await asking.together(
        {
            node: client.get("nodes", node, "replication", deadline=asking.DEADLINE)
            for node, online in nodes.items()
            if online
        }
    )
    states = {str(row["id"]): {**row, "node": node} for node, rows in heard.answers.items() for row in rows}
    away = [f"Node {node} is offline: how its jobs run is not known." for node, online in nodes.items() if not online]
    return [_job(site, row, states.get(str(row["id"]), {})) for row in jobs], [*heard.notes, *away]


def _job(site: str, row: Row, state: Mapping[str, Any]) -> ReplicationJob:
    return ReplicationJob(
        site=site,
        id=str(row["id"]),
        vmid=int(row["guest"]),
        source=state.get("node") or row.get("source"),
        target=str(row.get("target")),
        schedule=str(row.get("schedule") or "*/15"),
        enabled=not row.get("disable"),
        last_sync=utc(state.get("last_sync")),
        next_sync=utc(state.get("next_sync")),
        duration_s=state.get("duration"),
        fail_count=state.get("fail_count"),
        error=asking.clean(state.get("error")),
        comment=asking.clean(row.get("comment")),
    )


def _fits(job: ReplicationJob, args: ReplicationFilter) -> bool:
    return (
        args.vmid in {None, job.vmid}
        and args.node in {None, job.source, job.target}
        and (bool(job.fail_count) or not args.failing)
    )


TOOLS = (
    Tool(
        "get_replication",
        "Replication",
        "Storage replication jobs: source, target, schedule, last and next run, errors. Failing ones come first.",
        "history",
        ReplicationFilter,
        ReplicationList,
        get_replication,
    ),
)
