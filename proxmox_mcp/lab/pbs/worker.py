"""Task lists, status and logs of a backup server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab.call import Page
from proxmox_mcp.lab.errors import ApiError
from proxmox_mcp.lab.upid import well_formed
from proxmox_mcp.lab.vzlog import iso

if TYPE_CHECKING:
    from proxmox_mcp.lab.tasks import Task

    from .call import Call


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
        "type": task.kind, "id": task.ident or None, "user": task.user,
        "status": "running" if task.running else "stopped",
    }  # fmt: skip
    if task.token:
        row["tokenid"] = task.token
    return row if task.running else row | {"exitstatus": task.status, "endtime": task.endtime}


def _stamped(task: Task) -> list[str]:
    """Backup Server writes the time before every line."""
    last = len(task.log) - 1
    return [
        f"{iso(task.endtime if task.status and index == last else task.starttime)}: {text}"
        for index, text in enumerate(task.log)
    ]


def task_log(call: Call) -> Page:
    task = find_task(call)
    lines = _stamped(task) or ["no content"]
    first, limit = call.params.get("start", 0), call.params.get("limit", 50)
    rows = [{"n": index + 1, "t": text} for index, text in enumerate(lines)]
    return Page(rows[first : first + limit if limit else None], len(rows))


def stop_task(call: Call) -> None:
    task = find_task(call)
    if task.user != call.user and "Sys.Modify" not in call.has("/system/tasks"):
        raise ApiError(403, "permission check failed")
    task.stop.set()
