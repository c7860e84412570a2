"""What a Backup Server does with its datastores: verify, prune, collect garbage, sync; and one backup deleted there.

Each works on a configured job (by its id) or on a part of the datastore. What reaches guests that nobody names is
outside every list of guests (`DatastoreTarget.whole`); what a prune would remove is asked for first and judged one by
one, so that backups of protected guests stay.
"""

import functools
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

from mqtt_bridge.actions.backup_lookup import owners
from mqtt_bridge.actions.datastore_args import ForgetArgs, PruneArgs, ScopeArgs, SyncArgs, VerifyArgs
from mqtt_bridge.actions.plan import Outcome, Plan, Seen, Step
from mqtt_bridge.actions.prune_preview import Doomed, Preview, preview
from mqtt_bridge.actions.reading import Reading
from mqtt_bridge.actions.row import Action, ActionError, Args, NoArgs, PlanIt, Privilege
from mqtt_bridge.errors import RejectedError, UnknownTargetError
from mqtt_bridge.model import utc
from mqtt_bridge.proxmox.api import Api
from mqtt_bridge.settings import Level
from mqtt_bridge.targets import BackupTarget, DatastoreRef, DatastoreTarget, Touched

Row = Mapping[str, Any]
Kind = Literal["verify", "prune", "sync"]
SHOWN = 10


async def _plan_verify(reading: Reading, ref: DatastoreRef, args: VerifyArgs) -> Plan:
    store = await reading.datastore(ref, whole=args.group is None)
    api = reading.api(store.site)
    problem = args.mixed()
    if args.job_id:
        await _job(api, "verify", store, args.job_id)
        step = Step("POST", ("admin", "verify", args.job_id, "run"), task=False)
    else:
        skip = {} if args.ignore_verified is None else {"ignore-verified": args.ignore_verified}
        step = Step("POST", (*_path(store), "verify"), {**args.scope(), **skip})
    group = (Touched(await _group(reading, store, args), "read"),) if args.group else ()
    return Plan(
        ACTIONS["datastore.verify"], api, store, (step,), (Touched(store), *group), _see_verified, args, problem=problem
    )


async def _plan_prune(reading: Reading, ref: DatastoreRef, args: PruneArgs) -> Plan:
    store = await reading.datastore(ref, whole=args.group is None)
    api = reading.api(store.site)
    problem = args.mixed()
    scope, keep = args.scope(), args.keep()
    if args.job_id:
        job = await _job(api, "prune", store, args.job_id)
        scope = {key: job[key] for key in ("ns", "max-depth") if job.get(key) not in {None, ""}}
        keep = {key: int(value) for key, value in job.items() if key.startswith("keep-") and value}
    if not keep:
        problem = problem or ActionError(
            "A prune has to say what it keeps.", cure="Give job_id, or at least one of keep_last, keep_daily, …"
        )
    found = Preview((), 0) if problem else await preview(api, store.store, scope, keep)
    objects = [Touched(store), *await _doomed(reading, store, found)]
    if args.group:
        objects.append(Touched(await _group(reading, store, args), "destroy"))
    return Plan(
        ACTIONS["datastore.prune"],
        api,
        store,
        (_prune_step(store, args, keep),),
        tuple(objects),
        functools.partial(_see_pruned, found),
        args,
        problem=problem,
        nothing=None if found.doomed or problem else f"Nothing in {store.label} would be removed; nothing was sent.",
        notes=found.notes if found.doomed else (),
        narrow="Or name a group (vm/100) whose backups may go.",
    )


def _prune_step(store: DatastoreTarget, args: PruneArgs, keep: Mapping[str, int]) -> Step:
    if args.job_id:
        return Step("POST", ("admin", "prune", args.job_id, "run"), task=False)
    if args.group:  # answers with what it removed, not with a task
        return Step("POST", (*_path(store), "prune"), {**args.scope(), **keep}, task=False)
    return Step("POST", (*_path(store), "prune-datastore"), {**args.scope(), **keep})


async def _plan_gc(reading: Reading, ref: DatastoreRef, args: Args) -> Plan:
    store = await reading.datastore(ref, whole=True)
    api = reading.api(store.site)
    last = await api.get(*_path(store), "gc")
    when = utc(last.get("last-run-endtime"))
    return Plan(
        ACTIONS["datastore.gc"],
        api,
        store,
        (Step("POST", (*_path(store), "gc")),),
        (Touched(store),),
        _see_collected,
        args,
        notes=(
            "It removes data that no backup refers to any more; until then a deleted backup could have been rescued.",
            f"The last one ended {when}: {last.get('last-run-state')}." if when else "None has run yet.",
        ),
    )


