"""A backup server with two datastores, jobs and a past."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxmox_mcp.lab.access import ROOT, Access, Acl, Identity, User
from proxmox_mcp.lab.roles import PBS_ROLES
from proxmox_mcp.lab.state import GIB, Load
from proxmox_mcp.lab.tasks import Task, Tasks

from .state import Datastore, PbsHost, PbsJob, PbsSnapshot

if TYPE_CHECKING:
    from proxmox_mcp.lab.world import World

TIB = 1024 * GIB
DAY = 86_400
ROOT_SELF = Identity(ROOT, "")


def backup_server(world: World, name: str) -> PbsHost:
    access = Access(PBS_ROLES, "PBSAPIToken", ":", PBS_ROLES["Admin"])
    access.users = {
        ROOT: User(ROOT, email="root@lab.example"),
        "audit@pbs": User("audit@pbs"),
        "none@pbs": User("none@pbs"),
    }
    booted = world.now() - 41 * DAY
    tasks = Tasks(world.clock, world.options.speed, pbs=True, boot={name: booted})
    host = PbsHost(name, world.clock, access, tasks, Load(0.06, 0.4, 1e6, 1e6, 2.5), booted, cores=8, memory=32 * GIB)
    host.journal = world.journal
    _tokens(world, access)
    now = world.now()
    host.datastores = {
        "main": Datastore("main", "/mnt/datastore/main", 4 * TIB, 0.57, 21_000, "nightly backups", "daily", now),
        "archive": Datastore("archive", "/mnt/datastore/archive", 2 * TIB, 0.83, 6_000, "", "sat 18:15", now),
    }
    host.datastores["archive"].namespaces = ["offsite", "offsite/2025"]
    host.datastores["archive"].snapshots = [
        PbsSnapshot("host", "nas", int(now - 9 * DAY), 212 * GIB, "offsite", verified="ok"),
        PbsSnapshot("host", "nas", int(now - 2 * DAY), 214 * GIB, "offsite", verified="failed"),
    ]
    _jobs(host)
    _history(host)
    return host


def _tokens(world: World, access: Access) -> None:
    """Token values equal those of the cluster's tokens of the same names, so that one set of settings serves both."""
    for name, role in (("full", "Admin"), ("ro", "Audit")):
        access.add_token(world.rng, ROOT, name).value = world.access.tokens[f"{ROOT}!{name}"].value
        access.acls.append(Acl("/", "token", f"{ROOT}!{name}", role))
    access.add_token(world.rng, "none@pbs", "none")
    access.acls.append(Acl("/", "user", "audit@pbs", "Audit"))


def _jobs(host: PbsHost) -> None:
    for job in (
        PbsJob("v-main", "verify", "main", "daily", {"ignore-verified": True, "outdated-after": 30}),
        PbsJob("p-main", "prune", "main", "daily", {"keep-daily": 7, "keep-weekly": 4, "keep-monthly": 6}),
        PbsJob("p-archive", "prune", "archive", "weekly", {"keep-monthly": 12}),
        PbsJob(
            "s-offsite", "sync", "archive", "hourly",
            {"remote": "offsite", "remote-store": "main", "owner": ROOT, "remove-vanished": False, "ns": "offsite"},
        ),
    ):  # fmt: skip
        host.jobs[job.ident] = job


def _past(host: PbsHost, kind: str, ident: str, *log: str, age: float, duration: float, status: str = "OK") -> Task:
    """Write a finished task; it began `age` days ago."""
    start = host.clock.now() - age * DAY
    task = host.tasks.create(host.name, kind, ident, ROOT_SELF, at=start)
    task.say(*log)
    host.tasks.finish(task, status, at=start + duration)
    return task


def _history(host: PbsHost) -> None:
    for age in (2.4, 1.4, 0.4):
        _past(host, "verificationjob", "main:v-main", "starting verify datastore main", age=age + 0.05, duration=900)
        prune = _past(host, "prunejob", "main:p-main", "Starting datastore prune on 'main'", age=age, duration=4)
        _finish(host, "p-main", prune)
        for store in host.datastores.values():
            first = f"starting garbage collection on store {store.name}"
            gc = _past(host, "garbage_collection", store.name, first, age=age - 0.05, duration=260)
            store.gc_upid, store.gc_end = gc.upid, gc.endtime
    log = ("verify main:vm/100", "WARN: skipped one")
    verify = _past(host, "verificationjob", "main:v-main", *log, age=0.41, duration=840, status="WARNINGS: 1")
    _finish(host, "v-main", verify)
    text = "error trying to connect: timed out"
    sync = _past(host, "syncjob", "offsite:main:archive:offsite:s-offsite", age=0.1, duration=31, status=text)
    _finish(host, "s-offsite", sync)


def _finish(host: PbsHost, job: str, task: Task) -> None:
    row = host.jobs[job]
    row.last_upid, row.last_state, row.last_end = task.upid, task.status, task.endtime
