"""Garbage collection, verify, sync and prune: jobs and what they did last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab.errors import ApiError

from . import prune
from .stores import chosen, find, store_rights, visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxmox_mcp.lab.tasks import Task

    from .call import Call
    from .state import PbsJob

DAY = 86_400


def jobs(kind: str) -> Callable[[Call], list[dict[str, Any]]]:
    def listing(call: Call) -> list[dict[str, Any]]:
        stores = {store.name for store in visible(call)}
        wanted = call.params.get("store")
        return [
            job_row(job, call.host.clock.now())
            for job in call.host.jobs.values()
            if job.kind == kind and job.store in stores and wanted in (None, job.store)
        ]

    return listing


def job_row(job: PbsJob, now: float) -> dict[str, Any]:
    row: dict[str, Any] = {"id": job.ident, "store": job.store, "schedule": job.schedule} | job.config
    row["next-run"] = (int(now) // DAY + 1) * DAY
    if job.last_upid:
        row |= {"last-run-upid": job.last_upid, "last-run-state": job.last_state, "last-run-endtime": job.last_end}
    return row


def start(call: Call, kind: str, ident: str, lines: tuple[str, ...], done: Callable[[Task], None]) -> str:
    """Run a worker of about two seconds."""

    async def work(task: Task) -> None:
        task.say(*lines)
        await task.sleep(2.0)
        done(task)

    return call.host.tasks.start(call.host.name, kind, ident, call.who, work)


def run_gc(call: Call) -> str:
    store = find(call, "Datastore.Modify")

    def done(task: Task) -> None:
        store.gc_upid, store.gc_end, store.gc_state = task.upid, int(call.host.clock.now()), "OK"
        task.say("Removed garbage: 117.7 MiB", "Removed chunks: 61")

    lines = (f"starting garbage collection on store {store.name}", "Start GC phase1 (mark used chunks)")
    return start(call, "garbage_collection", store.name, lines, done)


def verify_store(call: Call) -> str:
    store = find(call, "Datastore.Verify")

    def done(task: Task) -> None:
        for one in chosen(call, store):
            one.verified, one.verify_upid = one.verified if one.verified == "failed" else "ok", task.upid
        task.say("verified 3 GiB in 1.9 seconds, speed 1.6 GiB/s (0 errors)")

    return start(call, "verify", store.name, (f"verify datastore {store.name}",), done)


def prune_store(call: Call) -> str:
    store = find(call, "Datastore.Modify")
    lines = (f"Starting datastore prune on datastore '{store.name}', root namespace",)
    params = dict(call.params)
    return start(call, "prune", store.name, lines, lambda task: prune.everything(store, params, task))


WORKERS = {"verify": "verificationjob", "sync": "syncjob", "prune": "prunejob"}


def run_job(kind: str) -> Callable[[Call], str]:
    def run(call: Call) -> str:
        job = call.host.jobs.get(call.params["id"])
        if job is None or job.kind != kind:
            raise ApiError(400, f"no such job '{call.params['id']}'")
        if store_rights(call, job.store).isdisjoint(("Datastore.Modify", "Datastore.Verify")):
            raise ApiError(403, "permission check failed")

        def done(task: Task) -> None:
            job.last_upid, job.last_state, job.last_end = task.upid, "OK", int(call.host.clock.now())
            if kind == "prune":
                prune.everything(call.host.datastores[job.store], job.config, task)

        return start(call, WORKERS[kind], f"{job.store}:{job.ident}", (f"Starting {kind} job '{job.ident}'",), done)

    return run