async def _plan_sync(reading: Reading, ref: DatastoreRef, args: SyncArgs) -> Plan:
    store = await reading.datastore(ref, whole=True)
    api = reading.api(store.site)
    ident = args.job_id or await _only_job(api, store)
    job = await _job(api, "sync", store, ident)
    removes = bool(job.get("remove-vanished"))
    push = job.get("sync-direction") == "push"
    there = f"{job.get('remote') or 'this server'}:{job.get('remote-store')}"
    notes = [f"It {'sends to' if push else 'fetches from'} {there}."]
    if removes:
        notes.append(f"It removes backups {'there' if push else 'here'} that the other side has not (remove-vanished).")
    return Plan(
        ACTIONS["datastore.sync"],
        api,
        store,
        (Step("POST", ("admin", "sync", ident, "run"), task=False),),
        (Touched(store, "destroy" if removes else "write"),),
        functools.partial(_see_job, "sync", ident),
        args,
        risk="destroy" if removes else None,
        notes=tuple(notes),
    )


async def _plan_forget(reading: Reading, ref: DatastoreRef, args: ForgetArgs) -> Plan:
    store = await reading.datastore(ref)
    api = reading.api(store.site)
    kind, ident, _ = args.snapshot.split("/")
    group: dict[str, Any] = {"ns": args.namespace, "backup-type": kind, "backup-id": ident}
    scope = {key: value for key, value in group.items() if value is not None}
    rows = await api.get(*_path(store), "snapshots", **scope)
    row = next((each for each in rows if utc(each["backup-time"]) == args.snapshot.rpartition("/")[2]), None)
    if row is None:
        near = tuple(
            f"{kind}/{ident}/{utc(at)}" for at in sorted((r["backup-time"] for r in rows), reverse=True)[:SHOWN]
        )
        cure = f"There are: {', '.join(near)}." if near else "See list_backups, and its namespace."
        raise UnknownTargetError(f"There is no backup {args.snapshot} in {store.label}.", cure=cure, candidates=near)
    one = Doomed(args.namespace or "", kind, ident, int(row["backup-time"]))
    backup = await _backup(reading, store, one, protected=bool(row.get("protected")))
    left = len(rows) - 1
    return Plan(
        ACTIONS["datastore.forget"],
        api,
        backup,
        (Step("DELETE", (*_path(store), "snapshots"), {**scope, "backup-time": one.time}, task=False),),
        (Touched(backup, "destroy"), Touched(store)),
        functools.partial(_see_forgotten, store, one),
        args,
        notes=(f"{left} others of {one.group} stay." if left else f"It is the last backup of {one.group} there.",),
    )


# --- what is there ---------------------------------------------------------------------------------------------------


def _path(store: DatastoreTarget) -> tuple[str, ...]:
    return ("admin", "datastore", store.store)


async def _jobs(api: Api, kind: Kind, store: DatastoreTarget) -> list[Row]:
    rows = list(await api.get("admin", kind, store=store.store))
    if kind == "sync":
        pushing: dict[str, Any] = {"store": store.store, "sync-direction": "push"}
        with suppress(RejectedError):  # servers before 3.4 only fetch, and do not know the parameter
            rows += await api.get("admin", kind, **pushing)
    return rows


async def _job(api: Api, kind: Kind, store: DatastoreTarget, ident: str) -> Row:
    jobs = {str(row["id"]): row for row in await _jobs(api, kind, store)}
    if ident in jobs:
        return jobs[ident]
    names = tuple(sorted(jobs))
    cure = f"There are: {', '.join(names[:SHOWN])}." if names else f"It has no {kind} jobs at all."
    raise UnknownTargetError(f"{store.label} has no {kind} job {ident}.", cure=cure, candidates=names)


async def _only_job(api: Api, store: DatastoreTarget) -> str:
    names = sorted({str(row["id"]) for row in await _jobs(api, "sync", store)})
    if len(names) == 1:
        return names[0]
    cure = f"Give job_id, one of: {', '.join(names[:SHOWN])}." if names else "Make one in the Backup Server first."
    raise ActionError(f"{store.label} has {len(names) or 'no'} sync jobs.", cure=cure)


async def _group(reading: Reading, store: DatastoreTarget, args: ScopeArgs) -> BackupTarget:
    """A group as one object: the guest's whose backups are in it."""
    kind, _, ident = str(args.group).partition("/")
    backup = await _backup(reading, store, Doomed(args.namespace or "", kind, ident, 0), protected=False)
    return replace(backup, volume=backup.volume.rpartition("/")[0])


async def _backup(reading: Reading, store: DatastoreTarget, one: Doomed, *, protected: bool) -> BackupTarget:
    return (await owners(reading)).target(store.site, f"{store.store}: {one.volume}", one.vmid, protected=protected)


async def _doomed(reading: Reading, store: DatastoreTarget, found: Preview) -> list[Touched]:
    known = await owners(reading) if found.doomed else None
    return [
        Touched(known.target(store.site, f"{store.store}: {one.volume}", one.vmid, protected=False), "destroy")
        for one in found.doomed
        if known
    ]


