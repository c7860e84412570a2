"""What a backup server answers: the machine, its users, and the table of all routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import figures
from proxmox_mcp.lab.catalog import PBS_UPDATES
from proxmox_mcp.lab.push.routes import routes

from . import accounts, jobs, past, prune, stores, worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from .call import Call

GIB = 1024**3


def version(_call: Call) -> dict[str, str]:
    return {"version": "4.2", "release": "6", "repoid": "2c1a6ff0a6a8"}


def ping(_call: Call) -> dict[str, bool]:
    return {"pong": True}


def nodes(call: Call) -> list[dict[str, str]]:
    return [{"node": call.host.name}]


def node_status(call: Call) -> dict[str, Any]:
    host = call.host
    numbers = figures.node(past.machine(host), host.clock.now())
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


def domains(_call: Call) -> list[dict[str, str]]:
    return [
        {"realm": "pam", "type": "pam", "comment": "Linux PAM standard authentication"},
        {"realm": "pbs", "type": "pbs", "comment": "Proxmox Backup authentication server"},
    ]


_NOTIFICATIONS = "/config/notifications"
_FIELDS = ("datastore", "hostname", "job-id", "media-pool", "type")
_TYPES = ("acme", "gc", "package-updates", "prune", "sync", "system-mail", "tape-backup", "tape-load", "verify")


def notification_values(call: Call) -> list[dict[str, str]]:
    """What notifications of this server can have in their fields."""
    host = call.host
    known = (
        ("type", _TYPES),
        ("hostname", (host.name,)),
        ("datastore", tuple(host.datastores)),
        ("job-id", tuple(host.jobs)),
    )
    return [{"field": name, "value": one} for name, several in known for one in several]


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
            "devpath": f"/dev/sd{letter}", "disk-type": "hdd", "gpt": True,
            "model": "TOSHIBA_MG08ACA16TE", "name": f"sd{letter}",
            "rpm": 7200, "serial": f"91A0A0{letter.upper()}FVGG", "size": 16_000_900_661_248,
            "status": "passed", "used": "zfs",
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
    ("GET", f"{_NODE}/rrd", past.host_figures),
    ("GET", f"{_NODE}/journal", past.journal),
    ("GET", f"{_NODE}/subscription", subscription),
    ("GET", f"{_NODE}/apt/update", updates),
    ("GET", f"{_NODE}/disks/list", disks),
    ("GET", f"{_NODE}/tasks", worker.task_list),
    ("GET", f"{_NODE}/tasks/{{upid}}/status", worker.task_status),
    ("GET", f"{_NODE}/tasks/{{upid}}/log", worker.task_log),
    ("DELETE", f"{_NODE}/tasks/{{upid}}", worker.stop_task),
    ("GET", "/status/datastore-usage", stores.usage),
    ("GET", "/config/datastore", stores.config_datastores),
    ("GET", "/admin/datastore", stores.datastores),
    ("GET", f"{_STORE}/status", stores.status),
    ("GET", f"{_STORE}/rrd", past.store_figures),
    ("GET", f"{_STORE}/snapshots", stores.snapshots),
    ("DELETE", f"{_STORE}/snapshots", stores.delete_snapshot),
    ("GET", f"{_STORE}/groups", stores.groups),
    ("GET", f"{_STORE}/namespace", stores.namespaces),
    ("GET", f"{_STORE}/gc", stores.gc_status),
    ("POST", f"{_STORE}/gc", jobs.run_gc),
    ("POST", f"{_STORE}/verify", jobs.verify_store),
    ("POST", f"{_STORE}/prune-datastore", jobs.prune_store),
    ("POST", f"{_STORE}/prune", prune.group),
    ("GET", "/admin/gc", stores.gc_all),
    *(("GET", f"/admin/{kind}", jobs.jobs(kind)) for kind in jobs.WORKERS),
    *(("POST", f"/admin/{kind}/{{id}}/run", jobs.run_job(kind)) for kind in jobs.WORKERS),
    ("GET", "/access/permissions", permissions),
    ("GET", "/access/users", users),
    ("POST", "/access/users", accounts.add_user),
    ("POST", "/access/users/{userid}/token/{token-name}", accounts.add_token),
    ("PUT", "/access/acl", accounts.change_acl),
    ("GET", "/access/domains", domains),
    ("GET", f"{_NOTIFICATIONS}/matcher-field-values", notification_values),
    *routes(_NOTIFICATIONS, bool, _FIELDS),
)


ROUTES = {(method, path): run for method, path, run in _ROWS}
