"""Differences of state told as events. Pure: what a difference means is decided here and nowhere else."""

import uuid

from mqtt_bridge.model import Event, GuestState, NodeState, Severity, TaskInfo

NAMESPACE = uuid.UUID("6f1c1d0e-6f0b-5b0e-9a55-0f6d1c9b7a10")
UNEXPECTED = "guest.stopped.unexpected"
SOURCE = "WEBSOCKET"  # the live API watcher's name among the listeners


def event_id(*parts: object) -> str:
    """The same happening has the same id, so a replay makes no second event."""
    return str(uuid.uuid5(NAMESPACE, "\x1f".join(str(p) for p in parts)))


def _event(kind: str, title: str, at: str, severity: Severity, **rest: object) -> Event:
    identity = event_id(SOURCE, kind, rest.get("site"), rest.get("node"), rest.get("guest"), at)
    return Event.model_validate(
        {"id": identity, "kind": kind, "title": title, "timestamp": at, "severity": severity, "source": SOURCE}
        | {"correlation_id": identity, **rest}
    )


def guest_event(old: GuestState, new: GuestState, at: str) -> Event | None:
    """Started, stopped (asked for or not), suspended, paused, migrated; None for what is no happening."""
    where = {"site": new.site, "node": new.node, "guest": new.vmid, "context": {"name": new.name, "status": new.status}}
    if "unknown" not in (old.status, new.status) and old.status != new.status:
        if new.status == "running":
            return _event("guest.started", f"{new.name} is running", at, "info", ok=True, **where)
        if new.status == "stopped" and old.status in ("running", "paused"):
            return _stopped(new, at, where)
        return _event(f"guest.{new.status}", f"{new.name} is {new.status}", at, "info", **where)
    if old.node != new.node:
        title = f"{new.name} moved from {old.node} to {new.node}"
        return _event("guest.migrated", title, at, "info", ok=True, **where)
    return None


def _stopped(new: GuestState, at: str, where: dict[str, object]) -> Event:
    if new.stopped_by:
        return _event("guest.stopped", f"{new.name} was stopped by {new.stopped_by}", at, "info", ok=True, **where)
    if new.lock:
        return _event("guest.stopped", f"{new.name} was stopped during: {new.lock}", at, "info", **where)
    return _event(UNEXPECTED, f"{new.name} stopped, and nobody asked for it", at, "error", **where)


def node_event(old: NodeState, new: NodeState, at: str) -> Event | None:
    """A node lost or back."""
    if old.status == new.status or "unknown" in (old.status, new.status):
        return None
    if new.status == "offline":
        return _event("node.offline", f"Node {new.node} is offline", at, "critical", site=new.site, node=new.node)
    return _event("node.online", f"Node {new.node} is back", at, "info", ok=True, site=new.site, node=new.node)


def quorum_event(site: str, *, quorate: bool, at: str) -> Event:
    """Quorum lost or back."""
    if quorate:
        return _event("quorum.ok", f"{site} has quorum again", at, "info", ok=True, site=site)
    return _event("quorum.lost", f"{site} has lost quorum", at, "critical", ok=False, site=site)


def task_event(task: TaskInfo, log_tail: tuple[str, ...] = ()) -> Event:
    """The end of a task, with the end of its log where it failed."""
    outcome = {"ok": "finished", "warning": "warning", "failed": "failed"}[task.status]
    severity: Severity = {"ok": "info", "warning": "warning", "failed": "error"}[task.status]  # type: ignore[assignment]
    about = f" of {task.id}" if task.id else ""
    return _event(
        f"task.{task.type}.{outcome}",
        f"{task.type}{about} on {task.node}: {task.exitstatus or outcome}",
        task.ended_at or task.started_at or "",
        severity,
        site=task.site,
        node=task.node,
        guest=task.guest,
        ok=task.status != "failed",
        message="\n".join(log_tail),
        metadata={"upid": task.upid, "user": task.user},
    )
