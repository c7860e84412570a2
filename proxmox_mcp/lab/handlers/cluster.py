"""`/cluster` and the roots."""

from __future__ import annotations

from typing import Any

from proxmox_mcp.lab import resources, tasks
from proxmox_mcp.lab.call import Call, Raw, Route
from proxmox_mcp.lab.errors import bad_parameters

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
    ("GET", "/cluster/config/nodes", config_nodes),
    ("GET", "/cluster/config/totem", totem),
    ("GET", "/nodes", nodes),
)
