"""What a backup server answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import figures
from proxmox_mcp.lab.call import Page
from proxmox_mcp.lab.catalog import PBS_UPDATES
from proxmox_mcp.lab.errors import ApiError
from proxmox_mcp.lab.state import Node
from proxmox_mcp.lab.upid import well_formed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxmox_mcp.lab.tasks import Task

    from .dispatch import Call
    from .state import Datastore, PbsHost, PbsJob, PbsSnapshot

GIB = 1024**3
DAY = 86_400


def version(_call: Call) -> dict[str, str]:
    return {"version": "4.2", "release": "6", "repoid": "2c1a6ff0a6a8"}


def ping(_call: Call) -> dict[str, bool]:
    return {"pong": True}


def nodes(call: Call) -> list[dict[str, str]]:
    return [{"node": call.host.name}]


def _machine(host: PbsHost) -> Node:
    return Node(host.name, 1, "127.0.0.1", host.cores, host.memory, 64 * GIB, host.load, host.booted_at)


def node_status(call: Call) -> dict[str, Any]:
    host = call.host
    numbers = figures.node(_machine(host), host.clock.now())
    load = numbers["cpu"] * host.cores
    release = "6.17.2-1-pve"
    used, disk = int(numbers["mem"]), int(numbers["disk"])
    return {
        "boot-info": {"mode": "efi", "secureboot": False},
        "cpu": numbers["cpu"],
        "cpuinfo": {"cpus": host.cores, "model": "Intel(R) Xeon(R) D-1541 CPU @ 2.10GHz", "sockets": 1},
        "current-kernel": {
            "machine": "x86_64",
            "release": release,
            "sysname": "Linux",
            "version": "#1 SMP PREEMPT_DYNAMIC",
        },
        "info": {"fingerprint": host.fingerprint.lower()},
        "kversion": f"Linux {release} #1 SMP PREEMPT_DYNAMIC",
        "loadavg": [round(load, 2), round(load * 0.95, 2), round(load * 0.9, 2)],
        "memory": {"total": host.memory, "used": used, "free": host.memory - used},
        "root": {"total": 64 * GIB, "used": disk, "avail": 64 * GIB - disk},
        "swap": {"total": 8 * GIB, "used": 0, "free": 8 * GIB},
        "uptime": numbers["uptime"],
        "wait": 0.001,
    }


def _store_rights(call: Call, store: str) -> frozenset[str]:
    return call.has(f"/datastore/{store}")


def _visible(call: Call) -> Iterator[Datastore]:
    """Datastores that one may audit or back up to; others are left out."""
    for store in call.host.datastores.values():
        if not _store_rights(call, store.name).isdisjoint(("Datastore.Audit", "Datastore.Backup")):
            yield store


def find(call: Call, privilege: str) -> Datastore:
    name = call.params["store"]
    if privilege not in _store_rights(call, name):
        raise ApiError(403, "permission check failed")
    store = call.host.datastores.get(name)
    if store is None:
        raise ApiError(400, f"no such datastore '{name}'")
    return store


def datastores(call: Call) -> list[dict[str, Any]]:
    return [
        {"store": store.name, "mount-status": "nonremovable", "backend-type": "filesystem"}
        | ({"comment": store.comment} if store.comment else {})
        | ({"maintenance": store.maintenance} if store.maintenance else {})
        for store in _visible(call)
    ]


def config_datastores(call: Call) -> list[dict[str, Any]]:
    return [
        {
            "name": store.name,
            "path": store.path,
            "gc-schedule": store.gc_schedule,
            "notification-mode": "notification-system",
        }
        | ({"comment": store.comment} if store.comment else {})
        for store in _visible(call)
    ]


def _usage(store: Datastore, now: float) -> dict[str, int]:
    used = int(store.total * store.filled) if store.filled is not None else (
        min(store.total, int(store.total * store.used + store.growth * max(0.0, now - store.since)))
    )  # fmt: skip
    return {"total": store.total, "used": used, "avail": store.total - used}


def usage(call: Call) -> list[dict[str, Any]]:
    now = call.host.clock.now()
    return [_usage_row(store, now) for store in _visible(call)]


def _usage_row(store: Datastore, now: float) -> dict[str, Any]:
    numbers = _usage(store, now)
    share = numbers["used"] / store.total
    slope = store.growth * DAY / store.total
    history = [None if back % 9 == 4 else round(max(0.0, share - slope * back), 6) for back in range(30, -1, -1)]  # noqa: PLR2004
    return {
        "store": store.name,
        **numbers,
        "backend-type": "filesystem",
        "mount-status": "nonremovable",
        "history": history,
        "history-start": int(now) // DAY * DAY - 30 * DAY,
        "history-delta": DAY,
        "estimated-full-date": int(now + numbers["avail"] / max(1.0, store.growth)),
        "gc-status": _gc(store),
    }


def _gc(store: Datastore) -> dict[str, Any]:
    logical = sum(one.size for one in store.snapshots)
    row: dict[str, Any] = {
        "index-file-count": 2 * len(store.snapshots), "index-data-bytes": logical, "disk-bytes": logical // 7,
        "disk-chunks": logical // 7 // 2_000_000, "removed-bytes": 123_456_789, "removed-chunks": 61,
        "pending-bytes": 7_890_000, "pending-chunks": 3, "removed-bad": 0, "still-bad": 0,
        "cache-stats": {"hits": 10_000, "misses": 120},
    }  # fmt: skip
    return row | ({"upid": store.gc_upid} if store.gc_upid else {})


def gc_status(call: Call) -> dict[str, Any]:
    return _gc_row(find(call, "Datastore.Audit"), call.host.clock.now())


def _gc_row(store: Datastore, now: float) -> dict[str, Any]:
    row = _gc(store) | {"store": store.name, "schedule": store.gc_schedule, "next-run": (int(now) // DAY + 1) * DAY}
    if store.gc_end:
        row |= {"last-run-endtime": store.gc_end, "last-run-state": store.gc_state, "duration": 260}
    return row


def gc_all(call: Call) -> list[dict[str, Any]]:
    now = call.host.clock.now()
    return [_gc_row(store, now) for store in _visible(call) if call.params.get("store", store.name) == store.name]


def status(call: Call) -> dict[str, Any]:
    store = find(call, "Datastore.Audit")
    row: dict[str, Any] = _usage(store, call.host.clock.now()) | {"backend-type": "filesystem"}
    if call.params.get("verbose"):
        kinds = {kind: [one for one in store.snapshots if one.kind == kind] for kind in ("ct", "host", "vm")}
        counts = {
            kind: {"groups": len({one.ident for one in rows}), "snapshots": len(rows)} for kind, rows in kinds.items()
        }
        row |= {"counts": counts, "gc-status": _gc(store)}
    return row


def _chosen(call: Call, store: Datastore) -> list[PbsSnapshot]:
    params = call.params
    return [
        one
        for one in store.snapshots
        if one.namespace == params.get("ns", "")
        and params.get("backup-type", one.kind) == one.kind
        and params.get("backup-id", one.ident) == one.ident
    ]


def _files(one: PbsSnapshot) -> list[dict[str, Any]]:
    if one.kind == "vm":
        names = ("drive-scsi0.img.fidx", "qemu-server.conf.blob")
    else:
        names = ("root.pxar.didx", "pct.conf.blob") if one.kind == "ct" else ("root.pxar.didx",)
    rows: list[dict[str, Any]] = [
        {"filename": name, "size": one.size if "idx" in name else 420, "crypt-mode": "none"} for name in names
    ]
    return [*rows, {"filename": "index.json.blob", "size": 520, "crypt-mode": "none"}]


def snapshots(call: Call) -> list[dict[str, Any]]:
    rows = []
    for one in _chosen(call, find(call, "Datastore.Audit")):
        row: dict[str, Any] = {
            "backup-type": one.kind,
            "backup-id": one.ident,
            "backup-time": one.time,
            "files": _files(one),
            "owner": one.owner,
            "protected": one.protected,
            "size": one.size,
        }
        if one.comment:
            row["comment"] = one.comment
        if one.verified:
            upid = (
                one.verify_upid
                or "UPID:pbs1:000003E9:00000001:00000001:00000001:verificationjob:main\\x3av\\x2dmain:root@pam:"
            )
            row["verification"] = {"state": one.verified, "upid": upid}
        rows.append(row)
    return rows


def groups(call: Call) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], list[PbsSnapshot]] = {}
    for one in _chosen(call, find(call, "Datastore.Audit")):
        found.setdefault((one.kind, one.ident), []).append(one)
    return [
        {
            "backup-type": kind, "backup-id": ident, "backup-count": len(rows), "owner": rows[-1].owner,
            "last-backup": max(one.time for one in rows), "files": [row["filename"] for row in _files(rows[-1])],
        }
        for (kind, ident), rows in found.items()
    ]  # fmt: skip


def namespaces(call: Call) -> list[dict[str, str]]:
    store = find(call, "Datastore.Audit")
    parent = call.params.get("parent", "")
    names = [name for name in store.namespaces if not parent or name.startswith(f"{parent}/")]
    return [{"ns": parent}, *({"ns": name} for name in names)]


def delete_snapshot(call: Call) -> None:
    store = find(call, "Datastore.Modify")
    for one in _chosen(call, store):
        if one.time == call.params["backup-time"]:
            if one.protected:
                raise ApiError(400, f"cannot remove protected snapshot '{one.kind}/{one.ident}'")
            store.snapshots.remove(one)
            return
    raise ApiError(400, "backup snapshot does not exist")


def jobs(kind: str) -> Callable[[Call], list[dict[str, Any]]]:
    def listing(call: Call) -> list[dict[str, Any]]:
        stores = {store.name for store in _visible(call)}
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
        for one in _chosen(call, store):
            one.verified, one.verify_upid = one.verified if one.verified == "failed" else "ok", task.upid
        task.say("verified 3 GiB in 1.9 seconds, speed 1.6 GiB/s (0 errors)")

    return start(call, "verify", store.name, (f"verify datastore {store.name}",), done)


def prune_store(call: Call) -> str:
    store = find(call, "Datastore.Modify")
    lines = (f"Starting datastore prune on datastore '{store.name}', root namespace",)
    return start(call, "prune", store.name, lines, lambda _task: None)


_WORKERS = {"verify": "verificationjob", "sync": "syncjob", "prune": "prunejob"}


def run_job(kind: str) -> Callable[[Call], str]:
    def run(call: Call) -> str:
        job = call.host.jobs.get(call.params["id"])
        if job is None or job.kind != kind:
            raise ApiError(400, f"no such job '{call.params['id']}'")
        if _store_rights(call, job.store).isdisjoint(("Datastore.Modify", "Datastore.Verify")):
            raise ApiError(403, "permission check failed")

        def done(task: Task) -> None:
            job.last_upid, job.last_state, job.last_end = task.upid, "OK", int(call.host.clock.now())

        return start(call, _WORKERS[kind], f"{job.store}:{job.ident}", (f"Starting {kind} job '{job.ident}'",), done)

    return run


def task_list(call: Call) -> Page:
    params = call.params
    everything = "Sys.Audit" in call.has("/system/tasks")
    rows = [
        task
        for task in call.host.tasks.by_node.get(call.host.name, ())
        if (everything or task.user == call.user)
        and (not params.get("running") or task.running)
        and (not params.get("errors") or task.status not in ("", "OK"))
        and params.get("typefilter", "") in task.kind
        and params.get("store", "") in task.ident
        and task.starttime >= params.get("since", 0)
        and task.starttime <= params.get("until", task.starttime)
    ]
    first = params.get("start", 0)
    limit = params.get("limit", 50)
    return Page([task_row(task) for task in rows[first : first + limit if limit else None]], len(rows))


def task_row(task: Task) -> dict[str, Any]:
    row: dict[str, Any] = {
        "upid": task.upid, "node": task.node, "pid": task.pid, "pstart": task.pstart, "starttime": task.starttime,
        "worker_type": task.kind, "worker_id": task.ident or None, "user": task.full_user,
    }  # fmt: skip
    return row if task.running else row | {"endtime": task.endtime, "status": task.status}


def find_task(call: Call) -> Task:
    upid = call.params["upid"]
    if not well_formed(upid, pbs=True):
        raise ApiError(400, "parameter verification errors\n\nparameter 'upid': unable to parse UPID\n")
    task = call.host.tasks.find(upid)
    if task is None:
        raise ApiError(404, "no such task.")
    if task.user != call.user and "Sys.Audit" not in call.has("/system/tasks"):
        raise ApiError(403, "permission check failed")
    return task


def task_status(call: Call) -> dict[str, Any]:
    task = find_task(call)
    row: dict[str, Any] = {
        "upid": task.upid, "node": task.node, "pid": task.pid, "pstart": task.pstart, "starttime": task.starttime,
        "type": task.kind, "id": task.ident or None, "user": task.user, "status": "running" if task.running else "stopped",
    }  # fmt: skip
    if task.token:
        row["tokenid"] = task.token
    return row if task.running else row | {"exitstatus": task.status, "endtime": task.endtime}


def task_log(call: Call) -> Page:
    task = find_task(call)
    lines = task.log or ["no content"]
    first, limit = call.params.get("start", 0), call.params.get("limit", 50)
    rows = [{"n": index + 1, "t": text} for index, text in enumerate(lines)]
    return Page(rows[first : first + limit if limit else None], len(rows))


def stop_task(call: Call) -> None:
    task = find_task(call)
    if task.user != call.user and "Sys.Modify" not in call.has("/system/tasks"):
        raise ApiError(403, "permission check failed")
    task.stop.set()


def permissions(call: Call) -> dict[str, dict[str, bool]]:
    ruled = {rule.path for rule in call.host.access.acls}
    paths = ruled | {"/", "/access", "/datastore", "/remote", "/system", "/tape"}
    paths |= {f"/datastore/{name}" for name in call.host.datastores}
    asked = [call.params["path"]] if "path" in call.params else sorted(paths)
    return {path: dict.fromkeys(sorted(held), True) for path in asked if (held := call.has(path))}


def users(call: Call) -> list[dict[str, Any]]:
    visible = "Sys.Audit" in call.has("/access/users")
    return [
        {"userid": user.userid, "enable": user.enabled} | ({"email": user.email} if user.email else {})
        for user in call.host.access.users.values()
        if visible or user.userid == call.user
    ]


def subscription(_call: Call) -> dict[str, Any]:
    return {
        "status": "notfound",
        "message": "There is no subscription key",
        "url": "https://www.proxmox.com/en/proxmox-backup-server/pricing",
    }


def updates(_call: Call) -> list[dict[str, str]]:
    return [
        {
            "Package": name, "Title": name, "Description": name, "Version": new, "OldVersion": old, "Origin": "Proxmox",
            "Arch": "amd64", "Section": "admin", "Priority": "optional",
        }
        for name, old, new in PBS_UPDATES
    ]  # fmt: skip


def disks(_call: Call) -> list[dict[str, Any]]:
    return [
        {
            "devpath": f"/dev/sd{letter}", "disk-type": "hdd", "gpt": True, "model": "TOSHIBA_MG08ACA16TE", "name": f"sd{letter}",
            "rpm": 7200, "serial": f"91A0A0{letter.upper()}FVGG", "size": 16_000_900_661_248, "status": "passed", "used": "zfs",
        }
        for letter in "ab"
    ]  # fmt: skip


_STORE = "/admin/datastore/{store}"
_NODE = "/nodes/{node}"
_ROWS: tuple[tuple[str, str, Callable[[Call], Any]], ...] = (
    ("GET", "/version", version),
    ("GET", "/ping", ping),
    ("GET", "/nodes", nodes),
    ("GET", f"{_NODE}/status", node_status),
    ("GET", f"{_NODE}/subscription", subscription),
    ("GET", f"{_NODE}/apt/update", updates),
    ("GET", f"{_NODE}/disks/list", disks),
    ("GET", f"{_NODE}/tasks", task_list),
    ("GET", f"{_NODE}/tasks/{{upid}}/status", task_status),
    ("GET", f"{_NODE}/tasks/{{upid}}/log", task_log),
    ("DELETE", f"{_NODE}/tasks/{{upid}}", stop_task),
    ("GET", "/status/datastore-usage", usage),
    ("GET", "/config/datastore", config_datastores),
    ("GET", "/admin/datastore", datastores),
    ("GET", f"{_STORE}/status", status),
    ("GET", f"{_STORE}/snapshots", snapshots),
    ("DELETE", f"{_STORE}/snapshots", delete_snapshot),
    ("GET", f"{_STORE}/groups", groups),
    ("GET", f"{_STORE}/namespace", namespaces),
    ("GET", f"{_STORE}/gc", gc_status),
    ("POST", f"{_STORE}/gc", run_gc),
    ("POST", f"{_STORE}/verify", verify_store),
    ("POST", f"{_STORE}/prune-datastore", prune_store),
    ("GET", "/admin/gc", gc_all),
    *(("GET", f"/admin/{kind}", jobs(kind)) for kind in _WORKERS),
    *(("POST", f"/admin/{kind}/{{id}}/run", run_job(kind)) for kind in _WORKERS),
    ("GET", "/access/permissions", permissions),
    ("GET", "/access/users", users),
)
ROUTES = {(method, path): run for method, path, run in _ROWS}
