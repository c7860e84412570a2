"""The checks themselves, one function each: from the facts of a site to what is wrong, with evidence and a remedy."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Literal

from mqtt_bridge.diagnostics.facts import Facts, Found
from mqtt_bridge.model import GuestState, TaskInfo

DAY = 86_400.0
LOCK_LONG = 2 * 3600.0  # seconds after which a lock deserves a look
FULL, NEARLY_FULL = 95.0, 85.0  # percent
CERTIFICATE_SOON = 30.0  # days
SHOWN = 8  # things that one finding names
# the task types during which a guest carries a lock of that name
LOCK_TASKS = {
    "backup": ("vzdump",),
    "migrate": ("qmigrate", "vzmigrate", "hamigrate"),
    "clone": ("qmclone", "vzclone"),
    "create": ("qmcreate", "vzcreate", "qmrestore", "vzrestore"),
    "snapshot": ("qmsnapshot", "vzsnapshot"),
    "rollback": ("qmrollback", "vzrollback"),
    "disk": ("qmmove", "move_volume"),
}


def freshness(facts: Facts) -> Iterator[Found]:
    if facts.stale:
        yield Found(
            "error",
            "The data is stale",
            facts.freshness or "The last successful poll was too long ago.",
            "Run test_connectivity: it asks each host now. What follows describes the last known state.",
        )
    elif not facts.complete:
        yield Found(
            "warning",
            "The data is not complete",
            facts.freshness or "Not everything that exists has been read.",
            "Try again in a moment; if it stays so, the API token lacks privileges (`proxmox-mcp check` names them).",
        )


def quorum(facts: Facts) -> Iterator[Found]:
    cluster = facts.cluster
    if cluster is None:
        yield _unknown("The site's state is not known", "No cluster state has been received.", "Run test_connectivity.")
    elif cluster.kind == "cluster" and cluster.quorate is False:
        yield Found(
            "critical",
            "The cluster has lost quorum",
            f"{cluster.nodes_online} of {cluster.nodes_total} nodes are online; the cluster file system is read only.",
            "Bring the missing nodes or their network (corosync) back; check `pvecm status` on a node. "
            "Use `pvecm expected` only if the other nodes are certainly down.",
        )
    elif cluster.kind == "cluster" and cluster.quorate is None:
        yield _unknown(
            "Quorum is not known",
            "The cluster status could not be read.",
            "Give the token Sys.Audit on /, user and token both; `proxmox-mcp check` prints the command.",
        )


def nodes(facts: Facts) -> Iterator[Found]:
    for node in facts.nodes:
        if node.status != "online":
            there = [g for g in facts.guests if g.node == node.node and not g.template]
            yield Found(
                "critical" if node.status == "offline" else "warning",
                f"Node {node.node} is {node.status}",
                f"{len(there)} guests are placed on it: {_names(_guest(g) for g in there)}.",
                "Check its power and network. HA moves only HA-managed guests, and only after fencing.",
            )


def storage(facts: Facts) -> Iterator[Found]:
    full = [(f"storage {s.storage}" + (f" on {s.node}" if s.node else ""), s.used_percent) for s in facts.storages]
    full += [(f"datastore {d.store}", d.used_percent) for d in facts.datastores]
    for name, percent in full:
        if percent is not None and percent >= NEARLY_FULL:
            very = percent >= FULL
            yield Found(
                "critical" if very else "warning",
                f"{name[0].upper()}{name[1:]} is {percent:g} % full",
                f"Above {FULL if very else NEARLY_FULL:g} %.",
                "Delete old backups, snapshots or unused disks, prune, or extend it; guests on a full thin pool stop.",
            )
    for storage in facts.storages:
        if not storage.available:
            where = f" on {storage.node}" if storage.node else ""
            yield Found(
                "warning",
                f"Storage {storage.storage}{where} is not available",
                f"Its status is {storage.status}.",
                "Check its server and mount (`pvesm status` on the node); it may follow from an offline node.",
            )
    for datastore in facts.datastores:
        if datastore.error:
            yield Found(
                "error",
                f"Datastore {datastore.store} reports an error",
                datastore.error,
                "Look at the host's disks and mounts.",
            )


def coverage(facts: Facts) -> Iterator[Found]:
    if facts.is_pbs:
        return
    real = [g for g in facts.guests if not g.template]
    bare = [g for g in real if g.backup_covered is False]
    if bare:
        yield Found(
            "warning",
            f"{len(bare)} guests are in no backup job",
            f"{_names(_guest(g) for g in bare)}.",
            "Add them to a job (Datacenter, Backup), or tag what needs no backup.",
        )
    open_ = [g for g in real if g.backup_covered is None]
    if open_:
        yield _unknown(
            "Backup coverage is not known",
            f"For {len(open_)} of {len(real)} guests Proxmox has not told.",
            "It is read every now and then; if it stays unknown, the token lacks rights to see backup jobs.",
        )


def failed_tasks(facts: Facts) -> Iterator[Found]:
    if facts.tasks is None:
        yield _unknown("Recent tasks are not known", "No task list has been received.", "Run test_connectivity.")
        return
    recent = [t for t in facts.tasks if t.status == "failed" and _age(t.ended_at or t.started_at, facts.now) < DAY]
    by_type: dict[str, list[TaskInfo]] = {}
    for task in recent:
        by_type.setdefault(task.type, []).append(task)
    for kind, tasks in sorted(by_type.items()):
        newest = tasks[0]
        yield Found(
            "error",
            f"{len(tasks)} {kind} task{'s' if len(tasks) > 1 else ''} failed in the last day",
            f"Newest: {newest.upid} ({newest.exitstatus or 'no status'}); "
            f"{_names(f'guest {t.guest}' if t.guest else f'node {t.node}' for t in tasks)}.",
            "Read its log with get_task.",
        )
    if facts.tasks and len(facts.tasks) >= 50 and _age(facts.tasks[-1].started_at, facts.now) < DAY:  # noqa: PLR2004
        yield _unknown(
            "Older tasks of the last day are not covered",
            f"The newest {len(facts.tasks)} tasks reach back less than a day.",
            "Look in Proxmox's own task list for earlier ones.",
        )


def locks(facts: Facts) -> Iterator[Found]:
    for guest in facts.guests:
        if guest.lock is None:
            continue
        since, how = _lock_since(guest, facts)
        hours = (facts.now - since) / 3600 if since else 0.0
        running = _lock_task(guest, facts)
        if since is not None and facts.now - since >= LOCK_LONG:
            at = "For" if how == "task" else "For at least"
            yield Found(
                "warning" if running else "error",
                f"{_guest(guest)} has been locked ({guest.lock}) for hours",
                f"{at} {hours:.1f} h. "
                + (f"Its task still runs: {running.upid}." if running else "No running task of it is known."),
                "Wait for its task, or stop it."
                if running
                else "If no task works on it any more, `qm unlock` or `pct unlock` on its node frees it.",
            )
        elif running is None:
            yield _unknown(
                f"{_guest(guest)} is locked ({guest.lock}), since when is not known",
                f"Seen locked for {hours:.1f} h; no running task explains it.",
                "Look again later; a lock that stays without a task is a leftover.",
            )


def updates(facts: Facts) -> Iterator[Found]:
    pending = [n for n in facts.nodes if n.updates]
    if pending:
        yield Found(
            "info",
            f"Updates are pending on {len(pending)} nodes",
            f"{_names(f'{n.node}: {n.updates}' for n in pending)}.",
            "Upgrade node by node, guests migrated away first.",
        )
    versions = {n.version for n in facts.nodes if n.version and n.status == "online"}
    if len(versions) > 1:
        yield Found(
            "info",
            "The nodes run different versions",
            f"{_names(sorted(versions))}.",
            "Bring all nodes to the same version.",
        )


def certificates(facts: Facts) -> Iterator[Found]:
    for node in facts.nodes:
        if node.certificate_expires is None:
            continue
        days = -_age(node.certificate_expires, facts.now) / DAY
        if days < CERTIFICATE_SOON:
            yield Found(
                "error" if days < 0 else "warning",
                f"The certificate of node {node.node} "
                + ("has expired" if days < 0 else f"expires in {days:.0f} days"),
                f"It is valid until {node.certificate_expires}.",
                "Renew it (`pvenode acme cert renew`, or `pvecm updatecerts`); a pinned fingerprint changes with it.",
            )


def ha(facts: Facts) -> Iterator[Found]:
    if facts.cluster and facts.cluster.ha_errors:
        yield Found(
            "error",
            "High availability has resources in error",
            f"{_names(facts.cluster.ha_errors)}.",
            "Fix the cause, then `ha-manager set SID --state disabled`, and back to started.",
        )


def jobs(facts: Facts) -> Iterator[Found]:
    for store in facts.datastores:
        for name in ("gc", "verify", "sync", "prune"):
            run = getattr(store, name)
            if run is not None and run.status == "failed":
                yield Found(
                    "error",
                    f"The last {name} of datastore {store.store} failed",
                    f"{run.message or 'no message'}, {run.ended_at or 'end not known'}.",
                    "Read its task log on the Backup Server.",
                )
        if store.unverified:
            yield Found(
                "error",
                f"{store.unverified} snapshots of datastore {store.store} failed verification",
                "Their chunks are damaged or missing.",
                "Make new backups of the guests concerned, and check the disks below.",
            )


# --- helpers ---------------------------------------------------------------------------------------------------------


def _lock_task(guest: GuestState, facts: Facts) -> TaskInfo | None:
    types = LOCK_TASKS.get(guest.lock or "", ())
    running = (t for t in facts.tasks or () if t.status == "running" and t.type in types)
    return next((t for t in running if t.guest == guest.vmid or (t.guest is None and t.node == guest.node)), None)


def _lock_since(guest: GuestState, facts: Facts) -> tuple[float | None, Literal["task", "seen"]]:
    task = _lock_task(guest, facts)
    began = _unix(task.started_at) if task and task.guest == guest.vmid else None
    return (began, "task") if began else (facts.lock_seen.get(guest.vmid), "seen")


def _unknown(title: str, evidence: str, remedy: str) -> Found:
    return Found("info", title, evidence, remedy, unknown=True)


def _guest(guest: GuestState) -> str:
    return f"{'VM' if guest.type == 'qemu' else 'CT'} {guest.vmid} ({guest.name})"


def _names(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more if every else "none"


def _unix(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


def _age(text: str | None, now: float) -> float:
    at = _unix(text)
    return float("inf") if at is None else now - at
