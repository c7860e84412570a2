"""What the live watcher says of a difference: one function per kind of thing, each giving the report or None."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mqtt_bridge.events.intake import Report
from mqtt_bridge.model import GuestState, GuestStatus, TaskInfo
from mqtt_bridge.proxmox.changes import Why
from mqtt_bridge.proxmox.task_book import seconds
from mqtt_bridge.severity import Severity
from mqtt_bridge.wording.clean import MESSAGE_LIMIT, clean, one_line
from mqtt_bridge.wording.tasks import task_verdict
from mqtt_bridge.wording.verdict import Verdict

AWAY = "It happened while the bridge was away."


@dataclass(frozen=True, slots=True)
class Said:
    """A kind with how bad it is and whether something went well; `title` takes the names of the thing."""

    kind: str
    severity: Severity
    ok: bool | None
    title: str


def report(
    said: Said,
    site: str,
    key: str,
    at: float,
    *,
    node: str | None = None,
    guest: int | None = None,
    message: str = "",
    upid: str | None = None,
    context: Mapping[str, Any] | None = None,
    **fields: str | float | bool | None,
) -> Report:
    """`key` is the thing within its site: with kind and time it is the happening's identity."""
    verdict = Verdict(
        kind=said.kind,
        severity=said.severity,
        node=node,
        guest=guest,
        ok=said.ok,
        title=one_line(said.title),
        message=clean(message),
        at=at,
        upid=upid,
        fields={k: v for k, v in fields.items() if v is not None},
    )
    return Report(f"{said.kind}/{site}/{key}/{at:.3f}", verdict, "api", at=at, site=site, context=context or {})


# --- guests ----------------------------------------------------------------------------------------------------------

_STATUS: dict[tuple[GuestStatus, GuestStatus], Said] = {
    ("stopped", "running"): Said("guest.started", "info", True, "{name} is running"),
    ("paused", "running"): Said("guest.resumed", "info", True, "{name} runs again after a pause"),
    ("suspended", "running"): Said("guest.resumed", "info", True, "{name} runs again after it was suspended to disk"),
    ("running", "paused"): Said("guest.paused", "info", None, "{name} is paused"),
    ("stopped", "paused"): Said("guest.paused", "info", None, "{name} was started and is paused"),
    ("running", "suspended"): Said("guest.suspended", "info", True, "{name} was suspended to disk"),
    ("paused", "suspended"): Said("guest.suspended", "info", True, "{name} was suspended to disk"),
}
UNEXPECTED = Said("guest.stopped.unexpected", "error", False, "{name} stopped, and nobody asked for it")
_NOT_KNOWN = Said("guest.stopped", "warning", None, "{name} is stopped; who asked for it is not known")
_STOPPED: dict[str, Said] = {
    "task": Said("guest.stopped", "info", True, "{name} was stopped by {by}"),
    "restart": Said("guest.stopped", "info", True, "{name} is stopped: {by} restarts it"),
    "lock": Said("guest.stopped", "info", None, "{name} was stopped during: {detail}"),
    "migration": Said("guest.stopped", "info", None, "{name} was stopped while it was moved"),
    "node": Said("guest.stopped", "info", None, "{name} does not run: its node {detail} was down or restarted"),
}


def guest_status(
    site: str, new: GuestState, was: GuestStatus, why: Why | None, at: float, *, away: bool = False, sure: bool = True
) -> Report | None:
    """Started, stopped (asked for or not), paused, suspended, resumed. `sure`: the tasks of its node were all read."""
    if new.status == "stopped" and was in ("running", "paused"):
        said = _STOPPED[why.reason] if why else UNEXPECTED if sure else _NOT_KNOWN
    elif (was, new.status) in _STATUS:
        said = _STATUS[was, new.status]
    else:
        return None
    return _guest(said, site, new, why, at, away=away, old=was, new_status=new.status)


def guest_moved(site: str, new: GuestState, old_node: str, why: Why | None, at: float, *, away: bool) -> Report:
    """It is on another node."""
    said = Said("guest.migrated", "info", True, f"{{name}} moved from {old_node} to {new.node}")
    why = why if why is not None and why.reason == "migration" else None
    return _guest(said, site, new, why, at, away=away, old_node=old_node)


