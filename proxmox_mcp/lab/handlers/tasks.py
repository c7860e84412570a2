"""Task lists, status and logs of a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab.call import Call, Page, Route
from proxmox_mcp.lab.errors import bad_parameters
from proxmox_mcp.lab.upid import well_formed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxmox_mcp.lab.tasks import Task


def listing(call: Call) -> Page:
    """Finished ones, with `source=active` those that run, with `all` both; newest first."""
    rows = [task for task in _visible(call) if _wanted(call.params, task)]
    first = call.params.get("start", 0)
    return Page([row(task) for task in rows[first : first + call.params.get("limit", 50)]], len(rows))


def _visible(call: Call) -> Iterator[Task]:
    everything = call.may(f"/nodes/{call.node.name}", "Sys.Audit")
    for task in call.world.tasks.by_node.get(call.node.name, ()):
        if everything or task.user == call.user:
            yield task


def _wanted(params: dict[str, Any], task: Task) -> bool:
    source = params.get("source", "archive")
    if (source == "archive" and task.running) or (source == "active" and not task.running):
        return False
    good = task.running or task.status == "OK"
    tests = (
        ("vmid", lambda value: task.ident == str(value)),
        ("typefilter", lambda value: task.kind == value),
        ("userfilter", lambda value: str(value) in task.full_user),
        ("since", lambda value: task.starttime >= value),
        ("until", lambda value: task.starttime <= value),
        ("errors", lambda value: not value or not good),
        ("statusfilter", lambda value: _class(task) in str(value).split(",")),
    )
    return all(test(params[name]) for name, test in tests if name in params)


def _class(task: Task) -> str:
    if task.running:
        return "unknown"
    if task.status == "OK":
        return "ok"
    return "warning" if task.status.startswith("WARNINGS") else "error"


def row(task: Task) -> dict[str, Any]:
    """Write one line of the list: a running task has its user with the token and the status RUNNING."""
    common: dict[str, Any] = {
        "upid": task.upid,
        "node": task.node,
        "pid": task.pid,
        "pstart": task.pstart,
        "starttime": task.starttime,
        "type": task.kind,
        "id": task.ident,
    }
    if task.running:
        return common | {"user": task.full_user, "status": "RUNNING"}
    token = {"tokenid": task.token} if task.token else {}
    return common | token | {"user": task.user, "endtime": task.endtime, "status": task.status}


def find(call: Call) -> Task:
    upid = call.params["upid"]
    if not well_formed(upid, pbs=False):
        raise bad_parameters({"upid": "unable to parse worker upid"})
    task = call.world.tasks.find(upid)
    if task is None:
        raise bad_parameters({"upid": "no such task"})
    if task.user != call.user:
        call.need(f"/nodes/{task.node}", "Sys.Audit")
    return task


def status(call: Call) -> dict[str, Any]:
    task = find(call)
    found: dict[str, Any] = {
        "upid": task.upid,
        "node": task.node,
        "pid": task.pid,
        "pstart": task.pstart,
        "starttime": task.starttime,
        "type": task.kind,
        "id": task.ident,
        "user": task.user,
        "status": "running" if task.running else "stopped",
    }
    if task.token:
        found["tokenid"] = task.token
    return found if task.running else found | {"exitstatus": task.status}


def log(call: Call) -> Page:
    lines = find(call).log or ["no content"]
    return numbered(lines, call.params.get("start", 0), call.params.get("limit", 50))


def numbered(lines: list[str], start: int, limit: int) -> Page:
    rows = [{"n": index + 1, "t": text} for index, text in enumerate(lines)]
    return Page(rows[start : start + limit if limit else None], len(rows))


def stop(call: Call) -> None:
    task = find(call)
    if task.user != call.user:
        call.need(f"/nodes/{task.node}", "Sys.Modify")
    task.stop.set()


def index(_call: Call) -> list[dict[str, str]]:
    return [{"name": "log"}, {"name": "status"}]


ROUTES: tuple[Route, ...] = (
    ("GET", "/nodes/{node}/tasks", listing),
    ("GET", "/nodes/{node}/tasks/{upid}", index),
    ("GET", "/nodes/{node}/tasks/{upid}/status", status),
    ("GET", "/nodes/{node}/tasks/{upid}/log", log),
    ("DELETE", "/nodes/{node}/tasks/{upid}", stop),
)