# --- what is seen ----------------------------------------------------------------------------------------------------


async def _see_verified(plan: Plan, outcome: Outcome) -> Seen:
    """The task fails if one backup does; which ones is in its log."""
    if not isinstance(plan.args, VerifyArgs):
        raise TypeError(plan.args)
    if plan.args.job_id:
        return await _see_job("verify", plan.args.job_id, plan, outcome)
    if not isinstance(plan.target, DatastoreTarget):
        raise TypeError(plan.target)
    scope = {key: value for key, value in plan.args.scope().items() if key != "max-depth"}
    rows = await plan.api.get(*_path(plan.target), "snapshots", **scope)
    states = [str((row.get("verification") or {}).get("state") or "none") for row in rows]
    counts = {state: states.count(state) for state in ("ok", "failed", "none")}
    text = f"{counts['ok']} backups are verified, {counts['failed']} failed, {counts['none']} were never verified."
    return Seen(ok=outcome.ok, message=text, details=counts)


async def _see_job(kind: Kind, ident: str, plan: Plan, outcome: Outcome) -> Seen:
    if not isinstance(plan.target, DatastoreTarget):
        raise TypeError(plan.target)
    if outcome.upid is None:
        text = "the Backup Server accepted it without naming a task: list its tasks to see how it goes."
        return Seen(ok=True, message=text, changed=None, started=True)
    job = await _job(plan.api, kind, plan.target, ident)
    state = str(job.get("last-run-state") or outcome.exitstatus)
    text = f"the {kind} job {ident} ended {utc(job.get('last-run-endtime')) or 'now'}: {state}."
    return Seen(ok=outcome.ok, message=text, details={"job_id": ident, "state": state})


async def _see_pruned(found: Preview, plan: Plan, outcome: Outcome) -> Seen:
    """What was to go is looked for again."""
    store = plan.target
    if not isinstance(store, DatastoreTarget):
        raise TypeError(store)
    there: set[Doomed] = set()
    for namespace in sorted({one.namespace for one in found.doomed}):
        rows = await plan.api.get(*_path(store), "snapshots", ns=namespace or None)
        there |= {Doomed(namespace, r["backup-type"], str(r["backup-id"]), int(r["backup-time"])) for r in rows}
    left = [one for one in found.doomed if one in there]
    gone = len(found.doomed) - len(left)
    text = f"{gone} of {len(found.doomed)} backups that were to go are gone."
    if left:
        text += f" Still there: {', '.join(one.volume for one in left[:SHOWN])}."
    return Seen(ok=outcome.ok and not left, message=text, changed=gone > 0, details={"removed": gone})


async def _see_collected(plan: Plan, outcome: Outcome) -> Seen:
    if not isinstance(plan.target, DatastoreTarget):
        raise TypeError(plan.target)
    row = await plan.api.get(*_path(plan.target), "gc")
    numbers = {key: row.get(key) for key in ("removed-bytes", "removed-chunks", "pending-bytes", "disk-bytes")}
    removed = int(row.get("removed-bytes") or 0) / 2**30
    text = f"it removed {removed:.2f} GiB; {int(row.get('pending-bytes') or 0) / 2**30:.2f} GiB wait for the next one."
    return Seen(ok=outcome.ok, message=text, details=numbers)


async def _see_forgotten(store: DatastoreTarget, one: Doomed, plan: Plan, outcome: Outcome) -> Seen:
    scope: dict[str, Any] = {"ns": one.namespace or None, "backup-type": one.kind, "backup-id": one.ident}
    rows = await plan.api.get(*_path(store), "snapshots", **scope)
    there = any(int(row["backup-time"]) == one.time for row in rows)
    text = f"it is {'still there' if there else 'gone'}."
    return Seen(ok=outcome.ok and not there, message=text, changed=not there)


def _row(
    called: tuple[str, str], risk: Level, privilege: str, args: type[Args], plan: PlanIt, *more: Privilege
) -> Action:
    name, title = called
    rights = (Privilege(privilege, "/datastore/{store}"), *more)
    return Action(f"datastore.{name}", title, risk, "datastore", rights, args, plan, kind="pbs")


ROWS: tuple[Action, ...] = (
    _row(("verify", "Verification"), "operate", "Datastore.Verify", VerifyArgs, _plan_verify),
    _row(("sync", "Sync"), "operate", "Datastore.Backup", SyncArgs, _plan_sync, Privilege("Remote.Read", "/remote")),
    _row(("prune", "Prune"), "destroy", "Datastore.Modify", PruneArgs, _plan_prune),
    _row(("gc", "Garbage collection"), "destroy", "Datastore.Modify", NoArgs, _plan_gc),
    _row(("forget", "Deletion"), "destroy", "Datastore.Modify", ForgetArgs, _plan_forget),
)
ACTIONS = {row.name: row for row in ROWS}