def guest_created(site: str, new: GuestState, why: Why | None, at: float, *, away: bool = False) -> Report:
    """A guest that did not exist before."""
    by = " by {by}" if why and why.by else ""
    said = Said("guest.created", "info", True, f"{{name}} was created{by} on {new.node}")
    return _guest(said, site, new, why, at, away=away, type=new.type)


def guest_destroyed(
    site: str, vmid: int, name: str, *, node: str, why: Why | None, at: float, away: bool = False
) -> Report:
    """A guest that is proven gone."""
    by = f" by {why.by}" if why and why.by else ""
    said = Said("guest.destroyed", "info", True, f"{name} was destroyed{by}")
    upid = why.upid if why else None
    at = (why and why.at) or at
    message = AWAY if away else ""
    user = why.by if why else None
    context = {"name": name}
    return report(
        said, site, f"{vmid}", at, node=node, guest=vmid, message=message, upid=upid, context=context, user=user
    )


def _guest(
    said: Said, site: str, new: GuestState, why: Why | None, at: float, *, away: bool, **fields: str | None
) -> Report:
    by, detail = (why.by, why.detail) if why else (None, "")
    title = said.title.format(name=new.name, by=by or "someone", detail=detail)
    stopped = said.kind == "guest.stopped"
    return report(
        Said(said.kind, said.severity, said.ok, title),
        site,
        f"{new.vmid}",
        (why.at if why and why.at else None) or at,
        node=new.node,
        guest=new.vmid,
        message=AWAY if away else "",
        upid=why.upid if why else None,
        context={"name": new.name, "status": new.status},
        reason=why.reason if why else None,
        stopped_by=by if stopped else None,
        user=by,
        while_away=away or None,
        **fields,
    )


_HA_SEVERITY: dict[str, Severity] = {"error": "error", "fence": "warning", "recovery": "warning"}
_HA_TROUBLE = frozenset(_HA_SEVERITY)


def ha_service(site: str, new: GuestState, old: str, state: str, at: float) -> Report | None:
    """The HA manager's state of a guest; that it is managed at all, or no longer, is told only if it is in trouble."""
    if state == old or not state or (not old and state not in _HA_TROUBLE):
        return None
    if old in _HA_TROUBLE and state not in _HA_TROUBLE:
        said = Said("ha.service.recovered", "warning", True, f"HA: {new.name} is {state} again on {new.node}")
    else:
        ok = False if state in _HA_TROUBLE else None
        was = f" (was {old})" if old else ""
        said = Said("ha.service.state", _HA_SEVERITY.get(state, "info"), ok, f"HA: {new.name} is {state}{was}")
    key = f"{new.vmid}/{old}>{state}"
    context = {"name": new.name}
    return report(said, site, key, at, node=new.node, guest=new.vmid, context=context, old=old or None, new=state)


# --- tasks -----------------------------------------------------------------------------------------------------------

_CONSOLES = frozenset({"vncproxy", "vncshell", "termproxy", "spiceproxy", "spiceshell"})
_ROUTINE = frozenset({"aptupdate", "logrotate", "reader"})


def task_is_noise(task: TaskInfo) -> bool:
    """Whether a task is not told: someone's console, however it ends (mostly "connection timed out").

    And of the daily round of a host (package lists, log rotation, a Backup Server's reader sessions) only what did
    not go well is told.
    """
    return task.type in _CONSOLES or (task.type in _ROUTINE and task.status in ("running", "ok"))


def task(task: TaskInfo, log_tail: tuple[str, ...] = ()) -> Report:
    """Its start or its end; identified by UPID and status, so telling it again makes no second event."""
    at = seconds(task.ended_at or task.started_at)
    status = None if task.status == "running" else task.exitstatus or "unexpected status"
    verdict = task_verdict(
        status, upid=task.upid, type_=task.type, id_=task.id or "", node=task.node, user=task.user, at=at or None
    )
    told = clean("\n".join(log_tail)[-MESSAGE_LIMIT + 1 :])
    verdict = replace(
        verdict, node=task.node or None, guest=task.guest, upid=task.upid, message=told or verdict.message
    )
    return Report(f"{task.upid}/{task.status}", verdict, "api", at=at or None, site=task.site)
