"""A node's own task list, which goes back further than the cluster's: paged, by start time."""

from typing import Any

from mqtt_bridge import errors
from mqtt_bridge.model import TaskInfo
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.proxmox.task_book import task_info
from mqtt_bridge.proxmox.tasks import TAIL

PAGE = 500
PAGES = 100  # 50 000 tasks: more than weeks of a large site


async def read(
    client: ProxmoxClient, node: str, *, since: float, until: float | None = None, pages: int = PAGES
) -> tuple[list[TaskInfo], bool]:
    """All tasks of `node` that started from `since` (Unix seconds) on, running ones too; and whether that is all.

    Oldest first. Each task comes once: the pages shift while tasks start. Raises ProxmoxError.
    """
    found: dict[str, TaskInfo] = {}
    span = {"since": max(0, int(since))} | ({"until": int(until)} if until is not None else {})
    for page in range(pages):
        rows = await _page(client, node, page, span)
        before = len(found)
        for row in rows:
            found.setdefault(str(row["upid"]), task_info(row, client.site.slug))
        if len(rows) < PAGE or len(found) == before:
            return _in_order(found), True
    return _in_order(found), False


async def _page(client: ProxmoxClient, node: str, page: int, span: dict[str, int]) -> list[dict[str, object]]:
    backup_server = client.site.kind == "pbs"
    more: dict[str, Any] = {} if backup_server else {"source": "all"}
    path = ("nodes", "localhost" if backup_server else node, "tasks")
    rows = await client.get(*path, purpose="poll", start=page * PAGE, limit=PAGE, **span, **more)
    if not isinstance(rows, list):
        raise errors.ProtocolError("Proxmox answered something that is no list of tasks.")
    return [{**row, "node": node} for row in rows]


def _in_order(found: dict[str, TaskInfo]) -> list[TaskInfo]:
    return sorted(found.values(), key=lambda task: (task.started_at or "", task.upid))


async def log_tail(client: ProxmoxClient, upid: str) -> tuple[str, ...]:
    """The last lines of a task's log; none where it cannot be read now."""
    try:
        lines, total = await client.task_log(upid, limit=PAGE)
        if total > len(lines):
            lines, _ = await client.task_log(upid, start=max(0, total - TAIL), limit=TAIL)
    except errors.BridgeError:
        return ()
    return lines[-TAIL:]
