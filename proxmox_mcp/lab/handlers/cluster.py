"""`/cluster` and the roots."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import resources, tasks
from proxmox_mcp.lab.call import Call, Raw, Route
from proxmox_mcp.lab.errors import ApiError, bad_parameters
from proxmox_mcp.lab.world import ha_sid

if TYPE_CHECKING:
    from proxmox_mcp.lab.state import BackupJob, Guest
    from proxmox_mcp.lab.world import World

VERSION = {"version": "9.2.11", "release": "9.2", "repoid": "14a22df35955d97d"}
EMPTY_DIGEST = "da39a3ee5e6b4b0d3255bfef95601890afd80709"


def root(_call: Call) -> list[dict[str, str]]:
    return [{"subdir": name} for name in ("version", "cluster", "nodes", "storage", "access", "pools")]


def index(_call: Call) -> list[dict[str, str]]:
    names = (
        "acme backup backup-info bulk-action ceph config firewall ha jobs log mapping metrics notifications nextid "
        "options qemu replication resources status tasks sdn"
    )
    return [{"name": name} for name in names.split()]


def version(_call: Call) -> dict[str, str]:
    return VERSION


def status(call: Call) -> list[dict[str, Any]]:
    world = call.world
    rows: list[dict[str, Any]] = []
    if not world.standalone:
        rows.append(
            {
                "id": "cluster",
                "type": "cluster",
                "name": world.cluster_name,
                "version": len(world.nodes),
                "nodes": len(world.nodes),
                "quorate": int(world.quorate),
            }
        )
    for node in world.nodes.values():
        row: dict[str, Any] = {
            "id": f"node/{node.name}",
            "type": "node",
            "name": node.name,
            "nodeid": 0 if world.standalone else node.nodeid,
            "local": int(node.name == call.entry),
            "online": int(node.online),
            "level": "",
        }
        if node.seen:
            row["ip"] = node.ip
        rows.append(row)
    return rows


def cluster_resources(call: Call) -> Raw:
    return Raw(resources.listing(call.world, call.who, call.params.get("type", "")))


def cluster_tasks(call: Call) -> list[dict[str, Any]]:
    """Own tasks, and those of nodes that one may audit."""
    rows = tasks.recent(call.world.tasks)
    return [row for row in rows if _owns(call, row) or call.may(f"/nodes/{row['node']}", "Sys.Audit")]


def _owns(call: Call, row: dict[str, Any]) -> bool:
    return bool(row["user"] == call.user)


def cluster_log(call: Call) -> list[dict[str, Any]]:
    """Entries of nodes whose log one may read; others are left out without a word."""
    rows = [
        {
            "uid": str(entry.uid),
            "id": f"{entry.uid}:{entry.node}",
            "node": entry.node,
            "time": entry.time,
            "pid": entry.pid,
            "pri": entry.pri,
            "tag": entry.tag,
            "user": entry.user,
            "msg": entry.msg,
        }
        for entry in call.world.log
        if call.may(f"/nodes/{entry.node}", "Sys.Syslog")
    ]
    return rows[: call.params.get("max", 50)]


def nextid(call: Call) -> str:
    vmid = call.params.get("vmid")
    if vmid is not None and int(vmid) in call.world.guests:
        raise bad_parameters({"vmid": f"VM {vmid} already exists"})
    return str(vmid or call.world.next_vmid())


def options(call: Call) -> dict[str, Any]:
    if not call.may("/", "Sys.Audit"):
        return {"allowed-tags": []}
    tags = sorted({tag for guest in call.world.guests.values() for tag in guest.tags.split(";") if tag})
    return {"mac_prefix": "BC:24:11", "keyboard": "en-us", "allowed-tags": tags, "description": ""}


def backup_job(world: World, job: BackupJob) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": job.ident,
        "type": "vzdump",
        "schedule": job.schedule,
        "storage": job.storage,
        "mode": job.mode,
        "enabled": int(job.enabled),
        "notes-template": "{{guestname}}",
        "notification-mode": "notification-system",
        "next-run": (int(world.now()) // 86_400 + 1) * 86_400 + 7_200,
    }
    keep = dict(part.split("=") for part in job.keep.split(","))
    optional: dict[str, Any] = {
        "vmid": ",".join(map(str, job.vmids)),
        "all": int(job.everything),
        "exclude": ",".join(map(str, job.exclude)),
        "pool": job.pool,
        "comment": job.comment,
        "prune-backups": keep,
    }
    return row | {key: value for key, value in optional.items() if value}


def backup_jobs(call: Call) -> list[dict[str, Any]]:
    """A token that may only audit got an empty list from the recorded cluster."""
    if not call.may("/", "Sys.Modify"):
        return []
    return [backup_job(call.world, job) for job in call.world.backup_jobs.values()]


def one_backup_job(call: Call) -> dict[str, Any]:
    job = call.world.backup_jobs.get(call.params["id"])
    if job is None:
        raise bad_parameters({"id": f"No such job '{call.params['id']}'"})
    return backup_job(call.world, job)


def _covers(job: BackupJob, guest: Guest) -> bool:
    if guest.vmid in job.exclude:
        return False
    return guest.vmid in job.vmids or job.everything or bool(job.pool and job.pool == guest.pool)


def not_backed_up(call: Call) -> list[dict[str, Any]]:
    jobs = [job for job in call.world.backup_jobs.values() if job.enabled]
    return [
        {"vmid": guest.vmid, "name": guest.name, "type": guest.kind}
        for guest in call.world.sorted_guests()
        if not any(_covers(job, guest) for job in jobs)
    ]


def ha_resources(call: Call) -> list[dict[str, Any]]:
    return [_ha_row(one.sid, one.state, one.comment) for one in call.world.ha.values()]


def _ha_row(sid: str, state: str, comment: str) -> dict[str, Any]:
    row: dict[str, Any] = {"sid": sid, "type": sid[:2], "state": state, "digest": EMPTY_DIGEST, "failback": 1}
    return row | ({"comment": comment} if comment else {})


def _master(world: World) -> str:
    return next((node.name for node in world.nodes.values() if node.online), "pve1")


def ha_current(call: Call) -> list[dict[str, Any]]:
    world = call.world
    good = world.quorate
    master = _master(world)
    rows: list[dict[str, Any]] = [
        {
            "id": "quorum",
            "type": "quorum",
            "node": call.entry,
            "quorate": int(good),
            "status": "OK" if good else f"No quorum on node '{call.entry}'!",
        }
    ]
    if not world.ha:
        text = "standby (CRM watchdog standby)"
        return [*rows, {"id": "fencing", "type": "fencing", "node": master, "armed-state": "standby", "status": text}]
    stamp = time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(world.now()))
    at = int(world.now())
    rows.append(
        {"id": "master", "type": "master", "node": master, "status": f"{master} (active, {stamp})", "timestamp": at}
    )
    rows += [
        {
            "id": f"lrm:{node.name}",
            "type": "lrm",
            "node": node.name,
            "status": f"{node.name} ({'active' if node.online else 'old timestamp - dead?'}, {stamp})",
            "timestamp": at,
        }
        for node in world.nodes.values()
    ]
    return rows + [_ha_service(guest, world.ha[sid].state) for guest, sid in _managed(world)]


def _managed(world: World) -> list[tuple[Guest, str]]:
    return [(guest, ha_sid(guest)) for guest in world.sorted_guests() if ha_sid(guest) in world.ha]


def _ha_service(guest: Guest, requested: str) -> dict[str, Any]:
    sid = ha_sid(guest)
    state = "started" if guest.running else "stopped"
    return {
        "id": f"service:{sid}",
        "type": "service",
        "sid": sid,
        "node": guest.node,
        "state": state,
        "crm_state": state,
        "request_state": requested,
        "max_restart": 1,
        "max_relocate": 1,
        "status": f"{sid} ({guest.node}, {state})",
    }


def ha_manager(call: Call) -> dict[str, Any]:
    world = call.world
    found: dict[str, Any] = {"node_status": {}}
    if world.ha:
        found = {
            "master_node": _master(world),
            "node_status": {node.name: "online" if node.online else "unknown" for node in world.nodes.values()},
            "service_status": {
                sid: {"node": guest.node, "state": world.ha[sid].state, "running": int(guest.running)}
                for guest, sid in _managed(world)
            },
            "timestamp": int(world.now()),
        }
    return {"quorum": {"node": call.entry, "quorate": str(int(world.quorate))}, "manager_status": found}


def ha_groups(_call: Call) -> None:
    raise ApiError(500, "cannot index groups: ha groups have been migrated to rules")


def nothing(_call: Call) -> list[Any]:
    return []


def firewall_options(_call: Call) -> dict[str, str]:
    return {"digest": EMPTY_DIGEST}


def notification_index(_call: Call) -> list[dict[str, str]]:
    return [{"name": name} for name in ("endpoints", "matchers", "targets", "matcher-fields", "matcher-field-values")]


def endpoints(_call: Call) -> list[dict[str, str]]:
    return [{"name": name} for name in ("gotify", "sendmail", "smtp", "webhook")]


def targets(_call: Call) -> list[dict[str, Any]]:
    return [
        {
            "name": "mail-to-root",
            "type": "sendmail",
            "origin": "builtin",
            "comment": "Send mails to root@pam's email address",
        }
    ]


def matchers(_call: Call) -> list[dict[str, Any]]:
    return [
        {
            "name": "default-matcher",
            "mode": "all",
            "target": ["mail-to-root"],
            "origin": "builtin",
            "comment": "Route all notifications to mail-to-root",
        }
    ]


def metric_servers(call: Call) -> list[dict[str, Any]]:
    return list(call.world.metric_servers.values())


def add_metric_server(call: Call) -> None:
    row = call.params
    call.world.metric_servers[row["id"]] = {
        "id": row["id"],
        "type": row["type"],
        "server": row["server"],
        "port": row["port"],
        "disable": row.get("disable", 0),
    }


def metric_export(_call: Call) -> dict[str, Any]:
    return {"data": []}


def config_nodes(call: Call) -> list[dict[str, str]]:
    return [
        {
            "node": node.name,
            "name": node.name,
            "nodeid": str(node.nodeid),
            "quorum_votes": "1",
            "ring0_addr": node.ip,
        }
        for node in call.world.nodes.values()
    ]


def totem(call: Call) -> dict[str, Any]:
    return {
        "cluster_name": call.world.cluster_name,
        "config_version": str(len(call.world.nodes)),
        "interface": {"0": {"linknumber": "0"}},
        "ip_version": "ipv4-6",
        "link_mode": "passive",
        "secauth": "on",
        "transport": "knet",
        "version": "2",
    }


def nodes(call: Call) -> list[dict[str, Any]]:
    rows = []
    for node in call.world.nodes.values():
        audit = call.may(f"/nodes/{node.name}", "Sys.Audit")
        row = resources.node_row(call.world, node, numbers=audit)
        row.pop("cgroup-mode", None)
        row.pop("hastate", None)
        rows.append(row | {"ssl_fingerprint": node.fingerprint if node.seen else None})
    return rows


ROUTES: tuple[Route, ...] = (
    ("GET", "/", root),
    ("GET", "/version", version),
    ("GET", "/cluster", index),
    ("GET", "/cluster/status", status),
    ("GET", "/cluster/resources", cluster_resources),
    ("GET", "/cluster/tasks", cluster_tasks),
    ("GET", "/cluster/log", cluster_log),
    ("GET", "/cluster/nextid", nextid),
    ("GET", "/cluster/options", options),
    ("GET", "/cluster/backup", backup_jobs),
    ("GET", "/cluster/backup/{id}", one_backup_job),
    ("GET", "/cluster/backup-info/not-backed-up", not_backed_up),
    ("GET", "/cluster/ha/resources", ha_resources),
    ("GET", "/cluster/ha/status/current", ha_current),
    ("GET", "/cluster/ha/status/manager_status", ha_manager),
    ("GET", "/cluster/ha/groups", ha_groups),
    ("GET", "/cluster/ha/rules", nothing),
    ("GET", "/cluster/replication", nothing),
    ("GET", "/nodes/{node}/replication", nothing),
    ("GET", "/cluster/firewall/rules", nothing),
    ("GET", "/cluster/firewall/options", firewall_options),
    ("GET", "/cluster/notifications", notification_index),
    ("GET", "/cluster/notifications/endpoints", endpoints),
    ("GET", "/cluster/notifications/targets", targets),
    ("GET", "/cluster/notifications/matchers", matchers),
    ("GET", "/cluster/metrics/server", metric_servers),
    ("POST", "/cluster/metrics/server/{id}", add_metric_server),
    ("GET", "/cluster/metrics/export", metric_export),
    ("GET", "/cluster/config/nodes", config_nodes),
    ("GET", "/cluster/config/totem", totem),
    ("GET", "/nodes", nodes),
)
